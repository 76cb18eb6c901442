//! Capacity, and who holds which part of it.

use crate::definition::Demand;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the machine and its backends offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    /// Names of places that hold one stage each: worker slots and daemon-side executors.
    pub slots: BTreeMap<String, SlotKind>,
    /// Quantum backend name to jobs it takes at once.
    pub backends: BTreeMap<String, u32>,
}

/// What a slot can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotKind {
    /// A solver worker process.
    Worker,
}

/// Whose lease it is: run and stage path.
pub type LeaseKey = (String, u32);

/// Permission to use a part of the capacity until it is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    /// Worker slot or backend name; empty for stages that need neither.
    pub place: String,
    pub since_ms: u64,
}

/// Why a demand can never be met, even on an idle machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeverFits {
    #[error("asks for {asked} CPU cores, the capacity is {capacity}")]
    Cpu { asked: u32, capacity: u32 },
    #[error("asks for {asked} MiB of memory, the capacity is {capacity}")]
    Memory { asked: u64, capacity: u64 },
    #[error("asks for backend {asked:?}, known are: {known}")]
    Backend { asked: String, known: String },
}

/// All leases on one capacity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    capacity: Capacity,
    leases: BTreeMap<LeaseKey, Lease>,
}

impl Ledger {
    pub const fn new(capacity: Capacity) -> Self {
        Self { capacity, leases: BTreeMap::new() }
    }

    pub const fn capacity(&self) -> &Capacity {
        &self.capacity
    }

    pub const fn leases(&self) -> &BTreeMap<LeaseKey, Lease> {
        &self.leases
    }

    /// Cores and memory not held by anyone.
    pub fn free(&self) -> (u32, u64) {
        let (cpu, memory) = self
            .leases
            .values()
            .fold((0u32, 0u64), |(c, m), lease| (c + lease.cpu_cores, m + lease.memory_mib));
        (self.capacity.cpu_cores.saturating_sub(cpu), self.capacity.memory_mib.saturating_sub(memory))
    }

    /// # Errors
    /// [`NeverFits`] when the demand exceeds the whole capacity: waiting would be for ever.
    pub fn can_ever_fit(&self, demand: &Demand) -> Result<(), NeverFits> {
        if demand.cpu_cores > self.capacity.cpu_cores {
            return Err(NeverFits::Cpu { asked: demand.cpu_cores, capacity: self.capacity.cpu_cores });
        }
        if demand.memory_mib > self.capacity.memory_mib {
            return Err(NeverFits::Memory { asked: demand.memory_mib, capacity: self.capacity.memory_mib });
        }
        match &demand.backend {
            Some(name) if !self.capacity.backends.contains_key(name) => Err(NeverFits::Backend {
                asked: name.clone(),
                known: self.capacity.backends.keys().cloned().collect::<Vec<_>>().join(", "),
            }),
            _ => Ok(()),
        }
    }

    /// Takes the lease if everything it needs is free now; answers with the place, or says what lacks.
    pub(super) fn try_grant(
        &mut self,
        key: LeaseKey,
        demand: &Demand,
        slot: Option<SlotKind>,
        now_ms: u64,
    ) -> Result<Lease, &'static str> {
        if let Some(held) = self.leases.get(&key) {
            return Ok(held.clone());
        }
        let (cpu_free, memory_free) = self.free();
        // Nothing runs on less than one core and a little memory, whatever it says of itself.
        let cpu_cores = demand.cpu_cores.max(1);
        let memory_mib = demand.memory_mib;
        if cpu_cores > cpu_free {
            return Err("CPU cores");
        }
        if memory_mib > memory_free {
            return Err("memory");
        }
        let taken: BTreeSet<&str> = self.leases.values().map(|lease| lease.place.as_str()).collect();
        let place = match (&demand.backend, slot) {
            (Some(backend), _) => {
                let jobs = self.leases.values().filter(|l| &l.place == backend).count();
                let room = self.capacity.backends.get(backend).copied().unwrap_or(0) as usize;
                if jobs >= room {
                    return Err("a place on the quantum backend");
                }
                backend.clone()
            }
            (None, Some(kind)) => {
                let free = self
                    .capacity
                    .slots
                    .iter()
                    .find(|(name, k)| **k == kind && !taken.contains(name.as_str()));
                let Some((name, _)) = free else { return Err("a worker slot") };
                name.clone()
            }
            (None, None) => String::new(),
        };
        let lease = Lease { cpu_cores, memory_mib, place, since_ms: now_ms };
        self.leases.insert(key, lease.clone());
        Ok(lease)
    }

    /// Gives a lease back; `false` if there was none (a release may arrive twice).
    pub fn release(&mut self, key: &LeaseKey) -> bool {
        self.leases.remove(key).is_some()
    }

    /// Gives back all leases of a run; answers how many.
    pub fn release_run(&mut self, run: &str) -> usize {
        let before = self.leases.len();
        self.leases.retain(|(holder, _), _| holder != run);
        before - self.leases.len()
    }
}

//! What there is, what is asked for, and why something asked for can never be had.

use crate::definition::Demand;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What the machine and its backends offer at once. What runs out over time is in
/// [`super::policy::Budget`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// `u32::MAX` means that cores are not counted.
    pub cpu_cores: u32,
    /// `u64::MAX` means that memory is not counted.
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

/// Whose lease it is: run and stage.
pub type LeaseKey = (String, u32);

/// For whom a stage runs; quotas, shares and reservations go by these names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Owner {
    pub user: String,
    pub workflow: String,
}

/// A stage that is ready and waits for room. All that it asks for is granted at once or not at all, so
/// a stage that needs cores, a slot and a backend together never holds one while it waits for another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    pub key: LeaseKey,
    pub owner: Owner,
    pub demand: Demand,
    /// The kind of slot it needs, besides cores, memory and a backend.
    pub slot: Option<SlotKind>,
    /// The most it may cost, in millionths of a US dollar; set aside when granted.
    pub money_micro_usd: u64,
    /// The most that the whole run may hold at once; zero is no ceiling. Shots: the most that one stage
    /// may ask for.
    pub ceiling: Demand,
    /// Higher first.
    pub priority: u8,
    pub asked_ms: u64,
}

/// One of the things that can be held or drained.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// All of it: drained, nothing new begins at all.
    Machine,
    Cpu,
    Memory,
    /// Any worker slot.
    AnySlot,
    Slot(String),
    Backend(String),
}

impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Machine => f.write_str("the machine"),
            Self::Cpu => f.write_str("CPU cores"),
            Self::Memory => f.write_str("memory"),
            Self::AnySlot => f.write_str("a worker slot"),
            Self::Slot(name) => write!(f, "worker slot {name:?}"),
            Self::Backend(name) => write!(f, "a place on the quantum backend {name:?}"),
        }
    }
}

/// Why a demand can never be met, even on an idle machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NeverFits {
    #[error("asks for {asked} CPU cores, the capacity is {capacity}")]
    Cpu { asked: u32, capacity: u32 },
    #[error("asks for {asked} MiB of memory, the capacity is {capacity}")]
    Memory { asked: u64, capacity: u64 },
    #[error("asks for a worker slot, the daemon has none")]
    Slot,
    #[error("asks for backend {asked:?}, known are: {known}")]
    Backend { asked: String, known: String },
    #[error("asks for a place on backend {backend:?}, which takes no jobs at all")]
    NoPlaces { backend: String },
    #[error("asks for {asked} {what}, the ceiling of its workflow is {most}")]
    Ceiling { what: &'static str, asked: u64, most: u64 },
    #[error("asks for {asked} {what}, the quota of {of} is {most}")]
    Quota { what: &'static str, asked: u64, of: String, most: u64 },
    #[error("asks for {asked} {what}, the budget of {of} is {most}")]
    Budget { what: &'static str, asked: u64, of: String, most: u64 },
}

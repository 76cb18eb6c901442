//! What is put to the test: the ledger, or a mutant of it.

use engine::placement::{Ask, Capacity, Lease, LeaseKey, Ledger, Outcome, Policy, Resource, StaleLease};

pub trait Placer: Clone {
    /// The same kind, over this capacity.
    fn over(&self, capacity: Capacity, policy: Policy) -> Self;
    fn ledger(&mut self) -> &mut Ledger;

    fn place(&mut self, asks: &[Ask], now_ms: u64) -> Outcome {
        self.ledger().place_all(asks, now_ms)
    }
    fn settle(
        &mut self,
        key: &LeaseKey,
        fence: u64,
        used: (u64, u64),
        now_ms: u64,
    ) -> Result<(), StaleLease> {
        self.ledger().settle(key, fence, used, now_ms)
    }
    fn renew(&mut self, key: &LeaseKey, fence: u64, now_ms: u64) -> Result<Option<u64>, StaleLease> {
        self.ledger().renew(key, fence, now_ms)
    }
    fn expire(&mut self, now_ms: u64) -> Vec<(LeaseKey, Lease)> {
        self.ledger().expire(now_ms)
    }
    fn release_run(&mut self, run: &str) -> usize {
        self.ledger().release_run(run)
    }
    fn drain(&mut self, resource: Resource) {
        self.ledger().drain(resource);
    }
    fn undrain(&mut self, resource: &Resource) {
        self.ledger().undrain(resource);
    }
    fn set_policy(&mut self, policy: Policy, now_ms: u64) {
        self.ledger().set_policy(policy, now_ms);
    }
}

/// The ledger as it is.
#[derive(Clone)]
pub struct Plain(Ledger);

impl Plain {
    pub fn any() -> Self {
        let none = Capacity { cpu_cores: 0, memory_mib: 0, slots: [].into(), backends: [].into() };
        Self(Ledger::new(none))
    }
}

impl Placer for Plain {
    fn over(&self, capacity: Capacity, policy: Policy) -> Self {
        Self(Ledger::with_policy(capacity, policy))
    }
    fn ledger(&mut self) -> &mut Ledger {
        &mut self.0
    }
}

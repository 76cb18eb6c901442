//! Which waiting stage gets which resource: a pure ledger of leases and a pure choice.
//!
//! A [`Ledger`] knows the capacity and who holds what; [`Ledger::place`] grants what fits, best first.
//! Rule: the sum of all leases never exceeds the capacity, and a lease is given back exactly once.
//! Absent: waiting, clocks, actors. Start at [`Ledger::place`].

mod choice;
mod ledger;

pub use choice::{AGEING_MS_PER_PRIORITY, Ask, Grant};
pub use ledger::{Capacity, Lease, LeaseKey, Ledger, NeverFits, SlotKind};

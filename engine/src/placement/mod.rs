//! Which waiting stage gets which resource, when, and why not yet.
//!
//! A [`Ledger`] knows the capacity, the rules ([`Policy`]) and who holds what; [`Ledger::place_all`] grants
//! what fits and is allowed, in a fair order, and says of everything else why it waits.
//! Rules: the sum of all leases never exceeds the capacity, a lease is given back exactly once, the same
//! calls give the same answers, and whatever fits and is allowed is granted.
//! Absent: waiting, clocks, actors, dependencies (runs ask only for stages that are ready).
//! Start at [`Ledger::place_all`]; `docs/scheduling.md` tells the same to an operator.

mod capacity;
mod choice;
mod judge;
mod ledger;
mod policy;
mod shares;
mod standing;
mod tally;
#[cfg(test)]
mod tests;
mod why;

pub use capacity::{Ask, Capacity, LeaseKey, NeverFits, Owner, Resource, SlotKind};
pub use choice::{AGEING_MS_PER_PRIORITY, Grant, Outcome, PRIORITY_MAX, Waits};
pub use ledger::{Lease, Ledger, Refused, StaleLease};
pub use policy::{BACKFILL_MS, Budget, Holder, Policy, Quota, Reservation, WEIGHT_MAX};
pub use shares::START_CHARGE_MS;
pub use standing::{
    Carried, Event as StandingEvent, Order, OrderRefused, Ordered, RESERVATIONS_MAX, STANDING_SCHEMA,
    Standing, Used, carried, check_reservation,
};
pub use tally::{DAY_MS, HOUR_MS, Spent, Tally};
pub use why::Why;

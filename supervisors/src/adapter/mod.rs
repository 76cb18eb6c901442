//! actix actors as children. The only folder that names actix.
//!
//! actix runs the actor (handlers, timers, spawned futures); everything round it is done here,
//! because actix has no real mailbox bound, no exits and no restart after a panic:
//! - [`lanes`]: two bounded queues in front of the actor. They outlive its incarnations.
//! - [`parcel`], [`pump`], [`desk`]: how a message is carried, and handed to the actor.
//! - [`ledger`], [`telemetry`], [`life`]: what others may know of it.
//! - [`cell`]: polls the actor's `ContextFut` under `catch_unwind`, stops, kills and restarts it.
//! - [`reins`]: how its supervisor reaches it.
//! - [`hosted`]: the same on a thread of the actor's own.
//! - [`actor_ref`]: the address others hold, with `tell` and `ask`.
//!
//! The one rule: a context is restarted or terminated, never just dropped, because the drop of a live
//! context polls the broken actor once more, and a second panic there aborts the process.

mod actor_ref;
mod actor_spec;
mod cell;
mod desk;
#[cfg(test)]
mod given_up;
mod hosted;
mod lanes;
mod ledger;
mod life;
mod parcel;
mod pump;
mod reins;
mod room;
mod telemetry;
mod teller;

pub use actor_ref::{ActorRef, AskError, TellError, WeakActorRef};
pub use actor_spec::ActorSpec;
pub use hosted::hosted_actor_child;
pub use lanes::CONTROL_CAPACITY;
pub use teller::Teller;

use crate::child::ChildSpec;

/// An actor as a permanent child, and its address, which is valid at once and over all restarts.
///
/// A full cell without a watchdog; [`ActorSpec`] says it otherwise. `mailbox_capacity` is the number
/// of ordinary messages accepted and not finished; at least 1.
/// `factory` makes the actor for the first start, and again when the old one cannot be kept: after a
/// kill, after a panic in [`actix::Supervised::restarting`], after it was down for good. Every
/// other restart keeps the actor value and calls `restarting`, the hook to reset or re-read state.
#[must_use]
pub fn actor_child<A, F>(
    id: impl Into<String>,
    mailbox_capacity: usize,
    factory: F,
) -> (ActorRef<A>, ChildSpec)
where
    A: actix::Actor<Context = actix::Context<A>> + actix::Supervised,
    F: FnMut() -> A + 'static,
{
    ActorSpec::new(id, mailbox_capacity).child(factory)
}

/// As [`actor_child`], for an actor that needs its own address (to give others a [`Teller`]).
#[must_use]
pub fn actor_child_with<A, F>(
    id: impl Into<String>,
    mailbox_capacity: usize,
    factory: F,
) -> (ActorRef<A>, ChildSpec)
where
    A: actix::Actor<Context = actix::Context<A>> + actix::Supervised,
    F: FnMut(&ActorRef<A>) -> A + 'static,
{
    ActorSpec::new(id, mailbox_capacity).child_with(factory)
}

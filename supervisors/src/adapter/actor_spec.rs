//! What is said of an actor before it exists.

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Supervised};

use super::actor_ref::ActorRef;
use super::cell::ActorStarter;
use crate::child::{ChildSpec, Watchdog};
use crate::{ChildKind, Pulse};

/// How an actor is run; [`Self::child`] makes it a child.
///
/// ```
/// # use std::time::Duration;
/// # use supervisors::*;
/// # struct Ledger;
/// # impl actix::Actor for Ledger { type Context = actix::Context<Self>; }
/// # impl actix::Supervised for Ledger {}
/// let spec = ActorSpec::new("ledger-7", 64)
///     .kind("ledger")
///     .waits_for("the journal")
///     .watchdog(Duration::from_secs(5));
/// let (ledger, child) = spec.child(|| Ledger);
/// assert_eq!(ledger.mailbox().capacity, 64);
/// assert!(child.watchdog.is_some());
/// ```
#[derive(Debug, Clone)]
pub struct ActorSpec {
    pub(super) id: Arc<str>,
    pub(super) mailbox_capacity: usize,
    pub(super) kind: Option<String>,
    pub(super) is_bare: bool,
    pub(super) waits_for: &'static str,
    patience: Option<Duration>,
}

impl ActorSpec {
    /// A full cell without a watchdog. `mailbox_capacity` is the number of ordinary messages accepted
    /// and not finished; at least 1.
    #[must_use]
    pub fn new(id: impl Into<String>, mailbox_capacity: usize) -> Self {
        ActorSpec {
            id: id.into().into(),
            mailbox_capacity,
            kind: None,
            is_bare: false,
            waits_for: "a future of its own",
            patience: None,
        }
    }

    /// The label `actor` of its metrics; the id unless said otherwise. Give one to actors whose ids
    /// are made at run time, or every id becomes a series of its own for ever.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// No telemetry: no span travels with a message, nothing is timed, no metric is recorded, and
    /// [`MailboxInfo`](crate::MailboxInfo) says nothing of ages and of what is handled. Everything
    /// else is as in a full cell.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.is_bare = true;
        self
    }

    /// What `ctx.wait` means with this actor, for those who look at the tree.
    #[must_use]
    pub fn waits_for(mut self, what: &'static str) -> Self {
        self.waits_for = what;
        self
    }

    /// The cell answers a [`Watchdog`]: at every poll of the actor's task, before the actor has its
    /// turn. An actor in `ctx.wait` is alive, also for hours; one that keeps the thread in a handler
    /// for longer than `patience` hangs.
    #[must_use]
    pub fn watchdog(mut self, patience: Duration) -> Self {
        self.patience = Some(patience);
        self
    }

    /// A permanent child, and its address, which is valid at once and over all restarts. For
    /// `factory` see [`actor_child`](crate::actor_child).
    #[must_use]
    pub fn child<A, F>(self, mut factory: F) -> (ActorRef<A>, ChildSpec)
    where
        A: Actor<Context = Context<A>> + Supervised,
        F: FnMut() -> A + 'static,
    {
        self.child_with(move |_| factory())
    }

    /// As [`Self::child`], for an actor that needs its own address.
    #[must_use]
    pub fn child_with<A, F>(self, factory: F) -> (ActorRef<A>, ChildSpec)
    where
        A: Actor<Context = Context<A>> + Supervised,
        F: FnMut(&ActorRef<A>) -> A + 'static,
    {
        let (actor, receivers) = ActorRef::new(&self);
        let pulse = self.patience.map(|_| Pulse::new());
        let starter = ActorStarter::new(actor.clone(), receivers, pulse.clone(), factory);
        let mut child = ChildSpec::with_id(actor.id().clone(), starter).of_kind(ChildKind::Actor);
        child.watchdog = pulse.zip(self.patience).map(|(pulse, patience)| Watchdog { pulse, patience });
        (actor, child)
    }
}

//! A sender of one message type that does not say whose it is.

use std::fmt;
use std::sync::Arc;

use actix::{Actor, Handler, Message};

use super::actor_ref::{ActorRef, TellError};

trait Tell<M>: Send + Sync {
    fn tell(&self, message: M) -> Result<(), TellError>;
    fn tell_control(&self, message: M) -> Result<(), TellError>;
}

impl<A, M> Tell<M> for ActorRef<A>
where
    A: Actor<Context = actix::Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn tell(&self, message: M) -> Result<(), TellError> {
        ActorRef::tell(self, message)
    }

    fn tell_control(&self, message: M) -> Result<(), TellError> {
        ActorRef::tell_control(self, message)
    }
}

struct Through<F>(F);

impl<M, F: Fn(M) -> Result<(), TellError> + Send + Sync> Tell<M> for Through<F> {
    fn tell(&self, message: M) -> Result<(), TellError> {
        (self.0)(message)
    }

    fn tell_control(&self, message: M) -> Result<(), TellError> {
        (self.0)(message)
    }
}

/// A sender of one message type; whose it is stays open. Clones go to the same receiver.
pub struct Teller<M>(Arc<dyn Tell<M>>);

impl<M: 'static> Teller<M> {
    pub(super) fn of<A>(actor: ActorRef<A>) -> Self
    where
        A: Actor<Context = actix::Context<A>> + Handler<M>,
        M: Message + Send,
        M::Result: Send,
    {
        Teller(Arc::new(actor))
    }

    /// A sender that calls `send`: to translate a message on its way, or to receive it in a test.
    #[must_use]
    pub fn through(send: impl Fn(M) -> Result<(), TellError> + Send + Sync + 'static) -> Self {
        Teller(Arc::new(Through(send)))
    }

    /// As [`ActorRef::tell`].
    ///
    /// # Errors
    /// As [`ActorRef::tell`].
    pub fn tell(&self, message: M) -> Result<(), TellError> {
        self.0.tell(message)
    }

    /// As [`ActorRef::tell_control`]; the same as [`Self::tell`] for a sender made by
    /// [`Self::through`].
    ///
    /// # Errors
    /// As [`ActorRef::tell_control`].
    pub fn tell_control(&self, message: M) -> Result<(), TellError> {
        self.0.tell_control(message)
    }
}

impl<M> Clone for Teller<M> {
    fn clone(&self) -> Self {
        Teller(self.0.clone())
    }
}

impl<M> fmt::Debug for Teller<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Teller").field(&std::any::type_name::<M>()).finish()
    }
}

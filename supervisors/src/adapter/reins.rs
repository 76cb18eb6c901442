//! What an incarnation hears from its supervisor: on the same thread through a [`Leash`], on a thread
//! of its own through channels.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use tokio::sync::oneshot;

use crate::fault::Fault;
use crate::leash::Leash;

pub(super) enum Reins {
    Leash(Rc<Leash>),
    Threaded(Box<Threaded>),
}

pub(super) struct Threaded {
    stop: Option<oneshot::Receiver<()>>,
    has_heard_stop: bool,
    drill: Arc<Drill>,
}

/// A fault on its way to another thread.
#[derive(Default)]
pub(super) struct Drill {
    fault: Mutex<Option<Fault>>,
    victim: AtomicWaker,
}

impl Drill {
    pub(super) fn inject(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
        self.victim.wake();
    }
}

impl Reins {
    pub(super) fn threaded(stop: oneshot::Receiver<()>, drill: Arc<Drill>) -> Self {
        Reins::Threaded(Box::new(Threaded { stop: Some(stop), has_heard_stop: false, drill }))
    }

    /// A drill that begins now. The task is woken by the next one.
    pub(super) fn take_fault(&self, cx: &Context<'_>) -> Option<Fault> {
        match self {
            // Woken as for a stop.
            Reins::Leash(leash) => leash.take_fault(),
            Reins::Threaded(threaded) => {
                threaded.drill.victim.register(cx.waker());
                threaded.drill.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
            }
        }
    }

    /// True once: the actor is asked to stop. Else its task is woken when that happens.
    pub(super) fn hears_stop(&mut self, cx: &mut Context<'_>) -> bool {
        match self {
            Reins::Leash(leash) => leash.hears_stop(cx),
            Reins::Threaded(threaded) => {
                let Some(stop) = &mut threaded.stop else { return false };
                let Poll::Ready(heard) = Pin::new(stop).poll(cx) else { return false };
                threaded.stop = None;
                // Err: the supervisor is gone, and its kill is on the way.
                threaded.has_heard_stop = heard.is_ok();
                threaded.has_heard_stop
            }
        }
    }

    pub(super) fn has_heard_stop(&self) -> bool {
        match self {
            Reins::Leash(leash) => leash.has_heard_stop(),
            Reins::Threaded(threaded) => threaded.has_heard_stop,
        }
    }
}

//! The strings on a child that lives on its supervisor's thread: a stop to it, its exit from it.
//!
//! One small allocation instead of two channels and a waiting future per child: the exits of all
//! children of a supervisor come in one queue. Absent on purpose: the kill, which is the task's own.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use crate::Exit;
use crate::decision::Key;
use crate::fault::Fault;

/// Exits in the order in which they happened, of all children of one supervisor. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Exits(Rc<RefCell<Ended>>);

#[derive(Default)]
struct Ended {
    queue: VecDeque<(Key, u64, Exit)>,
    listener: Option<Waker>,
}

impl Exits {
    fn push(&self, key: Key, generation: u64, exit: Exit) {
        let mut ended = self.0.borrow_mut();
        ended.queue.push_back((key, generation, exit));
        let listener = ended.listener.take();
        drop(ended);
        if let Some(listener) = listener {
            listener.wake();
        }
    }

    /// The next exit: whose, of which generation.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<(Key, u64, Exit)> {
        let mut ended = self.0.borrow_mut();
        if let Some(next) = ended.queue.pop_front() {
            return Poll::Ready(next);
        }
        let before = ended.listener.replace(cx.waker().clone());
        drop(ended);
        drop(before);
        Poll::Pending
    }
}

/// See the top of the file. Dropping it says nothing: who holds it for the child tells the exit.
pub(crate) struct Leash(RefCell<State>);

struct State {
    /// A drill that the child has not begun yet.
    fault: Option<Box<Fault>>,
    stop: Stop,
    exit: Told,
}

enum Stop {
    Unasked(Option<Waker>),
    Asked,
    Heard,
}

enum Told {
    /// Nobody listens yet, and there is nothing to hear.
    Not,
    /// It ended before anybody listened.
    Early(Box<Exit>),
    /// To be told there.
    To(Exits, Key, u64),
    Done,
}

impl Leash {
    pub(crate) fn new() -> Rc<Self> {
        Rc::new(Leash(RefCell::new(State { fault: None, stop: Stop::Unasked(None), exit: Told::Not })))
    }

    /// Asks the child to stop. Only the first time means anything.
    pub(crate) fn ask_stop(&self) {
        let mut state = self.0.borrow_mut();
        let Stop::Unasked(child) = &mut state.stop else { return };
        let child = child.take();
        state.stop = Stop::Asked;
        drop(state);
        if let Some(child) = child {
            child.wake();
        }
    }

    /// True once: the child is asked to stop, and this is how it learns it. Else its task is woken
    /// when that happens.
    pub(crate) fn hears_stop(&self, cx: &Context<'_>) -> bool {
        let mut state = self.0.borrow_mut();
        match &mut state.stop {
            Stop::Asked => {
                state.stop = Stop::Heard;
                true
            }
            Stop::Heard => false,
            Stop::Unasked(known) => {
                if !known.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                    *known = Some(cx.waker().clone());
                }
                false
            }
        }
    }

    /// A drill: does this to the child at its next turn, which comes at once.
    pub(crate) fn inject(&self, fault: Fault) {
        let mut state = self.0.borrow_mut();
        state.fault = Some(Box::new(fault));
        let child = match &mut state.stop {
            Stop::Unasked(child) => child.take(),
            Stop::Asked | Stop::Heard => None,
        };
        drop(state);
        if let Some(child) = child {
            child.wake();
        }
    }

    pub(crate) fn take_fault(&self) -> Option<Fault> {
        // Looked at in every turn: no write when there is nothing.
        self.0.borrow().fault.as_ref()?;
        self.0.borrow_mut().fault.take().map(|fault| *fault)
    }

    /// Whether the child knows that it was asked.
    pub(crate) fn has_heard_stop(&self) -> bool {
        matches!(self.0.borrow().stop, Stop::Heard)
    }

    /// The child is down. Only the first exit counts.
    pub(crate) fn tell(&self, exit: Exit) {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut state.exit, Told::Done) {
            Told::Not => state.exit = Told::Early(Box::new(exit)),
            Told::Early(first) => state.exit = Told::Early(first),
            Told::To(exits, key, generation) => {
                drop(state);
                exits.push(key, generation, exit);
            }
            Told::Done => {}
        }
    }

    /// Where the exit is to be told, also one that happened already.
    pub(crate) fn tell_to(&self, exits: &Exits, key: Key, generation: u64) {
        let mut state = self.0.borrow_mut();
        match std::mem::replace(&mut state.exit, Told::Done) {
            Told::Early(exit) => {
                drop(state);
                exits.push(key, generation, *exit);
            }
            Told::Done => {}
            Told::Not | Told::To(..) => state.exit = Told::To(exits.clone(), key, generation),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Exits, Leash};
    use crate::Exit;
    use crate::decision::Key;
    use futures::task::noop_waker_ref;
    use std::task::{Context, Poll};

    #[test]
    fn an_exit_is_told_exactly_once_whether_it_comes_before_or_after_its_listener() {
        let cx = Context::from_waker(noop_waker_ref());
        for early in [true, false] {
            let (exits, leash) = (Exits::default(), Leash::new());
            if early {
                leash.tell(Exit::Normal);
            }
            leash.tell_to(&exits, Key(3), 7);
            leash.tell(if early { Exit::Killed } else { Exit::Normal });
            leash.tell(Exit::Killed);
            assert_eq!(exits.poll_next(&cx), Poll::Ready((Key(3), 7, Exit::Normal)));
            assert_eq!(exits.poll_next(&cx), Poll::Pending);
        }
    }

    #[test]
    fn a_stop_is_heard_once_and_remembered() {
        let cx = Context::from_waker(noop_waker_ref());
        let leash = Leash::new();
        assert!(!leash.hears_stop(&cx) && !leash.has_heard_stop());
        leash.ask_stop();
        assert!(!leash.has_heard_stop() && leash.hears_stop(&cx));
        leash.ask_stop();
        assert!(!leash.hears_stop(&cx) && leash.has_heard_stop());
    }
}

//! What a full cell records of every message, as metrics.
//!
//! | metric | unit | what |
//! |---|---|---|
//! | `actor_queue_seconds` | s | from the tell (or the start of a wait for room) to the handler |
//! | `actor_handling_seconds` | s | in the handler, and in its future if it answers with one |
//! | `actor_busy_refusals_total` | 1 | messages refused because the mailbox was full |
//!
//! The label `actor` is the actor's kind, not its id, so that actors that come and go by the thousand
//! are one series.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use metrics::{Counter, Histogram};

/// One for all actors of a kind, as long as there is one: the handles are looked up once.
pub(super) struct Telemetry {
    kind: String,
    /// Looked up at the first message: by then a recorder that is ever installed is there.
    handles: OnceLock<Handles>,
}

thread_local! {
    /// Of the actors that were made on this thread: nobody waits for a lock to make one.
    static KINDS: RefCell<Kinds> = const { RefCell::new(Kinds { known: BTreeMap::new(), sweep_at: 64 }) };
}

/// The kinds that have actors, and some that had: those are swept out as the number doubles.
struct Kinds {
    known: BTreeMap<String, Weak<Telemetry>>,
    sweep_at: usize,
}

impl Kinds {
    fn of(&mut self, kind: &str, make: impl FnOnce() -> Arc<Telemetry>) -> Arc<Telemetry> {
        if let Some(known) = self.known.get(kind).and_then(Weak::upgrade) {
            return known;
        }
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, one| one.strong_count() > 0);
            self.sweep_at = (2 * self.known.len()).max(64);
        }
        let made = make();
        self.known.insert(kind.to_owned(), Arc::downgrade(&made));
        made
    }
}

struct Handles {
    queue: Histogram,
    handling: Histogram,
    busy: Counter,
}

impl Telemetry {
    pub(super) fn of(kind: &str) -> Arc<Self> {
        let made = || Arc::new(Telemetry { kind: kind.to_owned(), handles: OnceLock::new() });
        // Err: the thread is about to end, and has forgotten its kinds.
        KINDS.try_with(|kinds| kinds.borrow_mut().of(kind, made)).unwrap_or_else(|_| made())
    }

    fn handles(&self) -> &Handles {
        self.handles.get_or_init(|| Handles {
            queue: metrics::histogram!("actor_queue_seconds", "actor" => self.kind.clone()),
            handling: metrics::histogram!("actor_handling_seconds", "actor" => self.kind.clone()),
            busy: metrics::counter!("actor_busy_refusals_total", "actor" => self.kind.clone()),
        })
    }

    pub(super) fn queued(&self, nanos: u64) {
        self.handles().queue.record(Duration::from_nanos(nanos));
    }

    pub(super) fn handled(&self, nanos: u64) {
        self.handles().handling.record(Duration::from_nanos(nanos));
    }

    pub(super) fn refused_busy(&self) {
        self.handles().busy.increment(1);
    }
}

/// The last part of a type's name; of a generic type with its parameters.
pub(super) fn short_name(name: &'static str) -> &'static str {
    let head = name.find('<').unwrap_or(name.len());
    name[..head].rfind("::").map_or(name, |at| &name[at + 2..])
}

#[cfg(test)]
mod tests {
    use super::short_name;

    #[test]
    fn a_short_name_keeps_parameters_and_loses_the_path() {
        assert_eq!(short_name("a::b::Inc"), "Inc");
        assert_eq!(short_name("a::Set<b::Key>"), "Set<b::Key>");
        assert_eq!(short_name("u32"), "u32");
    }
}

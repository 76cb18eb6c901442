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

use std::sync::OnceLock;
use std::time::Duration;

use metrics::{Counter, Histogram};

pub(super) struct Telemetry {
    kind: String,
    /// Looked up at the first message: by then a recorder that is ever installed is there.
    handles: OnceLock<Handles>,
}

struct Handles {
    queue: Histogram,
    handling: Histogram,
    busy: Counter,
}

impl Telemetry {
    pub(super) fn new(kind: String) -> Self {
        Telemetry { kind, handles: OnceLock::new() }
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

//! Faults that tests may switch on in the store itself, to see that some test notices.
//!
//! Rule: outside of tests nothing can be switched on, and [`on`] is a constant that the compiler removes.

/// What can be broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), allow(dead_code))]
pub(crate) enum Mutant {
    /// A commit answers without having synced.
    SyncSkipped,
    /// Callers are answered before the write.
    AnsweredBeforeSync,
    /// An incarnation that has been superseded may write.
    StaleWriterAccepted,
    /// The expected place in a stream is not compared.
    ConflictIgnored,
    /// A frame is not compared with the one before it.
    ChainNotCompared,
    /// A frame's header is not compared with its checksum.
    HeaderChecksumNotCompared,
    /// A new segment's name is not made durable.
    SegmentNameNotSynced,
    /// An unfinished write is cut off one frame's alignment too early.
    TailCutTooEarly,
    /// A failed sync is tried again and then believed.
    SyncRetried,
    /// A snapshot's bytes are not made durable before older segments go.
    SnapshotNotSynced,
    /// Older segments go before the chain names the snapshot.
    TrimmedBeforeConfirmed,
    /// A retired stream may be begun again.
    RetiredStreamReopened,
    /// A sidecar's hash is not compared.
    SidecarNotCompared,
    /// Garbage collection removes what it sees for the first time.
    GraceIgnored,
    /// Storing something again does not pin it.
    StoredAgainNotPinned,
}

#[cfg(not(test))]
#[inline(always)]
pub(crate) const fn on(_mutant: Mutant) -> bool {
    false
}

#[cfg(test)]
pub(crate) use switched::{on, with};

#[cfg(test)]
mod switched {
    use super::Mutant;
    use std::cell::Cell;

    thread_local! {
        static ON: Cell<Option<Mutant>> = const { Cell::new(None) };
    }

    pub(crate) fn on(mutant: Mutant) -> bool {
        ON.with(|on| on.get() == Some(mutant))
    }

    /// Runs `work` with the mutant switched on, on this thread only.
    pub(crate) fn with<T>(
        mutant: Mutant,
        work: impl FnOnce() -> T + std::panic::UnwindSafe,
    ) -> std::thread::Result<T> {
        ON.with(|on| on.set(Some(mutant)));
        let done = std::panic::catch_unwind(work);
        ON.with(|on| on.set(None));
        done
    }
}

//! Worker threads for the passes over a state, handed in by whoever owns them.
//!
//! The rule: work is cut into the same parts, and the parts' sums are added in the same order, however many
//! threads there are. So the number of threads changes the time and no bit of any result.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use std::sync::Arc;

/// Most threads of a pool: more than any machine the simulator was measured on can feed from memory.
pub const THREADS_MAX: usize = 256;

/// A pool that is kept between passes, shared by clones; without one the caller's thread does all.
#[derive(Debug, Clone, Default)]
pub struct Threads(Option<Arc<rayon::ThreadPool>>);

/// Why there are no threads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ThreadsError {
    #[error("{given} threads are outside 1 to {THREADS_MAX}")]
    Count { given: usize },
    #[error("the system starts no further thread ({reason}); ask for fewer")]
    System { reason: String },
}

impl Threads {
    /// The caller's thread only. What a [`crate::simulator::Simulator`] has until it is given others.
    pub fn one() -> Self {
        Self(None)
    }

    /// A pool of `count` threads, which end when the last clone is dropped.
    ///
    /// # Errors
    /// [`ThreadsError`] for 0, for more than [`THREADS_MAX`], or if the system refuses.
    pub fn new(count: usize) -> Result<Self, ThreadsError> {
        if !(1..=THREADS_MAX).contains(&count) {
            return Err(ThreadsError::Count { given: count });
        }
        if count == 1 {
            return Ok(Self::one());
        }
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(count)
            .thread_name(|index| format!("amplitudes-{index}"))
            .build()
            .map_err(|error| ThreadsError::System { reason: error.to_string() })?;
        Ok(Self(Some(Arc::new(pool))))
    }

    pub fn count(&self) -> usize {
        self.0.as_ref().map_or(1, |pool| pool.current_num_threads())
    }

    /// `work` on every part; the answers in the order of the parts.
    pub(crate) fn each<T: Send, R: Send>(
        &self,
        parts: Vec<T>,
        work: impl Fn(T) -> R + Send + Sync,
    ) -> Vec<R> {
        match &self.0 {
            Some(pool) if parts.len() > 1 => {
                pool.install(|| parts.into_par_iter().with_max_len(1).map(work).collect())
            }
            _ => parts.into_iter().map(work).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Threads, ThreadsError};

    #[test]
    fn answers_keep_the_order_of_the_parts() {
        for count in 1..=3 {
            let threads = Threads::new(count).unwrap();
            assert_eq!(threads.count(), count);
            let squares = threads.each((0..100u32).collect(), |part| part * part);
            assert!(squares.iter().enumerate().all(|(i, s)| i * i == *s as usize));
        }
    }

    #[test]
    fn no_threads_or_too_many_are_refused() {
        assert_eq!(Threads::new(0).unwrap_err(), ThreadsError::Count { given: 0 });
        assert!(Threads::new(257).is_err());
    }
}

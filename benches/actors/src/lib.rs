//! The same small actor in this project's `supervisors`, in kameo and in ractor.
//!
//! Every side has the same messages: `Add` (8 bytes, no answer), `Read` (answers the sum), `Boom`
//! (panics). All run on a current-thread tokio runtime unless a line says otherwise.

pub mod kameo_side;
pub mod ours;
pub mod ractor_side;

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Messages told in one go.
pub const TELLS: u64 = 200_000;
/// Messages told before the actor gets its turn, in the measure of bursts.
pub const BURST: u64 = 64;
pub const ASKS: u64 = 50_000;
pub const SPAWNS: usize = 10_000;
/// Children of one supervisor where many are spawned. One event costs `supervisors` time linear in
/// the number of siblings, so a thousand is what it is meant for.
pub const SIBLINGS: usize = 1_000;
pub const PANICS: usize = 500;

/// Starts of the actor that panics, and when the last one was, in nanoseconds since `origin`.
pub static STARTS: AtomicU64 = AtomicU64::new(0);
pub static STARTED_AT: AtomicU64 = AtomicU64::new(0);

pub fn nanos() -> u64 {
    static ORIGIN: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    u64::try_from(ORIGIN.get_or_init(Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// To be called by an actor that starts or starts again.
pub fn note_start() {
    STARTED_AT.store(nanos(), Ordering::Relaxed);
    STARTS.fetch_add(1, Ordering::Relaxed);
}

/// From the panic's message to the next start, `PANICS` times, in nanoseconds, sorted.
pub async fn restarts<F: Future<Output = ()>>(mut boom: impl FnMut() -> F) -> Vec<u64> {
    let mut took = Vec::with_capacity(PANICS);
    for _ in 0..PANICS {
        let before = STARTS.load(Ordering::Relaxed);
        let told = nanos();
        boom().await;
        while STARTS.load(Ordering::Relaxed) == before {
            tokio::task::yield_now().await;
        }
        took.push(STARTED_AT.load(Ordering::Relaxed) - told);
        // Whatever the supervisor still has to write down does not belong to the next one.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    took.sort_unstable();
    took
}

pub fn per_second(count: u64, began: Instant) -> f64 {
    count as f64 / began.elapsed().as_secs_f64()
}

/// Runs on one thread, as all sides do unless said otherwise.
pub fn on_one_thread<F: Future>(work: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, work)
}

pub const LONG: Duration = Duration::from_secs(3600);

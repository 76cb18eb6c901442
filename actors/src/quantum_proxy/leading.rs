//! Orders that are being led, each by a task of its own that outlives the attempt that wanted it.
//!
//! Rule: an attempt that is abandoned does not end its order: the next attempt of the stage finds it, still led or
//! led to its end, and nothing is bought twice. An order ends early only if its run does, if a person or the
//! emergency stop says so, or if its stage asks for another job; then the vendor is told. At start, and from time
//! to time, orders that nobody wants any more are looked for in the journal. Start at [`Office::lead`].

use super::office::{Ended, Office, OfficeError, Stored, Wish};
use crate::records;
use journal::Digest;
use quantum::backends::order::End;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// Pause between two looks whether another leader has ended; it ends within a call to a vendor.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
struct Led {
    spec: String,
    /// Ends the order; taken by the first who wants that.
    cancel: Option<oneshot::Sender<String>>,
}

#[derive(Debug, Default)]
struct State {
    /// By stage: `jobs/RUN/STAGE`.
    led: BTreeMap<String, Led>,
    /// Streams whose order has ended; they are not read again.
    ended: BTreeSet<String>,
}

/// Who is being led; shared by all proxies.
#[derive(Debug, Clone, Default)]
pub struct Leading(Arc<Mutex<State>>);

/// Takes a stage off the list whatever ends its leader, a panic included.
struct Off(Leading, String);

impl Drop for Off {
    fn drop(&mut self) {
        self.0.lock().led.remove(&self.1);
    }
}

impl Leading {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held leaves plain values behind.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stages whose order is being led: `jobs/RUN/STAGE`.
    pub fn stages(&self) -> Vec<String> {
        self.lock().led.keys().cloned().collect()
    }

    /// Wants the order of a stage ended; `false` if none is led.
    pub fn cancel(&self, stage: &str, why: &str) -> bool {
        let mut state = self.lock();
        let Some(led) = state.led.get_mut(stage) else { return false };
        if let Some(cancel) = led.cancel.take() {
            // Whoever led it may just have ended.
            let _ = cancel.send(why.to_owned());
        }
        true
    }

    /// Waits until nobody leads this stage; a leader of another job is told to end it.
    async fn free(&self, stage: &str, spec: &str) {
        loop {
            let other = match self.lock().led.get(stage) {
                None => return,
                Some(led) => led.spec != spec,
            };
            if other {
                self.cancel(stage, "its stage asks for another job");
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Puts a stage on the list; gives what takes it off again and the wish to end it.
    fn begin(&self, stage: String, spec: String) -> (Off, impl Future<Output = String> + Unpin + use<>) {
        let (cancel, wanted) = oneshot::channel();
        self.lock().led.insert(stage.clone(), Led { spec, cancel: Some(cancel) });
        let wish = Box::pin(async move {
            match wanted.await {
                Ok(why) => why,
                Err(_) => std::future::pending().await,
            }
        });
        (Off(self.clone(), stage), wish)
    }
}

/// The stage of an order's stream.
fn stage_of(stream: &str) -> &str {
    stream.rsplit_once('@').map_or(stream, |(stage, _)| stage)
}

/// The run and the path of the stage of an order's stream.
pub fn run_and_stage(stream: &str) -> Option<(&str, &str)> {
    stage_of(stream).strip_prefix("jobs/")?.split_once('/')
}

impl Office {
    /// Has an order for `wish` led by a task of its own and waits for its end. Dropping this ends nothing: the
    /// order is led on. Must be called on the actors' thread.
    ///
    /// # Errors
    /// [`OfficeError`]; the order stays as the journal has it.
    pub async fn lead(&self, wish: Wish) -> Result<Ended, OfficeError> {
        let stage = records::job_stream(&wish.run, &wish.stage);
        let bytes = serde_json::to_vec(&wish.job).map_err(|error| OfficeError::Job(error.to_string()))?;
        let spec = Digest::of(&bytes).to_string();
        self.leading.free(&stage, &spec).await;
        let (off, cancel) = self.leading.begin(stage, spec);
        let (sender, ended) = oneshot::channel();
        let office = self.clone();
        tokio::task::spawn_local(async move {
            let result = office.order(&wish, cancel).await;
            drop(off);
            // The attempt may have been abandoned; the journal has the end.
            let _ = sender.send(result);
        });
        ended.await.map_err(|_| OfficeError::Gone)?
    }

    /// Streams of orders that have not ended, under a prefix such as `jobs/RUN/`. Reads the streams it does not
    /// know to have ended; call it off the actors' thread for many.
    pub fn open(&self, prefix: &str) -> Vec<String> {
        let mut open = Vec::new();
        for (stream, _) in self.journal.streams(prefix) {
            if self.leading.lock().ended.contains(&stream) {
                continue;
            }
            match self.read(&stream) {
                Ok(Some(Stored { order, .. })) if order.end().is_none() => open.push(stream),
                Ok(_) => {
                    self.leading.lock().ended.insert(stream);
                }
                Err(error) => tracing::error!(stream, %error, "An order cannot be read; a person must look."),
            }
        }
        open
    }

    /// Has the order of a stream ended by a task of its own, unless somebody leads it, who is then told to.
    pub fn dismiss(&self, stream: &str, why: &str) {
        let stage = stage_of(stream).to_owned();
        if self.leading.cancel(&stage, why) {
            return;
        }
        let Some((run, _)) = run_and_stage(stream) else { return };
        let (office, run, stream, why) = (self.clone(), run.to_owned(), stream.to_owned(), why.to_owned());
        let (off, _) = self.leading.begin(stage, String::new());
        tokio::task::spawn_local(async move {
            tracing::warn!(stream, why, "An order that nobody wants any more is ended.");
            if let Err(error) = office.end(&run, &stream, why).await {
                tracing::error!(stream, %error, "The order could not be ended; it is tried again.");
            }
            drop(off);
        });
    }

    /// Ends all orders under `prefixes` and waits for that, at most for `patience`. Gives those that ended and
    /// cost nothing more, and those of which that is not known.
    pub async fn stop(
        &self,
        prefixes: &[String],
        why: &str,
        patience: Duration,
    ) -> (Vec<String>, Vec<String>) {
        let open: Vec<String> = prefixes.iter().flat_map(|prefix| self.open(prefix)).collect();
        open.iter().for_each(|stream| self.dismiss(stream, why));
        let until = tokio::time::Instant::now() + patience;
        loop {
            let (mut cancelled, mut not) = (Vec::new(), Vec::new());
            let mut waiting = false;
            for stream in &open {
                let stored = self.read(stream).ok().flatten();
                let end = stored.as_ref().and_then(|stored| stored.order.end());
                let lost = stored.as_ref().is_some_and(|stored| !stored.order.lost().is_empty());
                waiting |= end.is_none();
                match end {
                    Some(End::Cancelled | End::Exact) if !lost => cancelled.push(stream.clone()),
                    // It had its result before it could be cancelled, is lost, or does not answer.
                    _ => not.push(stream.clone()),
                }
            }
            if !waiting || tokio::time::Instant::now() >= until {
                return (cancelled, not);
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

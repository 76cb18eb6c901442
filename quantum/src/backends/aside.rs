//! Blocking calls on threads of their own, awaited from anywhere.
//!
//! Rule: a call that is not waited for any more goes on to its own timeout and its answer is dropped, which
//! is what happens to a lost reply anyway.

use super::{Asked, BackendError};
use futures::channel::oneshot;

/// Runs `call` on a thread of its own. One call per second and job at most, so a pool would gain nothing.
pub(super) fn ask<T: Send + 'static>(
    backend: &str,
    call: impl FnOnce() -> Result<T, BackendError> + Send + 'static,
) -> Asked<'static, T> {
    let (sender, receiver) = oneshot::channel();
    let spawned = std::thread::Builder::new().name(format!("ask-{backend}")).spawn(move || {
        // Nobody listens any more if the asker was dropped.
        let _ = sender.send(call());
    });
    let backend = backend.to_owned();
    Box::pin(async move {
        if let Err(error) = spawned {
            let message = format!("no thread for the call: {error}");
            return Err(BackendError::Transient { backend, message, after_ms: None });
        }
        receiver.await.unwrap_or_else(|_| {
            let message = "the call ended without an answer".to_owned();
            Err(BackendError::Ambiguous { backend, message })
        })
    })
}

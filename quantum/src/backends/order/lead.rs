//! The loop round an order: decide, journal, apply, perform.
//!
//! Everything that touches the world comes through [`Shell`]; the loop itself waits for one call at a time
//! and for the wish to end. Dropping it leaves the order as the journal has it, to be led on later.

use super::{Answer, Command, Decision, End, Input, Order};
use crate::backends::{Amount, Backend, BackendError, JobEvent, JobKey, JobResult, JobSpec, Reason};
use futures::future::{Either, select};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

/// A future of the shell's own.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// What the loop needs of its surroundings.
pub trait Shell {
    /// Why the journal did not take events; ends the loop.
    type Error;

    /// Milliseconds since 1970-01-01 UTC as the journal counts them.
    fn now_ms(&self) -> u64;

    fn random(&mut self) -> u64;

    /// Makes the events durable in one batch and says under what time.
    ///
    /// # Errors
    /// If they are not durable.
    fn journal<'a>(&'a mut self, events: &'a [JobEvent]) -> Soon<'a, Result<u64, Self::Error>>;

    fn sleep(&self, ms: u64) -> Soon<'static, ()>;

    /// Whether a job may be begun at this backend: not drained, its breaker closed, the budget sufficient.
    /// Answers at once; what it grants counts as held from then on.
    ///
    /// # Errors
    /// Why not.
    fn hold(&mut self, backend: &str, key: &JobKey, amount: &Amount) -> Result<(), Reason>;

    fn backend(&self, name: &str) -> Option<Arc<dyn Backend>>;

    /// Stores a result, and gives the digest under which it is found.
    fn keep<'a>(&'a mut self, result: &'a JobResult) -> Soon<'a, Result<String, String>>;

    /// A call to a backend has ended, well or not.
    fn heard(&mut self, backend: &str, error: Option<&BackendError>);

    /// The command that is going to be performed; a place for failpoints and progress.
    fn about_to(&mut self, _order: &Order, _command: &Command) {}
}

/// Leads `order` to its end, beginning with what its state asks for. `cancel` gives the reason when a person
/// or the emergency stop wants it ended.
///
/// # Errors
/// The shell's, when the journal takes nothing any more.
pub async fn lead<S: Shell>(
    order: &mut Order,
    job: &JobSpec,
    shell: &mut S,
    cancel: impl Future<Output = String> + Unpin,
) -> Result<End, S::Error> {
    let mut cancel = Some(cancel);
    let mut decision = order.recover(shell.now_ms(), shell.random());
    let mut command = None;
    loop {
        let Decision { events, memo, command: next } = decision;
        if !events.is_empty() {
            let time_ms = shell.journal(&events).await?;
            for event in &events {
                order.apply(time_ms, event);
            }
        }
        order.remember(memo);
        command = next.or(command);
        let Some(doing) = &command else {
            // Cannot be: a live order always has a command. It is looked at again rather than forgotten.
            decision = order.recover(shell.now_ms(), shell.random());
            continue;
        };
        if let Command::End(end) = doing {
            return Ok(end.clone());
        }
        shell.about_to(order, doing);
        let input = match &mut cancel {
            // The wish is looked at first: a call that has not begun when it comes is never made.
            Some(wish) => match select(wish, Box::pin(perform(doing, job, shell))).await {
                Either::Right((input, _)) => input,
                Either::Left((why, call)) => {
                    drop(call);
                    cancel = None;
                    Input::Cancel { why }
                }
            },
            None => perform(doing, job, shell).await,
        };
        let dropped = matches!(input, Input::Cancel { .. });
        decision = match order.decide(shell.now_ms(), shell.random(), input) {
            Ok(decided) if dropped && decided.command.is_none() => {
                // The machine would wait for the call that was under way; it was dropped with the wish, which
                // is a lost reply: what became of it is looked up.
                let Decision { events, memo, .. } = decided;
                let time_ms = shell.journal(&events).await?;
                for event in &events {
                    order.apply(time_ms, event);
                }
                order.remember(memo);
                order.recover(shell.now_ms(), shell.random())
            }
            Ok(decided) => decided,
            // Somebody wanted it ended twice: the call is made again from the state as it is.
            Err(_) => order.recover(shell.now_ms(), shell.random()),
        };
    }
}

async fn perform<S: Shell>(command: &Command, job: &JobSpec, shell: &mut S) -> Input {
    let (call, backend, after_ms) = match command {
        Command::Hold { call, backend, key, hold } => {
            let answer = match shell.hold(backend, key, hold) {
                Ok(()) => Answer::Held,
                Err(reason) => Answer::NotHeld(reason),
            };
            return Input::Answer { call: *call, answer };
        }
        Command::Wait { call, after_ms } => {
            shell.sleep(*after_ms).await;
            return Input::Answer { call: *call, answer: Answer::Waited };
        }
        Command::Submit { call, backend, after_ms, .. }
        | Command::Find { call, backend, after_ms, .. }
        | Command::Poll { call, backend, after_ms, .. }
        | Command::Fetch { call, backend, after_ms, .. }
        | Command::Cancel { call, backend, after_ms, .. } => (*call, backend, *after_ms),
        // Never performed: the loop ends with it.
        Command::End(_) => return Input::Answer { call: 0, answer: Answer::Waited },
    };
    if after_ms > 0 {
        shell.sleep(after_ms).await;
    }
    let Some(found) = shell.backend(backend) else {
        // Its settings were removed while a job was there: nobody can be asked.
        let gone = || BackendError::Transient {
            backend: backend.clone(),
            message: "no backend of this name is set up".to_owned(),
            after_ms: None,
        };
        let answer = match command {
            Command::Submit { .. } => Answer::Submitted(Err(gone())),
            Command::Find { .. } => Answer::Found(Err(gone())),
            Command::Poll { .. } => Answer::Polled(Err(gone())),
            Command::Fetch { .. } => Answer::Fetched(Err(gone())),
            _ => Answer::Cancelled(Err(gone())),
        };
        return Input::Answer { call, answer };
    };
    let answer = match command {
        Command::Submit { key, .. } => Answer::Submitted(found.submit(job, key).await),
        Command::Find { key, .. } => Answer::Found(found.find(key).await),
        Command::Poll { id, .. } => Answer::Polled(found.poll(id).await),
        Command::Cancel { id, .. } => Answer::Cancelled(found.cancel(id).await),
        Command::Fetch { id, .. } => {
            let fetched = match found.result(id).await {
                Ok(result) => match shell.keep(&result).await {
                    Ok(digest) => Ok((result, digest)),
                    Err(message) => {
                        Err(BackendError::Transient { backend: backend.clone(), message, after_ms: None })
                    }
                },
                Err(error) => Err(error),
            };
            Answer::Fetched(fetched)
        }
        Command::Hold { .. } | Command::Wait { .. } | Command::End(_) => Answer::Waited,
    };
    let error = match &answer {
        Answer::Submitted(Err(error))
        | Answer::Found(Err(error))
        | Answer::Polled(Err(error))
        | Answer::Fetched(Err(error))
        | Answer::Cancelled(Err(error)) => Some(error),
        _ => None,
    };
    shell.heard(backend, error);
    Input::Answer { call, answer }
}

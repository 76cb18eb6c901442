//! Starting a thread without waiting for the system: another thread does it.
//!
//! Creating a thread takes 40 microseconds on an idle machine and tens of milliseconds on a busy one,
//! which a supervisor cannot spare.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

use super::life::{Life, Living};

struct Job {
    name: String,
    body: Box<dyn FnOnce() + Send>,
    reply: oneshot::Sender<io::Result<()>>,
}

/// The thread that creates the others: made at the first use, for the life of the program.
static LAUNCHER: Mutex<Option<mpsc::Sender<Job>>> = Mutex::new(None);

fn launcher() -> io::Result<mpsc::Sender<Job>> {
    let mut launcher = LAUNCHER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(jobs) = &*launcher {
        return Ok(jobs.clone());
    }
    let (jobs, queue) = mpsc::channel::<Job>();
    std::thread::Builder::new().name("launcher".to_owned()).spawn(move || {
        for Job { name, body, reply } in queue {
            let created = std::thread::Builder::new().name(name).spawn(body);
            // Err: the start was cancelled; the body finds that out by itself.
            let _ = reply.send(created.map(drop));
        }
    })?;
    Ok(launcher.insert(jobs).clone())
}

/// Runs `body` on a thread of its own. The end of `life` is noted when the thread is through.
///
/// If the returned future is dropped the thread may start nevertheless.
///
/// # Errors
/// When the system refuses another thread.
pub(crate) async fn launch(
    name: &str,
    life: Arc<Life>,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<()> {
    let (reply, created) = oneshot::channel();
    let body = Box::new(move || {
        let _living = Living::begin(life);
        body();
    });
    // A name with a zero byte would be refused; the rest is cut by the system.
    let name = name.replace('\0', "?");
    let gone = || io::Error::other("the thread that starts threads is gone; restart the program");
    launcher()?.send(Job { name, body, reply }).map_err(|_| gone())?;
    created.await.map_err(|_| gone())?
}

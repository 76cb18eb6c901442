//! Both directions of the pipe: frames out under one lock, task and cancel in.
//!
//! Rule: the last frame is sent once, by whoever claims the end first. The file descriptor of stdout
//! is moved aside at the start, so that a library that prints cannot spoil a frame; its words go to stderr.

use super::fail;
use engine::worker::{FrameReader, FromWorker, TaskRequest, ToWorker, encode};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Exit code after the pipe ended under the work: the daemon is gone or wants this process gone.
const EXIT_PIPE_ENDED: i32 = 75;
/// Exit code for bytes on the input pipe that are no frame.
const EXIT_GARBAGE: i32 = 65;
/// After a cancel the work has this long to reach a safe point; then the reader answers for it. HiGHS
/// cannot be interrupted in between.
const CANCEL_WAIT: Duration = Duration::from_millis(1_500);
/// The same for work that leaves a checkpoint first; the daemon waits a little longer.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(8);
/// Heartbeats are never closer than this: a wrong request must not make a busy loop.
const HEARTBEAT_MS_MIN: u64 = 10;

const NOT_AT_WORK: &str = "this part of the stage's work does not take it";
const TOO_LATE: &str = "the work is past the point from which on it counts";
const SUPERSEDED: &str = "another value came before it was taken";

/// New values of parameters.
#[derive(Debug, Default)]
struct Offers {
    /// Parameters that the work will still look at; `None` before it has said so.
    open: Option<BTreeSet<&'static str>>,
    /// Values (JSON) that it has not taken.
    waiting: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Pipe {
    out: Mutex<File>,
    cancelled: AtomicBool,
    /// The work leaves a checkpoint before it stops.
    leaves_checkpoint: AtomicBool,
    /// What the work is offered and may still take.
    offers: Mutex<Offers>,
    /// A drill plays dead.
    silent: AtomicBool,
    ended: AtomicBool,
}

impl Pipe {
    /// Takes stdout and starts reading stdin. The receiver gets the one task.
    pub fn open() -> std::io::Result<(Arc<Self>, Receiver<TaskRequest>)> {
        let out = File::from(nix::unistd::dup(std::io::stdout())?);
        nix::unistd::dup2_stdout(std::io::stderr())?;
        let pipe = Arc::new(Self {
            out: Mutex::new(out),
            cancelled: AtomicBool::new(false),
            leaves_checkpoint: AtomicBool::new(false),
            offers: Mutex::default(),
            silent: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let (sender, receiver) = sync_channel(1);
        let reader = Arc::clone(&pipe);
        std::thread::Builder::new().name("pipe".to_owned()).spawn(move || reader.read(sender))?;
        Ok((pipe, receiver))
    }

    /// Sends one message. Without a reader at the other end there is nothing left to do: the process ends.
    pub fn send(&self, message: &FromWorker) {
        match encode(message) {
            Ok(frame) => self.write(&frame),
            Err(error) => eprintln!("executing-worker: a message was not sent: {error}"),
        }
    }

    /// Raw bytes; drills use it for garbage.
    pub fn write(&self, bytes: &[u8]) {
        write(&mut self.out(), bytes);
    }

    fn out(&self) -> MutexGuard<'_, File> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends the last frame, unless it was sent already; on return it is written.
    pub fn end(&self, message: FromWorker) {
        // The claim is made under the lock: whoever comes second waits until the frame is out.
        let mut out = self.out();
        if self.ended.swap(true, Ordering::SeqCst) {
            return;
        }
        let frame = encode(&message).or_else(|error| {
            let words = format!("the result does not fit a frame: {error}");
            encode(&FromWorker::Error(fail::permanent("EX-0503", words)))
        });
        match frame {
            Ok(frame) => write(&mut out, &frame),
            Err(error) => eprintln!("executing-worker: the last message was not sent: {error}"),
        }
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }

    /// From here on a cancel gives the work time for a checkpoint.
    pub fn expect_checkpoints(&self) {
        self.leaves_checkpoint.store(true, Ordering::SeqCst);
    }

    fn offers(&self) -> MutexGuard<'_, Offers> {
        self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, parameter: String, value: String, refusal: Option<&str>) {
        let (taken, why) = (refusal.is_none(), refusal.unwrap_or_default().to_owned());
        let Ok(frame) = encode(&FromWorker::Tuned { parameter, value, taken, why }) else { return };
        let mut out = self.out();
        // After the last frame nobody reads, and the end was the answer.
        if !self.ended.load(Ordering::SeqCst) {
            write(&mut out, &frame);
        }
    }

    /// From here on the work takes these parameters, and answers for no others.
    pub fn take_only(&self, parameters: &[&'static str]) {
        let refused = {
            let mut offers = self.offers();
            let open: BTreeSet<&'static str> = parameters.iter().copied().collect();
            let all = std::mem::take(&mut offers.waiting);
            let (waiting, refused) = all.into_iter().partition(|(name, _)| open.contains(name.as_str()));
            (offers.waiting, offers.open) = (waiting, Some(open));
            refused
        };
        let refused: BTreeMap<String, String> = refused;
        for (name, value) in refused {
            self.answer(name, value, Some(NOT_AT_WORK));
        }
    }

    /// Whether a value of this parameter waits to be taken.
    pub fn is_offered(&self, parameter: &str) -> bool {
        self.offers().waiting.contains_key(parameter)
    }

    /// A new value of a parameter, once. Whoever takes one owes a result that is wholly of it, which is said to
    /// the daemon here.
    pub fn take_tuned(&self, parameter: &str) -> Option<String> {
        let value = self.offers().waiting.remove(parameter)?;
        self.answer(parameter.to_owned(), value.clone(), None);
        Some(value)
    }

    /// As [`Self::take_tuned`], for the last time: what comes later is refused.
    pub fn take_last(&self, parameter: &'static str) -> Option<String> {
        let value = {
            let mut offers = self.offers();
            if let Some(open) = &mut offers.open {
                open.remove(parameter);
            }
            offers.waiting.remove(parameter)?
        };
        self.answer(parameter.to_owned(), value.clone(), None);
        Some(value)
    }

    fn offer(&self, parameter: String, value: String) {
        let refused = {
            let mut offers = self.offers();
            match &offers.open {
                Some(open) if !open.contains(parameter.as_str()) => Some((parameter, value, TOO_LATE)),
                _ => {
                    let before = offers.waiting.insert(parameter.clone(), value);
                    before.map(|before| (parameter, before, SUPERSEDED))
                }
            }
        };
        if let Some((parameter, value, why)) = refused {
            self.answer(parameter, value, Some(why));
        }
    }

    /// Stops the heartbeat for good.
    pub fn play_dead(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    pub fn start_heartbeat(self: &Arc<Self>, every_ms: u64) {
        let pipe = Arc::clone(self);
        let every = Duration::from_millis(every_ms.max(HEARTBEAT_MS_MIN));
        let beat = move || {
            loop {
                std::thread::sleep(every);
                if pipe.ended.load(Ordering::SeqCst) || pipe.silent.load(Ordering::SeqCst) {
                    return;
                }
                pipe.send(&FromWorker::Heartbeat);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("heartbeat".to_owned()).spawn(beat) {
            eprintln!("executing-worker: no heartbeat can be sent: {error}");
        }
    }

    fn read(self: &Arc<Self>, tasks: SyncSender<TaskRequest>) {
        let mut frames = FrameReader::default();
        let mut buffer = vec![0; 64 * 1024];
        let mut stdin = std::io::stdin().lock();
        loop {
            loop {
                match frames.take::<ToWorker>() {
                    Ok(None) => break,
                    // A second task is not in the protocol; the channel has room for one and is not read again.
                    Ok(Some(ToWorker::Task(task))) => drop(tasks.try_send(*task)),
                    Ok(Some(ToWorker::Cancel)) => self.cancel(),
                    Ok(Some(ToWorker::Tune { parameter, value })) => self.offer(parameter, value),
                    Err(error) => {
                        eprintln!("executing-worker: {error}");
                        std::process::exit(EXIT_GARBAGE);
                    }
                }
            }
            match stdin.read(&mut buffer) {
                Ok(read) if read > 0 => frames.push(&buffer[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                _ if self.ended.load(Ordering::SeqCst) => return,
                _ => {
                    eprintln!("executing-worker: the input pipe ended; leaving");
                    std::process::exit(EXIT_PIPE_ENDED);
                }
            }
        }
    }

    fn cancel(self: &Arc<Self>) {
        self.cancelled.store(true, Ordering::SeqCst);
        let pipe = Arc::clone(self);
        let late = move || {
            let checkpoints = pipe.leaves_checkpoint.load(Ordering::SeqCst);
            std::thread::sleep(if checkpoints { CHECKPOINT_WAIT } else { CANCEL_WAIT });
            pipe.end(FromWorker::Error(fail::cancelled()));
            std::process::exit(0);
        };
        // Without the thread the work itself still answers at its next safe point.
        drop(std::thread::Builder::new().name("cancel".to_owned()).spawn(late));
    }
}

fn write(out: &mut File, bytes: &[u8]) {
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        std::process::exit(EXIT_PIPE_ENDED);
    }
}

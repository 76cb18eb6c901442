//! An operating system process as a child.

use std::any::Any;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{FusedFuture, LocalBoxFuture};
use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::sync::oneshot;

use super::handle::{ExitKind, Process};
use super::spawner::{SpawnError, SpawnRequest, Spawner};
use super::warm::WarmPool;
use crate::child::{ChildSpec, Running, Started, Starter, StopSignal, Watchdog};
use crate::{ChildKind, Exit, Pulse, panics};

/// Last words of a process kept for its exit: the message of a crash fits.
const LAST_WORDS_BYTES: usize = 2_048;
/// What a dead process said is in the pipe already; longer than this only a stranger holds it open.
const LAST_WORDS_WAIT: Duration = Duration::from_millis(100);
/// What allocators say when the memory limit stops them (Rust, C++).
const OUT_OF_MEMORY: [&str; 2] = ["memory allocation of", "bad_alloc"];

/// Where the process of a child comes from.
pub enum ProcessSource {
    /// Spawned when it is needed: 16 to 26 ms, off this thread. The number counts the starts from 0.
    Cold(Spawner, Box<dyn FnMut(u64) -> SpawnRequest>),
    /// Taken from spares that wait already; spawned when there is none.
    Warm(WarmPool),
}

impl ProcessSource {
    /// Spawns `request` at every start.
    #[must_use]
    pub fn cold(spawner: Spawner, request: impl FnMut(u64) -> SpawnRequest + 'static) -> Self {
        ProcessSource::Cold(spawner, Box::new(request))
    }

    async fn get(&mut self, generation: u64) -> Result<Process, SpawnError> {
        match self {
            ProcessSource::Cold(spawner, request) => spawner.spawn(request(generation)).await,
            ProcessSource::Warm(pool) => pool.take_or_spawn().await,
        }
    }
}

impl std::fmt::Debug for ProcessSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            ProcessSource::Cold(..) => "Cold",
            ProcessSource::Warm(_) => "Warm",
        })
    }
}

/// What is said to a process, and the proof that it lives.
#[derive(Debug)]
pub struct Conversation {
    /// Its pid.
    pub pid: u32,
    /// Its standard input; dropping it is the end of the pipe for the process.
    pub stdin: Option<ChildStdin>,
    /// Its standard output; must be read, or a talkative process blocks on it.
    pub stdout: Option<ChildStdout>,
    /// To be beaten whenever the process gives a sign of life, in answer to a probe or by itself.
    pub pulse: Pulse,
}

/// Reads what the process prints and takes every read for a heartbeat.
pub fn printed_heartbeats(mut with: Conversation) -> LocalBoxFuture<'static, ()> {
    async move {
        let _stdin = with.stdin.take();
        let Some(mut stdout) = with.stdout.take() else { return };
        let mut buffer = [0; 4096];
        while let Ok(1..) = stdout.read(&mut buffer).await {
            with.pulse.beat();
        }
    }
    .boxed_local()
}

/// A process of its own as a permanent child.
///
/// `converse` is called for every process and holds its pipes; it is dropped when the process has
/// ended, and its own end means nothing. With a `patience` it must beat the pulse more often than
/// that, else the process counts as hung and is killed; [`printed_heartbeats`] does it for a process
/// that prints, a probe writes a question and beats at the answer.
///
/// How it ends: exit code 0 is [`Exit::Normal`], or [`Exit::Shutdown`] when it was asked to stop; any
/// other code and any signal is [`Exit::Error`] that names the code or signal, what the process last
/// wrote to stderr, and whether it ran out of memory (a limit on address space makes it abort). A stop
/// is SIGTERM to the whole group, then SIGKILL after the deadline. When the child has ended, nothing
/// of its group runs any more.
#[must_use]
pub fn process_child<C>(
    id: impl Into<String>,
    source: ProcessSource,
    patience: Option<Duration>,
    converse: C,
) -> ChildSpec
where
    C: FnMut(Conversation) -> LocalBoxFuture<'static, ()> + 'static,
{
    let pulse = Pulse::new();
    let id = id.into();
    let starter = ProcessStarter { id: id.as_str().into(), source, converse, pulse: pulse.clone() };
    let mut spec = ChildSpec::new(id, starter).of_kind(ChildKind::Process);
    spec.watchdog = patience.map(|patience| Watchdog { pulse, patience });
    spec
}

struct ProcessStarter<C> {
    id: Arc<str>,
    source: ProcessSource,
    converse: C,
    pulse: Pulse,
}

impl<C> Starter for ProcessStarter<C>
where
    C: FnMut(Conversation) -> LocalBoxFuture<'static, ()> + 'static,
{
    fn start(&mut self, generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            let mut process = self.source.get(generation).await.map_err(|error| error.to_string())?;
            let killer = process.killer();
            let (stop, stopped) = oneshot::channel();
            let (done, exit) = oneshot::channel();
            let mut conversation = {
                let _running = panics::Running::child(&self.id);
                (self.converse)(Conversation {
                    pid: process.pid,
                    stdin: process.stdin.take(),
                    stdout: process.stdout.take(),
                    pulse: self.pulse.clone(),
                })
            };
            let id = self.id.clone();
            let conversation = std::future::poll_fn(move |cx| {
                let _running = panics::Running::child(&id);
                conversation.poll_unpin(cx)
            });
            let conversation = AssertUnwindSafe(conversation).catch_unwind();
            let killed = Arc::new(AtomicBool::new(false));
            let watch = watch(process, StopSignal::new(stopped), killed.clone(), conversation);
            tokio::task::spawn_local(async move {
                // Err: the supervisor is gone.
                let _ = done.send(watch.await);
            });
            Ok(Started::Running(Running::new(exit, stop, move || {
                killed.store(true, Ordering::Relaxed);
                killer.kill_group();
            })))
        }
        .boxed_local()
    }
}

async fn watch(
    mut process: Process,
    mut stop: StopSignal,
    killed: Arc<AtomicBool>,
    conversation: impl Future<Output = Result<(), Box<dyn Any + Send>>>,
) -> Exit {
    let killer = process.killer();
    let mut conversation = std::pin::pin!(conversation.fuse());
    let mut panicked = None;
    let mut words = VecDeque::new();
    let kind = {
        let stderr = process.stderr.take();
        let mut listening = std::pin::pin!(keep_last_words(stderr, &mut words));
        let (mut asked, mut heard_all) = (false, false);
        let kind = loop {
            tokio::select! {
                biased;
                kind = &mut process.exit => break kind,
                () = &mut stop, if !asked => {
                    asked = true;
                    killer.terminate_group();
                }
                () = &mut listening, if !heard_all => heard_all = true,
                said = &mut conversation, if !conversation.is_terminated() => if let Err(panic) = said {
                    panicked = Some(panics::text_of(&*panic));
                    killer.kill_group();
                },
            }
        };
        let unasked = !asked && !killed.load(Ordering::Relaxed);
        if unasked && kind != ExitKind::Code(0) && !heard_all {
            let _ = tokio::time::timeout(LAST_WORDS_WAIT, listening).await;
        }
        if asked && [ExitKind::Code(0), TERMINATED].contains(&kind) {
            return Exit::Shutdown;
        }
        kind
    };
    if let Some(text) = panicked {
        return Exit::Panicked(text);
    }
    if killed.load(Ordering::Relaxed) && kind == KILLED {
        return Exit::Killed;
    }
    let words: Vec<u8> = words.into();
    exit_of(&kind, String::from_utf8_lossy(&words).trim())
}

const TERMINATED: ExitKind = ExitKind::Signal(Signal::SIGTERM as i32);
const KILLED: ExitKind = ExitKind::Signal(Signal::SIGKILL as i32);

fn exit_of(kind: &ExitKind, words: &str) -> Exit {
    if *kind == ExitKind::Code(0) {
        return Exit::Normal;
    }
    let out_of_memory = OUT_OF_MEMORY.iter().any(|sign| words.contains(sign));
    let cause = if out_of_memory { "out of memory, " } else { "" };
    let words = if words.is_empty() { String::new() } else { format!("; it said: {words}") };
    Exit::Error(format!("{cause}{kind}{words}"))
}

async fn keep_last_words(pipe: Option<impl AsyncRead + Unpin>, kept: &mut VecDeque<u8>) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 1024];
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        kept.extend(&buffer[..read]);
        let over = kept.len().saturating_sub(LAST_WORDS_BYTES);
        kept.drain(..over);
    }
}

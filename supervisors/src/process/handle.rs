//! A running process: its pipes, its exit, and ways to kill it.

use std::fmt;
use std::future::Future;
use std::os::unix::process::ExitStatusExt;
use std::pin::Pin;
use std::process::ExitStatus;
use std::task::{Context, Poll};

use nix::sys::signal::Signal;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout};

use super::identity::{signal_group, signal_group_unchecked};
use super::warm::PidFile;

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitKind {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The system did not say (somebody else waited for it).
    Unknown(String),
}

impl ExitKind {
    fn of(status: std::io::Result<ExitStatus>) -> Self {
        match status {
            Ok(status) => match (status.code(), status.signal()) {
                (Some(code), _) => ExitKind::Code(code),
                (None, Some(signal)) => ExitKind::Signal(signal),
                (None, None) => ExitKind::Unknown(format!("{status:?}")),
            },
            Err(error) => ExitKind::Unknown(error.to_string()),
        }
    }
}

impl fmt::Display for ExitKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ExitKind::Code(code) => write!(f, "exit code {code}"),
            ExitKind::Signal(signal) => match Signal::try_from(*signal) {
                Ok(name) => write!(f, "signal {signal} ({name})"),
                Err(_) => write!(f, "signal {signal}"),
            },
            ExitKind::Unknown(why) => write!(f, "unknown exit: {why}"),
        }
    }
}

/// A process that was spawned. The parts may be taken apart; the process lives as long as `exit`.
#[derive(Debug)]
pub struct Process {
    /// Its pid, which is also the id of its group.
    pub pid: u32,
    /// Its start time in clock ticks since boot; with the pid, its identity.
    pub start_time_ticks: u64,
    /// Its standard input; dropping it is the end of the pipe for the process.
    pub stdin: Option<ChildStdin>,
    /// Its standard output.
    pub stdout: Option<ChildStdout>,
    /// Its standard error.
    pub stderr: Option<ChildStderr>,
    /// Resolves when it ended. Dropping this kills the group.
    pub exit: ProcessExit,
}

impl Process {
    pub(super) fn new(mut child: Child, pid: u32, start_time_ticks: u64) -> Self {
        let killer = ProcessKiller { pid, start_time_ticks };
        Process {
            pid,
            start_time_ticks,
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            exit: ProcessExit {
                killer,
                waiting: Box::pin(async move { ExitKind::of(child.wait().await) }),
                ended: None,
                pid_file: None,
            },
        }
    }

    /// A handle that can kill the process from anywhere.
    #[must_use]
    pub fn killer(&self) -> ProcessKiller {
        self.exit.killer
    }
}

/// Resolves when the process ended; then the rest of its group is killed, so that no grandchild
/// stays. May be polled again after that and gives the same.
pub struct ProcessExit {
    killer: ProcessKiller,
    waiting: Pin<Box<dyn Future<Output = ExitKind> + Send>>,
    ended: Option<ExitKind>,
    /// Of a spare; there as long as the process.
    pub(super) pid_file: Option<PidFile>,
}

impl Future for ProcessExit {
    type Output = ExitKind;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<ExitKind> {
        let this = self.get_mut();
        if let Some(ended) = &this.ended {
            return Poll::Ready(ended.clone());
        }
        let Poll::Ready(kind) = this.waiting.as_mut().poll(cx) else { return Poll::Pending };
        // The leader was waited for in this very poll; as long as it has members the group's id is
        // not given away again, and the system hands out ids in a circle.
        signal_group_unchecked(this.killer.pid, Signal::SIGKILL);
        this.ended = Some(kind.clone());
        this.pid_file = None;
        Poll::Ready(kind)
    }
}

impl Drop for ProcessExit {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.killer.kill_group();
        }
    }
}

impl fmt::Debug for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessExit")
            .field("pid", &self.killer.pid)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Kills a process with its group; never a stranger that got the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessKiller {
    pid: u32,
    start_time_ticks: u64,
}

impl ProcessKiller {
    /// Sends SIGKILL to the whole group. False if the process has ended and was waited for.
    pub fn kill_group(&self) -> bool {
        self.signal(Signal::SIGKILL)
    }

    /// Sends SIGTERM to the whole group, which a process may use to end in order.
    pub fn terminate_group(&self) -> bool {
        self.signal(Signal::SIGTERM)
    }

    /// The pid of the process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    fn signal(&self, signal: Signal) -> bool {
        signal_group(self.pid, self.start_time_ticks, signal)
    }
}

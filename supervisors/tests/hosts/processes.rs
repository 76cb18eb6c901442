//! Real processes under a supervisor: how each way to end reads, and that nothing outlives the child.

use std::cell::RefCell;
use std::ffi::OsString;
use std::io::{BufRead, Write};
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisors::process::{
    Conversation, ProcessSource, SpawnRequest, Spawner, child, printed_heartbeats, process_child,
};
use supervisors::{ChildSpec, ChildState, Exit, Pulse, Restart, Shutdown, Strategy, SupervisorSpec, start};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt};

use crate::support::{PATIENCE, in_real_time, is_dead, restarted, supervisor, until};

pub fn shell(script: &str) -> SpawnRequest {
    SpawnRequest {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        current_dir: None,
    }
}

/// Runs one of the roles below in a process of its own.
pub fn role(name: &str) -> SpawnRequest {
    SpawnRequest {
        program: std::env::current_exe().unwrap(),
        args: ["--ignored", "--exact", name, "--nocapture"].map(OsString::from).to_vec(),
        env: vec![("ROLE_OF".into(), std::process::id().to_string().into())],
        current_dir: None,
    }
}

/// What the processes of a child printed, line by line, with their pids.
#[derive(Clone, Default)]
struct Seen {
    pids: Rc<RefCell<Vec<u32>>>,
    lines: Rc<RefCell<Vec<String>>>,
}

impl Seen {
    fn listen(&self) -> impl FnMut(Conversation) -> LocalBoxFuture<'static, ()> + 'static {
        let seen = self.clone();
        move |mut with| {
            seen.pids.borrow_mut().push(with.pid);
            let seen = seen.clone();
            async move {
                let mut lines = tokio::io::BufReader::new(with.stdout.take().unwrap()).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    seen.lines.borrow_mut().push(line);
                }
                // The input pipe stays open as long as the process lives.
                std::future::pending::<()>().await;
                drop(with);
            }
            .boxed_local()
        }
    }

    fn pid(&self) -> u32 {
        *self.pids.borrow().last().expect("a process was started")
    }

    async fn says(&self, word: &str) -> String {
        until(word, || self.lines.borrow().iter().any(|line| line.contains(word))).await;
        self.lines.borrow().iter().find(|line| line.contains(word)).unwrap().clone()
    }
}

fn cold(request: SpawnRequest) -> ProcessSource {
    ProcessSource::cold(Spawner::start().unwrap(), move |_| request.clone())
}

fn worker(request: SpawnRequest) -> (ChildSpec, Seen) {
    let seen = Seen::default();
    (process_child("worker", cold(request), None, seen.listen()), seen)
}

/// How a process that ends by itself reads. Only the first one ends: were the next ones to end too, a slow
/// machine would never find the child running before its supervisor gives up.
async fn exit_of(request: SpawnRequest) -> Exit {
    let source = ProcessSource::cold(Spawner::start().unwrap(), move |generation| match generation {
        0 => request.clone(),
        _ => shell("exec sleep 1000"),
    });
    let spec = process_child("worker", source, None, Seen::default().listen());
    let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
    restarted(&top, "worker", 1).await
}

#[test]
fn every_way_to_end_is_named() {
    in_real_time(async {
        assert_eq!(exit_of(shell("exit 0")).await, Exit::Normal);
        assert_eq!(
            exit_of(shell("echo bad luck >&2; exit 7")).await,
            Exit::Error("exit code 7; it said: bad luck".to_owned())
        );
        assert_eq!(exit_of(shell("kill -9 $$")).await, Exit::Error("signal 9 (SIGKILL)".to_owned()));
        // Not asked to: then a SIGTERM is as abnormal as any signal.
        assert_eq!(exit_of(shell("kill $$")).await, Exit::Error("signal 15 (SIGTERM)".to_owned()));
    });
}

#[test]
fn a_bad_write_is_told_by_its_signal() {
    in_real_time(async {
        let exit = exit_of(role("processes::role_bad_write")).await;
        assert!(matches!(&exit, Exit::Error(text) if text.starts_with("signal 11 (SIGSEGV)")), "{exit}");
    });
}

#[test]
fn running_out_of_memory_is_told_as_such() {
    in_real_time(async {
        let exit = exit_of(role("processes::role_glutton")).await;
        let told = "out of memory, signal 6 (SIGABRT)";
        assert!(matches!(&exit, Exit::Error(text) if text.starts_with(told)), "{exit}");
    });
}

#[test]
fn last_words_are_kept_from_the_end() {
    in_real_time(async {
        let exit = exit_of(shell("i=0; while [ $i -lt 500 ]; do echo line $i >&2; i=$((i+1)); done; exit 3"));
        let Exit::Error(text) = exit.await else { panic!("an error was expected") };
        assert!(text.ends_with("line 499") && !text.contains("line 1\n"), "{text}");
        assert!(text.len() < 2_200, "{}", text.len());
    });
}

#[test]
fn a_stop_ends_a_process_in_order_with_its_group() {
    in_real_time(async {
        let (spec, seen) = worker(shell("trap 'echo bye; exit 0' TERM; sleep 1000 & echo ready $!; wait"));
        let (top, end) = start(SupervisorSpec {
            children: vec![spec.shutdown(Shutdown::Deadline(PATIENCE))],
            ..supervisor(Strategy::OneForOne, Vec::new())
        });
        let grandchild = seen.says("ready").await[6..].parse().unwrap();
        top.terminate_child("worker").await.unwrap();
        let info = crate::support::child(&top, "worker").await;
        assert_eq!(info.last_exit, Some(Exit::Shutdown));
        assert!(is_dead(seen.pid()));
        until("the grandchild is dead", || is_dead(grandchild)).await;
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn a_process_that_dies_of_the_stop_signal_was_shut_down() {
    in_real_time(async {
        let (spec, seen) = worker(shell("echo ready; exec sleep 1000"));
        let (top, _end) = start(SupervisorSpec {
            children: vec![spec.shutdown(Shutdown::Deadline(PATIENCE))],
            ..supervisor(Strategy::OneForOne, Vec::new())
        });
        seen.says("ready").await;
        top.terminate_child("worker").await.unwrap();
        assert_eq!(crate::support::child(&top, "worker").await.last_exit, Some(Exit::Shutdown));
    });
}

#[test]
fn a_process_that_ignores_the_stop_is_killed_after_its_deadline_with_its_group() {
    in_real_time(async {
        let (spec, seen) = worker(shell("trap '' TERM; sleep 1000 & echo ready $!; wait; wait; sleep 1000"));
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let grandchild = seen.says("ready").await[6..].parse().unwrap();
        top.terminate_child("worker").await.unwrap();
        assert_eq!(crate::support::child(&top, "worker").await.last_exit, Some(Exit::Killed));
        assert!(is_dead(seen.pid()));
        until("the grandchild is dead", || is_dead(grandchild)).await;
    });
}

#[test]
fn a_supervisor_that_vanishes_takes_its_processes_along() {
    in_real_time(async {
        let (spec, seen) = worker(shell("trap '' TERM; echo ready; while :; do sleep 1; done"));
        let (_top, end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        seen.says("ready").await;
        end.abort();
        until("the process is dead", || is_dead(seen.pid())).await;
    });
}

#[test]
fn a_process_that_prints_has_a_pulse_and_a_stopped_one_has_none() {
    in_real_time(async {
        let pid = Rc::new(RefCell::new(0));
        let kept = pid.clone();
        let script = "while :; do echo beat; sleep 0.01; done";
        let spec = process_child("worker", cold(shell(script)), Some(PATIENCE), move |with| {
            *kept.borrow_mut() = with.pid;
            printed_heartbeats(with)
        });
        let pulse: Pulse = spec.watchdog.as_ref().unwrap().pulse.clone();
        let (_top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        until("it beats", || pulse.beats() > 3).await;
        let pid = Pid::from_raw(i32::try_from(*pid.borrow()).unwrap());
        kill(pid, Signal::SIGSTOP).unwrap();
        // What it printed before may still be on its way.
        tokio::time::sleep(Duration::from_millis(50)).await;
        let seen = pulse.beats();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(pulse.beats(), seen);
        kill(pid, Signal::SIGCONT).unwrap();
        until("it beats again", || pulse.beats() > seen).await;
    });
}

#[test]
fn a_probe_of_the_callers_beats_when_it_is_answered() {
    in_real_time(async {
        let spec = process_child("worker", cold(shell("exec cat")), Some(PATIENCE), |mut with| {
            async move {
                let mut stdin = with.stdin.take().unwrap();
                let mut answers = tokio::io::BufReader::new(with.stdout.take().unwrap()).lines();
                loop {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    stdin.write_all(b"are you there?\n").await.unwrap();
                    if let Ok(Some(_)) = answers.next_line().await {
                        with.pulse.beat();
                    }
                }
            }
            .boxed_local()
        });
        let pulse = spec.watchdog.as_ref().unwrap().pulse.clone();
        let (_top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        until("it answers", || pulse.beats() > 3).await;
    });
}

#[test]
fn a_panic_of_the_conversation_is_contained_and_costs_the_process() {
    in_real_time(async {
        let pids = Rc::new(RefCell::new(Vec::new()));
        let kept = pids.clone();
        let spec = process_child("worker", cold(shell("exec sleep 1000")), None, move |with| {
            kept.borrow_mut().push(with.pid);
            let first = kept.borrow().len() == 1;
            async move {
                assert!(!first, "cannot talk to {}", with.pid);
                std::future::pending::<()>().await;
            }
            .boxed_local()
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let exit = restarted(&top, "worker", 1).await;
        let pids = pids.borrow().clone();
        assert_eq!(exit, Exit::Panicked(format!("cannot talk to {}", pids[0])));
        assert!(is_dead(pids[0]) && !is_dead(pids[1]));
    });
}

#[test]
fn a_program_that_is_missing_is_a_failed_start_and_the_supervisor_goes_on() {
    in_real_time(async {
        let request = SpawnRequest { program: "/nowhere/worker".into(), ..SpawnRequest::default() };
        let (spec, _) = worker(request);
        let (top, _end) = start(supervisor(Strategy::OneForOne, Vec::new()));
        let refused = top.start_child(spec.restart(Restart::Temporary)).await.unwrap_err().to_string();
        assert!(refused.contains("/nowhere/worker"), "{refused}");
        let (spec, seen) = worker(shell("echo ready; exec sleep 1000"));
        top.start_child(spec).await.unwrap();
        seen.says("ready").await;
        assert_eq!(crate::support::child(&top, "worker").await.state, ChildState::Running);
    });
}

#[test]
fn a_death_is_seen_at_once() {
    in_real_time(async {
        // The restart is immediate, so the next request is made when the death was seen.
        let (starts, mut started) = tokio::sync::mpsc::unbounded_channel();
        let source = ProcessSource::cold(Spawner::start().unwrap(), move |_| {
            starts.send(Instant::now()).unwrap();
            shell("exec sleep 1000")
        });
        let seen = Seen::default();
        let spec = process_child("worker", source, None, seen.listen());
        let (_top, _end) = start(SupervisorSpec {
            intensity: supervisors::Intensity { restarts: 100, period: Duration::from_secs(60) },
            ..supervisor(Strategy::OneForOne, vec![spec.restart(Restart::Permanent)])
        });
        started.recv().await.unwrap();
        let mut took = Vec::new();
        for round in 1..=20 {
            until("a process runs", || seen.pids.borrow().len() == round).await;
            let began = Instant::now();
            kill(Pid::from_raw(i32::try_from(seen.pid()).unwrap()), Signal::SIGKILL).unwrap();
            let noticed = tokio::time::timeout(PATIENCE, started.recv()).await.expect("it was not seen");
            took.push(noticed.unwrap().saturating_duration_since(began));
        }
        took.sort_unstable();
        // Two milliseconds on a quiet machine; a busy one may be slower, not by orders of magnitude.
        assert!(took[10] < Duration::from_millis(200), "{took:?}");
        println!("death of a process seen after {:?} (median), {:?} (worst of 20)", took[10], took[19]);
    });
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_bad_write() {
    if std::env::var_os("ROLE_OF").is_none() {
        return;
    }
    child::limit_cores().unwrap();
    // A raised signal would not do: the runtime's own handler resets it and returns.
    #[expect(unsafe_code, reason = "a real fault is what this process is for")]
    unsafe {
        std::ptr::without_provenance_mut::<u8>(64).write_volatile(1);
    }
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_glutton() {
    if std::env::var_os("ROLE_OF").is_none() {
        return;
    }
    child::limit_cores().unwrap();
    child::limit_memory(1 << 30).unwrap();
    let hoard = vec![1_u8; 4 << 30];
    println!("{}", hoard[1 << 30]);
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_echo() {
    if std::env::var_os("ROLE_OF").is_none() {
        return;
    }
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let _ = writeln!(std::io::stdout(), "echo {line}");
    }
}

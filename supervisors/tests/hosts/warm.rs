//! Spares: ready before they are needed, replaced when they die or grow old, killed by a freeze.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::FutureExt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use supervisors::process::{
    Process, ProcessSource, SPARES_MAX, SpawnRequest, Spawner, WarmPool, WarmSettings, process_child,
    warm_pool_child,
};
use supervisors::{Backoff, Exit, Strategy, SupervisorRef, start};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::task::JoinHandle;

use crate::processes::{role, shell};
use crate::support::{PATIENCE, in_real_time, is_dead, restarted, supervisor, until};

const QUICK: Backoff =
    Backoff { first: Duration::from_millis(20), factor: 2, max: Duration::from_millis(80), jitter: 0.0 };

fn settings(spares: usize) -> WarmSettings {
    WarmSettings { spares, backoff: QUICK, ..WarmSettings::default() }
}

fn pool(request: SpawnRequest, settings: WarmSettings) -> WarmPool {
    WarmPool::new(Spawner::start().unwrap(), request, settings)
}

/// Keeps the pool under a supervisor.
fn kept(pool: &WarmPool) -> (SupervisorRef, JoinHandle<Exit>) {
    start(supervisor(Strategy::OneForOne, vec![warm_pool_child("spares", pool)]))
}

async fn ready(pool: &WarmPool, spares: usize) {
    until("the spares are ready", || pool.status().ready == spares).await;
}

async fn answers(process: &mut Process) -> bool {
    let asked = process.stdin.as_mut().unwrap().write_all(b"hello\n").await;
    let mut lines = BufReader::new(process.stdout.as_mut().unwrap()).lines();
    let answer = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if line.contains("hello") {
                return true;
            }
        }
        false
    };
    asked.is_ok() && tokio::time::timeout(PATIENCE, answer).await.unwrap_or(false)
}

fn strike(pid: u32) {
    kill(Pid::from_raw(i32::try_from(pid).unwrap()), Signal::SIGKILL).unwrap();
}

/// Pids of the living processes in the folder of pid files.
fn noted(dir: &Path) -> Vec<u32> {
    let texts = std::fs::read_dir(dir).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
    texts.filter_map(|text| text.ok()?.split_whitespace().next()?.parse().ok()).collect()
}

#[test]
fn a_spare_is_taken_without_waiting_works_and_is_replaced() {
    in_real_time(async {
        let pool = pool(shell("exec cat"), settings(2));
        assert!(pool.take().is_none(), "nothing is there before the keeper runs");
        let (_top, _end) = kept(&pool);
        ready(&pool, 2).await;
        let (mut first, mut second) = (pool.take().unwrap(), pool.take().unwrap());
        // Not an await since they were ready: so nothing new can have come.
        assert!(pool.take().is_none());
        assert!(answers(&mut first).await && answers(&mut second).await);
        assert_ne!(first.pid, second.pid);
        ready(&pool, 2).await;
        let status = pool.status();
        assert_eq!((status.spawned, status.taken, status.missed, status.died), (4, 2, 2, 0));
    });
}

#[test]
fn without_a_spare_a_process_is_spawned() {
    in_real_time(async {
        let pool = pool(shell("exec cat"), settings(0));
        let (_top, _end) = kept(&pool);
        let mut process = pool.take_or_spawn().await.unwrap();
        assert!(answers(&mut process).await);
        assert_eq!((pool.status().ready, pool.status().missed), (0, 1));
    });
}

#[test]
fn a_spare_that_dies_is_replaced_and_never_handed_out() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let pool =
            pool(shell("exec cat"), WarmSettings { pid_dir: Some(dir.path().to_owned()), ..settings(1) });
        let (_top, _end) = kept(&pool);
        ready(&pool, 1).await;
        let victim = noted(dir.path())[0];
        strike(victim);
        until("it is dead", || is_dead(victim)).await;
        let mut process = loop {
            if let Some(process) = pool.take() {
                break process;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        assert_ne!(process.pid, victim);
        assert!(answers(&mut process).await);
        assert_eq!(pool.status().died, 1);
    });
}

#[test]
fn a_freeze_kills_the_spares_and_none_comes_until_the_thaw() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let pool =
            pool(shell("exec cat"), WarmSettings { pid_dir: Some(dir.path().to_owned()), ..settings(2) });
        let (_top, _end) = kept(&pool);
        ready(&pool, 2).await;
        let mut taken = pool.take().unwrap();
        ready(&pool, 2).await;
        let spares: Vec<u32> = noted(dir.path()).into_iter().filter(|pid| *pid != taken.pid).collect();
        assert_eq!(spares.len(), 2);
        pool.freeze();
        until("the spares are dead", || spares.iter().all(|pid| is_dead(*pid))).await;
        let spawned = pool.status().spawned;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = pool.status();
        assert!(status.frozen && status.ready == 0 && status.spawned == spawned, "{status:?}");
        assert!(pool.take().is_none());
        assert!(answers(&mut taken).await, "what was taken before is not the pool's");
        pool.thaw();
        ready(&pool, 2).await;
        assert!(!pool.status().frozen);
    });
}

#[test]
fn a_freeze_during_a_spawn_lets_nothing_through() {
    in_real_time(async {
        let pool = pool(shell("exec cat"), settings(1));
        let (_top, _end) = kept(&pool);
        // The keeper begins to spawn at its first poll, and the answer needs another one.
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        pool.freeze();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(pool.status().ready, 0);
        assert!(pool.take().is_none());
    });
}

#[test]
fn an_old_spare_is_renewed() {
    in_real_time(async {
        let pool =
            pool(shell("exec cat"), WarmSettings { age_max: Duration::from_millis(50), ..settings(1) });
        let (_top, _end) = kept(&pool);
        until("it is renewed twice", || pool.status().renewed >= 2).await;
        assert_eq!(pool.status().died, 0);
        assert!(pool.status().spawned >= 2);
    });
}

#[test]
fn a_spare_of_a_replaced_program_is_never_handed_out() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let install = |version: &str| {
            let fresh = dir.path().join("fresh");
            let script = format!("#!/bin/sh\nwhile read line; do echo \"{version} $line\"; done\n");
            std::fs::write(&fresh, script).unwrap();
            std::fs::set_permissions(&fresh, std::fs::Permissions::from_mode(0o755)).unwrap();
            std::fs::rename(&fresh, &program).unwrap();
        };
        install("old");
        let request = SpawnRequest { program: program.clone(), ..SpawnRequest::default() };
        let pool = pool(request, settings(1));
        let (_top, _end) = kept(&pool);
        ready(&pool, 1).await;
        install("new");
        assert!(pool.take().is_none(), "the only spare is of the old program");
        assert_eq!(pool.status().renewed, 1);
        ready(&pool, 1).await;
        let mut process = pool.take().unwrap();
        process.stdin.as_mut().unwrap().write_all(b"x\n").await.unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).await.unwrap();
        assert_eq!(line, "new x\n");
    });
}

#[test]
fn spawns_that_fail_are_repeated_ever_more_slowly_until_one_succeeds() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("program");
        let request = SpawnRequest { program: program.clone(), ..SpawnRequest::default() };
        let pool = pool(request, settings(1));
        let (_top, _end) = kept(&pool);
        until("it fails", || pool.status().last_error.is_some()).await;
        let error = pool.status().last_error.unwrap();
        assert!(error.contains("program") && error.contains("missing"), "{error}");
        std::fs::write(&program, "#!/bin/sh\nexec cat\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        ready(&pool, 1).await;
        assert_eq!(pool.status().last_error, None);
    });
}

#[test]
fn spares_that_die_at_once_do_not_become_a_busy_loop() {
    in_real_time(async {
        let pool = pool(shell("exit 1"), settings(1));
        let (_top, _end) = kept(&pool);
        let began = Instant::now();
        until("some have died", || pool.status().died >= 4).await;
        // 20, 40, 80 ms between the four; a loop without them would be through in a fraction.
        assert!(began.elapsed() >= Duration::from_millis(140), "{:?}", began.elapsed());
        let status = pool.status();
        assert!(status.spawned <= status.died + 1, "{status:?}");
    });
}

#[test]
fn a_pid_file_is_there_as_long_as_its_process_taken_or_not() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let pool =
            pool(shell("exec cat"), WarmSettings { pid_dir: Some(dir.path().to_owned()), ..settings(1) });
        let (top, _end) = kept(&pool);
        ready(&pool, 1).await;
        let mut taken = pool.take().unwrap();
        ready(&pool, 1).await;
        let text = std::fs::read_to_string(dir.path().join(format!("spare-{}.pid", taken.pid))).unwrap();
        assert_eq!(text, format!("{} {}\n", taken.pid, taken.start_time_ticks));
        assert_eq!(noted(dir.path()).len(), 2);
        drop(taken.stdin.take());
        (&mut taken.exit).await;
        assert_eq!(noted(dir.path()).len(), 1);
        top.shutdown().await;
        assert_eq!(noted(dir.path()), Vec::<u32>::new());
    });
}

#[test]
fn the_end_of_the_keeper_is_the_end_of_the_spares() {
    in_real_time(async {
        let dir = tempfile::tempdir().unwrap();
        let pool =
            pool(shell("exec cat"), WarmSettings { pid_dir: Some(dir.path().to_owned()), ..settings(2) });
        let (top, end) = kept(&pool);
        ready(&pool, 2).await;
        let spares = noted(dir.path());
        top.shutdown().await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        until("they are dead", || spares.iter().all(|pid| is_dead(*pid))).await;
        assert_eq!((spares.len(), pool.status().ready), (2, 0));
    });
}

#[test]
fn a_pool_keeps_no_more_than_its_limit() {
    in_real_time(async {
        let pool = pool(shell("exec cat"), settings(SPARES_MAX + 5));
        let (_top, _end) = kept(&pool);
        ready(&pool, SPARES_MAX).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(pool.status().spawned, SPARES_MAX as u64);
    });
}

#[test]
fn a_child_that_crashes_goes_on_with_a_spare() {
    in_real_time(async {
        let pool = pool(role("processes::role_echo"), settings(2));
        let (_pool_top, _pool_end) = kept(&pool);
        ready(&pool, 2).await;
        let (pids, mut started) = tokio::sync::mpsc::unbounded_channel();
        let spec = process_child("worker", ProcessSource::Warm(pool.clone()), None, move |with| {
            pids.send(with.pid).unwrap();
            async move {
                std::future::pending::<()>().await;
                drop(with);
            }
            .boxed_local()
        });
        let (top, _end) = start(supervisor(Strategy::OneForOne, vec![spec]));
        let first = started.recv().await.unwrap();
        strike(first);
        assert_eq!(restarted(&top, "worker", 1).await, Exit::Error("signal 9 (SIGKILL)".to_owned()));
        assert_ne!(started.recv().await.unwrap(), first);
        assert_eq!(pool.status().taken, 2);
    });
}

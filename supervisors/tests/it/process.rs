//! Real processes: seen to die, killed with their grandchildren, dead with their parent.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use supervisors::process::{
    ExitKind, Process, SpawnError, SpawnRequest, Spawner, child, kill_leftover, start_time_of,
};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};

use crate::support::in_real_time;

/// Far longer than any of this takes; a test that hangs says so instead of hanging. Below a minute:
/// after that the test harness itself writes into the broken pipe of an orphaned role and ends it.
const PATIENCE: Duration = Duration::from_secs(40);
const SIGKILL: i32 = 9;
const SIGABRT: i32 = 6;

fn shell(script: &str) -> SpawnRequest {
    SpawnRequest {
        program: "/bin/sh".into(),
        args: vec!["-c".into(), script.into()],
        env: vec![("PATH".into(), "/usr/bin:/bin".into())],
        current_dir: None,
    }
}

async fn spawn(request: SpawnRequest) -> Process {
    Spawner::start().unwrap().spawn(request).await.unwrap()
}

async fn ended(process: &mut Process) -> ExitKind {
    tokio::time::timeout(PATIENCE, &mut process.exit).await.expect("the process does not end")
}

async fn first_line(process: &mut Process) -> String {
    let mut line = String::new();
    let stdout = process.stdout.as_mut().unwrap();
    tokio::time::timeout(PATIENCE, tokio::io::BufReader::new(stdout).read_line(&mut line))
        .await
        .expect("the process says nothing")
        .unwrap();
    line.trim().to_owned()
}

/// Gone, or a corpse that nobody has buried yet.
fn is_dead(pid: u32) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['Z', 'X'])),
        Err(_) => true,
    }
}

async fn dies(pid: u32) {
    let dead = async {
        while !is_dead(pid) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dead).await.expect("the process lives on");
}

#[test]
fn codes_and_signals_are_told_apart() {
    in_real_time(async {
        for (script, exit) in [
            ("exit 0", ExitKind::Code(0)),
            ("exit 7", ExitKind::Code(7)),
            ("kill -ABRT $$", ExitKind::Signal(SIGABRT)),
        ] {
            let mut process = spawn(shell(script)).await;
            assert_eq!(ended(&mut process).await, exit);
            // Asked again, it says the same.
            assert_eq!(ended(&mut process).await, exit);
        }
        assert_eq!(ExitKind::Signal(SIGKILL).to_string(), "signal 9 (SIGKILL)");
    });
}

#[test]
fn a_process_killed_from_outside_is_seen() {
    in_real_time(async {
        let mut process = spawn(shell("exec sleep 1000")).await;
        let killed = Command::new("kill").args(["-9", &process.pid.to_string()]).status().unwrap();
        assert!(killed.success());
        assert_eq!(ended(&mut process).await, ExitKind::Signal(SIGKILL));
    });
}

#[test]
fn pipes_carry_both_ways_and_the_environment_is_exactly_the_given_one() {
    in_real_time(async {
        let mut request = shell("read line; echo \"got $line\"; env >&2");
        request.env.push(("GREETING".into(), "hello".into()));
        let mut process = spawn(request).await;
        process.stdin.take().unwrap().write_all(b"something\n").await.unwrap();
        assert_eq!(first_line(&mut process).await, "got something");
        let mut seen = String::new();
        process.stderr.take().unwrap().read_to_string(&mut seen).await.unwrap();
        // PWD, OLDPWD, SHLVL and _ are the shell's own.
        let own = ["PWD=", "OLDPWD=", "SHLVL=", "_="];
        let mut seen: Vec<_> =
            seen.lines().filter(|line| !own.iter().any(|name| line.starts_with(name))).collect();
        seen.sort_unstable();
        assert_eq!(seen, ["GREETING=hello", "PATH=/usr/bin:/bin"]);
        assert_eq!(ended(&mut process).await, ExitKind::Code(0));
    });
}

#[test]
fn killing_the_group_kills_the_grandchildren() {
    in_real_time(async {
        let mut process = spawn(shell("sleep 1000 & echo $!; wait")).await;
        let grandchild: u32 = first_line(&mut process).await.parse().unwrap();
        assert!(!is_dead(grandchild));
        let killer = process.killer();
        assert!(killer.kill_group());
        assert_eq!(ended(&mut process).await, ExitKind::Signal(SIGKILL));
        dies(grandchild).await;
        // It was seen to end: the pid may be somebody else's now.
        assert!(!killer.kill_group());
    });
}

#[test]
fn a_grandchild_left_behind_by_its_parent_is_killed_when_the_exit_is_seen() {
    in_real_time(async {
        let mut process = spawn(shell("sleep 1000 & echo $!")).await;
        let grandchild: u32 = first_line(&mut process).await.parse().unwrap();
        assert_eq!(ended(&mut process).await, ExitKind::Code(0));
        dies(grandchild).await;
    });
}

#[test]
fn dropping_a_process_kills_its_group() {
    in_real_time(async {
        let mut process = spawn(shell("sleep 1000 & echo $!; wait")).await;
        let grandchild: u32 = first_line(&mut process).await.parse().unwrap();
        let pid = process.pid;
        drop(process);
        dies(pid).await;
        dies(grandchild).await;
    });
}

#[test]
fn a_stopped_process_is_killed_as_well() {
    in_real_time(async {
        let mut process = spawn(shell("kill -STOP $$")).await;
        process.killer().kill_group();
        assert_eq!(ended(&mut process).await, ExitKind::Signal(SIGKILL));
    });
}

#[test]
fn a_leftover_is_killed_by_pid_and_start_time_and_a_stranger_with_that_pid_is_not() {
    in_real_time(async {
        let mut process = spawn(shell("exec sleep 1000")).await;
        assert_eq!(start_time_of(process.pid), Some(process.start_time_ticks));
        assert!(!kill_leftover(process.pid, process.start_time_ticks + 1));
        assert!(!is_dead(process.pid));
        assert!(kill_leftover(process.pid, process.start_time_ticks));
        assert_eq!(ended(&mut process).await, ExitKind::Signal(SIGKILL));
        assert!(!kill_leftover(process.pid, process.start_time_ticks));
    });
}

#[test]
fn what_cannot_be_spawned_is_told_by_its_reason() {
    in_real_time(async {
        let spawner = Spawner::start().unwrap();
        let request = |program: &str| SpawnRequest { program: program.into(), ..SpawnRequest::default() };
        let missing = spawner.spawn(request("/nowhere/worker")).await.unwrap_err();
        assert!(matches!(missing, SpawnError::Missing { .. }), "{missing}");
        let forbidden = spawner.spawn(request("/etc/passwd")).await.unwrap_err();
        assert!(matches!(forbidden, SpawnError::Forbidden { .. }), "{forbidden}");
        // And it goes on working.
        let mut process = spawner.spawn(shell("exit 3")).await.unwrap();
        assert_eq!(ended(&mut process).await, ExitKind::Code(3));
    });
}

/// Runs one of the roles below in a process of its own.
fn role(name: &str, env: &[(&str, String)]) -> SpawnRequest {
    SpawnRequest {
        program: std::env::current_exe().unwrap(),
        args: ["--ignored", "--exact", name, "--nocapture"].map(OsString::from).to_vec(),
        env: env.iter().map(|(name, value)| ((*name).into(), value.into())).collect(),
        current_dir: None,
    }
}

#[test]
fn a_child_dies_when_its_parent_is_killed() {
    let request = role("process::role_parent", &[]);
    let mut parent = Command::new(request.program).args(request.args).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(parent.stdout.take().unwrap()).lines();
    let mut pids = lines.map_while(Result::ok).filter_map(|line| {
        let (_, pid) = line.split_once("child is ready: ")?;
        pid.trim().parse::<u32>().ok()
    });
    let child = pids.next().expect("the parent says the pid of its child");
    assert!(!is_dead(child));
    parent.kill().unwrap();
    parent.wait().unwrap();
    in_real_time(dies(child));
}

#[test]
fn a_child_outlives_the_last_handle_of_its_spawner() {
    in_real_time(async {
        let spawner = Spawner::start().unwrap();
        let env = [("PARENT", std::process::id().to_string())];
        let mut process = spawner.spawn(role("process::role_child", &env)).await.unwrap();
        let stdout = process.stdout.take().unwrap();
        let mut lines = tokio::io::BufReader::new(stdout).lines();
        let mut said = async |word: &str| loop {
            match tokio::time::timeout(PATIENCE, lines.next_line()).await {
                Ok(Ok(Some(line))) if line.contains(word) => return true,
                Ok(Ok(Some(_))) => {}
                _ => return false,
            }
        };
        assert!(said("bound").await);
        drop(spawner);
        // The spawning thread would end about now, and the kernel would kill what it spawned.
        tokio::time::sleep(Duration::from_millis(100)).await;
        process.stdin.take().unwrap().write_all(b"are you there?\n").await.unwrap();
        assert!(said("still here").await);
    });
}

#[test]
fn a_child_whose_parent_is_already_gone_leaves_at_once() {
    in_real_time(async {
        // The pid of somebody else stands for a parent that has died.
        let mut process = spawn(role("process::role_child", &[("PARENT", "1".into())])).await;
        assert_eq!(ended(&mut process).await, ExitKind::Code(child::ORPHANED));
    });
}

#[test]
fn a_child_beyond_its_memory_limit_aborts_alone_and_leaves_no_core() {
    in_real_time(async {
        let mut process = spawn(role("process::role_glutton", &[])).await;
        assert_eq!(ended(&mut process).await, ExitKind::Signal(SIGABRT));
    });
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_parent() {
    in_real_time(async {
        let env = [("PARENT", std::process::id().to_string())];
        let mut process = spawn(role("process::role_child", &env)).await;
        let stdout = process.stdout.take().unwrap();
        let mut lines = tokio::io::BufReader::new(stdout).lines();
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("bound") {
                println!("child is ready: {}", process.pid);
            }
        }
    });
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_child() {
    let Ok(parent) = std::env::var("PARENT") else { return };
    child::die_with_parent(parent.parse().unwrap()).unwrap();
    println!("bound");
    let mut asked = String::new();
    let _ = std::io::stdin().read_line(&mut asked);
    // Without a parent the pipes are broken; that must not be what ends this process.
    let _ = writeln!(std::io::stdout(), "still here");
    std::thread::sleep(PATIENCE * 10);
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role_glutton() {
    child::limit_cores().unwrap();
    child::limit_memory(1 << 30).unwrap();
    let hoard = vec![1_u8; 4 << 30];
    println!("{}", hoard[1 << 30]);
}

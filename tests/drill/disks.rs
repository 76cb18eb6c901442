//! The power fails: a file system in an image is copied while a writer works, and what the copy holds is
//! compared with what was acknowledged. And: every acknowledgement of the journal comes after an fdatasync.
//!
//! Rule: the copy is what the disk holds, without anything that only the page cache of that file system had.
//! The writer stands still while the image is copied, since a copy takes time and a power cut does not.

use crate::harness::{Daemon, small_problem, small_run};
use crate::store::{self, Said};
use crate::table::{Row, Share, round};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Room for the journal of one writer's rounds; small, since it is copied in each.
const IMAGE_BYTES: u64 = 40 * 1024 * 1024;
/// Rounds of one writer.
const ROUNDS_PER_WRITER: u64 = 20;

fn done(program: &str, args: &[&str]) -> bool {
    Command::new(program).args(args).output().is_ok_and(|output| output.status.success())
}

/// A mounted image; unmounted when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn mount(image: &Path, at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let words = ["-o", "loop", &image.display().to_string(), &at.display().to_string()];
        done("mount", &words).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..50 {
            if done("umount", &[&self.0.display().to_string()]) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = done("umount", &["-l", &self.0.display().to_string()]);
    }
}

/// One writer on one image, cut off `rounds` times; records acknowledged at the cuts.
fn one_writer(seed: u64, rounds: u64) -> Option<(Vec<Result<(), String>>, u64)> {
    let folder = tempfile::Builder::new().prefix("ex-drill-").tempdir().unwrap();
    let (image, copy) = (folder.path().join("image"), folder.path().join("copy"));
    std::fs::File::create(&image).unwrap().set_len(IMAGE_BYTES).unwrap();
    if !done("mkfs.ext4", &["-q", "-F", &image.display().to_string()]) {
        return None;
    }
    let disk = Mounted::mount(&image, &folder.path().join("disk"))?;
    let mut dice = crate::kill::Dice(seed);
    let mut writer = store::command(&disk.0.join("store"), "forever").spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(writer.id()).unwrap());
    let said: Arc<Mutex<Vec<Said>>> = Arc::default();
    let (stdout, hears) = (writer.stdout.take().unwrap(), Arc::clone(&said));
    let listening = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            hears.lock().unwrap().extend(store::heard(&line));
        }
    });
    crate::harness::wait_for("the writer writes", crate::harness::PATIENCE, || {
        (!said.lock().unwrap().is_empty()).then_some(())
    });
    let (mut results, mut acknowledged) = (Vec::new(), 0);
    for number in 0..rounds {
        std::thread::sleep(Duration::from_millis(30) + dice.below(Duration::from_millis(60)));
        kill(pid, Signal::SIGSTOP).unwrap();
        let at_the_cut = said.lock().unwrap().clone();
        std::fs::copy(&image, &copy).unwrap();
        kill(pid, Signal::SIGCONT).unwrap();
        acknowledged += at_the_cut.len() as u64;
        results.push(round(&format!("cut {number} of seed {seed}"), || {
            let after = Mounted::mount(&copy, &folder.path().join("after")).expect("the copy does not mount");
            store::expect_all(&after.0.join("store"), &at_the_cut, &[]);
        }));
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    listening.join().unwrap();
    Some((results, acknowledged))
}

pub fn power_loss(share: &Share) -> Vec<Row> {
    const WHAT: &str = "power loss (image of ext4 copied under a writer): no acknowledged record lost";
    const TARGET: u64 = 200;
    let rounds = crate::kill::from_environment("ROUNDS", share.rounds(10, TARGET));
    let (mut results, mut acknowledged, mut seed) = (Vec::new(), 0, share.seed);
    while (results.len() as u64) < rounds {
        let now = ROUNDS_PER_WRITER.min(rounds - results.len() as u64);
        let Some((more, count)) = one_writer(seed, now) else {
            return vec![Row::skipped("F4", WHAT, TARGET, "loop mounts are not allowed here")];
        };
        results.extend(more);
        acknowledged += count;
        seed += 1;
    }
    let note = format!("{acknowledged} acknowledged records looked for; the journal alone, not the daemon");
    vec![Row::of("F4", WHAT, TARGET, results).note(note)]
}

/// What the trace of one thread says of one system call.
fn call(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let rest = rest.trim_start();
    let (name, args) = rest.split_once('(')?;
    Some((thread, name, args))
}

/// Acknowledged groups of a trace, and those that were acknowledged before they were synced.
///
/// The writer's thread writes a group into a segment, syncs that file, and only then writes anything else
/// (the mark, and the bytes that wake whoever waits).
fn unsynced(trace: &str) -> (u64, Vec<String>) {
    let (mut groups, mut wrong) = (0, Vec::new());
    let mut dirty: std::collections::BTreeMap<String, String> = Default::default();
    for line in trace.lines() {
        let Some((thread, name, args)) = call(line) else { continue };
        let segment = args.contains("/journal/segment-") && args.contains(".journal>");
        match name {
            "pwrite64" if segment => {
                dirty.insert(thread.to_owned(), line.to_owned());
            }
            "fdatasync" if segment => {
                groups += u64::from(dirty.remove(thread).is_some());
            }
            "write" | "pwrite64" | "writev" | "sendto" => {
                if let Some(before) = dirty.remove(thread) {
                    wrong.push(format!("`{line}` follows `{before}` without an fdatasync"));
                }
            }
            _ => {}
        }
    }
    (groups, wrong)
}

/// The daemon under strace through a small run.
pub fn sync_before_acknowledgement(_: &Share) -> Vec<Row> {
    const WHAT: &str = "strace: an fdatasync between the last write of a group and its acknowledgement";
    let wrong =
        "9 pwrite64(7</x/journal/segment-0000000001.journal>, \"\", 1, 0) = 1\n9 write(5<e>, \"\", 8) = 8";
    let right = wrong.replace('\n', "\n9 fdatasync(7</x/journal/segment-0000000001.journal>) = 0\n");
    assert_eq!(unsynced(wrong).1.len(), 1, "this check finds nothing");
    assert_eq!(unsynced(&right), (1, Vec::new()));
    if !done("strace", &["-V"]) {
        return vec![Row::skipped("sync", WHAT, 1, "there is no strace here")];
    }
    let mut groups = 0;
    let result = round("the traced daemon", || {
        let mut daemon = Daemon::start();
        let trace = daemon.folder().join("trace");
        let mut tracing = Command::new("strace")
            .args(["-f", "-y", "-q", "-e", "trace=write,pwrite64,writev,sendto,fdatasync", "-o"])
            .arg(&trace)
            .args(["-p", &daemon.pid().to_string()])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        crate::harness::wait_for("strace writes", crate::harness::PATIENCE, || {
            let _ = daemon.ctl(&["health"]);
            std::fs::metadata(&trace).is_ok_and(|found| found.len() > 0).then_some(())
        });
        let files = small_problem();
        daemon.succeed(&small_run(&files, &[]));
        daemon.terminate();
        tracing.wait().unwrap();
        let (found, wrong) = unsynced(&std::fs::read_to_string(&trace).unwrap());
        groups = found;
        assert!(found > 20, "only {found} groups were seen: the trace is not read");
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
    vec![Row::of("sync", WHAT, 1, vec![result]).note(format!("{groups} groups traced in one run"))]
}

//! A real process that appends and is killed with SIGKILL; what it printed as acknowledged must be there.
//! (A kill keeps the page cache, so this shows the writer's order of steps, not durability; the simulation
//! does that.)

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use journal::{Journal, verify};

use crate::{options, record};

const DIRECTORY: &str = "JOURNAL_KILL_TEST_DIRECTORY";

#[test]
#[ignore = "the child of the test below, which starts it"]
fn the_child_that_is_killed() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let (journal, report) = Journal::open(dir.as_ref(), options()).unwrap();
    assert!(report.tail.is_none() || report.kept_tail.is_some());
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let journal = &journal;
            scope.spawn(move || {
                loop {
                    let mut batch =
                        vec![record(&format!("run/{writer}"), &[writer; 100]), record("audit", b"x")];
                    batch[0].expected_seq = Some(journal.stream_len(&batch[0].stream));
                    let positions = journal.append_blocking(batch, 0, journal.incarnation()).unwrap();
                    println!("acknowledged {} {writer}", positions[0]);
                }
            });
        }
    });
}

#[test]
fn a_killed_process_leaves_all_that_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(u64, u8)> = Vec::new();
    for round in 0..8u64 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "kill::the_child_that_is_killed", "--ignored", "--nocapture"])
            .env(DIRECTORY, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let before = acknowledged.len();
        let wanted = before + 20 + (round * 7) as usize;
        let mut line = String::new();
        let mut note = |line: &str| {
            let mut words = line.split_whitespace();
            if words.next() != Some("acknowledged") || !line.ends_with('\n') {
                return false;
            }
            let position = words.next().unwrap().parse().unwrap();
            acknowledged.push((position, words.next().unwrap().parse().unwrap()));
            acknowledged.len() >= wanted
        };
        while output.read_line(&mut line).unwrap() > 0 && !note(&line) {
            line.clear();
        }
        std::thread::sleep(Duration::from_micros(round * 700));
        child.kill().unwrap();
        child.wait().unwrap();
        line.clear();
        while output.read_line(&mut line).unwrap() > 0 {
            note(&line);
            line.clear();
        }
        assert!(acknowledged.len() >= wanted, "round {round}: the child ended by itself");
        let report = verify(dir.path()).unwrap();
        assert!(report.ok, "round {round}: {report:?}");
        let (journal, _) = Journal::open(dir.path(), options()).unwrap();
        let records = journal.read(1, usize::MAX).unwrap();
        for (position, writer) in &acknowledged {
            let record = &records[*position as usize - 1];
            assert_eq!(record.stream, format!("run/{writer}"), "round {round}, position {position}");
            assert_eq!(record.payload, [*writer; 100], "round {round}, position {position}");
            assert_eq!(records[*position as usize].stream, "audit", "round {round}: half a batch");
        }
        assert!(records.len() >= 2 * acknowledged.len());
        journal.close();
    }
}

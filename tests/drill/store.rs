//! A process that works on a journal, artefacts and checkpoints, says what was acknowledged, and may die.
//!
//! Rule: each word of it is printed only after the call that made it durable. What it has said must be
//! there afterwards ([`expect_all`]); what it has not said may be.

use journal::{Artefacts, By, Checkpoints, Journal, Keep, NewRecord, Options, Roots};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

/// First word of the command line of such a process.
pub const CHILD: &str = "store-child";
/// Streams of one life; the first two are dropped by its compaction.
const STREAMS: u64 = 6;
const DROPPED: u64 = 2;
const RECORDS: u64 = 120;

/// One acknowledged record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub position: u64,
    pub life: u64,
    pub number: u64,
}

fn payload(life: u64, number: u64) -> Vec<u8> {
    let mut bytes = format!("{life}/{number}/").into_bytes();
    bytes.resize(150 + (number % 7) as usize * 30, b'0' + (number % 10) as u8);
    bytes
}

fn stream(life: u64, number: u64) -> String {
    format!("life-{life}/{}", number % STREAMS)
}

fn options() -> Options {
    // Small, so that many segments are begun.
    Options { segment_bytes: 16 * 1024, reserve_bytes: 1024, dead_bytes_min: 0, ..Options::default() }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // One write, so that whoever reads sees whole lines.
    if out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

fn append(journal: &Journal, life: u64, number: u64) {
    loop {
        let record = NewRecord {
            stream: stream(life, number),
            expected_seq: None,
            kind: "Drilled".to_owned(),
            schema: 1,
            payload: payload(life, number),
            principal: "drill".to_owned(),
            role: "system".to_owned(),
            cause: 0,
        };
        match journal.append_blocking(vec![record], 0, journal.incarnation()) {
            Ok(positions) => {
                say(&format!("ack {} {life} {number}", positions[0]));
                return;
            }
            Err(journal::AppendError::Poisoned { .. }) => {
                journal.recover_blocking().unwrap();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The process itself: `DIR once` works through everything, `DIR forever` only appends.
pub fn child(words: &[String]) -> ExitCode {
    let dir = Path::new(&words[0]);
    let (journal, report) = Journal::open(&dir.join("journal"), options()).unwrap();
    let life = report.incarnation;
    if words.get(1).is_some_and(|word| word == "forever") {
        for number in 0.. {
            append(&journal, life, number);
        }
    }
    let (checkpoints, _) = Checkpoints::open(&dir.join("checkpoints"), journal.head().position);
    let artefacts = Artefacts::open(&dir.join("artefacts")).unwrap();
    for number in 0..RECORDS / 2 {
        append(&journal, life, number);
    }
    let kept = artefacts.put(format!("kept in life {life}").as_bytes()).unwrap();
    say(&format!("stored {kept}"));
    artefacts.put(format!("dropped in life {life}").as_bytes()).unwrap();
    for now in [0, 1] {
        let roots = |digest: &journal::Digest| {
            // Whatever any life has named stays; the dropped ones are known by their text.
            !artefacts.get(digest).is_ok_and(|bytes| bytes.starts_with(b"dropped"))
        };
        artefacts.collect(Roots::Complete(&roots), Duration::ZERO, Duration::from_secs(now)).unwrap();
    }
    let drop = |name: &str| (0..DROPPED).any(|number| name == stream(life, number));
    let by = By { principal: "drill", role: "system", time_ms: 0 };
    journal.compact(|name| if drop(name) { Keep::Drop } else { Keep::All }, by).unwrap();
    for number in (RECORDS / 2..RECORDS).filter(|number| number % STREAMS >= DROPPED) {
        append(&journal, life, number);
    }
    checkpoints.put("one", journal.head().position, &[7; 9000]).unwrap();
    checkpoints.flush().unwrap();
    std::mem::drop(checkpoints);
    // A journal that ends before the checkpoints is another journal: they go into quarantine.
    let (_, report) = Checkpoints::open(&dir.join("checkpoints"), 0);
    assert!(report.quarantined.is_some());
    journal.close();
    say("done");
    ExitCode::SUCCESS
}

/// The command of such a process.
pub fn command(dir: &Path, how: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(CHILD).arg(dir).arg(how).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a line says, if it is a whole acknowledgement.
pub fn heard(line: &str) -> Option<Said> {
    let mut words = line.split_whitespace();
    if words.next() != Some("ack") {
        return None;
    }
    let mut number = || words.next()?.parse().ok();
    Some(Said { position: number()?, life: number()?, number: number()? })
}

/// All that was said is there; the journal is whole.
pub fn expect_all(dir: &Path, said: &[Said], stored: &[String]) {
    let report = journal::verify(&dir.join("journal")).unwrap();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    let (journal, _) = Journal::open(&dir.join("journal"), options()).unwrap();
    for one in said {
        let found = journal.read(one.position, 1).unwrap();
        let found = found.first().filter(|record| record.position == one.position);
        match found {
            Some(record) => {
                assert_eq!(record.payload, payload(one.life, one.number), "{one:?} is another record");
            }
            None => assert!(one.number % STREAMS < DROPPED, "{one:?} was acknowledged and is gone"),
        }
    }
    journal.close();
    let artefacts = Artefacts::open(&dir.join("artefacts")).unwrap();
    for digest in stored {
        artefacts.check(&digest.parse().unwrap()).unwrap();
    }
}

/// Runs one life with a plan; gives how it ended.
fn live(dir: &Path, plan: &str, said: &mut Vec<Said>, stored: &mut Vec<String>) -> (ExitStatus, String) {
    let mut child = command(dir, "once")
        .env("EXECUTING_FAILPOINTS", plan)
        .env("EXECUTING_FAILPOINTS_HITS", dir.join("hits"))
        .spawn()
        .unwrap();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok) {
        said.extend(heard(&line));
        stored.extend(line.strip_prefix("stored ").map(str::to_owned));
    }
    let output = child.wait_with_output().unwrap();
    (output.status, String::from_utf8_lossy(&output.stderr).into_owned())
}

/// A life with `also` and the kill of `plan`, then one undisturbed; false if the kill did not come.
pub fn killed_at(plan: &str, also: &str) -> bool {
    let folder = tempfile::Builder::new().prefix("ex-drill-").tempdir().unwrap();
    let (dir, mut said, mut stored) = (folder.path(), Vec::new(), Vec::new());
    if also.contains("kill") {
        live(dir, also, &mut said, &mut stored);
    }
    let both = if also.contains("error") { format!("{also};{plan}") } else { plan.to_owned() };
    let (status, words) = live(dir, &both, &mut said, &mut stored);
    let killed = std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    assert!(killed || status.success(), "{status}: {words}");
    expect_all(dir, &said, &stored);
    let (status, words) = live(dir, "", &mut said, &mut stored);
    assert!(status.success(), "{status}: {words}");
    expect_all(dir, &said, &stored);
    killed
}

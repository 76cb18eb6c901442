//! Compactions on a faulty disk: a crash, an error or a full disk at every single operation, and power losses
//! at random ones. The checker knows only what callers were told.
//!
//! `SEEDS=100000 cargo test -p journal --release compaction` runs more seeds; a failure names its seed.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::{AppendError, ReadError};
use crate::record::{Position, SNAPSHOTS_STREAM};
use crate::sim::{Fault, Random, SimDisk};
use crate::simulation::{Turn, record, seeds};
use crate::snapshot::snapshot_number;
use crate::verify_on;

/// What callers know.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<Position, (u64, String)>,
    /// Appended without an answer, or with one that leaves it open.
    unknown: BTreeSet<String>,
    retired: BTreeSet<u64>,
    /// A compaction that should have dropped them got no clear answer.
    perhaps_retired: BTreeSet<u64>,
    appends: u64,
    compactions: u64,
}

impl Told {
    fn append(&mut self, turn: &mut Turn, stream: u64, bytes: usize) -> bool {
        self.appends += 1;
        let label = format!("{}-{stream}", self.appends);
        // Two records of a batch in different streams: a compaction must cut frames apart.
        let batch = vec![record(stream, &label, bytes), record(9, &format!("{label}-beside"), 20)];
        match turn.append(batch) {
            Ok(positions) => {
                self.acknowledged.insert(positions[0], (stream, label.clone()));
                self.acknowledged.insert(positions[1], (9, format!("{label}-beside")));
                true
            }
            Err(AppendError::Retired { .. }) => {
                assert!(
                    self.retired.contains(&stream) || self.perhaps_retired.contains(&stream),
                    "stream {stream} is refused though nobody dropped it"
                );
                true
            }
            Err(AppendError::DiskFull { .. }) => true,
            Err(AppendError::Poisoned { .. }) => {
                self.unknown.extend([label.clone(), format!("{label}-beside")]);
                false
            }
            Err(error) => panic!("{error}"),
        }
    }

    fn compact(&mut self, turn: &mut Turn, dropped: &[u64]) -> bool {
        match turn.compact(dropped) {
            Ok(done) => {
                self.compactions += u64::from(done.position > 0);
                if done.position > 0 {
                    self.retired.extend(
                        dropped
                            .iter()
                            .copied()
                            .filter(|stream| turn.journal.is_retired(&format!("run/{stream}"))),
                    );
                }
                true
            }
            Err(error) => {
                self.perhaps_retired.extend(dropped);
                matches!(error, crate::CompactError::DiskFull { .. })
            }
        }
    }

    fn check(&self, disk: &SimDisk, case: &str) {
        let report = verify_on(disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(report.ok, "{case}: {:?}", report.problems);
        let mut turn = Turn::open(disk).unwrap_or_else(|error| panic!("{case}: {error}"));
        let records = turn.journal.read(1, usize::MAX).unwrap_or_else(|error| panic!("{case}: {error}"));
        let mut sequences: BTreeMap<String, u64> = BTreeMap::new();
        let mut found = BTreeMap::new();
        let mut last = 0;
        for record in &records {
            assert!(record.position > last, "{case}: positions do not rise");
            last = record.position;
            let sequence = sequences.entry(record.stream.clone()).or_default();
            *sequence += 1;
            assert_eq!(record.stream_seq, *sequence, "{case}: {} at {last}", record.stream);
            if record.stream == SNAPSHOTS_STREAM {
                continue;
            }
            let text = String::from_utf8_lossy(&record.payload);
            let text = text.trim_end_matches('.').to_owned();
            let known = match self.acknowledged.get(&last) {
                Some((stream, label)) => record.stream == format!("run/{stream}") && text == *label,
                None => self.unknown.contains(&text),
            };
            assert!(known, "{case}: position {last} holds `{text}`, which nobody appended there");
            found.insert(last, text);
        }
        let gone = |stream: &u64| turn.journal.is_retired(&format!("run/{stream}"));
        for (position, (stream, label)) in &self.acknowledged {
            let retired = gone(stream);
            assert!(
                !retired || self.retired.contains(stream) || self.perhaps_retired.contains(stream),
                "{case}: stream {stream} is retired though nobody dropped it"
            );
            assert_eq!(
                found.contains_key(position),
                !retired,
                "{case}: `{label}` at {position}, retired {retired}"
            );
        }
        for (stream, length) in &sequences {
            let read = turn.journal.read_stream(stream, 1, usize::MAX).unwrap();
            assert_eq!(read.len() as u64, *length, "{case}: {stream}");
        }
        for stream in &self.retired {
            let name = format!("run/{stream}");
            assert!(gone(stream), "{case}: {name} came back");
            let answer = turn.journal.read_stream(&name, 1, 1);
            assert!(matches!(answer, Err(ReadError::Retired { .. })), "{case}: {answer:?}");
        }
        for stream in self.retired.clone() {
            let answer = turn.append(vec![record(stream, "again", 10)]);
            assert!(matches!(answer, Err(AppendError::Retired { .. })), "{case}: {answer:?}");
        }
        // Nothing lies about, and it goes on.
        let names: Vec<String> = disk.files().into_keys().collect();
        let snapshots: Vec<u64> = names.iter().filter_map(|name| snapshot_number(name)).collect();
        assert!(snapshots.len() <= 1, "{case}: {names:?}");
        let from = snapshots.first().copied().unwrap_or(0);
        for name in &names {
            assert!(!name.ends_with(".tmp"), "{case}: {names:?}");
            assert!(
                crate::segment::segment_number(name).is_none_or(|number| number >= from),
                "{case}: {names:?}"
            );
        }
        let position =
            turn.append(vec![record(9, "on", 10)]).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(position[0] > last, "{case}: position {position:?} was given out twice");
        turn.compact(&[2]).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(verify_on(disk).unwrap().ok, "{case}: after one more compaction");
    }
}

/// Opens, and opens again after a failure that passes; `None` if the program was stopped.
fn open(disk: &SimDisk, case: &str) -> Option<Turn> {
    for _ in 0..3 {
        match Turn::open(disk) {
            Ok(turn) => return Some(turn),
            Err(crate::OpenError::Io { .. } | crate::OpenError::DiskFull { .. }) => {}
            Err(error) => panic!("{case}: {error}"),
        }
    }
    None
}

/// The same work every time: two compactions among appends.
fn work(disk: &SimDisk, case: &str) -> Told {
    let mut told = Told::default();
    let mut turn = open(disk, case);
    for step in 0..22u64 {
        let Some(running) = &mut turn else { break };
        let sound = match step {
            9 => told.compact(running, &[0]),
            17 => told.compact(running, &[0, 1]),
            _ => told.append(running, step % 4, 400),
        };
        if !sound {
            turn = None;
            turn = turn.or_else(|| open(disk, case));
        }
    }
    told
}

/// Every fault at every operation; gives the number of cases.
pub(crate) fn every_operation(every: u64) -> u64 {
    let quiet = SimDisk::new(0);
    let told = work(&quiet, "quiet");
    assert_eq!((told.compactions, told.retired.len()), (2, 2));
    told.check(&quiet, "quiet");
    let operations = quiet.operations();
    let mut cases = 0;
    for fault in [Fault::Stop, Fault::Error, Fault::Full] {
        for at in (1..=operations).step_by(every as usize) {
            let case = format!("{fault:?} at operation {at}");
            let disk = SimDisk::new(at);
            disk.plan(at, fault);
            let told = work(&disk, &case);
            told.check(&disk.after_kill(), &format!("{case}, killed"));
            for seed in 0..4 {
                told.check(&disk.power_loss(seed), &format!("{case}, power loss {seed}"));
                cases += 1;
            }
            cases += 1;
        }
    }
    cases
}

/// Random work that ends in power losses and kills.
pub(crate) fn random_lives(seeds: u64) -> u64 {
    let mut compactions = 0;
    for seed in 0..seeds {
        let mut random = Random(seed);
        let mut disk = SimDisk::new(seed);
        let mut told = Told::default();
        for life in 0..3 {
            let case = format!("seed {seed}, life {life}");
            disk.plan(disk.operations() + 1 + random.below(400), Fault::Stop);
            if let Some(mut turn) = open(&disk, &case) {
                for _ in 0..12 {
                    let sound = if random.below(4) == 0 {
                        told.compact(&mut turn, &[random.below(2), random.below(6)])
                    } else {
                        told.append(&mut turn, random.below(6), random.below(900) as usize)
                    };
                    if !sound {
                        break;
                    }
                }
            }
            disk = if random.below(3) == 0 { disk.after_kill() } else { disk.power_loss(random.next()) };
            // On a copy: checking appends and compacts.
            told.check(&disk.power_loss(seed), &case);
        }
        compactions += told.compactions;
    }
    compactions
}

#[test]
fn a_compaction_cut_short_at_any_operation_leaves_the_old_truth_or_the_new_one() {
    let cases = every_operation(1);
    println!("{cases} cases");
    assert!(cases > 2_000, "only {cases} cases");
}

#[test]
fn no_power_loss_around_compactions_takes_or_brings_back_a_record() {
    let compactions = random_lives(seeds(600));
    assert!(compactions > 300, "only {compactions} compactions");
}

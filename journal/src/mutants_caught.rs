//! The judge is judged: each mutant breaks the store in one place, and its trial must notice.
//!
//! A mutant that lives means a promise that nobody checks. Each trial also runs without a mutant here, so
//! that it is not the trial that fails.

use std::sync::Arc;
use std::time::Duration;

use crate::mutants::{Mutant, with};
use crate::sim::SimDisk;
use crate::simulation::{self, Turn, record};
use crate::simulation_of_compaction as compactions;
use crate::{AppendError, Artefacts, Journal, OpenError, Options, Roots, verify_on};

const ALL: [(Mutant, &str, fn()); 15] = [
    (Mutant::SyncSkipped, "power losses", power_losses),
    (Mutant::AnsweredBeforeSync, "power losses", power_losses),
    (Mutant::SegmentNameNotSynced, "power losses", power_losses),
    (Mutant::TailCutTooEarly, "power losses", power_losses),
    (Mutant::SyncRetried, "failed syncs", simulation::failed_syncs),
    (Mutant::StaleWriterAccepted, "stale writers", stale_writers),
    (Mutant::ConflictIgnored, "conflicts", conflicts),
    (Mutant::ChainNotCompared, "forged frames", forged_frames),
    (Mutant::HeaderChecksumNotCompared, "flipped bytes", flipped_bytes),
    (Mutant::SidecarNotCompared, "flipped sidecars", flipped_sidecars),
    (Mutant::SnapshotNotSynced, "compactions", compactions_cut_short),
    (Mutant::TrimmedBeforeConfirmed, "compactions", compactions_cut_short),
    (Mutant::RetiredStreamReopened, "compactions", compactions_cut_short),
    (Mutant::GraceIgnored, "collections", collections),
    (Mutant::StoredAgainNotPinned, "collections", collections),
];

#[test]
fn every_mutant_is_caught_by_its_trial() {
    for (mutant, trial, run) in ALL {
        run();
        let caught = with(mutant, run).is_err();
        println!("{mutant:?}: {} by {trial}", if caught { "caught" } else { "NOT CAUGHT" });
        assert!(caught, "{mutant:?} lives through {trial}");
    }
}

fn power_losses() {
    simulation::power_losses(150);
}

fn compactions_cut_short() {
    compactions::every_operation(1);
}

fn stale_writers() {
    let disk = SimDisk::new(1);
    let stale = Turn::open(&disk).unwrap().journal.incarnation();
    let mut turn = Turn::open(&disk).unwrap();
    let answer = turn.append_as(vec![record(1, "late", 10)], stale);
    assert!(matches!(answer, Err(AppendError::StaleWriter { .. })), "{answer:?}");
    assert_eq!(turn.journal.head().position, 0);
}

fn conflicts() {
    let mut turn = Turn::open(&SimDisk::new(1)).unwrap();
    let expecting = |sequence| {
        let mut record = record(1, "x", 10);
        record.expected_seq = Some(sequence);
        vec![record]
    };
    turn.append(expecting(0)).unwrap();
    let answer = turn.append(expecting(0));
    assert!(matches!(answer, Err(AppendError::Conflict { actual: 1, .. })), "{answer:?}");
}

fn store() -> SimDisk {
    let disk = SimDisk::new(1);
    let mut turn = Turn::open(&disk).unwrap();
    for number in 0..14u64 {
        turn.append(vec![record(number % 3, &format!("{number}"), 300)]).unwrap();
    }
    drop(turn);
    disk
}

fn opened(disk: &SimDisk) -> Result<Vec<crate::Record>, OpenError> {
    let turn = Turn::open(disk)?;
    let mut records = turn.journal.read(1, usize::MAX).map_err(damaged)?;
    for stream in 0..3 {
        records.extend(turn.journal.read_stream(&format!("run/{stream}"), 1, usize::MAX).map_err(damaged)?);
    }
    Ok(records)
}

fn damaged(error: crate::ReadError) -> OpenError {
    OpenError::Damaged { segment: String::new(), offset: 0, position: 0, what: error.to_string() }
}

/// Exchanges a payload and makes every checksum right again.
fn forged_frames() {
    let mut files = store().files();
    let bytes = files.values_mut().find(|bytes| bytes.starts_with(b"EXJSEG")).unwrap();
    let at = 128 + 120 + 8 * 20;
    bytes[at] ^= 1;
    let frame = (128..at).rev().find(|from| bytes[*from..].starts_with(b"EXJF")).unwrap();
    let length = crate::frame::parse_header(&bytes[frame..]).unwrap().frame_bytes();
    let body = crc32fast::hash(&bytes[frame + 120..frame + length]);
    bytes[frame + 112..frame + 116].copy_from_slice(&body.to_le_bytes());
    let header = crc32fast::hash(&bytes[frame..frame + 116]);
    bytes[frame + 116..frame + 120].copy_from_slice(&header.to_le_bytes());
    assert!(!verify_on(&SimDisk::with_files(files)).unwrap().ok, "a forged record was believed");
}

/// Of the files that are the truth, every byte counts.
fn flipped_bytes() {
    let files = store().files();
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".journal")) {
        for at in (0..bytes.len()).take(1_000) {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 4;
            let report = verify_on(&SimDisk::with_files(files)).unwrap();
            let seen = !report.ok || report.tail.is_some() || !report.notes.is_empty();
            assert!(seen, "byte {at} of {name} was changed and nobody noticed");
        }
    }
}

/// A sidecar with a flipped byte costs time, never a record.
fn flipped_sidecars() {
    let disk = store();
    let files = disk.files();
    let records = opened(&disk.after_kill()).unwrap();
    let mut flips = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".index")) {
        for at in 0..bytes.len() {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[at] ^= 1;
            let found =
                opened(&SimDisk::with_files(files)).unwrap_or_else(|error| panic!("{name} {at}: {error}"));
            assert!(found == records, "byte {at} of {name} changed what is read");
            flips += 1;
        }
    }
    assert!(flips > 300);
}

fn collections() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let digest = artefacts.put(b"shared").unwrap();
    let collect = |seconds| {
        let none = |_: &crate::Digest| false;
        artefacts
            .collect(Roots::Complete(&none), Duration::from_secs(10), Duration::from_secs(seconds))
            .unwrap()
    };
    collect(0);
    assert!(artefacts.get(&digest).is_ok(), "collected at first sight");
    artefacts.put(b"shared").unwrap();
    collect(20);
    assert!(artefacts.get(&digest).is_ok(), "collected though it was stored again");
    collect(30);
    assert!(artefacts.get(&digest).is_err(), "never collected");
}

#[test]
fn an_in_memory_journal_is_a_journal() {
    let (journal, _) = Journal::open_on(Arc::new(SimDisk::new(0)), Options::default()).unwrap();
    journal.append_blocking(vec![record(1, "x", 1)], 0, journal.incarnation()).unwrap();
    assert_eq!(journal.head().position, 1);
}

//! Flipped bits, cut-off files, exchanged files: found every time, never served.

use std::collections::BTreeMap;
use std::sync::Arc;

use journal::sim::SimDisk;
use journal::{By, Journal, Keep, OpenError, Problem, ReadError, Record, verify_on};

use crate::{options, record};

type Files = BTreeMap<String, Vec<u8>>;

const MARK: &str = "head.mark";

/// A store of two segments and eight batches, closed properly, and its records.
fn small_store() -> (Files, Vec<Record>) {
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), options()).unwrap();
    for number in 0..8u8 {
        let batch = vec![record("run/1", &[b'a' + number; 300]), record("audit", &[number; 30])];
        journal.append_blocking(batch, 0, journal.incarnation()).unwrap();
    }
    let records = journal.read(1, usize::MAX).unwrap();
    journal.close();
    let files = disk.files();
    assert_eq!(segments(&files).len(), 2);
    (files, records)
}

/// The same, but compacted: a snapshot of two streams of three, a sealed segment and a newest one.
fn compacted_store() -> (Files, Vec<Record>) {
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), options()).unwrap();
    let append = |number: u8, streams: &[&str]| {
        let batch = streams.iter().map(|stream| record(stream, &[b'a' + number; 200])).collect();
        journal.append_blocking(batch, 0, journal.incarnation()).unwrap();
    };
    (0..6).for_each(|number| append(number, &["run/1", "gone", "run/2"]));
    let by = By { principal: "operator", role: "admin", time_ms: 2_000 };
    let keep = |stream: &str| if stream == "gone" { Keep::Drop } else { Keep::All };
    assert_eq!(journal.compact(keep, by).unwrap().dropped_records, 6);
    (6..16).for_each(|number| append(number, &["run/1"]));
    let records = journal.read(1, usize::MAX).unwrap();
    assert_eq!(records.len(), 12 + 1 + 10);
    journal.close();
    let files = disk.files();
    assert_eq!(
        files.keys().filter(|name| name.starts_with("snapshot") && name.ends_with(".journal")).count(),
        1
    );
    assert_eq!(segments(&files).len(), 2);
    (files, records)
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("segment") && name.ends_with(".journal")).cloned().collect()
}

fn last_segment(files: &Files) -> String {
    segments(files).pop().unwrap()
}

/// Opens the files and reads all of them; gives the records and whether the opening said that something is
/// odd. Damage that shows only in reading counts as damage.
fn open(files: Files) -> Result<(Vec<Record>, bool), OpenError> {
    let (journal, report) = Journal::open_on(Arc::new(SimDisk::with_files(files)), options())?;
    let odd = report.tail.is_some() || !report.notes.is_empty();
    match journal.read(1, usize::MAX) {
        Ok(records) => Ok((records, odd)),
        Err(ReadError::Damaged(Problem { segment, offset, position, what })) => {
            Err(OpenError::Damaged { segment, offset, position, what })
        }
        Err(error) => panic!("{error}"),
    }
}

/// Flips every bit of every file; prints what became of each.
fn flip_everything(files: &Files, records: &[Record]) {
    let (clean, odd) = open(files.clone()).unwrap();
    assert!(!odd && clean == records);
    for (name, bytes) in files {
        let copy = name.ends_with(".index");
        let (mut refused, mut harmless) = (0, 0);
        for bit in 0..bytes.len() * 8 {
            let mut files = files.clone();
            files.get_mut(name).unwrap()[bit / 8] ^= 1 << (bit % 8);
            let report = verify_on(&SimDisk::with_files(files.clone())).unwrap();
            let seen = !report.ok || report.tail.is_some() || !report.notes.is_empty();
            assert!(seen, "verify missed bit {bit} of {name}");
            if let Some(problem) = report.problems.first() {
                assert!(!copy && problem.position <= records.last().unwrap().position + 1, "{problem}");
            }
            match open(files) {
                Ok((found, odd)) => {
                    harmless += 1;
                    assert!(odd || copy || !report.ok, "opening missed bit {bit} of {name}");
                    assert!(found == records, "bit {bit} of {name} changed or lost a record");
                }
                Err(OpenError::Damaged { segment, offset, position, .. }) => {
                    refused += 1;
                    assert_eq!(&segment, name);
                    assert!(offset <= bit as u64 / 8 && position <= records.last().unwrap().position + 1);
                }
                Err(error) => panic!("bit {bit} of {name}: {error}"),
            }
        }
        println!(
            "{name}: {} flips, {refused} refused, {harmless} harmless, 0 unseen by verify",
            bytes.len() * 8
        );
        assert!(refused == 0 || !copy);
    }
}

#[test]
fn every_flipped_bit_of_a_small_store_is_found_and_no_wrong_record_is_served() {
    let (files, records) = small_store();
    flip_everything(&files, &records);
}

#[test]
fn every_flipped_bit_of_a_compacted_store_is_found_and_no_wrong_record_is_served() {
    let (files, records) = compacted_store();
    flip_everything(&files, &records);
}

#[test]
fn a_file_of_a_compacted_store_cut_at_any_byte_is_found_or_harmless() {
    let (files, records) = compacted_store();
    for (name, bytes) in &files {
        let (mut refused, mut harmless) = (0, 0);
        for cut in 0..bytes.len() {
            let mut cut_off = files.clone();
            cut_off.get_mut(name).unwrap().truncate(cut);
            match open(cut_off) {
                Ok((found, _)) => {
                    harmless += 1;
                    assert!(found == records, "{name} cut at {cut} changed or lost a record");
                }
                Err(OpenError::Damaged { .. } | OpenError::NotAJournal { .. }) => refused += 1,
                Err(error) => panic!("{name} cut at {cut}: {error}"),
            }
        }
        println!("{name}: cut at {} places, {refused} refused, {harmless} harmless", bytes.len());
    }
}

#[test]
fn files_of_a_compacted_store_gone_exchanged_or_from_before_are_found_or_harmless() {
    let (files, records) = compacted_store();
    let (before, _) = small_store();
    let mut counts = (0, 0);
    let mut check = |files: Files, what: &str| match open(files) {
        Ok((found, _)) => {
            counts.1 += 1;
            assert!(found == records, "{what} changed or lost a record");
        }
        Err(OpenError::Damaged { .. } | OpenError::NotAJournal { .. }) => counts.0 += 1,
        Err(error) => panic!("{what}: {error}"),
    };
    for name in files.keys() {
        let mut gone = files.clone();
        gone.remove(name);
        check(gone, &format!("{name} gone"));
        for other in files.keys().filter(|other| *other != name) {
            let mut exchanged = files.clone();
            exchanged.insert(name.clone(), files[other].clone());
            exchanged.insert(other.clone(), files[name].clone());
            check(exchanged, &format!("{name} and {other} exchanged"));
            let mut doubled = files.clone();
            doubled.insert(name.clone(), files[other].clone());
            check(doubled, &format!("{other} in the place of {name}"));
        }
        for (foreign, bytes) in &before {
            let mut replaced = files.clone();
            replaced.insert(name.clone(), bytes.clone());
            check(replaced, &format!("another store's {foreign} in the place of {name}"));
        }
    }
    // Segments from before the compaction, put back beside the snapshot: nothing needs them.
    let mut back = files.clone();
    for (name, bytes) in before.iter().filter(|(name, _)| !files.contains_key(*name)) {
        back.insert(name.clone(), bytes.clone());
    }
    check(back, "older segments are back");
    println!("{} refused, {} harmless, 0 wrong", counts.0, counts.1);
}

#[test]
fn without_the_mark_a_flip_costs_at_most_the_last_batch_and_never_alters_a_record() {
    let (mut files, records) = small_store();
    files.remove(MARK);
    let last = last_segment(&files);
    for name in files.keys().filter(|name| !name.ends_with(".index")).cloned().collect::<Vec<_>>() {
        for byte in 0..files[&name].len() {
            let mut files = files.clone();
            files.get_mut(&name).unwrap()[byte] ^= 0x10;
            match open(files) {
                Ok((found, odd)) => {
                    assert!(odd && name == last, "byte {byte} of {name}");
                    let kept = found.len();
                    assert!(kept == records.len() || kept == records.len() - 2, "byte {byte}: {kept} left");
                    assert!(found[..] == records[..kept]);
                }
                Err(OpenError::Damaged { .. }) => {}
                Err(error) => panic!("byte {byte} of {name}: {error}"),
            }
        }
    }
}

#[test]
fn a_last_batch_cut_anywhere_is_gone_whole_or_refused_if_it_was_durable() {
    // The same store before and after its last batch, a large one.
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), options()).unwrap();
    journal.append_blocking(vec![record("a", b"first")], 0, journal.incarnation()).unwrap();
    let before = disk.files();
    let batch = (0..5).map(|number| record("a", &[number + 1; 40])).collect();
    journal.append_blocking(batch, 0, journal.incarnation()).unwrap();
    let after = disk.files();
    journal.close();
    let name = last_segment(&after);
    let frame = |files: &Files| files[&name].iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (start, end) = (frame(&before).next_multiple_of(8), frame(&after));
    for cut in start..end {
        for zeros in [false, true] {
            let mut bytes = after[&name].clone();
            bytes.truncate(cut);
            if zeros {
                bytes.resize(after[&name].len(), 0);
            }
            // The older mark, as after a power loss: the batch is an unfinished write.
            let mut files = before.clone();
            files.insert(name.clone(), bytes.clone());
            let (found, _) = open(files).unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(found.len(), 1, "cut at {cut}");
            // The newer mark: it was durable, so this is damage.
            let mut files = after.clone();
            files.insert(name.clone(), bytes);
            let refused = open(files).map(|(found, _)| found.len());
            assert!(
                matches!(refused, Err(OpenError::Damaged { position: 2, .. })),
                "cut at {cut}: {refused:?}"
            );
        }
    }
    assert!(end - start > 500);
    assert_eq!(open(after).unwrap().0.len(), 6);
}

#[test]
fn an_unfinished_write_is_kept_aside_byte_by_byte() {
    let (files, records) = small_store();
    let name = last_segment(&files);
    let mut torn = files.clone();
    let bytes = torn.get_mut(&name).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 100;
    bytes[end..end + 50].fill(0xab);
    let disk = SimDisk::with_files(torn);
    let (journal, report) = Journal::open_on(Arc::new(disk.clone()), options()).unwrap();
    let kept = &disk.files()[&report.kept_tail.unwrap()];
    assert!(kept.ends_with(&[0xab; 50]) && kept.len() < 160);
    assert_eq!(report.tail.unwrap().segment, name);
    assert_eq!(journal.read(1, usize::MAX).unwrap(), records);
    journal.append_blocking(vec![record("a", b"on")], 0, journal.incarnation()).unwrap();
    journal.close();
    let report = verify_on(&disk).unwrap();
    assert!(report.ok && report.tail.is_none(), "{report:?}");
}

/// Where the frames of a segment begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    (128..bytes.len()).step_by(8).filter(|at| bytes[*at..].starts_with(b"EXJF")).collect()
}

/// Makes both checksums of a frame right again, as a forger would.
fn forge(bytes: &mut [u8], at: usize) {
    let length = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().unwrap()) as usize;
    let body = crc32fast::hash(&bytes[at + 120..at + 120 + length.next_multiple_of(8)]);
    bytes[at + 112..at + 116].copy_from_slice(&body.to_le_bytes());
    let header = crc32fast::hash(&bytes[at..at + 116]);
    bytes[at + 116..at + 120].copy_from_slice(&header.to_le_bytes());
}

#[test]
fn a_forged_record_with_right_checksums_breaks_the_chain() {
    let (files, _) = small_store();
    for name in &segments(&files) {
        for at in frames(&files[name]) {
            let mut files = files.clone();
            let bytes = files.get_mut(name).unwrap();
            // The first payload byte of a records frame lies well behind the header.
            bytes[at + 200] ^= 1;
            forge(bytes, at);
            let answer = open(files).map(|(found, _)| found.len());
            assert!(matches!(answer, Err(OpenError::Damaged { .. })), "frame at {at} of {name}: {answer:?}");
        }
    }
}

#[test]
fn exchanged_dropped_and_older_files_are_found() {
    let (files, records) = small_store();
    let segments = segments(&files);
    let refused = |files: Files, what: &str| {
        let answer = open(files.clone()).map(|(found, _)| found.len());
        assert!(matches!(answer, Err(OpenError::Damaged { .. })), "{what}: {answer:?}");
        assert!(!verify_on(&SimDisk::with_files(files)).unwrap().ok, "{what}");
    };
    for name in &segments {
        let mut dropped = files.clone();
        dropped.remove(name);
        refused(dropped, "a segment is gone");
    }
    let mut exchanged = files.clone();
    exchanged.insert(segments[0].clone(), files[&segments[1]].clone());
    exchanged.insert(segments[1].clone(), files[&segments[0]].clone());
    refused(exchanged, "two segments are exchanged");
    // Frames of the last segment dropped from the end: an older copy of the file.
    let starts = frames(&files[&segments[1]]);
    let mut older = files.clone();
    older.get_mut(&segments[1]).unwrap()[starts[starts.len() - 1]..].fill(0);
    refused(older, "the last segment is an older copy");
    // Two frames of the first segment in the other order.
    let starts = frames(&files[&segments[0]]);
    let (a, b, c) = (starts[0], starts[1], starts[2]);
    assert_eq!(b - a, c - b);
    let mut reordered = files.clone();
    let bytes = reordered.get_mut(&segments[0]).unwrap();
    let first = bytes[a..b].to_vec();
    bytes.copy_within(b..c, a);
    bytes[b..c].copy_from_slice(&first);
    refused(reordered, "two frames are exchanged");
    assert_eq!(open(files).unwrap().0, records);
}

#[test]
fn verify_names_every_damaged_place_and_counts_the_sound_rest() {
    let (mut files, records) = small_store();
    let name = segments(&files)[0].clone();
    let starts = frames(&files[&name]);
    let bytes = files.get_mut(&name).unwrap();
    bytes[starts[1] + 150] ^= 4;
    bytes[starts[3] + 20] ^= 4;
    let report = verify_on(&SimDisk::with_files(files)).unwrap();
    assert!(!report.ok);
    let places: Vec<_> = report.problems.iter().map(|problem| (problem.offset, problem.position)).collect();
    assert_eq!(places, [(starts[1] as u64, 3), (starts[3] as u64, 7)]);
    assert_eq!(report.records, records.len() as u64 - 4);
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let (files, _) = small_store();
    let name = last_segment(&files);
    let mut newer = files.clone();
    let bytes = newer.get_mut(&name).unwrap();
    let at = frames(bytes)[0];
    bytes[at + 4] = 2;
    forge(bytes, at);
    let answer = open(newer).map(|(found, _)| found.len());
    assert!(matches!(answer, Err(OpenError::NewerFormat { found: 2, known: 1, .. })), "{answer:?}");
}

#[test]
fn a_record_that_is_damaged_while_the_journal_is_open_is_not_served() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    journal.append_blocking(vec![record("a", b"sound")], 0, journal.incarnation()).unwrap();
    let path = dir.path().join("segment-0000000001.journal");
    let mut bytes = std::fs::read(&path).unwrap();
    let at = bytes.windows(5).position(|window| window == b"sound").unwrap();
    bytes[at] = b'S';
    for forged in [false, true] {
        if forged {
            // The checksums are right now; only the chain speaks against it.
            let frame = frames(&bytes)[0];
            forge(&mut bytes, frame);
        }
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(journal.read(1, 1), Err(journal::ReadError::Damaged(_))), "forged: {forged}");
        assert!(matches!(journal.read_stream("a", 1, 1), Err(journal::ReadError::Damaged(_))));
    }
}

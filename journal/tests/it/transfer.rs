//! Export, import, backup, rebuild, and comparing with a head kept outside.

use std::path::Path;

use journal::{
    Artefacts, BackupError, By, Checkpoints, Head, ImportError, Journal, Keep, backup, export, import,
    rebuild, verify, verify_against,
};

use crate::{options, record};

const BY: By<'_> = By { principal: "operator", role: "admin", time_ms: 5_000 };

fn append(journal: &Journal, stream: &str, number: u8) {
    journal.append_blocking(vec![record(stream, &[number; 100])], 0, journal.incarnation()).unwrap();
}

/// A journal of two openings, compacted if wanted, and still open.
fn begun(dir: &Path, compacted: bool) -> Journal {
    let (journal, _) = Journal::open(dir, options()).unwrap();
    (0..12).for_each(|number| append(&journal, ["a", "gone", "b"][usize::from(number) % 3], number));
    journal.close();
    let (journal, _) = Journal::open(dir, options()).unwrap();
    if compacted {
        journal.compact(|stream| if stream == "gone" { Keep::Drop } else { Keep::All }, BY).unwrap();
    }
    (12..20).for_each(|number| append(&journal, "a", number));
    journal
}

#[test]
fn an_export_makes_the_same_journal_elsewhere() {
    for compacted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let journal = begun(&dir.path().join("from"), compacted);
        let mut bytes = Vec::new();
        let exported = journal.export(&mut bytes).unwrap();
        assert_eq!((exported.head, exported.bytes), (journal.head(), bytes.len() as u64));
        let records = journal.read(1, usize::MAX).unwrap();
        journal.close();
        // Online and offline give the same file.
        let mut offline = Vec::new();
        assert_eq!(export(&dir.path().join("from"), &mut offline).unwrap(), exported);
        assert!(offline == bytes);
        let to = dir.path().join("to");
        let imported = import(&to, &mut &bytes[..], Some(exported.head)).unwrap();
        assert_eq!(imported, exported);
        let report = verify(&to).unwrap();
        assert!(report.ok && report.head == exported.head && report.notes.is_empty(), "{report:?}");
        let (journal, opened) = Journal::open(&to, options()).unwrap();
        assert!(opened.incarnation > 2, "an old writer could write into the copy");
        assert_eq!(journal.read(1, usize::MAX).unwrap(), records);
        assert_eq!(journal.is_retired("gone"), compacted);
        append(&journal, "a", 99);
    }
}

#[test]
fn every_changed_or_missing_byte_of_an_export_is_refused_and_leaves_nothing() {
    for compacted in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let journal = begun(&dir.path().join("from"), compacted);
        let mut bytes = Vec::new();
        journal.export(&mut bytes).unwrap();
        journal.close();
        let to = dir.path().join("to");
        let refused = |bytes: &[u8], what: &str| {
            let answer = import(&to, &mut &bytes[..], None);
            let told = matches!(
                answer,
                Err(ImportError::Damaged { .. } | ImportError::NotAnExport | ImportError::Newer { .. })
            );
            assert!(told, "{what}: {answer:?}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "{what} left something");
        };
        for at in 0..bytes.len() {
            bytes[at] ^= 0x11;
            refused(&bytes, &format!("byte {at} changed"));
            bytes[at] ^= 0x11;
            refused(&bytes[..at], &format!("cut at {at}"));
        }
        println!("{} bytes changed one by one, {} lengths cut: all refused", bytes.len(), bytes.len());
        bytes.push(0);
        refused(&bytes, "one byte more");
    }
}

#[test]
fn an_import_refuses_another_head_and_an_occupied_directory() {
    let dir = tempfile::tempdir().unwrap();
    let journal = begun(&dir.path().join("from"), false);
    let (mut older, mut newer) = (Vec::new(), Vec::new());
    let first = journal.export(&mut older).unwrap();
    append(&journal, "a", 1);
    let second = journal.export(&mut newer).unwrap();
    journal.close();
    let to = dir.path().join("to");
    // The older export in the place of the newer one is sound in itself.
    let answer = import(&to, &mut &older[..], Some(second.head));
    assert!(matches!(answer, Err(ImportError::OtherHead { found, .. }) if found == first.head), "{answer:?}");
    assert!(!to.exists());
    std::fs::create_dir(&to).unwrap();
    std::fs::write(to.join("mine"), b"kept").unwrap();
    assert!(matches!(import(&to, &mut &newer[..], None), Err(ImportError::NotEmpty { .. })));
    assert_eq!(std::fs::read(to.join("mine")).unwrap(), b"kept");
    std::fs::remove_file(to.join("mine")).unwrap();
    import(&to, &mut &newer[..], Some(second.head)).unwrap();
}

#[test]
fn a_tail_that_was_cut_off_with_its_mark_shows_against_a_head_kept_outside() {
    let dir = tempfile::tempdir().unwrap();
    let journal = begun(dir.path(), false);
    let before: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    let copies: Vec<_> = before.iter().map(|path| (path, std::fs::read(path).unwrap())).collect();
    append(&journal, "a", 1);
    let head: Head = journal.head().to_string().parse().unwrap();
    assert_eq!(head, journal.head());
    journal.close();
    assert!(verify_against(dir.path(), head).unwrap().ok);
    for (path, bytes) in copies {
        std::fs::write(path, bytes).unwrap();
    }
    // The older directory is sound in itself; only the outside head knows better.
    assert!(verify(dir.path()).unwrap().ok);
    let report = verify_against(dir.path(), head).unwrap();
    assert!(!report.ok && report.problems[0].what.contains("cut off"), "{report:?}");
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    append(&journal, "a", 2);
    journal.close();
    let report = verify_against(dir.path(), head).unwrap();
    assert!(!report.ok && report.problems[0].what.contains("another history"), "{report:?}");
}

#[test]
fn a_head_from_before_a_compaction_is_compared_where_it_can_be() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    append(&journal, "gone", 1);
    let dropped = journal.head();
    append(&journal, "a", 2);
    let kept = journal.head();
    journal.compact(|stream| if stream == "gone" { Keep::Drop } else { Keep::All }, BY).unwrap();
    journal.close();
    assert!(verify_against(dir.path(), kept).unwrap().ok);
    let report = verify_against(dir.path(), dropped).unwrap();
    assert!(report.ok && report.notes.iter().any(|note| note.contains("dropped")), "{report:?}");
    let forged = Head { hash: [7; 32], ..kept };
    assert!(!verify_against(dir.path(), forged).unwrap().ok);
}

#[test]
fn a_backup_taken_beside_a_busy_writer_is_whole_and_names_its_head() {
    let dir = tempfile::tempdir().unwrap();
    let journal = begun(&dir.path().join("journal"), true);
    let artefacts = Artefacts::open(&dir.path().join("artefacts")).unwrap();
    let digest = artefacts.put(b"feasible set").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                append(&journal, "busy", 1);
            }
        });
        for round in 0..5 {
            let target = dir.path().join(format!("backup-{round}"));
            let least = journal.head().position;
            let report = backup(&journal, Some(&artefacts), &target).unwrap();
            assert!(report.head.position >= least && report.artefacts == 1, "{report:?}");
            let head: Head = std::fs::read_to_string(target.join("head")).unwrap().trim().parse().unwrap();
            assert_eq!(head, report.head);
            assert!(verify_against(&target.join("journal"), head).unwrap().ok);
            let again = backup(&journal, None, &target);
            assert!(matches!(again, Err(BackupError::TargetExists { .. })), "{again:?}");
            let (copy, opened) = Journal::open(&target.join("journal"), options()).unwrap();
            assert_eq!(opened.head, head);
            append(&copy, "a", 1);
            assert_eq!(
                Artefacts::open(&target.join("artefacts")).unwrap().get(&digest).unwrap(),
                b"feasible set"
            );
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn rebuilding_makes_indexes_anew_and_moves_checkpoints_away() {
    let dir = tempfile::tempdir().unwrap();
    let (store, checkpoints) = (dir.path().join("journal"), dir.path().join("checkpoints"));
    let journal = begun(&store, true);
    let records = journal.read(1, usize::MAX).unwrap();
    journal.close();
    {
        let (open, _) = Checkpoints::open(&checkpoints, 99);
        open.put("run/1", 3, b"state").unwrap();
        open.flush().unwrap();
    }
    let sidecars = || -> Vec<_> {
        let names = std::fs::read_dir(&store).unwrap().map(|entry| entry.unwrap().path());
        names.filter(|path| path.extension().is_some_and(|extension| extension == "index")).collect()
    };
    for path in sidecars() {
        std::fs::write(path, b"nonsense").unwrap();
    }
    let notes = verify(&store).unwrap().notes;
    assert!(!notes.is_empty());
    let report = rebuild(&store, &checkpoints).unwrap();
    assert_eq!(report.records, records.len() as u64);
    assert!(report.quarantined.unwrap().join("db").is_file() && report.sidecars == sidecars().len());
    assert!(verify(&store).unwrap().notes.is_empty());
    let (open, found) = Checkpoints::open(&checkpoints, 99);
    assert!(found.fresh && open.get("run/1").is_none());
    let (journal, _) = Journal::open(&store, options()).unwrap();
    assert_eq!(journal.read(1, usize::MAX).unwrap(), records);
}

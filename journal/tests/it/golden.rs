//! Stores of every format, kept with the project: later programs must read them, and until a format changes
//! they must write the same bytes. v1 is a store that was never compacted (the program of version 0.1 wrote
//! and reads the same), v2 one that was, with its index sidecars and an export of it.
//! `GOLDEN=write cargo test -p journal golden` makes v2 anew; v1 is never made anew.

use std::path::{Path, PathBuf};

use journal::{By, Head, Journal, Keep, import, verify, verify_against};

use crate::{options, record};

const HEAD_V1: &str = "30:7d5c30f2841ea5f187e1bea16e0533a37e81a2d945205caad2cdf62354958242";
const HEAD_V2: &str = "88:97b675efdcd268b59274415fcc1b3a898fe5bb537342938df4209fecf8fde2e0";

fn golden(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(version)
}

fn head(text: &str) -> Head {
    text.parse().unwrap()
}

/// Two openings, three streams, more than one segment.
fn write_store(dir: &Path) {
    for opening in 0..2u8 {
        let (journal, _) = Journal::open(dir, options()).unwrap();
        for number in 0..5u8 {
            let mut submitted = record("run/1", &[opening * 16 + number; 200]);
            submitted.cause = number.into();
            let batch = vec![submitted, record("lease/4", b"granted"), record("run/ü", &[])];
            journal.append_blocking(batch, 2_000 + u64::from(number), journal.incarnation()).unwrap();
        }
        journal.close();
    }
}

/// The same, then without `lease/4`, then some more, and once more without `run/2`.
fn write_compacted_store(dir: &Path) {
    write_store(dir);
    let (journal, _) = Journal::open(dir, options()).unwrap();
    let by = By { principal: "operator", role: "admin", time_ms: 3_000 };
    let without = |gone: &'static str| move |name: &str| if name == gone { Keep::Drop } else { Keep::All };
    journal.compact(without("lease/4"), by).unwrap();
    for number in 0..16u8 {
        let batch = vec![record("run/1", &[number; 150]), record("run/2", b"short")];
        journal.append_blocking(batch, 4_000, journal.incarnation()).unwrap();
    }
    journal.compact(without("run/2"), by).unwrap();
    for number in 0..24u8 {
        journal.append_blocking(vec![record("run/3", &[number; 150])], 5_000, journal.incarnation()).unwrap();
    }
    journal.close();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_golden_store_of_version_1_opens_with_its_known_head() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("v1"), dir.path());
    let (journal, report) = Journal::open(dir.path(), options()).unwrap();
    assert_eq!((report.records, report.tail.clone(), report.notes.len()), (30, None, 0));
    assert_eq!(report.head, head(HEAD_V1));
    assert_eq!(report.incarnation, 3);
    let streams = journal.streams("");
    assert_eq!(streams, [("lease/4".into(), 10), ("run/1".into(), 10), ("run/ü".into(), 10)]);
    assert_eq!(journal.read_stream("run/1", 10, 1).unwrap()[0].payload, [20; 200]);
}

#[test]
fn the_golden_store_of_version_1_can_be_compacted_and_keeps_its_records() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("v1"), dir.path());
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let before = journal.read_stream("run/1", 1, 99).unwrap();
    let by = By { principal: "operator", role: "admin", time_ms: 3_000 };
    journal.compact(|name| if name == "run/1" { Keep::All } else { Keep::Drop }, by).unwrap();
    journal.close();
    // The old head lies at a dropped record, the last kept one does not.
    assert!(verify(dir.path()).unwrap().ok);
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    assert_eq!(journal.read_stream("run/1", 1, 99).unwrap(), before);
}

#[test]
fn the_golden_store_of_version_2_opens_with_its_known_head_and_its_export_is_the_same() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden("v2"), &dir.path().join("store"));
    let report = verify_against(&dir.path().join("store"), head(HEAD_V2)).unwrap();
    assert!(report.ok && report.notes.is_empty(), "{report:?}");
    let (journal, report) = Journal::open(&dir.path().join("store"), options()).unwrap();
    assert_eq!((report.head, report.records, report.read_files), (head(HEAD_V2), 62, 1));
    assert!(journal.is_retired("lease/4") && journal.is_retired("run/2"));
    let streams = [("journal/snapshots", 2), ("run/1", 26), ("run/3", 24), ("run/ü", 10)];
    assert_eq!(journal.streams(""), streams.map(|(name, length)| (name.to_owned(), length)));
    let records = journal.read(1, usize::MAX).unwrap();
    let mut export = std::fs::File::open(golden("export-v1").join("export")).unwrap();
    import(&dir.path().join("imported"), &mut export, Some(head(HEAD_V2))).unwrap();
    let (imported, _) = Journal::open(&dir.path().join("imported"), options()).unwrap();
    assert_eq!(imported.read(1, usize::MAX).unwrap(), records);
}

/// Compares every file but the sidecars of version 1, which the program that made it did not know.
fn compare(written: &Path, kept: &Path, sidecars: bool) {
    let mut names = 0;
    for entry in std::fs::read_dir(written).unwrap() {
        let entry = entry.unwrap();
        if !sidecars && entry.path().extension().is_some_and(|extension| extension == "index") {
            continue;
        }
        let bytes = std::fs::read(kept.join(entry.file_name())).unwrap();
        assert!(std::fs::read(entry.path()).unwrap() == bytes, "{:?} differs", entry.file_name());
        names += 1;
    }
    assert_eq!(names, std::fs::read_dir(kept).unwrap().count());
}

#[test]
fn the_golden_store_is_still_written_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    write_store(dir.path());
    compare(dir.path(), &golden("v1"), false);
}

#[test]
fn the_golden_compacted_store_and_its_export_are_still_written_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (store, exported) = (dir.path().join("store"), dir.path().join("exported"));
    write_compacted_store(&store);
    std::fs::create_dir(&exported).unwrap();
    let mut file = std::fs::File::create(exported.join("export")).unwrap();
    let report = journal::export(&store, &mut file).unwrap();
    if std::env::var_os("GOLDEN").is_some() {
        copy(&store, &golden("v2"));
        copy(&exported, &golden("export-v1"));
        println!("head {}", report.head);
    }
    compare(&store, &golden("v2"), true);
    compare(&exported, &golden("export-v1"), true);
}

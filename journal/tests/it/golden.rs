//! A store of format version 1, kept with the project: later programs must read it, and until the version
//! changes they must write the same bytes. `GOLDEN=write cargo test -p journal golden` makes it anew.

use std::path::{Path, PathBuf};

use journal::{Journal, verify};

use crate::{options, record};

const HEAD_HEX: &str = "7d5c30f2841ea5f187e1bea16e0533a37e81a2d945205caad2cdf62354958242";

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1")
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
    copy(&golden(), dir.path());
    let (journal, report) = Journal::open(dir.path(), options()).unwrap();
    assert_eq!((report.records, report.tail.clone(), report.notes.len()), (30, None, 0));
    assert_eq!((report.head.position, report.head.hash_hex().as_str()), (30, HEAD_HEX));
    assert_eq!(report.incarnation, 3);
    let streams = journal.streams("");
    assert_eq!(streams, [("lease/4".into(), 10), ("run/1".into(), 10), ("run/ü".into(), 10)]);
    assert_eq!(journal.read_stream("run/1", 10, 1).unwrap()[0].payload, [20; 200]);
}

#[test]
fn the_golden_store_is_still_written_byte_by_byte() {
    let dir = tempfile::tempdir().unwrap();
    write_store(dir.path());
    if std::env::var_os("GOLDEN").is_some() {
        copy(dir.path(), &golden());
        println!("head {}", verify(dir.path()).unwrap().head.hash_hex());
    }
    let mut names = 0;
    for entry in std::fs::read_dir(dir.path()).unwrap() {
        let entry = entry.unwrap();
        // Copies that programs before did not know; none of them is ever the truth.
        if entry.path().extension().is_some_and(|extension| extension == "index") {
            continue;
        }
        let kept = std::fs::read(golden().join(entry.file_name())).unwrap();
        assert!(std::fs::read(entry.path()).unwrap() == kept, "{:?} differs", entry.file_name());
        names += 1;
    }
    assert_eq!(names, std::fs::read_dir(golden()).unwrap().count());
}

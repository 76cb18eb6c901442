//! Stores that must not be opened: refused with what is wrong, and not a byte of them changed.

use std::collections::BTreeMap;
use std::os::unix::fs::chown;
use std::path::Path;
use std::sync::Arc;

use journal::sim::SimDisk;
use journal::{Journal, OpenError, verify_on};

use crate::{options, record};

type Files = BTreeMap<String, Vec<u8>>;

fn store() -> Files {
    let disk = SimDisk::new(1);
    let (journal, _) = Journal::open_on(Arc::new(disk.clone()), options()).unwrap();
    for number in 0..30u8 {
        journal.append_blocking(vec![record("a", &[number; 200])], 0, journal.incarnation()).unwrap();
    }
    journal.close();
    disk.files()
}

fn segments(files: &Files) -> Vec<String> {
    files.keys().filter(|name| name.starts_with("segment") && name.ends_with(".journal")).cloned().collect()
}

/// What opening says, after a look that it has changed nothing.
fn refusal(files: Files) -> OpenError {
    let disk = SimDisk::with_files(files.clone());
    let error = match Journal::open_on(Arc::new(disk.clone()), options()) {
        Ok(_) => panic!("it was opened"),
        Err(error) => error,
    };
    assert!(disk.files() == files, "{error}: but something was changed");
    error
}

fn forge_header(bytes: &mut [u8]) {
    let crc = crc32fast::hash(&bytes[..116]);
    bytes[116..120].copy_from_slice(&crc.to_le_bytes());
}

#[test]
fn a_store_of_a_newer_version_is_refused_unchanged() {
    let sound = store();
    for name in segments(&sound) {
        let mut files = sound.clone();
        let bytes = files.get_mut(&name).unwrap();
        bytes[8] = 9;
        forge_header(bytes);
        let error = refusal(files);
        assert!(matches!(error, OpenError::NewerFormat { found: 9, known: 2, .. }), "{error}");
        assert!(error.to_string().contains("newer program"));
    }
}

#[test]
fn a_directory_of_another_program_is_refused_unchanged() {
    let mut other = Files::new();
    other.insert("PG_VERSION".into(), b"17\n".to_vec());
    let error = refusal(other);
    assert!(matches!(&error, OpenError::NotAJournal { name } if name == "PG_VERSION"), "{error}");
    let mut named_alike = Files::new();
    named_alike.insert("segment-0000000001.journal".into(), b"SQLite format 3\0 and so on".repeat(20));
    assert!(matches!(refusal(named_alike), OpenError::NotAJournal { .. }));
}

#[test]
fn a_missing_segment_is_named_and_nothing_is_changed() {
    let sound = store();
    let segments = segments(&sound);
    assert!(segments.len() >= 3);
    for name in &segments {
        let mut files = sound.clone();
        files.remove(name);
        let error = refusal(files);
        let OpenError::Damaged { what, .. } = &error else { panic!("{error}") };
        assert!(what.contains("missing") || what.contains("later records were durable"), "{what}");
        assert!(error.to_string().contains("journal import"), "{error}");
    }
}

#[test]
fn a_read_only_file_system_is_told_from_damage_and_still_verifies() {
    let files = store();
    let disk = SimDisk::with_files(files.clone());
    disk.set_read_only(true);
    let error = Journal::open_on(Arc::new(disk.clone()), options()).unwrap_err();
    assert!(matches!(error, OpenError::ReadOnly { .. }), "{error}");
    assert!(disk.files() == files);
    assert!(verify_on(&disk).unwrap().ok);
    disk.set_read_only(false);
    assert_eq!(Journal::open_on(Arc::new(disk), options()).unwrap().0.head().position, 30);
}

fn read_all(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap()))
        .collect()
}

#[test]
fn a_store_of_another_user_is_refused_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("journal");
    let (journal, _) = Journal::open(&store, options()).unwrap();
    journal.append_blocking(vec![record("a", b"x")], 0, journal.incarnation()).unwrap();
    journal.close();
    let files = read_all(&store);
    for name in [".", "head.mark", "segment-0000000001.journal"] {
        let path = store.join(name);
        if chown(&path, Some(12_345), None).is_err() {
            println!("skipped: only root may give files away");
            return;
        }
        let error = Journal::open(&store, options()).unwrap_err();
        let told =
            matches!(&error, OpenError::ForeignOwner { name: found, owner: 12_345, .. } if found == name);
        assert!(told, "{error}");
        assert!(read_all(&store) == files, "{name}: something was changed");
        chown(&path, Some(nix::unistd::geteuid().as_raw()), None).unwrap();
    }
    Journal::open(&store, options()).unwrap();
}

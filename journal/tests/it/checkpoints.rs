//! Checkpoints in a real sled store.

use std::path::Path;

use journal::{CheckpointError, Checkpoints};

fn open(dir: &Path, head: u64) -> Checkpoints {
    let (checkpoints, report) = Checkpoints::open(dir, head);
    assert_eq!((report.quarantined, report.unavailable), (None, None));
    checkpoints
}

fn value(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (at * 7 % 251) as u8).collect()
}

#[test]
fn values_of_every_size_come_back_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 3999, 4000, 4001, 8000, 50_000];
    {
        let checkpoints = open(dir.path(), 0);
        for (position, size) in (1..).zip(sizes) {
            checkpoints.put(&format!("run/{size}"), position, &value(size)).unwrap();
        }
        // A shorter value leaves nothing of the longer one behind.
        checkpoints.put("run/8000", 20, &value(4000)).unwrap();
        checkpoints.put("other", 2, b"x").unwrap();
        checkpoints.remove("run/1").unwrap();
        checkpoints.flush().unwrap();
    }
    let (checkpoints, report) = Checkpoints::open(dir.path(), 20);
    assert_eq!((report.applied, report.fresh, report.quarantined), (20, false, None));
    assert_eq!(checkpoints.applied(), 20);
    assert_eq!(checkpoints.get("run/8000"), Some((20, value(4000))));
    assert_eq!(checkpoints.get("run/1"), None);
    for (position, size) in (1..).zip(sizes).filter(|(_, size)| ![1, 8000].contains(size)) {
        assert_eq!(checkpoints.get(&format!("run/{size}")), Some((position, value(size))), "{size} bytes");
    }
    let keys = checkpoints.keys("run/");
    assert_eq!(keys, ["run/0", "run/3999", "run/4000", "run/4001", "run/50000", "run/8000"]);
    assert_eq!(checkpoints.problems(), [""; 0]);
}

#[test]
fn keys_and_values_over_the_limit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = open(dir.path(), 0);
    for key in ["", "a\0b", &"k".repeat(513)] {
        assert!(matches!(checkpoints.put(key, 1, b"x"), Err(CheckpointError::BadKey { .. })), "{key}");
    }
    let large = vec![0; 16 * 1024 * 1024 + 1];
    assert!(matches!(checkpoints.put("a", 1, &large), Err(CheckpointError::TooLarge { .. })));
    assert_eq!(checkpoints.applied(), 0);
}

#[test]
fn a_store_ahead_of_the_journal_goes_into_quarantine() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=6u64 {
        let (checkpoints, report) = Checkpoints::open(dir.path(), 9);
        assert_eq!(report.applied, 0);
        assert!(report.fresh);
        assert_eq!(report.quarantined.is_some(), round > 1, "round {round}");
        if let Some((moved, why)) = report.quarantined {
            assert_eq!(moved, dir.path().join(format!("quarantine-{}", round - 1)));
            assert!(moved.join("db").is_file() && why.contains("10") && why.contains('9'), "{why}");
        }
        assert_eq!(checkpoints.get("run/1"), None);
        checkpoints.put("run/1", 10, b"too far").unwrap();
        checkpoints.flush().unwrap();
    }
    // Only so many are kept.
    let kept = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(kept, 1 + 4);
}

#[test]
fn a_value_that_is_not_what_was_put_reads_as_absent() {
    let dir = tempfile::tempdir().unwrap();
    let (count, parts): (usize, Vec<Vec<u8>>) = {
        let checkpoints = open(dir.path(), 0);
        checkpoints.put("run/1", 5, &value(9000)).unwrap();
        checkpoints.put("run/2", 6, b"sound").unwrap();
        checkpoints.flush().unwrap();
        drop(checkpoints);
        let db = sled::open(dir.path().join("store")).unwrap();
        let tree = db.open_tree("checkpoints-1").unwrap();
        let parts: Vec<_> = tree.scan_prefix(b"crun/1\0").keys().map(|key| key.unwrap().to_vec()).collect();
        (parts.len(), parts)
    };
    assert_eq!(count, 4);
    for (number, part) in parts.iter().enumerate() {
        for removed in [false, true] {
            let old = {
                let db = sled::open(dir.path().join("store")).unwrap();
                let tree = db.open_tree("checkpoints-1").unwrap();
                let old = tree.remove(part).unwrap().unwrap();
                if !removed {
                    let mut changed = old.to_vec();
                    let middle = changed.len() / 2;
                    changed[middle] ^= 1;
                    tree.insert(part, changed).unwrap();
                }
                db.flush().unwrap();
                old
            };
            let checkpoints = open(dir.path(), 9);
            assert_eq!(checkpoints.get("run/1"), None, "part {number}, removed {removed}");
            assert_eq!(checkpoints.problems().len(), 1, "part {number}, removed {removed}");
            assert_eq!(checkpoints.get("run/2"), Some((6, b"sound".to_vec())));
            drop(checkpoints);
            let db = sled::open(dir.path().join("store")).unwrap();
            db.open_tree("checkpoints-1").unwrap().insert(part, old).unwrap();
            db.flush().unwrap();
        }
    }
    assert_eq!(open(dir.path(), 9).get("run/1"), Some((5, value(9000))));
}

#[test]
fn whatever_happens_to_the_files_it_opens_and_serves_no_wrong_value() {
    let dir = tempfile::tempdir().unwrap();
    let sound = dir.path().join("sound");
    {
        let checkpoints = open(&sound, 0);
        for run in 0..30u64 {
            checkpoints.put(&format!("run/{run}"), run + 1, &value(500 + run as usize)).unwrap();
        }
        checkpoints.flush().unwrap();
    }
    let db = std::fs::read(sound.join("store/db")).unwrap();
    let conf = std::fs::read(sound.join("store/conf")).unwrap();
    let used = db.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let (mut quarantined, mut absent) = (0, 0);
    for trial in 0..60usize {
        let (mut db, mut conf) = (db.clone(), conf.clone());
        match trial % 6 {
            0 => db.truncate(used * (trial + 1) / 61),
            1 => db[..used].iter_mut().skip(trial * 97 % 400).step_by(511).for_each(|byte| *byte ^= 0x20),
            2 => db[used * trial / 60..used * trial / 60 + 64].fill(0xff),
            3 => conf.truncate(conf.len() * trial / 60),
            4 => conf.iter_mut().skip(trial % 7).step_by(5).for_each(|byte| *byte ^= 4),
            _ => db[used * trial / 60] ^= 1 << (trial % 8),
        }
        let bad = dir.path().join(format!("bad-{trial}"));
        std::fs::create_dir_all(bad.join("store")).unwrap();
        std::fs::write(bad.join("store/db"), db).unwrap();
        std::fs::write(bad.join("store/conf"), conf).unwrap();
        let (checkpoints, report) = Checkpoints::open(&bad, 30);
        assert_eq!(report.unavailable, None, "trial {trial}");
        quarantined += usize::from(report.quarantined.is_some());
        for run in 0..30u64 {
            match checkpoints.get(&format!("run/{run}")) {
                None => absent += 1,
                Some(found) => {
                    assert_eq!(found, (run + 1, value(500 + run as usize)), "trial {trial}, run {run}");
                }
            }
        }
        // And it goes on working.
        checkpoints.put("run/new", 30, b"new").unwrap();
        checkpoints.flush().unwrap();
        assert_eq!(checkpoints.get("run/new"), Some((30, b"new".to_vec())));
    }
    assert!(quarantined > 10 && absent > 100, "too tame: {quarantined} quarantined, {absent} absent");
}

#[test]
fn a_directory_that_cannot_be_made_costs_the_checkpoints_only() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    let (checkpoints, report) = Checkpoints::open(&file, 0);
    assert!(report.unavailable.is_some() && report.fresh);
    assert_eq!(checkpoints.get("run/1"), None);
    assert!(matches!(checkpoints.put("run/1", 1, b"x"), Err(CheckpointError::Store { .. })));
    assert_eq!((checkpoints.applied(), checkpoints.keys("").len()), (0, 0));
}

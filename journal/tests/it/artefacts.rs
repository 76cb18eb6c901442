//! Artefacts on a real directory.

use journal::{ArtefactError, Artefacts, Digest};

#[test]
fn what_was_stored_comes_back_under_its_digest() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let source = dir.path().join("source");
    std::fs::write(&source, vec![7; 600_000]).unwrap();
    let stored = [
        (artefacts.put(b"").unwrap(), Vec::new()),
        (artefacts.put(b"wing").unwrap(), b"wing".to_vec()),
        (artefacts.put_file(&source).unwrap(), vec![7; 600_000]),
    ];
    let again = Artefacts::open(dir.path()).unwrap();
    for (digest, content) in &stored {
        assert_eq!(*digest, Digest::of(content));
        assert_eq!(again.get(digest).unwrap(), *content);
        assert_eq!(std::fs::read(again.path(digest)).unwrap(), *content);
        again.check(digest).unwrap();
    }
    assert_eq!(again.list().unwrap().len(), 3);
    again.remove(&stored[1].0).unwrap();
    assert!(!again.exists(&stored[1].0));
    assert!(matches!(again.get(&stored[1].0), Err(ArtefactError::NotFound { .. })));
}

#[test]
fn a_damaged_artefact_is_an_error_until_it_is_stored_again() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let content = b"feasible set".to_vec();
    let digest = artefacts.put(&content).unwrap();
    for bit in 0..content.len() * 8 {
        let mut flipped = content.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(artefacts.path(&digest), &flipped).unwrap();
        assert!(matches!(artefacts.get(&digest), Err(ArtefactError::Damaged { .. })), "bit {bit}");
        assert!(matches!(artefacts.check(&digest), Err(ArtefactError::Damaged { .. })), "bit {bit}");
    }
    for length in 0..content.len() {
        std::fs::write(artefacts.path(&digest), &content[..length]).unwrap();
        assert!(matches!(artefacts.get(&digest), Err(ArtefactError::Damaged { .. })), "cut at {length}");
    }
    assert_eq!(artefacts.put(&content).unwrap(), digest);
    assert_eq!(artefacts.get(&digest).unwrap(), content);
}

#[test]
fn an_upload_is_stored_only_if_it_is_what_was_announced() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let expected = Digest::of(b"one two");
    let mut upload = artefacts.begin().unwrap();
    upload.write(b"one ").unwrap();
    let mut other = artefacts.begin().unwrap();
    other.write(b"one tow").unwrap();
    upload.write(b"two").unwrap();
    assert_eq!(upload.bytes(), 7);
    assert!(matches!(other.finish(expected), Err(ArtefactError::NotAsAnnounced { .. })));
    assert!(!artefacts.exists(&expected));
    assert_eq!(upload.finish(expected).unwrap(), expected);
    assert_eq!(artefacts.get(&expected).unwrap(), b"one two");
    assert_eq!(artefacts.list().unwrap(), [expected]);
    assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
}

#[test]
fn a_size_over_the_limit_is_refused_and_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open_with_limit(dir.path(), 10).unwrap();
    assert!(matches!(artefacts.put(&[1; 11]), Err(ArtefactError::TooLarge { max: 10 })));
    let mut upload = artefacts.begin().unwrap();
    upload.write(&[1; 10]).unwrap();
    assert!(matches!(upload.write(&[1]), Err(ArtefactError::TooLarge { max: 10 })));
    drop(upload);
    assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
    assert!(artefacts.list().unwrap().is_empty());
    artefacts.put(&[1; 10]).unwrap();
}

#[test]
fn an_upload_that_a_kill_left_behind_is_removed_at_opening() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let mut upload = artefacts.begin().unwrap();
    upload.write(b"half").unwrap();
    std::mem::forget(upload);
    assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 1);
    Artefacts::open(dir.path()).unwrap();
    assert_eq!(std::fs::read_dir(dir.path().join("incoming")).unwrap().count(), 0);
}

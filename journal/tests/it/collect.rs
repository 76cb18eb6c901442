//! Garbage collection of artefacts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use journal::{Artefacts, CollectError, Collected, Roots};

const GRACE: Duration = Duration::from_secs(10);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn what_has_no_root_goes_after_the_grace_and_not_before() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let (kept, gone) = (artefacts.put(b"kept").unwrap(), artefacts.put(b"gone").unwrap());
    let roots = |digest: &journal::Digest| *digest == kept;
    for (seconds, removed) in [(100, 0), (100, 0), (109, 0), (110, 1), (130, 0)] {
        let collected = artefacts.collect(Roots::Complete(&roots), GRACE, at(seconds)).unwrap();
        assert_eq!((collected.rooted, collected.removed), (1, removed), "at {seconds}");
        assert_eq!(collected.freed_bytes, removed * 4);
    }
    assert!(artefacts.exists(&kept) && !artefacts.exists(&gone));
}

#[test]
fn storing_asking_for_and_naming_something_again_pins_it_again() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let digest = artefacts.put(b"shared").unwrap();
    let none = |_: &journal::Digest| false;
    let mut now = 0;
    let mut collect = || {
        now += 11;
        artefacts.collect(Roots::Complete(&none), GRACE, at(now)).unwrap()
    };
    let uses: [&dyn Fn(); 4] = [
        &|| assert_eq!(artefacts.put(b"shared").unwrap(), digest),
        &|| assert!(artefacts.exists(&digest)),
        &|| drop(artefacts.path(&digest)),
        &|| {
            let mut upload = artefacts.begin().unwrap();
            upload.write(b"shared").unwrap();
            upload.finish(digest).unwrap();
        },
    ];
    for pin in uses {
        assert_eq!(collect(), Collected { waiting: 1, ..Collected::default() });
        pin();
    }
    assert_eq!(collect().waiting, 1);
    assert_eq!(collect(), Collected { removed: 1, freed_bytes: 6, ..Collected::default() });
}

#[test]
fn an_upload_in_flight_survives_every_collection() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let mut upload = artefacts.begin().unwrap();
    for (part, seconds) in [(b"one ", 0), (b"two ", 100), (b"last", 200)] {
        upload.write(part).unwrap();
        artefacts.collect(Roots::Complete(&|_| false), GRACE, at(seconds)).unwrap();
    }
    let digest = upload.finish(journal::Digest::of(b"one two last")).unwrap();
    artefacts.collect(Roots::Complete(&|_| false), GRACE, at(300)).unwrap();
    assert_eq!(artefacts.get(&digest).unwrap(), b"one two last");
}

#[test]
fn a_restart_and_a_clock_that_went_back_only_lengthen_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let none = |_: &journal::Digest| false;
    let collect = |artefacts: &Artefacts, seconds| {
        artefacts.collect(Roots::Complete(&none), GRACE, at(seconds)).unwrap().removed
    };
    let artefacts = Artefacts::open(dir.path()).unwrap();
    artefacts.put(b"old").unwrap();
    assert_eq!(collect(&artefacts, 1_000), 0);
    assert_eq!(collect(&artefacts, 5), 0);
    let artefacts = Artefacts::open(dir.path()).unwrap();
    assert_eq!(collect(&artefacts, 99_000), 0);
    assert_eq!(collect(&artefacts, 99_010), 1);
}

#[test]
fn roots_that_are_not_complete_collect_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let digest = artefacts.put(b"needed").unwrap();
    for seconds in [0, 1_000, 2_000] {
        let roots = Roots::Incomplete { why: "run 7 cannot be read".into() };
        let answer = artefacts.collect(roots, GRACE, at(seconds));
        assert!(matches!(answer, Err(CollectError::RootsIncomplete { .. })), "{answer:?}");
    }
    assert!(artefacts.exists(&digest));
}

#[test]
fn what_a_writer_has_just_stored_outlives_the_collection_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let artefacts = Artefacts::open(dir.path()).unwrap();
    let (stop, begun) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                let now = begun.fetch_add(1, Ordering::SeqCst);
                artefacts.collect(Roots::Complete(&|_| false), at(2), at(now)).unwrap();
            }
        });
        let mut judged = 0;
        for round in 0..2_000u32 {
            let before = begun.load(Ordering::SeqCst);
            let digest = artefacts.put(&(round % 3).to_le_bytes()).unwrap();
            let read = std::fs::read(dir.path().join(&digest.hex()[..2]).join(digest.hex()));
            // One that had begun before, one that notes it, one within the grace: only then it may go.
            if begun.load(Ordering::SeqCst) <= before + 2 {
                assert!(read.is_ok(), "round {round}");
                judged += 1;
            }
        }
        stop.store(true, Ordering::SeqCst);
        println!("{judged} of 2000 rounds were short enough to be judged");
    });
}

//! The journal on a real directory.

use journal::{AppendError, Journal, Options};

use crate::{options, record};

#[test]
fn what_was_acknowledged_is_there_after_reopening_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = None;
    for round in 0..4u64 {
        let (journal, report) = Journal::open(dir.path(), options()).unwrap();
        assert_eq!(report.records, round * 60);
        assert_eq!(head.unwrap_or(report.head), report.head);
        assert_eq!(report.incarnation, round + 1);
        for number in 0..30u64 {
            let batch =
                vec![record(&format!("run/{}", number % 7), &[number as u8; 90]), record("audit", b"x")];
            let positions = journal.append_blocking(batch, number, journal.incarnation()).unwrap();
            let first = round * 60 + number * 2 + 1;
            assert_eq!(positions, [first, first + 1]);
        }
        head = Some(journal.head());
        let all = journal.read(1, usize::MAX).unwrap();
        assert_eq!(all.len() as u64, (round + 1) * 60);
        assert!(all.iter().zip(1..).all(|(record, position)| record.position == position));
        assert_eq!(all.last().unwrap().hash, journal.head().hash);
        let audit = journal.read_stream("audit", 11, 20).unwrap();
        let expected: Vec<_> = (11..31).collect();
        assert_eq!(audit.iter().map(|record| record.stream_seq).collect::<Vec<_>>(), expected);
        assert!(journal.status().segments > 1);
        let report = journal::verify(dir.path()).unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!(report.head, journal.head());
        journal.close();
        let refused = journal.append_blocking(vec![], 0, journal.incarnation());
        assert_eq!(refused, Err(AppendError::Closed));
    }
}

#[test]
fn every_field_of_a_record_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let mut sent = record("run/ü", b"\0\xff payload");
    sent.schema = 7;
    sent.cause = 3;
    sent.role = String::new();
    journal.append_blocking(vec![sent.clone()], 123_456, journal.incarnation()).unwrap();
    let found = journal.read(1, 1).unwrap().remove(0);
    assert_eq!((found.position, found.stream_seq, found.time_ms), (1, 1, 123_456));
    assert_eq!((&found.stream, &found.kind, &found.principal), (&sent.stream, &sent.kind, &sent.principal));
    assert_eq!((&found.role, found.schema, found.cause), (&sent.role, 7, 3));
    assert_eq!(found.payload, sent.payload);
}

#[test]
fn an_incarnation_before_the_current_one_may_not_write() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let stale = journal.incarnation();
    journal.append_blocking(vec![record("a", b"1")], 0, stale).unwrap();
    journal.close();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let current = journal.incarnation();
    assert!(current > stale);
    let answer = journal.append_blocking(vec![record("a", b"2")], 0, stale);
    assert_eq!(answer, Err(AppendError::StaleWriter { given: stale, current }));
    assert_eq!(journal.head().position, 1);
    journal.append_blocking(vec![record("a", b"2")], 0, current).unwrap();
}

#[test]
fn a_batch_whose_stream_has_moved_is_refused_whole() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let incarnation = journal.incarnation();
    let expecting = |stream: &str, expected| {
        let mut record = record(stream, b"x");
        record.expected_seq = Some(expected);
        record
    };
    // Earlier records of the same batch count.
    let batch = vec![expecting("a", 0), expecting("a", 1), expecting("b", 0)];
    journal.append_blocking(batch, 0, incarnation).unwrap();
    let answer = journal.append_blocking(vec![expecting("b", 1), expecting("a", 1)], 0, incarnation);
    assert_eq!(answer, Err(AppendError::Conflict { stream: "a".into(), expected: 1, actual: 2 }));
    assert_eq!((journal.stream_len("a"), journal.stream_len("b"), journal.head().position), (2, 1, 3));
    journal.append_blocking(vec![expecting("b", 1), expecting("a", 2)], 0, incarnation).unwrap();
}

#[test]
fn time_never_goes_back_within_or_across_openings() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    for time_ms in [5_000, 4_000, 6_000] {
        journal.append_blocking(vec![record("a", b"x")], time_ms, journal.incarnation()).unwrap();
    }
    journal.close();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    assert_eq!(journal.last_time_ms(), 6_000);
    journal.append_blocking(vec![record("a", b"x")], 1, journal.incarnation()).unwrap();
    let times: Vec<_> = journal.read(1, 9).unwrap().into_iter().map(|record| record.time_ms).collect();
    assert_eq!(times, [5_000, 5_000, 6_000, 6_000]);
}

#[test]
fn what_is_too_large_is_refused_by_name_and_the_largest_goes_through() {
    let dir = tempfile::tempdir().unwrap();
    let limited = Options { record_bytes_max: 10_000, ..options() };
    let (journal, _) = Journal::open(dir.path(), limited).unwrap();
    let append = |record| journal.append_blocking(vec![record], 0, journal.incarnation());
    let answer = append(record("a", &[1; 10_001]));
    assert!(matches!(answer, Err(AppendError::TooLarge { given: 10_001, max: 10_000, .. })), "{answer:?}");
    let answer = append(record(&"s".repeat(1025), b""));
    assert!(matches!(answer, Err(AppendError::TooLarge { given: 1025, max: 1024, .. })), "{answer:?}");
    // Larger than a whole segment of this journal: it gets a segment of its own.
    append(record("a", &[1; 10_000])).unwrap();
    append(record("a", b"after")).unwrap();
    assert_eq!(journal.read(1, 2).unwrap()[0].payload, [1; 10_000]);
    assert!(journal::verify(dir.path()).unwrap().ok);
}

#[test]
fn sixty_four_writers_share_their_syncs_and_lose_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), Options::default()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..64 {
            let journal = journal.clone();
            scope.spawn(move || {
                for number in 0..10u64 {
                    let mut record = record(&format!("run/{writer}"), &number.to_le_bytes());
                    record.expected_seq = Some(number);
                    journal.append_blocking(vec![record], 0, journal.incarnation()).unwrap();
                }
            });
        }
    });
    let status = journal.status();
    assert_eq!((status.batches, status.records), (640, 640));
    assert!(status.fsyncs < 640, "{} syncs for 640 appends", status.fsyncs);
    for writer in 0..64 {
        let records = journal.read_stream(&format!("run/{writer}"), 1, 99).unwrap();
        assert!(records.iter().zip(0u64..).all(|(record, number)| record.payload == number.to_le_bytes()));
        assert_eq!(records.len(), 10);
    }
}

#[tokio::test]
async fn followers_hear_of_durable_records_only_and_calls_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let mut changed = journal.changed();
    assert_eq!(*changed.borrow(), 0);
    let incarnation = journal.incarnation();
    let first = journal.append(vec![record("a", b"1")], 0, incarnation);
    let second = journal.append(vec![record("a", b"2"), record("a", b"3")], 0, incarnation);
    // Awaited the other way round: the order of the calls counts.
    assert_eq!(second.await.unwrap(), [2, 3]);
    assert_eq!(first.await.unwrap(), [1]);
    changed.wait_for(|position| *position == 3).await.unwrap();
    assert_eq!(journal.head().position, 3);
}

#[test]
fn a_full_queue_answers_busy() {
    let dir = tempfile::tempdir().unwrap();
    let none = Options { queue_max: 0, ..options() };
    let (journal, _) = Journal::open(dir.path(), none).unwrap();
    let answer = journal.append_blocking(vec![record("a", b"1")], 0, journal.incarnation());
    assert_eq!(answer, Err(AppendError::Busy));
}

#[test]
fn verifying_beside_a_busy_writer_never_cries_damage() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..150u64 {
                let batch = vec![record("a", &[number as u8; 150])];
                journal.append_blocking(batch, 0, journal.incarnation()).unwrap();
            }
            done.store(true, std::sync::atomic::Ordering::Release);
        });
        let (mut rounds, mut last) = (0, 0);
        while !done.load(std::sync::atomic::Ordering::Acquire) {
            let before = journal.head().position;
            let report = journal::verify(dir.path()).unwrap();
            assert!(report.ok, "{report:?}");
            assert!(report.head.position >= before.max(last), "{report:?}");
            last = report.head.position;
            rounds += 1;
        }
        assert!(rounds > 10, "only {rounds} rounds");
    });
}

#[test]
fn a_journal_of_many_segments_reads_from_files_it_no_longer_holds_open() {
    let disk = std::sync::Arc::new(journal::sim::SimDisk::new(1));
    let (journal, _) = Journal::open_on(disk.clone(), options()).unwrap();
    for number in 0..50u8 {
        journal.append_blocking(vec![record("a", &[number; 3_600])], 0, journal.incarnation()).unwrap();
    }
    assert!(journal.status().segments >= 50);
    let check = |journal: &Journal| {
        let records = journal.read(1, 99).unwrap();
        assert_eq!(records.len(), 50);
        assert!(records.iter().zip(0..).all(|(record, number)| record.payload == [number; 3_600]));
        assert_eq!(journal.read_stream("a", 3, 1).unwrap()[0].payload[0], 2);
    };
    check(&journal);
    journal.close();
    check(&Journal::open_on(disk, options()).unwrap().0);
}

#[test]
fn only_a_new_journal_takes_its_time_from_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let at = |clock_ms: u64| {
        let options = Options { clock: Box::new(move || clock_ms), ..options() };
        Journal::open(dir.path(), options).unwrap().0
    };
    assert_eq!(at(7_000).last_time_ms(), 7_000);
    // Ten years later by the clock, or before its beginning: the caller decides what counts.
    assert_eq!(at(315_360_000_000).last_time_ms(), 7_000);
    assert_eq!(at(0).last_time_ms(), 7_000);
}

#[test]
fn verify_says_when_there_is_no_journal() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(journal::verify(dir.path()), Err(journal::VerifyError::NoJournal { .. })));
    assert!(matches!(journal::verify(&dir.path().join("x")), Err(journal::VerifyError::NoJournal { .. })));
}

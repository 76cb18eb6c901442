//! The journal on a real directory.

use journal::{AppendError, Journal, NewRecord, Options};

fn options() -> Options {
    Options { segment_bytes: 16 * 1024, reserve_bytes: 1024, clock: Box::new(|| 1_000), ..Options::default() }
}

fn record(stream: &str, payload: &[u8]) -> NewRecord {
    NewRecord {
        stream: stream.into(),
        expected_seq: None,
        kind: "Happened".into(),
        schema: 1,
        payload: payload.to_vec(),
        principal: "engineer".into(),
        role: "operator".into(),
        cause: 0,
    }
}

#[test]
fn what_was_acknowledged_is_there_after_reopening_across_segments() {
    let dir = tempfile::tempdir().unwrap();
    let mut head = None;
    for round in 0..5u64 {
        let (journal, report) = Journal::open(dir.path(), options()).unwrap();
        assert_eq!(report.records, round * 100);
        assert_eq!(head.unwrap_or(report.head), report.head);
        assert_eq!(report.incarnation, round + 1);
        for number in 0..50u64 {
            let batch =
                vec![record(&format!("run/{}", number % 7), &[number as u8; 90]), record("audit", b"x")];
            let positions = journal.append_blocking(batch, number, journal.incarnation()).unwrap();
            let first = round * 100 + number * 2 + 1;
            assert_eq!(positions, [first, first + 1]);
        }
        head = Some(journal.head());
        let all = journal.read(1, usize::MAX).unwrap();
        assert_eq!(all.len() as u64, (round + 1) * 100);
        assert!(all.iter().zip(1..).all(|(record, position)| record.position == position));
        assert_eq!(all.last().unwrap().hash, journal.head().hash);
        let audit = journal.read_stream("audit", 11, 20).unwrap();
        assert_eq!(audit.iter().map(|r| r.stream_seq).collect::<Vec<_>>(), (11..31).collect::<Vec<_>>());
        assert!(journal.status().segments > 1 || round == 0);
        let report = journal::verify(dir.path()).unwrap();
        assert!(report.ok, "{report:?}");
        assert_eq!(report.head, journal.head());
        journal.close();
        assert_eq!(journal.append_blocking(vec![], 0, journal.incarnation()), Err(AppendError::Closed));
    }
}

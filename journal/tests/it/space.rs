//! Disk use over many small streams.

use journal::{By, Journal, Keep, Options};

use crate::{options, record};

const SEGMENT_BYTES: u64 = 1024 * 1024;
const DEAD_BYTES: u64 = 1024 * 1024;

/// Streams that are still at work at any time.
const RUNNING: u64 = 200;

#[test]
fn disk_use_stays_below_its_bound_over_a_hundred_thousand_small_streams() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { segment_bytes: SEGMENT_BYTES, dead_bytes_min: DEAD_BYTES, ..options() };
    let (journal, _) = Journal::open(dir.path(), options()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let number = |stream: &str| stream.trim_start_matches("runs/run-").parse::<u64>().unwrap();
    let by = By { principal: "retention", role: "system", time_ms: 1_000 };
    let (mut compactions, mut largest, mut dropped) = (0, 0, 0);
    for first in (0..100_000u64).step_by(500) {
        let waiting: Vec<_> = (first..first + 500)
            .map(|run| {
                let batch = (0..4).map(|_| record(&format!("runs/run-{run}"), &[run as u8; 60])).collect();
                journal.append(batch, 0, journal.incarnation())
            })
            .collect();
        for answer in waiting {
            runtime.block_on(answer).unwrap();
        }
        // Run 7 is pinned; the newest are still at work; all others may go.
        let keep = |stream: &str| {
            let run = number(stream);
            if run == 7 || run + RUNNING >= first + 500 { Keep::All } else { Keep::Drop }
        };
        if journal.weigh(keep).due {
            let done = journal.compact(keep, by).unwrap();
            assert!(done.notes.is_empty(), "{done:?}");
            compactions += 1;
            dropped += done.dropped_streams;
        }
        let weight = journal.weigh(keep);
        let bytes = journal.disk_bytes().unwrap();
        let bound = 2 * weight.live_bytes + DEAD_BYTES + 2 * SEGMENT_BYTES + 8 * dropped;
        assert!(bytes <= bound, "after run {first}: {bytes} bytes, bound {bound}, {weight:?}");
        largest = largest.max(bytes);
    }
    let written = journal.status().bytes;
    println!("{written} bytes written, at most {largest} on disk, {compactions} compactions");
    assert!(compactions > 10 && written > 10 * largest);
    let pinned = journal.read_stream("runs/run-7", 1, 9).unwrap();
    assert!(pinned.len() == 4 && pinned[0].payload == [7; 60] && pinned[0].position == 29);
    journal.close();
    assert!(journal::verify(dir.path()).unwrap().ok);
    let (journal, report) = Journal::open(dir.path(), options()).unwrap();
    assert!(report.notes.is_empty() && journal.is_retired("runs/run-8") && !journal.is_retired("runs/run-7"));
    assert_eq!(journal.read_stream("runs/run-7", 1, 9).unwrap(), pinned);
}

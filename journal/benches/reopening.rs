//! Prints how long opening takes, and replaying everything, and compacting.
//! `cargo bench -p journal --bench reopening`; `ROUNDS=5`. Nothing here is asserted.
//!
//! Two stores: 10,000 finished and 100 running streams of 25 records (252,500), and 1,000,000 records in
//! 25,000 streams, interleaved as runs interleave. The page cache is warm.

use std::path::Path;
use std::time::Instant;

use journal::{By, Journal, Keep, NewRecord, Options};

type Failure = Box<dyn std::error::Error>;

fn record(stream: String) -> NewRecord {
    NewRecord {
        stream,
        expected_seq: None,
        kind: "StageSucceeded".into(),
        schema: 1,
        payload: vec![7; 120],
        principal: "engineer".into(),
        role: "operator".into(),
        cause: 0,
    }
}

fn fill(dir: &Path, streams: u64, records: u64) -> Result<(), Failure> {
    let (journal, _) = Journal::open(dir, Options::default())?;
    let mut written = 0;
    while written < records {
        // A few records a batch, as a decision of a run makes them; hundreds of batches wait together.
        let mut waiting = Vec::new();
        for _ in 0..500 {
            let batch = (0..4).map(|_| record(format!("runs/run-{}", written / 4 % streams))).collect();
            waiting.push(journal.append(batch, 0, journal.incarnation()));
            written += 4;
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for answer in waiting {
            runtime.block_on(answer)?;
        }
    }
    journal.close();
    Ok(())
}

fn measure(dir: &Path, what: &str, rounds: u64) -> Result<(), Failure> {
    let mib = |journal: &Journal| journal.disk_bytes().map(|bytes| bytes / 1024 / 1024);
    for round in 1..=rounds {
        let begin = Instant::now();
        let (journal, report) = Journal::open(dir, Options::default())?;
        println!(
            "{what}, round {round}: open {:?} ({} records, {} MiB, {} of {} files read)",
            begin.elapsed(),
            report.records,
            mib(&journal)?,
            report.read_files,
            report.segments
        );
        journal.close();
    }
    let begin = Instant::now();
    let (journal, _) = Journal::open(dir, Options { believe_sidecars: false, ..Options::default() })?;
    println!("{what}: open and check everything {:?}", begin.elapsed());
    let (begin, mut next, mut count) = (Instant::now(), 1, 0);
    loop {
        let page = journal.read(next, 10_000)?;
        let Some(last) = page.last() else { break };
        next = last.position + 1;
        count += page.len();
    }
    println!("{what}: replay of {count} records by position {:?}", begin.elapsed());
    let begin = Instant::now();
    let streams = journal.streams("");
    let mut count = 0;
    for (stream, _) in &streams {
        count += journal.read_stream(stream, 1, usize::MAX)?.len();
    }
    println!("{what}: replay of {count} records by {} streams {:?}", streams.len(), begin.elapsed());
    let begin = Instant::now();
    let by = By { principal: "bench", role: "bench", time_ms: 0 };
    let keep = |stream: &str| if stream.ends_with('7') { Keep::All } else { Keep::Drop };
    let compaction = journal.compact(keep, by)?;
    println!(
        "{what}: compaction to a tenth {:?}, {} MiB removed, {} MiB snapshot",
        begin.elapsed(),
        compaction.removed_bytes / 1024 / 1024,
        compaction.snapshot_bytes / 1024 / 1024
    );
    journal.close();
    let begin = Instant::now();
    let (journal, report) = Journal::open(dir, Options::default())?;
    println!("{what}: open afterwards {:?} ({} records)", begin.elapsed(), report.records);
    journal.close();
    Ok(())
}

fn main() -> Result<(), Failure> {
    let rounds = std::env::var("ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5);
    let dir = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into()))?;
    for (what, streams, records) in [("10,100 runs", 10_100, 252_500), ("a million", 25_000, 1_000_000)] {
        let store = dir.path().join(what.replace([' ', ','], "-"));
        fill(&store, streams, records)?;
        measure(&store, what, rounds)?;
        std::fs::remove_dir_all(&store)?;
    }
    Ok(())
}

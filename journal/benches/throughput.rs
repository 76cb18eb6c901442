//! Prints what the journal reaches beside raw preallocated writes with fdatasync, in one run on one disk.
//! `cargo bench -p journal`; `RECORDS=1000000` for the large reopening. Nothing here is asserted.

use std::path::Path;
use std::time::{Duration, Instant};

use journal::{Disk, Journal, NewRecord, Options, RealDisk};

const SPAN: Duration = Duration::from_secs(2);

fn record(stream: String) -> NewRecord {
    NewRecord {
        stream,
        expected_seq: None,
        kind: "StageSucceeded".into(),
        schema: 1,
        payload: vec![7; 200],
        principal: "engineer".into(),
        role: "operator".into(),
        cause: 0,
    }
}

/// Durable 200-byte writes per second without any journal.
fn raw(dir: &Path) -> Result<f64, Box<dyn std::error::Error>> {
    let disk = RealDisk::create(dir)?;
    let file = disk.create("raw")?;
    file.preallocate(16 * 1024 * 1024)?;
    file.sync_data()?;
    let (begin, mut count) = (Instant::now(), 0u32);
    while begin.elapsed() < SPAN {
        file.write_at(u64::from(count) * 200 % (15 * 1024 * 1024), &[7; 200])?;
        file.sync_data()?;
        count += 1;
    }
    disk.remove("raw")?;
    Ok(f64::from(count) / begin.elapsed().as_secs_f64())
}

/// Acknowledged appends per second, and per fdatasync, with so many writers.
fn appended(dir: &Path, writers: u32) -> Result<(f64, f64), Box<dyn std::error::Error>> {
    let (journal, _) = Journal::open(&dir.join(format!("journal-{writers}")), Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begin = Instant::now();
    runtime.block_on(async {
        let writing = (0..writers).map(|writer| {
            let journal = journal.clone();
            async move {
                while begin.elapsed() < SPAN {
                    let batch = vec![record(format!("run/{writer}"))];
                    if let Err(error) = journal.append(batch, 0, journal.incarnation()).await {
                        eprintln!("append: {error}");
                        return;
                    }
                }
            }
        });
        let set = tokio::task::LocalSet::new();
        for writer in writing {
            set.spawn_local(writer);
        }
        set.await;
    });
    let (seconds, status) = (begin.elapsed().as_secs_f64(), journal.status());
    journal.close();
    Ok((status.batches as f64 / seconds, status.batches as f64 / status.fsyncs.max(1) as f64))
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let records: u64 = std::env::var("RECORDS").ok().and_then(|text| text.parse().ok()).unwrap_or(400_000);
    let dir = tempfile::tempdir()?;
    let raw = raw(dir.path())?;
    println!("raw write + fdatasync       {raw:>10.0} /s");
    for writers in [1, 64] {
        let (rate, shared) = appended(dir.path(), writers)?;
        println!(
            "journal, {writers:>2} writer(s)       {rate:>10.0} /s, {shared:>5.1} appends per fdatasync, {:.2} of raw per fdatasync",
            rate / shared / raw
        );
    }
    let large = dir.path().join("large");
    {
        let (journal, _) = Journal::open(&large, Options::default())?;
        let mut written = 0;
        while written < records {
            // Forty events a run, interleaved as runs interleave.
            let batch = (written..written + 1000)
                .map(|n| record(format!("run/{}", n % (records / 40).max(1))))
                .collect();
            journal.append_blocking(batch, 0, journal.incarnation())?;
            written += 1000;
        }
        journal.close();
    }
    let before = resident_kib();
    let begin = Instant::now();
    let (journal, report) = Journal::open(&large, Options::default())?;
    println!(
        "reopen {} records: {:?}, {} KiB more resident",
        report.records,
        begin.elapsed(),
        resident_kib().saturating_sub(before)
    );
    let begin = Instant::now();
    let (mut next, mut bytes) = (1, 0);
    loop {
        let page = journal.read(next, 10_000)?;
        let Some(last) = page.last() else { break };
        next = last.position + 1;
        bytes += page.iter().map(|record| record.payload.len()).sum::<usize>();
    }
    println!("read all of it: {:?}, {} payload bytes", begin.elapsed(), bytes);
    Ok(())
}

//! Prints what the journal reaches beside raw writes with fdatasync, in turn, in one run on one disk.
//! `cargo bench -p journal`; `ROUNDS=5` and `SECONDS=1` are the usual. Nothing here is asserted.
//!
//! Raw means: space reserved with fallocate, 200 bytes (or as many times 200 as there are writers) in one
//! write at the end of the last, fdatasync; a fresh file every 16 MiB, as the journal does.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use journal::{Disk, DiskFile, Journal, NewRecord, Options, RealDisk};

type Failure = Box<dyn std::error::Error>;

const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
const RECORD_BYTES: usize = 200;

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

fn record(stream: String) -> NewRecord {
    NewRecord {
        stream,
        expected_seq: None,
        kind: "StageSucceeded".into(),
        schema: 1,
        payload: vec![7; RECORD_BYTES],
        principal: "engineer".into(),
        role: "operator".into(),
        cause: 0,
    }
}

fn raw_file(disk: &RealDisk, name: &str) -> Result<Arc<dyn DiskFile>, Failure> {
    let file = disk.create(name)?;
    file.preallocate(SEGMENT_BYTES)?;
    file.sync_data()?;
    disk.sync_directory()?;
    Ok(file)
}

/// Durable records per second without any journal, `writers` of them in one write.
fn raw(dir: &Path, writers: usize, span: Duration) -> Result<f64, Failure> {
    let disk = RealDisk::create(dir)?;
    let bytes = vec![7; writers * RECORD_BYTES];
    let (begin, mut count, mut at, mut number) = (Instant::now(), 0u64, 0u64, 0);
    let mut file = raw_file(&disk, "raw-0")?;
    while begin.elapsed() < span {
        if at + bytes.len() as u64 > SEGMENT_BYTES {
            number += 1;
            file = raw_file(&disk, &format!("raw-{number}"))?;
            at = 0;
        }
        file.write_at(at, &bytes)?;
        file.sync_data()?;
        at += bytes.len() as u64;
        count += writers as u64;
    }
    let rate = count as f64 / begin.elapsed().as_secs_f64();
    std::fs::remove_dir_all(dir)?;
    Ok(rate)
}

/// Acknowledged records per second, and records per fdatasync, with so many writers.
fn appended(dir: &Path, writers: usize, span: Duration) -> Result<(f64, f64), Failure> {
    let (journal, _) = Journal::open(dir, Options::default())?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let begin = Instant::now();
    runtime.block_on(async {
        let set = tokio::task::LocalSet::new();
        for writer in 0..writers {
            let journal = journal.clone();
            set.spawn_local(async move {
                while begin.elapsed() < span {
                    let batch = vec![record(format!("run/{writer}"))];
                    if let Err(error) = journal.append(batch, 0, journal.incarnation()).await {
                        eprintln!("append: {error}");
                        return;
                    }
                }
            });
        }
        set.await;
    });
    let (seconds, status) = (begin.elapsed().as_secs_f64(), journal.status());
    journal.close();
    std::fs::remove_dir_all(dir)?;
    Ok((status.records as f64 / seconds, status.records as f64 / status.fsyncs.max(1) as f64))
}

fn main() -> Result<(), Failure> {
    let (rounds, span) = (setting("ROUNDS", 5), Duration::from_secs(setting("SECONDS", 1)));
    let dir = tempfile::tempdir_in(std::env::var_os("BENCH_DIR").unwrap_or_else(|| ".".into()))?;
    println!("writers  round  raw records/s  journal records/s  ratio  records per fdatasync");
    for writers in [1, 64] {
        let mut ratios = Vec::new();
        for round in 1..=rounds {
            let raw = raw(&dir.path().join("raw"), writers, span)?;
            let (rate, shared) = appended(&dir.path().join("journal"), writers, span)?;
            println!(
                "{writers:>7}  {round:>5}  {raw:>13.0}  {rate:>17.0}  {:>5.2}  {shared:>21.1}",
                rate / raw
            );
            ratios.push(rate / raw);
        }
        ratios.sort_by(f64::total_cmp);
        println!("{writers:>7}  median ratio {:.2}", ratios[ratios.len() / 2]);
    }
    Ok(())
}

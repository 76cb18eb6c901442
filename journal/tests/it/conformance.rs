//! What every journal does, whatever it stands on: the real file system, and the one in memory that other
//! rooms use in their tests.

use std::sync::Arc;

use journal::sim::SimDisk;
use journal::{
    AppendError, By, CompactError, Disk, DiskFile, Journal, Keep, OpenReport, ReadError, RealDisk,
    SNAPSHOTS_STREAM,
};

use crate::{options, record};

const BY: By<'_> = By { principal: "operator", role: "admin", time_ms: 5_000 };

/// A place where journals can be opened again and again.
trait Place {
    fn disk(&self) -> Arc<dyn Disk>;

    fn open(&self) -> (Journal, OpenReport) {
        Journal::open_on(self.disk(), options()).unwrap()
    }
}

struct Real(tempfile::TempDir);

impl Place for Real {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(RealDisk::create(self.0.path()).unwrap())
    }
}

struct Memory(SimDisk);

impl Place for Memory {
    fn disk(&self) -> Arc<dyn Disk> {
        Arc::new(self.0.clone())
    }
}

/// In memory, and every opening comes after a power loss.
struct Unplugged(std::cell::RefCell<SimDisk>);

impl Place for Unplugged {
    fn disk(&self) -> Arc<dyn Disk> {
        let next = self.0.borrow().power_loss(7);
        *self.0.borrow_mut() = next.clone();
        Arc::new(next)
    }
}

fn everywhere(check: impl Fn(&dyn Place, &str)) {
    check(&Real(tempfile::tempdir().unwrap()), "real");
    check(&Memory(SimDisk::new(1)), "memory");
    check(&Unplugged(SimDisk::new(1).into()), "unplugged");
}

fn append(journal: &Journal, stream: &str, number: u8) -> Result<Vec<u64>, AppendError> {
    journal.append_blocking(vec![record(stream, &[number; 300])], 0, journal.incarnation())
}

fn without<'a>(gone: &'a [&str]) -> impl FnMut(&str) -> Keep + 'a {
    move |stream| if gone.contains(&stream) { Keep::Drop } else { Keep::All }
}

#[test]
fn records_come_back_by_position_and_by_stream_after_every_reopening() {
    everywhere(|place, on| {
        for round in 0..4u8 {
            let (journal, report) = place.open();
            assert_eq!(report.records, u64::from(round) * 20, "{on}");
            for number in 0..20 {
                append(&journal, ["a", "b"][usize::from(number % 2)], number).unwrap();
            }
            let all = journal.read(1, usize::MAX).unwrap();
            assert!(all.iter().map(|record| record.position).eq(1..=u64::from(round + 1) * 20), "{on}");
            let stream: Vec<_> = all.iter().filter(|record| record.stream == "b").cloned().collect();
            assert_eq!(journal.read_stream("b", 1, usize::MAX).unwrap(), stream, "{on}");
            assert_eq!(journal.read(7, 3).unwrap(), all[6..9], "{on}");
            assert_eq!(journal.read_stream("b", 4, 2).unwrap(), stream[3..5], "{on}");
        }
    });
}

#[test]
fn a_batch_is_appended_whole_or_refused_whole() {
    everywhere(|place, on| {
        let (journal, _) = place.open();
        let mut second = record("b", b"x");
        second.expected_seq = Some(1);
        let answer = journal.append_blocking(vec![record("a", b"x"), second], 0, journal.incarnation());
        assert!(matches!(answer, Err(AppendError::Conflict { .. })), "{on}: {answer:?}");
        let answer = journal.append_blocking(vec![record("a", b"x")], 0, journal.incarnation() + 1);
        assert!(matches!(answer, Err(AppendError::StaleWriter { .. })), "{on}: {answer:?}");
        let large = vec![record("a", b"x"), record("a", &vec![0; 2 * 1024 * 1024])];
        let answer = journal.append_blocking(large, 0, journal.incarnation());
        assert!(matches!(answer, Err(AppendError::TooLarge { .. })), "{on}: {answer:?}");
        let answer = append(&journal, SNAPSHOTS_STREAM, 1);
        assert!(matches!(answer, Err(AppendError::ReservedStream { .. })), "{on}: {answer:?}");
        assert_eq!((journal.head().position, journal.stream_len("a")), (0, 0), "{on}");
    });
}

#[test]
fn what_a_compaction_keeps_is_as_it_was_and_what_it_drops_is_retired_for_ever() {
    everywhere(|place, on| {
        let (journal, _) = place.open();
        for number in 0..24 {
            append(&journal, ["a", "gone", "b"][usize::from(number % 3)], number).unwrap();
        }
        let kept: Vec<_> = journal
            .read(1, usize::MAX)
            .unwrap()
            .into_iter()
            .filter(|record| record.stream != "gone")
            .collect();
        let weight = journal.weigh(without(&["gone"]));
        assert_eq!((weight.live_streams, weight.dead_streams, weight.due), (2, 1, false), "{on}");
        let done = journal.compact(without(&["gone"]), BY).unwrap();
        assert_eq!((done.dropped_streams, done.dropped_records, done.kept_records), (1, 8, 16), "{on}");
        assert!(done.snapshot_bytes <= weight.live_bytes + 1_000 && done.position == 24, "{on}: {done:?}");
        let mut journal = journal;
        for round in 0..3u8 {
            let found = journal.read(1, 16).unwrap();
            assert!(found == kept, "{on}, round {round}: kept records differ");
            let answer = journal.read_stream("gone", 1, 9);
            assert!(matches!(answer, Err(ReadError::Retired { .. })), "{on}: {answer:?}");
            let answer = append(&journal, "gone", 1);
            assert!(matches!(answer, Err(AppendError::Retired { .. })), "{on}: {answer:?}");
            // From inside a gap: what comes next.
            assert_eq!(journal.read(2, 1).unwrap()[0].position, 3, "{on}");
            let next = append(&journal, "a", round).unwrap();
            assert_eq!(next, [26 + u64::from(round)], "{on}: a position was given out twice");
            assert_eq!(journal.stream_len("a"), 9 + u64::from(round), "{on}");
            journal.close();
            journal = place.open().0;
        }
        let confirmed = journal.read_stream(SNAPSHOTS_STREAM, 1, 9).unwrap();
        assert_eq!((confirmed.len(), confirmed[0].position), (1, 25), "{on}");
        assert_eq!((confirmed[0].principal.as_str(), confirmed[0].time_ms), ("operator", 5_000), "{on}");
    });
}

#[test]
fn compactions_follow_each_other_and_nothing_to_drop_is_nothing_to_do() {
    everywhere(|place, on| {
        let mut journal = place.open().0;
        for round in 0..6u8 {
            let gone = format!("gone-{round}");
            for number in 0..8 {
                append(&journal, &gone, number).unwrap();
                append(&journal, "a", number).unwrap();
            }
            assert_eq!(journal.compact(without(&[&gone]), BY).unwrap().dropped_records, 8, "{on}");
            let head = journal.head();
            assert_eq!(journal.compact(without(&[&gone, "never"]), BY).unwrap().position, 0, "{on}");
            assert_eq!(journal.head(), head, "{on}");
            if round % 2 == 0 {
                journal.close();
                journal = place.open().0;
            }
        }
        assert_eq!(journal.read_stream("a", 1, 99).unwrap().len(), 48, "{on}");
        assert!((0..6).all(|round| journal.is_retired(&format!("gone-{round}"))), "{on}");
        assert_eq!(journal.streams(""), [("a".to_owned(), 48), (SNAPSHOTS_STREAM.to_owned(), 6)], "{on}");
    });
}

#[test]
fn appending_and_reading_go_on_while_compactions_run() {
    everywhere(|place, on| {
        let (journal, _) = place.open();
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0u64;
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    append(&journal, "kept", number as u8).unwrap();
                    append(&journal, &format!("gone-{number}"), number as u8).unwrap();
                    number += 1;
                }
            });
            scope.spawn(|| {
                loop {
                    let records = journal.read_stream("kept", 1, usize::MAX).unwrap();
                    assert!(
                        records.iter().map(|record| record.stream_seq).eq(1..=records.len() as u64),
                        "{on}"
                    );
                    let all = journal.read(1, usize::MAX).unwrap();
                    assert!(all.is_sorted_by_key(|record| record.position), "{on}");
                    if stop.load(std::sync::atomic::Ordering::Relaxed) {
                        break;
                    }
                }
            });
            let _stop = crate::StopAtEnd(&stop);
            for _ in 0..12 {
                let done = journal
                    .compact(|stream| if stream.starts_with("gone") { Keep::Drop } else { Keep::All }, BY);
                assert!(done.is_ok(), "{on}: {done:?}");
            }
        });
        let kept = journal.stream_len("kept");
        journal.close();
        let (journal, _) = place.open();
        assert_eq!(journal.read_stream("kept", 1, usize::MAX).unwrap().len() as u64, kept, "{on}");
    });
}

#[test]
fn a_closed_journal_does_not_compact() {
    everywhere(|place, on| {
        let (journal, _) = place.open();
        append(&journal, "a", 1).unwrap();
        journal.close();
        let answer = journal.compact(without(&["a"]), BY);
        assert!(matches!(answer, Err(CompactError::Closed)), "{on}: {answer:?}");
    });
}

/// A disk whose syncs take long.
struct Slow(SimDisk);

struct SlowFile(Arc<dyn DiskFile>);

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        self.0.read_at(offset, into)
    }
    fn write_at(&self, offset: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_at(offset, bytes)
    }
    fn len(&self) -> std::io::Result<u64> {
        self.0.len()
    }
    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.0.set_len(len)
    }
    fn preallocate(&self, len: u64) -> std::io::Result<()> {
        self.0.preallocate(len)
    }
    fn sync_data(&self) -> std::io::Result<()> {
        std::thread::sleep(std::time::Duration::from_millis(30));
        self.0.sync_data()
    }
}

impl Disk for Slow {
    fn list(&self) -> std::io::Result<Vec<String>> {
        self.0.list()
    }
    fn open(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.open(name)?)))
    }
    fn open_read(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        self.0.open_read(name)
    }
    fn create(&self, name: &str) -> std::io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(SlowFile(self.0.create(name)?)))
    }
    fn rename(&self, from: &str, to: &str) -> std::io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> std::io::Result<()> {
        self.0.remove(name)
    }
    fn sync_directory(&self) -> std::io::Result<()> {
        self.0.sync_directory()
    }
    fn free_bytes(&self) -> std::io::Result<u64> {
        self.0.free_bytes()
    }
}

#[test]
fn on_a_slow_disk_few_syncs_serve_many_callers_and_reading_does_not_wait() {
    let wide = journal::Options { segment_bytes: 1024 * 1024, ..options() };
    let (journal, _) = Journal::open_on(Arc::new(Slow(SimDisk::new(1))), wide).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..32 {
            let journal = &journal;
            scope.spawn(move || {
                for number in 0..4 {
                    append(journal, &format!("run/{writer}"), number).unwrap();
                    // Durable records are read while the writer waits for the disk.
                    assert_eq!(
                        journal.read_stream(&format!("run/{writer}"), 1, 9).unwrap().len(),
                        usize::from(number) + 1
                    );
                }
            });
        }
    });
    let status = journal.status();
    assert_eq!(status.records, 128);
    assert!(status.fsyncs <= 32, "{} syncs for 128 appends of 32 callers", status.fsyncs);
}

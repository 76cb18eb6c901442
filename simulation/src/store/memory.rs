//! A small journal: frames with length and chain, a page cache, a disk, and a mark of the last
//! acknowledged end beside it. Same rules as the `journal` crate, a hundredth of its cost.
//!
//! Rule: written from the rules, not from that crate's code, so that each can be held against the other
//! by the same judges.

use super::{Batch, Damaged, End, Fact, Fate, Record, StoreFaults, Stream, Weather};
use crate::answers::{hash, mix};
use crate::random::Random;
use std::collections::BTreeMap;

/// Magic, length of the body, chain after the frame.
const HEADER: usize = 4 + 4 + 8;
const MAGIC: u32 = 0x5349_4d46;
/// Smallest part that a disk writes whole. Smaller than a real sector, so that small frames tear too.
const SECTOR: usize = 64;

/// Where the durable journal ends, kept beside it as the real one's head mark.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    bytes: usize,
    /// Everything behind `bytes` is doubtful: a sync failed.
    poisoned: bool,
}

#[derive(Debug, Default)]
pub struct Memory {
    cache: Vec<u8>,
    disk: Vec<u8>,
    /// Bytes of `disk` that a sync confirmed.
    synced: usize,
    mark: Mark,
    chain: u64,
    position: u64,
    time_ms: u64,
    lengths: BTreeMap<Stream, u64>,
    /// Written and not synced: what will be answered.
    pending: Vec<Fate>,
    pending_lengths: BTreeMap<Stream, u64>,
    pending_end: (u64, u64, u64),
    pub faults: StoreFaults,
    copy: Option<Vec<u8>>,
}

impl Memory {
    pub fn new(faults: StoreFaults) -> Self {
        Self { faults, ..Self::default() }
    }

    pub fn write(&mut self, batches: Vec<Batch>, full: bool) {
        self.pending_lengths.clear();
        self.pending_end = (self.chain, self.position, self.time_ms);
        for batch in batches {
            let known = self.pending_lengths.get(&batch.stream).or_else(|| self.lengths.get(&batch.stream));
            let length = known.copied().unwrap_or(0);
            let fate = if length != batch.expected {
                Fate::Conflict
            } else if full && !self.faults.swallows_a_full_disk {
                Fate::Full
            } else {
                let records = self.frame(batch, length);
                Fate::Durable(records)
            };
            self.pending.push(fate);
        }
        if full && self.faults.swallows_a_full_disk {
            self.cache.truncate(self.synced);
        }
    }

    fn frame(&mut self, batch: Batch, length: u64) -> Vec<Record> {
        let (chain_before, mut position, time_ms) = self.pending_end;
        let time_ms = time_ms.max(batch.time_ms);
        let start = self.cache.len();
        self.cache.extend_from_slice(&[0; HEADER]);
        let mut records = Vec::with_capacity(batch.facts.len());
        for (fact, sequence) in batch.facts.into_iter().zip(length + 1..) {
            position += 1;
            let bytes = journal::codec::try_encode(&fact).unwrap_or_default();
            let (tag, run, stage, fence) = stream_words(batch.stream);
            for word in [position, tag, run, stage, fence, sequence, time_ms, bytes.len() as u64] {
                self.cache.extend_from_slice(&word.to_le_bytes());
            }
            self.cache.extend_from_slice(&bytes);
            records.push(Record { position, stream: batch.stream, sequence, time_ms, fact, chain: 0 });
        }
        let body = start + HEADER;
        let chain = mix(chain_before, hash(&self.cache[body..]));
        let length_bytes = (self.cache.len() - body) as u32;
        self.cache[start..start + 4].copy_from_slice(&MAGIC.to_le_bytes());
        self.cache[start + 4..start + 8].copy_from_slice(&length_bytes.to_le_bytes());
        self.cache[start + 8..body].copy_from_slice(&chain.to_le_bytes());
        records.iter_mut().for_each(|record| record.chain = chain);
        self.pending_lengths.insert(batch.stream, length + records.len() as u64);
        self.pending_end = (chain, position, time_ms);
        records
    }

    pub fn sync(&mut self, weather: Weather, random: &mut Random) -> Vec<Fate> {
        let weather = match weather {
            Weather::Error if self.faults.believes_a_failed_sync => {
                // The pages count as clean: nobody will write them again, and nobody is told.
                self.disk_in_part(random);
                self.disk.resize(self.cache.len(), 0);
                Weather::Fine
            }
            Weather::Fine => {
                self.disk.truncate(self.synced);
                let from = self.synced.min(self.cache.len());
                self.disk.extend_from_slice(&self.cache[from..]);
                Weather::Fine
            }
            other => other,
        };
        let fates = std::mem::take(&mut self.pending);
        match weather {
            Weather::Fine => {
                self.synced = self.cache.len();
                self.mark = Mark { bytes: self.synced, poisoned: false };
                (self.chain, self.position, self.time_ms) = self.pending_end;
                self.lengths.append(&mut self.pending_lengths);
                fates
            }
            Weather::Error => {
                self.disk_in_part(random);
                self.mark.poisoned = true;
                self.undone(fates, Fate::Poisoned)
            }
            Weather::Stop => self.undone(fates, Fate::Killed),
        }
    }

    fn undone(&self, fates: Vec<Fate>, fate: Fate) -> Vec<Fate> {
        fates
            .into_iter()
            .map(|old| if matches!(old, Fate::Durable(_)) { fate.clone() } else { old })
            .collect()
    }

    /// Of what is not synced, any sectors reach the disk.
    fn disk_in_part(&mut self, random: &mut Random) {
        let end = self.cache.len();
        let style = random.below(4);
        self.disk.truncate(self.synced);
        self.disk.resize(end, 0);
        let mut at = self.synced;
        while at < end {
            let until = ((at / SECTOR + 1) * SECTOR).min(end);
            let kept = match style {
                0 => false,
                1 => true,
                _ => random.percent(60),
            };
            if kept {
                self.disk[at..until].copy_from_slice(&self.cache[at..until]);
            }
            at = until;
        }
        if style != 1 && random.percent(50) {
            let length = random.between(self.synced as u64, end as u64) as usize;
            self.disk.truncate(length);
        }
    }

    pub fn end(&mut self, end: End, random: &mut Random) {
        self.pending.clear();
        if end == End::PowerLoss {
            if self.disk.len() <= self.synced {
                self.disk_in_part(random);
            }
            self.cache.clone_from(&self.disk);
            // The mark is not synced with each commit; an older one is what a power loss may leave.
            if random.percent(30) {
                self.mark = Mark::default();
            }
        }
    }

    pub fn open(&mut self) -> Result<Vec<Record>, Damaged> {
        if self.mark.poisoned {
            self.cache.truncate(self.mark.bytes);
        }
        let (records, whole) = self.scan()?;
        if whole < self.mark.bytes {
            return Err(Damaged(format!("ends at byte {whole}, but {} were acknowledged", self.mark.bytes)));
        }
        if !self.faults.keeps_a_torn_tail {
            self.cache.truncate(whole);
        }
        self.disk.clone_from(&self.cache);
        self.synced = self.cache.len();
        self.mark = Mark { bytes: whole, poisoned: false };
        self.lengths.clear();
        (self.chain, self.position, self.time_ms) = (0, 0, 0);
        for record in &records {
            self.lengths.insert(record.stream, record.sequence);
            (self.chain, self.position, self.time_ms) = (record.chain, record.position, record.time_ms);
        }
        Ok(records)
    }

    /// All whole frames, and where they end.
    fn scan(&self) -> Result<(Vec<Record>, usize), Damaged> {
        let mut records: Vec<Record> = Vec::new();
        let mut at = 0;
        let mut chain = 0;
        while let Some(header) = self.cache.get(at..at + HEADER) {
            let word =
                |from: usize| u32::from_le_bytes(header[from..from + 4].try_into().unwrap_or_default());
            let length = word(4) as usize;
            let stated = u64::from_le_bytes(header[8..].try_into().unwrap_or_default());
            let Some(body) = self.cache.get(at + HEADER..at + HEADER + length) else { break };
            let after = mix(chain, hash(body));
            if word(0) != MAGIC || (after != stated && !self.faults.skips_checksums) {
                break;
            }
            let Some(mut found) = parse(body) else { break };
            found.iter_mut().for_each(|record| record.chain = stated);
            records.append(&mut found);
            chain = stated;
            at += HEADER + length;
        }
        Ok((records, at))
    }

    pub fn damage(&mut self, random: &mut Random) -> bool {
        // Without its mark a damaged last frame looks like one that was never finished.
        if self.mark.bytes == 0 || self.mark.poisoned {
            return false;
        }
        self.copy = Some(self.cache.clone());
        let at = random.below(self.mark.bytes as u64) as usize;
        let bit = 1 << random.below(8);
        self.cache[at] ^= bit;
        self.disk.clone_from(&self.cache);
        true
    }

    pub fn restore(&mut self) {
        if let Some(copy) = self.copy.take() {
            self.disk.clone_from(&copy);
            self.cache = copy;
        }
    }
}

const fn stream_words(stream: Stream) -> (u64, u64, u64, u64) {
    match stream {
        Stream::Run(run) => (0, run as u64, 0, 0),
        Stream::Deployments => (1, 0, 0, 0),
        Stream::Job(run, stage, fence) => (2, run as u64, stage as u64, fence),
    }
}

fn parse(body: &[u8]) -> Option<Vec<Record>> {
    let mut records = Vec::new();
    let mut at = 0;
    while at < body.len() {
        let mut words = [0u64; 8];
        for word in &mut words {
            *word = u64::from_le_bytes(body.get(at..at + 8)?.try_into().ok()?);
            at += 8;
        }
        let [position, tag, run, stage, fence, sequence, time_ms, length] = words;
        let end = at.checked_add(usize::try_from(length).ok()?)?;
        let fact: Fact = journal::codec::decode(body.get(at..end)?).ok()?;
        at = end;
        let stream = match tag {
            0 => Stream::Run(run as u32),
            1 => Stream::Deployments,
            _ => Stream::Job(run as u32, stage as u32, fence),
        };
        records.push(Record { position, stream, sequence, time_ms, fact, chain: 0 });
    }
    Some(records)
}

//! A file system in memory that loses, tears and refuses on purpose.
//!
//! It keeps two versions of everything: what a running program sees (the page cache) and what the disk
//! holds. [`SimDisk::power_loss`] gives the disk as the next start would find it: what was synced, and of
//! the rest any part, by sectors, in any order. A failed sync behaves as on ext4: the pages count as clean
//! afterwards, the cache still shows them, the disk may not hold them, and the next sync succeeds.
//!
//! Rule: everything random comes from a seed, so a failing case is a number.
//! Absent on purpose: time, directories, and sectors that are half old and half new.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Disk, DiskFile};

const SECTOR_BYTES: u64 = 512;

/// What happens at the chosen operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It fails once with an input/output error; a write has been done in part.
    Error,
    /// It fails once for want of space, if it is one that can; a write has been done in part.
    Full,
    /// It is done in part, and nothing after it is done at all: the program was killed or the power went.
    Stop,
}

/// A disk in memory. Clones share everything.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone, Default)]
struct State {
    inodes: Vec<Inode>,
    /// Names as a running program sees them.
    names: BTreeMap<String, usize>,
    /// Names on disk.
    durable_names: BTreeMap<String, usize>,
    /// Changes of names since the last sync of the directory, as the whole list after each.
    name_changes: Vec<BTreeMap<String, usize>>,
    operations: u64,
    syncs: u64,
    fault: Option<(u64, Fault)>,
    stopped: bool,
    capacity: Option<u64>,
    read_only: bool,
    random: Random,
}

#[derive(Debug, Clone, Default)]
struct Inode {
    cache: Vec<u8>,
    disk: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Debug, Clone)]
enum Pending {
    Write { offset: u64, bytes: Vec<u8> },
    Length(u64),
}

/// splitmix64 (Steele, Lea, Flood, OOPSLA 2014): small, and the same everywhere.
#[derive(Debug, Clone, Default)]
pub(crate) struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next().checked_rem(bound).unwrap_or(0)
    }
}

impl Default for SimDisk {
    fn default() -> SimDisk {
        SimDisk::new(0)
    }
}

impl SimDisk {
    /// An empty disk; `seed` decides how far failing operations get.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk::from_state(State { random: Random(seed), ..State::default() })
    }

    /// A disk that durably holds these files.
    pub fn with_files(files: BTreeMap<String, Vec<u8>>) -> SimDisk {
        let mut state = State::default();
        for (name, bytes) in files {
            state.names.insert(name, state.inodes.len());
            state.inodes.push(Inode { cache: bytes.clone(), disk: bytes, pending: Vec::new() });
        }
        state.durable_names = state.names.clone();
        SimDisk::from_state(state)
    }

    fn from_state(state: State) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All files as a running program sees them.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.lock();
        state.names.iter().map(|(name, inode)| (name.clone(), state.inodes[*inode].cache.clone())).collect()
    }

    /// Operations so far, reads included.
    pub fn operations(&self) -> u64 {
        self.lock().operations
    }

    /// Successful syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// Lets the `at`-th operation from the beginning (from 1) end in `fault`.
    pub fn plan(&self, at: u64, fault: Fault) {
        self.lock().fault = Some((at, fault));
    }

    /// Limits what all files together may hold.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Refuses everything that changes something, as a file system that is mounted read-only.
    pub fn set_read_only(&self, read_only: bool) {
        self.lock().read_only = read_only;
    }

    /// The disk after a kill of the program: the cache is kept, nothing is planned.
    pub fn after_kill(&self) -> SimDisk {
        let mut state = self.lock().clone();
        state.stopped = false;
        state.fault = None;
        SimDisk::from_state(state)
    }

    /// The disk after the power went: of what was not synced any part is there. Nothing is planned.
    pub fn power_loss(&self, seed: u64) -> SimDisk {
        let state = self.lock().clone();
        let mut random = Random(seed);
        let style = random.below(4);
        let changes = random.below(state.name_changes.len() as u64 + 1) as usize;
        let names = match changes.checked_sub(1) {
            None => state.durable_names,
            Some(last) => state.name_changes[last].clone(),
        };
        let mut inodes = state.inodes;
        for inode in &mut inodes {
            let pending = std::mem::take(&mut inode.pending);
            for change in pending {
                apply_in_part(&mut inode.disk, change, |_| match style {
                    0 => false,
                    1 => true,
                    _ => random.below(2) == 0,
                });
            }
            inode.cache = inode.disk.clone();
        }
        SimDisk::from_state(State {
            inodes,
            durable_names: names.clone(),
            names,
            capacity: state.capacity,
            random,
            ..State::default()
        })
    }
}

fn overwrite(file: &mut Vec<u8>, offset: u64, bytes: &[u8]) {
    let from = offset as usize;
    if file.len() < from + bytes.len() {
        file.resize(from + bytes.len(), 0);
    }
    file[from..from + bytes.len()].copy_from_slice(bytes);
}

/// Applies those sectors of a change that `keep` chooses.
fn apply_in_part(file: &mut Vec<u8>, change: Pending, mut keep: impl FnMut(u64) -> bool) {
    match change {
        Pending::Length(length) => {
            if keep(0) {
                file.resize(length as usize, 0);
            }
        }
        Pending::Write { offset, bytes } => {
            let end = offset + bytes.len() as u64;
            let mut at = offset;
            while at < end {
                let until = ((at / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end);
                if keep(at) {
                    overwrite(file, at, &bytes[(at - offset) as usize..(until - offset) as usize]);
                }
                at = until;
            }
        }
    }
}

impl State {
    /// Counts an operation; says what fault it meets.
    fn begin(&mut self) -> io::Result<Option<Fault>> {
        if self.stopped {
            return Err(io::Error::other("the program was stopped"));
        }
        self.operations += 1;
        Ok(self.fault.filter(|(at, _)| *at == self.operations).map(|(_, fault)| fault))
    }

    /// For an operation that is done whole or not at all.
    fn begin_whole(&mut self, can_be_full: bool) -> io::Result<()> {
        match self.begin()? {
            None => Ok(()),
            Some(Fault::Full) if !can_be_full => Ok(()),
            Some(fault) => Err(self.fail(fault)),
        }
    }

    fn refuse_changes(&self) -> io::Result<()> {
        if self.read_only { Err(io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }

    fn fail(&mut self, fault: Fault) -> io::Error {
        match fault {
            Fault::Error => io::Error::from_raw_os_error(nix::errno::Errno::EIO as i32),
            Fault::Full => io::Error::from(io::ErrorKind::StorageFull),
            Fault::Stop => {
                self.stopped = true;
                io::Error::other("the program was stopped")
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.inodes[*inode].cache.len() as u64).sum()
    }

    fn room(&self) -> u64 {
        self.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(self.used()))
    }

    fn note_names(&mut self) {
        self.name_changes.push(self.names.clone());
    }

    fn write(&mut self, inode: usize, offset: u64, bytes: &[u8]) {
        overwrite(&mut self.inodes[inode].cache, offset, bytes);
        self.inodes[inode].pending.push(Pending::Write { offset, bytes: bytes.to_vec() });
    }

    fn resize(&mut self, inode: usize, length: u64) {
        self.inodes[inode].cache.resize(length as usize, 0);
        self.inodes[inode].pending.push(Pending::Length(length));
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut state = self.lock();
        state.begin_whole(false)?;
        Ok(state.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let inode = state.names.get(name).copied();
        state.begin_whole(false)?;
        let inode = inode.ok_or(io::ErrorKind::NotFound)?;
        state.refuse_changes()?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.begin_whole(false)?;
        let inode = state.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.refuse_changes()?;
        state.begin_whole(true)?;
        let inode = match state.names.get(name) {
            Some(inode) => *inode,
            None => {
                let inode = state.inodes.len();
                state.inodes.push(Inode::default());
                state.names.insert(name.to_owned(), inode);
                state.note_names();
                inode
            }
        };
        state.resize(inode, 0);
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.refuse_changes()?;
        state.begin_whole(true)?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.note_names();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.refuse_changes()?;
        state.begin_whole(false)?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.note_names();
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.begin_whole(true)?;
        state.durable_names = state.names.clone();
        state.name_changes.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.lock().room())
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.disk.lock();
        state.begin_whole(false)?;
        let file = &state.inodes[self.inode].cache;
        let from = (offset as usize).min(file.len());
        let read = into.len().min(file.len() - from);
        into[..read].copy_from_slice(&file[from..from + read]);
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.refuse_changes()?;
        let fault = state.begin()?;
        let grows = (offset + bytes.len() as u64).saturating_sub(state.inodes[self.inode].cache.len() as u64);
        let missing = grows.saturating_sub(state.room());
        let possible = bytes.len() as u64 - missing.min(bytes.len() as u64);
        let done = match fault {
            None => possible,
            Some(_) => state.random.below(possible + 1),
        };
        state.write(self.inode, offset, &bytes[..done as usize]);
        match fault {
            Some(fault) => Err(state.fail(fault)),
            None if missing > 0 => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn len(&self) -> io::Result<u64> {
        let mut state = self.disk.lock();
        state.begin_whole(false)?;
        Ok(state.inodes[self.inode].cache.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.refuse_changes()?;
        state.begin_whole(false)?;
        state.resize(self.inode, len);
        Ok(())
    }

    fn preallocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.refuse_changes()?;
        let fault = state.begin()?;
        let old = state.inodes[self.inode].cache.len() as u64;
        let possible = old + len.saturating_sub(old).min(state.room());
        let until = match fault {
            None => possible,
            Some(_) => old + state.random.below(possible - old + 1),
        };
        if until > old {
            state.resize(self.inode, until);
        }
        match fault {
            Some(fault) => Err(state.fail(fault)),
            None if until < len => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        match state.begin()? {
            None => {
                state.syncs += 1;
                let inode = &mut state.inodes[self.inode];
                // Not a copy of the cache: what a failed sync dropped is clean and never written again.
                for change in std::mem::take(&mut inode.pending) {
                    apply_in_part(&mut inode.disk, change, |_| true);
                }
                Ok(())
            }
            // Stopped before it returned: everything is still pending, and any part of it may arrive.
            Some(Fault::Stop) => Err(state.fail(Fault::Stop)),
            Some(fault) => {
                let pending = std::mem::take(&mut state.inodes[self.inode].pending);
                let mut random = state.random.clone();
                for change in pending {
                    apply_in_part(&mut state.inodes[self.inode].disk, change, |_| random.below(2) == 0);
                }
                state.random = random;
                Err(state.fail(fault))
            }
        }
    }
}

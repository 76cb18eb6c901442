//! Durable truth: the journal, checkpoints that can be rebuilt from it, and artefacts by digest.
//!
//! The journal is the only truth and the only acknowledgement: framed, hash-chained, group-committed,
//! fdatasynced. Checkpoints (in sled) are a convenience that may vanish at any time; artefacts are files
//! named by their content, stored before the record that names them.
//!
//! Rule: acknowledged means fsynced, and damaged data is an error, never an answer.
//! Absent on purpose: what records mean, actors, locks on directories.
//!
//! Where to start: [`Journal::open`] and [`Journal::append`] (journal.rs), then frame.rs and segment.rs
//! for the bytes on disk, scan.rs for what counts as damage, writer.rs for the order of write, sync, answer.

pub mod artefacts;
mod backup;
pub mod checkpoints;
pub mod codec;
mod collect;
mod compaction;
mod digest;
pub mod disk;
mod export;
pub mod failpoints;
mod frame;
mod import;
mod index;
mod indexing;
mod journal;
mod mark;
mod mutants;
#[cfg(test)]
mod mutants_caught;
mod opening;
mod queue;
mod reading;
mod record;
mod scan;
mod segment;
mod sidecar;
pub mod sim;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod simulation_of_compaction;
mod snapshot;
mod space;
mod verify;
mod writer;

pub use artefacts::{ArtefactError, Artefacts, Upload};
pub use backup::{BackupError, BackupReport, RebuildError, RebuildReport, backup, rebuild};
pub use checkpoints::{CheckpointError, CheckpointReport, Checkpoints};
pub use collect::{COLLECT_GRACE, CollectError, Collected, Roots};
pub use compaction::{By, CompactError, Compaction, Keep, Weight};
pub use digest::{Digest, DigestError};
pub use disk::{Disk, DiskFile, ForeignOwner, RealDisk};
pub use export::{ExportError, ExportReport, export};
pub use import::{HeadError, ImportError, import};
pub use journal::{
    AppendError, Appended, Journal, OpenError, OpenReport, Options, ReadError, RecoverError, Recovery, Status,
};
pub use record::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, ChainHash, Head, NAME_BYTES_MAX, NewRecord, Position, Record,
    SNAPSHOTS_STREAM,
};
pub use scan::{Problem, Tail};
pub use space::{FreeSpace, Space, Verdict, Watermark, free_space, space};
pub use verify::{VerifyError, VerifyReport, verify, verify_against, verify_against_on, verify_on};

//! Every limit of the core, with its reason. The unit is last in the name.

/// Largest control frame. A 300-stage workflow is about 60 KiB; 16 times that is surely a mistake.
pub const CONTROL_FRAME_BYTES_MAX: u32 = 1024 * 1024;

/// Upload chunk inside a control frame; leaves room for the header and never needs two frames.
pub const UPLOAD_CHUNK_BYTES: usize = 512 * 1024;

/// Largest input file that may be uploaded. The largest instance known to us is 0.1 MiB; scenario
/// tables of 1e5 rows are about 20 MiB.
pub const INPUT_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Largest frame from a worker. Results travel as files; a frame carries names, digests and facts.
pub const WORKER_FRAME_BYTES_MAX: u32 = 256 * 1024;

/// Runs that may be unfinished at once; more are answered `busy`.
pub const RUNS_OPEN_MAX: usize = 10_000;

/// Entries a single `list` or `events` answer may hold; longer answers come in pages.
pub const PAGE_RECORDS_MAX: usize = 1_000;

/// Longest reason of a person for an approval, a pin or an emergency stop. Reasons are read by people and kept
/// for ever; longer evidence belongs into a document that the reason names.
pub const REASON_BYTES_MAX: usize = 4 * 1024;

/// Matching runs above which a batch is not done without being confirmed: as many as a person reads.
pub const BATCH_UNASKED_MAX: usize = 10;

/// Runs of one batch that are asked at the same time; far below the mailbox of the orchestrator.
pub const BATCH_AT_ONCE: usize = 64;

/// Runs that one batch may name.
pub const BATCH_NAMED_MAX: usize = 1_000;

/// Refusals that one answer to a batch spells out; the rest is counted.
pub const BATCH_REFUSALS_MAX: usize = 1_000;

//! What client and daemon say to each other, as types.
//!
//! A connection opens with [`Hello`]; then requests and answers alternate, except that `Follow` streams
//! answers until the client hangs up. Rule: every request is complete in itself and may be refused by
//! one [`ErrorReply`]. Absent: frames, sockets, TLS (they live in the program).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of the control protocol. A daemon refuses another major version with a clear error.
pub const CONTROL_PROTOCOL: u16 = 1;

/// Opens every connection, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u16,
    /// Program and version, for people.
    pub software: String,
    /// The name a client wants to act under; honoured only by a daemon whose settings trust its
    /// clients' names, refused by every other. A daemon sends none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// One request of a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verb", rename_all = "kebab-case")]
pub enum Request {
    /// Does the daemon hold an artefact with this digest already?
    Have {
        digest: String,
    },
    /// Announces the bytes that follow in binary frames; answered when all have come.
    Upload {
        digest: String,
        bytes: u64,
    },
    Submit(Submission),
    List(RunList),
    /// One act on several runs, or on all that a filter matches.
    Batch(Batch),
    /// Failed and rolled-back runs that nobody has looked at.
    Dead {
        #[serde(default)]
        filter: RunFilter,
        limit: Option<usize>,
        /// Begin before this run; see [`RunList::after`].
        after: Option<String>,
    },
    /// Somebody has looked at a dead letter and lets it rest.
    DeadDismiss {
        run: String,
        reason: String,
    },
    /// All that `top` shows.
    Overview,
    /// Schedules: what is submitted when.
    Schedule(ScheduleRequest),
    Show {
        run: String,
    },
    /// A page of events from `from` (journal position) on.
    Events {
        run: String,
        from: u64,
    },
    /// Streams events and, for people, progress, until the run ends or the client leaves.
    Follow {
        run: String,
        from: u64,
    },
    /// Answers when the run has ended, with its phase.
    Wait {
        run: String,
    },
    /// Lists the artefacts of a run.
    Result {
        run: String,
    },
    /// Streams one artefact in binary frames.
    Artifact {
        run: String,
        name: String,
    },
    Pause {
        run: String,
        /// Running stages leave a checkpoint and end, instead of being let finish.
        #[serde(default)]
        now: bool,
    },
    Resume {
        run: String,
    },
    Cancel {
        run: String,
    },
    Retry {
        run: String,
        from: Option<String>,
    },
    Tune {
        run: String,
        stage: String,
        parameter: String,
        value: serde_json::Value,
    },
    Approve {
        run: String,
        stage: String,
        reason: Option<String>,
    },
    Reject {
        run: String,
        stage: String,
        reason: Option<String>,
    },
    EmergencyStop {
        reason: String,
    },
    EmergencyClear {
        reason: Option<String>,
    },
    Resources,
    /// Nothing new begins on it; what runs ends by itself. `machine`, `slots`, a slot or a backend.
    Drain {
        resource: String,
        reason: String,
    },
    Undrain {
        resource: String,
    },
    /// Keeps a part of the capacity for a user or workflow.
    Reserve {
        name: String,
        reserving: Reserving,
    },
    Unreserve {
        name: String,
    },
    Backends,
    Tree,
    Health,
    Explain {
        run: String,
    },
    Deployments,
    Rollback {
        release: Option<String>,
    },
    /// Checks the whole journal, against a head (`POSITION:HASH`) that was kept outside if one is given.
    JournalVerify {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expect: Option<String>,
    },
    /// The newest durable record.
    JournalHead,
    /// Makes an export ready; answers its name, to be fetched.
    JournalExport,
    /// Streams a finished export in binary frames.
    JournalFetch {
        name: String,
    },
    /// Copies journal, artefacts and releases into a new directory on the daemon's machine.
    JournalBackup {
        directory: String,
    },
    /// Drops what forgotten runs have left in the journal, now.
    JournalCompact,
    /// Forgets ended runs by the rules of retention and removes what nobody names any more.
    Gc {
        dry_run: bool,
    },
    /// A page of the envelopes of all records.
    Audit {
        from: u64,
    },
    /// Keeps a run for ever.
    Pin {
        run: String,
        reason: Option<String>,
    },
    Unpin {
        run: String,
        reason: Option<String>,
    },
    /// For drills: does a fault to a child of the supervision tree, by its name or path. Off unless
    /// settings allow it.
    Inject {
        child: String,
        fault: FaultKind,
    },
    Doctor,
    /// Back to a record (its position) or to before a stage (its path).
    Reset {
        run: String,
        to: String,
    },
    /// A new run from a run's stored definition and inputs.
    Clone {
        run: String,
        params: BTreeMap<String, serde_json::Value>,
        /// What comes before this stage is taken over from the run.
        from: Option<String>,
        key: Option<String>,
        deadline: Option<String>,
    },
    /// A signal from outside.
    Signal {
        run: String,
        stage: String,
        name: String,
        data: Option<serde_json::Value>,
        key: Option<String>,
    },
    /// Asks a quantum backend what it is, and buys a job of few shots where that costs nothing or `spend`.
    BackendTest {
        name: String,
        spend: bool,
    },
    /// A backend takes no further jobs.
    BackendDrain {
        name: String,
        reason: String,
    },
    BackendResume {
        name: String,
    },
    /// Quantum jobs, of a run, in a state (or `open`).
    Jobs {
        run: Option<String>,
        state: Option<String>,
    },
}

impl Request {
    /// What a person gives as the reason of this request, if it takes one.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::EmergencyStop { reason }
            | Self::DeadDismiss { reason, .. }
            | Self::BackendDrain { reason, .. }
            | Self::Drain { reason, .. } => Some(reason),
            Self::Approve { reason, .. }
            | Self::Reject { reason, .. }
            | Self::EmergencyClear { reason }
            | Self::Pin { reason, .. }
            | Self::Unpin { reason, .. } => reason.as_deref(),
            _ => None,
        }
    }
}

/// Which runs. A run is matched if it fits all that is given; a filter that gives nothing matches every run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunFilter {
    pub workflow: Option<String>,
    pub phase: Option<String>,
    /// Who submitted it.
    pub user: Option<String>,
    /// Submitted at least so long ago, in ms.
    pub older_than_ms: Option<u64>,
}

impl RunFilter {
    /// Whether nothing was given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// By what `list` sorts; ascending, so that what is largest stands last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOrder {
    #[default]
    Submitted,
    Ended,
    Workflow,
    Phase,
    User,
}

/// A page of runs: the last `limit` of those that match, in ascending order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunList {
    pub workflow: Option<String>,
    pub phase: Option<String>,
    pub limit: Option<usize>,
    pub user: Option<String>,
    pub older_than_ms: Option<u64>,
    pub sort: RunOrder,
    /// The `next` of a page before: the page that comes before it in the order.
    pub after: Option<String>,
}

/// What a batch does to each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BatchAct {
    Pause,
    Resume,
    Cancel,
    Retry,
}

impl BatchAct {
    /// The verb.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Cancel => "cancel",
            Self::Retry => "retry",
        }
    }
}

/// One act on many runs. The daemon evaluates the filter, once, and then asks one run after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Batch {
    pub act: BatchAct,
    /// Named runs; each is tried and its refusal told. Empty: those that the filter matches.
    #[serde(default)]
    pub runs: Vec<String>,
    /// Without a phase it matches the runs alone that the act fits.
    #[serde(default)]
    pub filter: RunFilter,
    /// Only dead letters.
    #[serde(default)]
    pub dead: bool,
    /// Say what would be done to which runs, and do nothing.
    #[serde(default)]
    pub dry_run: bool,
    /// Do nothing at all if more runs match: what the caller saw before saying yes.
    #[serde(default)]
    pub matched_max: Option<usize>,
    /// Further fields of the act's own request, such as `now` of a pause and `from` of a retry.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub with: serde_json::Map<String, serde_json::Value>,
}

/// What people ask of schedules.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "act", rename_all = "kebab-case")]
pub enum ScheduleRequest {
    Add(Box<ScheduleSpec>),
    List,
    Show {
        name: String,
    },
    Pause {
        name: String,
        reason: Option<String>,
    },
    Resume {
        name: String,
    },
    Remove {
        name: String,
    },
    /// Submit now, beside the cron line.
    Run {
        name: String,
    },
    /// The next times.
    Next {
        name: String,
        count: usize,
    },
}

/// A schedule as it is asked for.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ScheduleSpec {
    pub name: String,
    pub cron: String,
    /// Name of the IANA database.
    pub timezone: String,
    pub overlap: crate::schedule::Overlap,
    pub catch_up: crate::schedule::CatchUp,
    pub jitter_ms: u64,
    pub interval_ms_min: Option<u64>,
    pub submission: Submission,
}

/// What is to be kept, for whom, from when until when.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Reserving {
    /// Exactly one of `user` and `workflow`.
    pub user: Option<String>,
    pub workflow: Option<String>,
    pub cpu_cores: u64,
    /// With its unit, as `8GiB`.
    pub memory: Option<String>,
    pub slots: u64,
    /// Places by backend.
    pub backends: BTreeMap<String, u64>,
    /// As in 2026-01-05T08:00:00Z; now, if left out.
    pub from: Option<String>,
    /// A time, or a duration after `from`.
    pub until: String,
}

/// What a drill does to a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum FaultKind {
    Panic,
    Kill,
    /// It handles nothing and gives no sign of life for so long.
    Hang {
        ms: u64,
    },
}

/// A workflow to run. The daemon checks it again; nothing the client says is trusted.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Submission {
    /// Text of the workflow file; `None` means the built-in workflow called `workflow`.
    pub yaml: Option<String>,
    /// File name for messages.
    pub file: String,
    /// Which workflow of the file (or built-in).
    pub workflow: Option<String>,
    /// Parameters set on the command line: `seed`, `risk_weight`, or `stage.param`.
    pub params: BTreeMap<String, serde_json::Value>,
    /// Uploaded inputs: input name to digest.
    pub inputs: BTreeMap<String, String>,
    /// Same key, same run: a repeated submit answers with the run it made before.
    pub key: Option<String>,
    /// Compute this run again from its stored definition, inputs, seed and last parameters, without the stages
    /// that act; everything else here but `key` is then left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<String>,
    /// Longest run, such as `2h`; wins over what the workflow says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<String>,
    /// Make this from a run instead of a text: its definition and inputs, with `params` laid over them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clone_of: Option<CloneOf>,
}

/// The run that a submission is made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CloneOf {
    pub run: String,
    /// What comes before this stage is taken over.
    pub from: Option<String>,
}

/// The daemon's no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct ErrorReply {
    /// Stable code such as `EX-0123`.
    pub code: String,
    pub message: String,
    /// Exit code of the client by the table in docs/specification.md.
    pub exit: u8,
    /// Each single problem, where there are several (file, line, column, code, message, help).
    pub problems: Vec<crate::definition::Problem>,
}

/// One answer of the daemon. JSON frames; artefact bytes follow in binary frames.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "kebab-case")]
pub enum Answer {
    /// The whole answer; its shape per verb is the contract in docs/specification.md.
    Data {
        data: serde_json::Value,
    },
    /// One of several; more follow.
    Item {
        data: serde_json::Value,
    },
    /// No more items.
    End,
    /// `bytes` of content follow in binary frames.
    Bytes {
        bytes: u64,
    },
    Error {
        error: ErrorReply,
    },
}

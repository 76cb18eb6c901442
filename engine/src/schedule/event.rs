//! What is stored of schedules, and what is asked of them.
//!
//! Rule: stored types are frozen; bincode numbers variants by place, so new ones go last. Who and when stand in
//! the record's envelope, but for what a replay needs.

use serde::{Deserialize, Serialize};

/// Schema version of [`Event`] in journal envelopes.
pub const EVENT_SCHEMA: u16 = 1;

/// What is done when a moment comes while the run before is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overlap {
    /// The moment passes without a run.
    #[default]
    Skip,
    /// It waits until the run before has ended.
    Queue,
    /// The run before is cancelled; the moment waits until that is done. Only the newest waits.
    CancelPrevious,
}

/// What is done about moments that came while nobody looked: the daemon was off, or stopped for an emergency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CatchUp {
    /// They pass.
    #[default]
    None,
    /// The newest is made up for.
    One,
    /// The newest `max` are made up for, oldest first.
    All { max: u32 },
}

/// What a schedule does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub cron: String,
    /// Name of the IANA database.
    pub timezone: String,
    pub overlap: Overlap,
    pub catch_up: CatchUp,
    /// Each run is submitted up to so much later than its moment, the same for the same moment; ms.
    pub jitter_ms: u64,
    /// Never two submissions within this time, whatever asks for them; ms.
    pub interval_ms_min: u64,
    /// Name of the workflow, for people.
    pub workflow: String,
    /// What is submitted, as JSON (`protocol::Submission`, its key left out).
    pub submission: String,
    /// On whose behalf: who added it.
    pub by: String,
    pub role: String,
}

/// Why a moment passed without a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passed {
    /// Nobody looked when it came, and it is not made up for.
    Missed,
    /// More moments are to be made up for than the schedule allows.
    BeyondCatchUp,
    /// The run before was open.
    Overlap,
    /// As many moments wait as may.
    QueueFull,
    /// A newer moment took its place.
    Replaced,
}

/// How a submission went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Submitted { run: String },
    Refused { code: String, message: String },
}

/// What became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    ScheduleAdded {
        name: String,
        spec: Spec,
        at_ms: u64,
    },
    ScheduleRemoved {
        name: String,
    },
    SchedulePaused {
        name: String,
        reason: String,
    },
    /// Moments up to `at_ms` pass.
    ScheduleResumed {
        name: String,
        at_ms: u64,
    },
    /// `count` moments up to `through_ms` pass without a run; at least so many unless `exact`.
    DuesPassed {
        name: String,
        through_ms: u64,
        count: u64,
        exact: bool,
        why: Passed,
    },
    /// It waits for the run before.
    DueQueued {
        name: String,
        due_ms: u64,
        manual: bool,
    },
    /// It waited, and passes without a run.
    DueDropped {
        name: String,
        due_ms: u64,
        manual: bool,
        why: Passed,
    },
    /// A run is submitted from here on, under this key, again and again until there is an answer.
    ScheduleFired {
        name: String,
        due_ms: u64,
        key: String,
        manual: bool,
        at_ms: u64,
    },
    FireSettled {
        name: String,
        key: String,
        outcome: Outcome,
    },
    /// Last of a stream that goes on in another one.
    TimetableClosed,
    /// First of a stream that goes on from another one; so many schedules follow.
    TimetableCarried {
        schedules: u64,
    },
    /// A schedule as it stood there.
    ScheduleCarried {
        name: String,
        carried: Box<Carried>,
    },
}

/// All that is known of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Carried {
    pub spec: Spec,
    pub paused: Option<String>,
    pub through_ms: u64,
    pub waiting: Vec<super::Waiting>,
    pub latest: Option<super::Fire>,
    pub outcomes: Vec<super::Fire>,
    pub fired: u64,
    pub passed: u64,
    pub passed_why: Option<(u64, Passed)>,
}

impl Event {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ScheduleAdded { .. } => "ScheduleAdded",
            Self::ScheduleRemoved { .. } => "ScheduleRemoved",
            Self::SchedulePaused { .. } => "SchedulePaused",
            Self::ScheduleResumed { .. } => "ScheduleResumed",
            Self::DuesPassed { .. } => "DuesPassed",
            Self::DueQueued { .. } => "DueQueued",
            Self::DueDropped { .. } => "DueDropped",
            Self::ScheduleFired { .. } => "ScheduleFired",
            Self::FireSettled { .. } => "FireSettled",
            Self::TimetableClosed => "TimetableClosed",
            Self::TimetableCarried { .. } => "TimetableCarried",
            Self::ScheduleCarried { .. } => "ScheduleCarried",
        }
    }

    /// The schedule that it is about; none has the empty name.
    pub fn schedule(&self) -> &str {
        match self {
            Self::ScheduleAdded { name, .. }
            | Self::ScheduleRemoved { name }
            | Self::SchedulePaused { name, .. }
            | Self::ScheduleResumed { name, .. }
            | Self::DuesPassed { name, .. }
            | Self::DueQueued { name, .. }
            | Self::DueDropped { name, .. }
            | Self::ScheduleFired { name, .. }
            | Self::FireSettled { name, .. }
            | Self::ScheduleCarried { name, .. } => name,
            Self::TimetableClosed | Self::TimetableCarried { .. } => "",
        }
    }
}

/// What somebody wants, or the world reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Add {
        name: String,
        spec: Box<Spec>,
    },
    Remove {
        name: String,
    },
    Pause {
        name: String,
        reason: String,
    },
    Resume {
        name: String,
    },
    /// Submit now.
    Run {
        name: String,
    },
    /// Look at the clock.
    Tick,
    /// How a submission went.
    Settled {
        name: String,
        key: String,
        outcome: Outcome,
    },
}

/// What must now be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Submit under this key; an answer is [`Input::Settled`]. May be given again, and then the key makes it one.
    Submit { name: String, key: String, submission: String, by: String, role: String },
    /// Cancel this run, if it is open.
    Cancel { run: String, by: String, role: String },
}

/// Answer of `decide`: what becomes true, and then what must be done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Decision {
    pub events: Vec<Event>,
    pub commands: Vec<Command>,
}

/// Why an input does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("a schedule may be named with 1 to 64 letters, digits, `.`, `_` and `-`, got {0:?}")]
    Name(String),
    #[error("there is a schedule {0} already; remove it first")]
    Exists(String),
    #[error("there is no schedule {0}; `executingctl schedule list` shows those there are")]
    Unknown(String),
    #[error("there are {0} schedules, which is the limit; remove one first")]
    TooMany(usize),
    #[error(transparent)]
    Line(#[from] super::line::LineError),
    #[error(
        "`{cron}` comes every {} s at its closest, and may not come more often than every {} s", gap_ms / 1_000, min_ms / 1_000
    )]
    TooOften { cron: String, gap_ms: u64, min_ms: u64 },
    #[error("expected a minimum interval of 60 s to 366 days, got {} s", .0 / 1_000)]
    Interval(u64),
    #[error("expected a jitter below {} s, so that no run is late by more than the next, got {} s", below_ms / 1_000, given_ms / 1_000)]
    Jitter { given_ms: u64, below_ms: u64 },
    #[error("expected 1 to {most} runs to catch up with, got {given}")]
    CatchUp { given: u32, most: u32 },
    #[error("the schedule {0} is paused already")]
    Paused(String),
    #[error("the schedule {0} is not paused")]
    NotPaused(String),
    #[error("{run} of the schedule {name} is still open, and the schedule skips what overlaps")]
    StillOpen { name: String, run: String },
    #[error("the schedule {name} submitted {} s ago and does so at most every {} s", ago_ms / 1_000, min_ms / 1_000)]
    TooSoon { name: String, ago_ms: u64, min_ms: u64 },
    #[error("as many runs of the schedule {0} wait as may")]
    QueueFull(String),
    #[error("nothing waits for this answer")]
    Stale,
}

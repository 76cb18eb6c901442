//! Arguments of the verbs about runs: which runs, what is submitted, what is said to one.

use super::values::{duration, json, pair};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// Which runs; what is not given matches all.
#[derive(Debug, Clone, Default, Args)]
pub struct Filter {
    #[arg(long)]
    pub workflow: Option<String>,
    /// pending, running, paused, unwinding, succeeded, rolled-back, failed or cancelled
    #[arg(long)]
    pub phase: Option<String>,
    /// Who submitted it
    #[arg(long)]
    pub user: Option<String>,
    /// Submitted at least so long ago, such as `90min`, `2h`, `7d`
    #[arg(long, value_name = "D", value_parser = duration)]
    pub older_than: Option<Duration>,
}

/// Runs by name, or by what they have in common.
#[derive(Debug, Clone, Args)]
pub struct Many {
    #[arg(value_name = "RUN", required_unless_present_any = ["all", "workflow", "phase", "user", "older_than"],
          conflicts_with_all = ["all", "workflow", "phase", "user", "older_than"])]
    pub runs: Vec<String>,
    #[command(flatten)]
    pub filter: Filter,
    /// Every run that it can be done to
    #[arg(long)]
    pub all: bool,
    /// Say to which runs it would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask, however many match
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    pub filter: Filter,
    /// So many at most, the last in the order [default: 1000]
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    #[arg(long, value_enum, default_value_t = SortBy::Submitted)]
    pub sort: SortBy,
    /// Largest first
    #[arg(long)]
    pub reverse: bool,
    /// The `next` of an answer: the runs before those
    #[arg(long, value_name = "NEXT")]
    pub after: Option<String>,
    /// Show it again every second
    #[arg(short, long)]
    pub watch: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SortBy {
    Submitted,
    Ended,
    Workflow,
    Phase,
    User,
}

#[derive(Debug, Subcommand)]
pub enum DeadVerb {
    /// Dead letters with code, stage, message, and how often they were retried; newest last
    List {
        #[command(flatten)]
        filter: Filter,
        /// So many at most [default: 200]
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        /// The `next` of an answer: the letters before those
        #[arg(long, value_name = "NEXT")]
        after: Option<String>,
    },
    /// Run again what failed in them
    Retry(Many),
    /// Somebody has looked at it and lets it rest
    Dismiss {
        run: String,
        #[arg(long)]
        reason: String,
    },
}

/// A workflow and what it is given.
#[derive(Debug, Clone, Args)]
pub struct Submission {
    /// Path of a workflow file, or name of a built-in workflow
    #[arg(value_name = "FILE|NAME")]
    pub file: PathBuf,
    /// Which workflow of the file
    #[arg(long, value_name = "NAME")]
    pub workflow: Option<String>,
    /// An input file (space, scenarios, costs, ..) or a parameter (seed, risk_weight, STAGE.PARAM, ..)
    #[arg(long = "set", value_name = "K=V", value_parser = pair)]
    pub set: Vec<(String, String)>,
}

#[derive(Debug, Args)]
pub struct Submit {
    #[command(flatten)]
    pub submission: Submission,
    /// The same key gives the same run, however often it is submitted
    #[arg(long)]
    pub key: Option<String>,
    /// Longest run, such as 90m or 2h; then it is cancelled and undone
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
    /// Wait for the end
    #[arg(long)]
    pub wait: bool,
}

#[derive(Debug, Args)]
pub struct CloneArgs {
    pub run: String,
    /// A parameter to change (seed, risk_weight, STAGE.PARAM, ..)
    #[arg(long = "set", value_name = "K=V", value_parser = pair)]
    pub set: Vec<(String, String)>,
    /// Take the results of what comes before this stage over from the run
    #[arg(long, value_name = "STAGE")]
    pub from: Option<String>,
    /// The same key gives the same run, however often it is asked for
    #[arg(long)]
    pub key: Option<String>,
    /// Longest run, such as 90m or 2h
    #[arg(long, value_name = "TIME")]
    pub deadline: Option<String>,
}

#[derive(Debug, Args)]
pub struct SignalArgs {
    pub run: String,
    pub stage: String,
    pub name: String,
    /// A JSON object that becomes facts
    #[arg(long, value_name = "JSON", value_parser = json)]
    pub data: Option<serde_json::Value>,
    /// The same key again changes nothing
    #[arg(long)]
    pub key: Option<String>,
}

#[derive(Debug, Args)]
pub struct Decision {
    pub run: String,
    pub stage: String,
    #[arg(long)]
    pub reason: Option<String>,
}

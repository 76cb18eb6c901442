//! Arguments of the verbs about schedules.

use super::runs::Submission;
use super::values::{catch_up, duration};
use clap::{Args, Subcommand, ValueEnum};
use std::time::Duration;

#[derive(Debug, Subcommand)]
pub enum ScheduleVerb {
    /// Submit a workflow whenever a cron line says so
    Add(Box<ScheduleAdd>),
    /// All schedules, and when each is next
    List,
    /// A schedule and how its newest submissions went
    Show { name: String },
    /// Submit nothing until it is resumed
    Pause {
        name: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Go on; what passed meanwhile has passed
    Resume { name: String },
    /// Submit nothing any more; its runs go on
    Remove { name: String },
    /// Submit now, beside the cron line
    Run { name: String },
    /// The next times
    Next {
        name: String,
        #[arg(short = 'n', long, default_value_t = 5)]
        count: usize,
    },
}

#[derive(Debug, Args)]
pub struct ScheduleAdd {
    pub name: String,
    #[command(flatten)]
    pub submission: Submission,
    /// Minute, hour, day of month, month, day of week, such as `0 2 * * 1-5`; or `@daily`
    #[arg(long, value_name = "LINE")]
    pub cron: String,
    /// `UTC`, or a name such as `Europe/Madrid`
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub timezone: String,
    /// When it is time and the run before is open
    #[arg(long, value_enum, default_value = "skip")]
    pub overlap: OverlapName,
    /// What is done about times that passed while the daemon was off: none, one (the newest), all, or a number
    #[arg(long, value_name = "none|one|all|N", default_value = "none", value_parser = catch_up)]
    pub catch_up: u32,
    /// Submit up to so much later, the same for the same time, such as `30s`
    #[arg(long, value_name = "D", value_parser = duration)]
    pub jitter: Option<Duration>,
    /// Never submit twice within this time [default: 1min]
    #[arg(long, value_name = "D", value_parser = duration)]
    pub interval_min: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OverlapName {
    Skip,
    Queue,
    CancelPrevious,
}

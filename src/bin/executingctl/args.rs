//! The command line, as types.
//!
//! Rule: global options stand on either side of the verb. [`Cli`] and [`Verb`] are here; what a verb or a group of
//! them takes is in the files below. Absent: what a verb does.

mod operate;
mod runs;
mod schedule;
#[cfg(test)]
mod tests;
mod values;

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

pub use operate::{AuditVerb, BackendVerb, FaultName, JournalVerb, ReserveArgs, ResourceVerb};
pub use runs::{CloneArgs, DeadVerb, Decision, Filter, List, Many, SignalArgs, SortBy, Submission, Submit};
pub use schedule::{OverlapName, ScheduleAdd, ScheduleVerb};
pub use values::Tuning;
use values::{seconds, tuning};

/// Control client of executingd: submit, watch and steer optimisation runs.
///
/// Data goes to stdout, words to stderr. Exit codes: 0 ok, 1 the run failed, 2 usage, 3 not found,
/// 4 denied, 5 conflict, 6 daemon unreachable, 7 timeout, 8 invalid input, 75 try later.
#[derive(Debug, Parser)]
#[command(name = "executingctl", version, propagate_version = true)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Clone, Args)]
pub struct Global {
    /// Control socket of the daemon [default: $EXECUTING_SOCKET, else the usual places]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// How data is written
    #[arg(short, long, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
    /// Act under another name, where the daemon allows it
    #[arg(long = "as", global = true, value_name = "NAME")]
    pub principal: Option<String>,
    /// Seconds to wait: for each answer [default: 30], and for a run's end [default: no limit]
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    pub timeout: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Table,
    Json,
    Jsonl,
    Yaml,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Start a run of a workflow file or of a built-in workflow
    Submit(Submit),
    /// Runs, newest last
    List(List),
    /// A run and its stages
    Show {
        run: String,
        /// Show it again every second
        #[arg(short, long)]
        watch: bool,
    },
    /// What the daemon does right now: runs, places, queue, backends, figures, alerts
    Top {
        /// Seconds between two looks
        #[arg(long, value_name = "S", value_parser = seconds, default_value = "1")]
        every: Duration,
        /// Look so many times, then leave [default: until `q`; once where there is no terminal]
        #[arg(long, value_name = "N")]
        count: Option<u64>,
    },
    /// What happened to a run, one JSON object per line
    Events {
        run: String,
        /// Go on until the run has ended
        #[arg(short, long)]
        follow: bool,
    },
    /// Artefacts of a run, or the bytes of one
    Result {
        run: String,
        /// Write this artefact to stdout, whatever --output says
        #[arg(long, alias = "artefact", value_name = "NAME")]
        artifact: Option<String>,
    },
    /// Follow a run with progress bars until it ends
    Watch { run: String },
    /// Let running stages finish and start no further ones; of one run, of several, or of all that match
    Pause {
        #[command(flatten)]
        many: Many,
        /// Do not wait for running stages: they leave a checkpoint and end, without losing an attempt
        #[arg(long)]
        now: bool,
    },
    /// Go on after a pause
    Resume(Many),
    /// Stop runs and undo what they did
    Cancel(Many),
    /// Run again what failed
    Retry {
        #[command(flatten)]
        many: Many,
        /// Begin with this stage
        #[arg(long, value_name = "STAGE", conflicts_with_all = ["all", "workflow", "phase", "user", "older_than"])]
        from: Option<String>,
    },
    /// Go back: undo what came after an event or a stage, then run it again
    Reset {
        run: String,
        /// Position of an event of the run, or path of a stage
        #[arg(long, value_name = "POSITION|STAGE")]
        to: String,
    },
    /// Start a new run from a run's definition and inputs
    Clone(CloneArgs),
    /// Send a run the signal that a stage of it waits for
    Signal(SignalArgs),
    /// Failed and rolled-back runs that nobody has looked at
    Dead {
        #[command(subcommand)]
        verb: Option<DeadVerb>,
    },
    /// Submit runs by the clock
    #[command(subcommand)]
    Schedule(ScheduleVerb),
    /// Change a parameter of a stage while the run goes on
    Tune {
        run: String,
        #[arg(value_name = "STAGE.PARAM=VALUE", value_parser = tuning)]
        setting: Tuning,
    },
    /// Say yes at a gate
    Approve(Decision),
    /// Say no at a gate
    Reject(Decision),
    /// Kill all work, cancel all quantum jobs, refuse new work
    EmergencyStop {
        #[arg(long)]
        reason: String,
    },
    /// Allow work again after an emergency stop
    EmergencyClear {
        #[arg(long)]
        reason: Option<String>,
    },
    /// Capacity and leases
    Resources {
        /// Show it again every second
        #[arg(short, long)]
        watch: bool,
    },
    /// Quantum backends: breakers, drains, queues, budgets
    Backends {
        /// Show it again every second
        #[arg(short, long)]
        watch: bool,
    },
    /// Test, drain or resume one quantum backend
    #[command(subcommand)]
    Backend(BackendVerb),
    /// Quantum jobs, newest last
    Jobs {
        #[arg(long)]
        run: Option<String>,
        /// reserved, submitting, submitted, queued, running, fetching, done, failed, cancelled, lost, or open
        #[arg(long)]
        state: Option<String>,
    },
    /// Take resources out of use, or keep a part of them for somebody
    #[command(subcommand)]
    Resource(ResourceVerb),
    /// The supervision tree
    Tree {
        /// Show it again every second
        #[arg(short, long)]
        watch: bool,
    },
    /// State of the daemon's components; answers 0 only if all runs are recovered
    Health,
    /// Why a run does not go on, or what an error code means
    Explain {
        #[arg(value_name = "RUN|CODE")]
        what: String,
    },
    /// Releases, and which is active
    Deployments,
    /// Return to an earlier release
    Rollback { release: Option<String> },
    /// The journal
    #[command(subcommand)]
    Journal(JournalVerb),
    /// Who did what, when: the journal's envelopes
    #[command(subcommand)]
    Audit(AuditVerb),
    /// Keep a run for ever
    Pin {
        run: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Let the rules of retention apply to a run again
    Unpin {
        run: String,
        #[arg(long)]
        reason: Option<String>,
    },
    /// Forget ended runs by the rules of retention and remove what nobody names any more
    Gc {
        /// Say what would go, and remove nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// All problems of any file that the programs read, by what it is; needs no daemon
    Validate {
        file: PathBuf,
        /// Which workflow of the file
        #[arg(long, value_name = "NAME")]
        workflow: Option<String>,
    },
    /// Does everything work that a run needs?
    Doctor,
    /// What differs between two runs: inputs, parameters, results
    Compare { first: String, second: String },
    /// Compute a run again from its stored inputs, and compare the results
    Reproduce { run: String },
    /// Drill: do a fault to a child of the supervision tree (admin, and only where settings allow it)
    #[command(hide = true)]
    Inject {
        /// Its name or its path, as `tree` shows them: `worker-1`, `workers/worker-1`
        child: String,
        #[arg(long, value_enum, default_value = "panic")]
        fault: FaultName,
        /// How long a hang lasts
        #[arg(long, value_name = "S", default_value_t = 5)]
        seconds: u64,
    },
    /// Every verb with its arguments, for programs and for docs/client.md
    Verbs,
    /// Completion script for a shell
    Completions {
        #[arg(value_enum)]
        shell: Shell,
    },
    /// The man page, or all of them into a directory
    Man {
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

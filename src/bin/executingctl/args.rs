//! The command line, as types.
//!
//! Rule: global options stand on either side of the verb. Absent: what a verb does.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

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
    /// All problems of a workflow, design space, scenario or cost file; needs no daemon
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

/// Kinds of fault.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FaultName {
    Panic,
    Kill,
    Hang,
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

#[derive(Debug, Subcommand)]
pub enum ResourceVerb {
    /// Begin nothing new on it; what runs there ends by itself
    Drain {
        /// machine, slots, a worker slot or a quantum backend
        resource: String,
        #[arg(long)]
        reason: String,
    },
    /// Use it again
    Undrain { resource: String },
    /// Keep a part of the capacity for a user or a workflow
    Reserve(ReserveArgs),
    /// Give a reservation back before its time
    Unreserve { name: String },
}

#[derive(Debug, Args)]
pub struct ReserveArgs {
    pub name: String,
    #[arg(long, conflicts_with = "workflow", required_unless_present = "workflow")]
    pub user: Option<String>,
    #[arg(long)]
    pub workflow: Option<String>,
    /// CPU cores
    #[arg(long, default_value_t = 0)]
    pub cpu: u64,
    /// Memory with its unit, such as 8GiB
    #[arg(long)]
    pub memory: Option<String>,
    /// Worker slots
    #[arg(long, default_value_t = 0)]
    pub slots: u64,
    /// Places on a backend
    #[arg(long = "backend", value_name = "NAME=PLACES", value_parser = places)]
    pub backends: Vec<(String, u64)>,
    /// As in 2026-01-05T08:00:00Z [default: now]
    #[arg(long)]
    pub from: Option<String>,
    /// A time, or a duration after --from such as 2h
    #[arg(long)]
    pub until: String,
}

#[derive(Debug, Subcommand)]
pub enum JournalVerb {
    /// Check every record, the chain and the head
    Verify {
        /// Read a state directory without a daemon
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// A head that was kept outside: shows a tail that was cut off, or an older directory put back
        #[arg(long, value_name = "POSITION:HASH")]
        expect: Option<String>,
    },
    /// The newest record; keep it outside for `verify --expect`
    Head,
    /// Write the journal into one file
    Export {
        file: PathBuf,
        /// Read a state directory without a daemon
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
    },
    /// Make a state directory from an export
    Import {
        file: PathBuf,
        /// A new or empty directory
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
        /// Only if it ends at this head
        #[arg(long, value_name = "POSITION:HASH")]
        expect: Option<String>,
    },
    /// Make everything that is not the truth anew from the journal; the daemon must be stopped
    Rebuild {
        #[arg(long, value_name = "DIR")]
        state: PathBuf,
    },
    /// Copy journal, artefacts and releases into a new directory, while the daemon works
    Backup { directory: PathBuf },
    /// Drop now what forgotten runs have left in the journal
    Compact,
}

#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// Ask it what it is, and run a job of one qubit and few shots where that costs nothing
    Test {
        name: String,
        /// Run the job although it costs money
        #[arg(long)]
        spend: bool,
    },
    /// Take no further jobs; those that are there end by themselves
    Drain {
        name: String,
        #[arg(long)]
        reason: String,
    },
    /// Take jobs again
    Resume { name: String },
}

#[derive(Debug, Subcommand)]
pub enum AuditVerb {
    /// Check every record, the chain and the head
    Verify {
        /// Read a state directory without a daemon
        #[arg(long, value_name = "DIR")]
        state: Option<PathBuf>,
        /// A head that was kept outside
        #[arg(long, value_name = "POSITION:HASH")]
        expect: Option<String>,
    },
    /// Write one JSON object per record into a file
    Export { file: PathBuf },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// One parameter of one stage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    pub stage: String,
    pub parameter: String,
    pub value: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.into(), value.into())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

fn places(text: &str) -> Result<(String, u64), String> {
    let (name, places) = pair(text).map_err(|_| "expected NAME=PLACES".to_string())?;
    let places = places.parse().map_err(|_| format!("`{places}` is no number of places"))?;
    Ok((name, places))
}

fn tuning(text: &str) -> Result<Tuning, String> {
    let (target, value) = pair(text).map_err(|_| "expected STAGE.PARAM=VALUE".to_string())?;
    match target.rsplit_once('.') {
        Some((stage, parameter)) if !stage.is_empty() && !parameter.is_empty() => {
            Ok(Tuning { stage: stage.into(), parameter: parameter.into(), value })
        }
        _ => Err(format!("`{target}` names no parameter of a stage; expected STAGE.PARAM=VALUE")),
    }
}

fn json(text: &str) -> Result<serde_json::Value, String> {
    serde_json::from_str(text).map_err(|error| format!("expected JSON: {error}"))
}

fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; expected such as 90min, 2h, 7d"))
}

/// How many runs are made up for: `none` is 0, `all` is as many as a schedule may.
fn catch_up(text: &str) -> Result<u32, String> {
    match text {
        "none" => Ok(0),
        "one" => Ok(1),
        "all" => Ok(engine::schedule::CATCH_UP_MAX),
        number => number.parse().map_err(|_| "expected none, one, all or a number".to_owned()),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "expected a number of seconds".to_string())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(limit) if !limit.is_zero() => Ok(limit),
        _ => Err("expected more than 0 seconds".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split_whitespace())
    }

    #[test]
    fn the_definition_of_the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_options_stand_on_either_side_of_the_verb() {
        for line in [
            "executingctl --socket /s -o json --as ada --timeout 2.5 list --limit 3",
            "executingctl list --limit 3 --socket /s -o json --as ada --timeout 2.5",
            "executingctl --socket /s --as ada list -o json --limit 3 --timeout 2.5",
            "executingctl -o json journal verify --socket /s --timeout 2.5 --as ada",
        ] {
            let cli = parse(line).unwrap();
            assert_eq!(cli.global.socket.as_deref(), Some(std::path::Path::new("/s")), "{line}");
            assert_eq!(cli.global.output, Format::Json, "{line}");
            assert_eq!(cli.global.principal.as_deref(), Some("ada"), "{line}");
            assert_eq!(cli.global.timeout, Some(Duration::from_millis(2500)), "{line}");
        }
    }

    #[test]
    fn a_value_may_hold_further_equals_signs_and_a_name_may_not_be_empty() {
        let Verb::Submit(submit) = parse("executingctl submit w --set a.b=c=d --set seed=7").unwrap().verb
        else {
            panic!("another verb")
        };
        assert_eq!(submit.submission.set, [("a.b".into(), "c=d".into()), ("seed".into(), "7".into())]);
        assert!(parse("executingctl submit w --set =1").is_err());
        assert!(parse("executingctl submit w --set seed").is_err());
    }

    #[test]
    fn runs_are_named_or_matched_and_never_neither_or_both() {
        for verb in ["pause", "resume", "cancel", "retry", "dead retry"] {
            for right in
                ["run-1", "run-1 run-2", "--all", "--phase failed --user ada", "--older-than 7d --yes"]
            {
                assert!(parse(&format!("executingctl {verb} {right}")).is_ok(), "{verb} {right}");
            }
            for wrong in
                ["", "--yes", "--dry-run", "run-1 --all", "run-1 --phase failed", "--older-than soon"]
            {
                assert!(parse(&format!("executingctl {verb} {wrong}")).is_err(), "{verb} {wrong}");
            }
        }
        assert!(parse("executingctl retry run-1 --from a/b").is_ok());
        assert!(parse("executingctl retry --all --from a/b").is_err());
    }

    #[test]
    fn a_tuning_names_stage_and_parameter() {
        let expected = Tuning {
            stage: "risk/qaoa-optimization".into(),
            parameter: "layers".into(),
            value: "4.5".into(),
        };
        assert_eq!(tuning("risk/qaoa-optimization.layers=4.5"), Ok(expected));
        assert!(tuning("layers=4").is_err());
        assert!(tuning("stage.=4").is_err());
    }

    #[test]
    fn a_time_limit_is_positive() {
        assert!(parse("executingctl --timeout 0 list").is_err());
        assert!(parse("executingctl --timeout -1 list").is_err());
        assert!(parse("executingctl --timeout nan list").is_err());
    }
}

//! Arguments of the operator's verbs: resources, backends, the journal, faults on purpose.

use super::values::places;
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Kinds of fault.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum FaultName {
    Panic,
    Kill,
    Hang,
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

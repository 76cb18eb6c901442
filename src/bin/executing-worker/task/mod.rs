//! One task of the daemon, from the frame on stdin to the last frame on stdout.
//!
//! Rule: after `Hello` exactly one `Result` or `Error` ends the conversation, whatever the work does
//! short of killing the process; a panic becomes an error. stdout carries frames and nothing else.
//! Absent: what a stage kind does, one file each; [`perform`] is the list of them. Start at [`run`].

mod constraint_validation;
mod cvar_calculation;
mod drills;
mod fail;
mod feasible;
mod feasible_set_generation;
mod initialization;
mod inputs;
mod json;
mod milp_solving;
mod money;
mod params;
mod pipe;
mod qaoa_optimization;
mod result_analysis;
mod result_integration;
mod result_validation;
mod subject;
mod validation;
mod work;

pub use fail::infeasible_words;

use engine::definition::StageKind;
use engine::run::StageError;
use engine::worker::{FromWorker, TaskRequest, WORKER_PROTOCOL};
use json::Facts;
use pipe::Pipe;
use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use supervisors::process::child;
use work::Work;

/// Exit code where the process cannot be made a safe child.
const EXIT_UNSAFE: u8 = 71;
/// Exit code for a pipe that ends or carries garbage instead of a task.
const EXIT_NO_TASK: u8 = 65;

/// The verb `task`: ends with exit code 0 once the one result or error was sent.
pub fn run(parent: u32) -> ExitCode {
    if let Err(error) = child::die_with_parent(parent).and_then(|()| child::limit_cores()) {
        eprintln!("executing-worker: this process cannot be made a safe child: {error}");
        return ExitCode::from(EXIT_UNSAFE);
    }
    let (pipe, tasks) = match Pipe::open() {
        Ok(opened) => opened,
        Err(error) => {
            eprintln!("executing-worker: the output pipe cannot be set up: {error}");
            return ExitCode::from(EXIT_UNSAFE);
        }
    };
    // Before the wait: what is loaded now need not be loaded when the task comes.
    let hello = FromWorker::Hello {
        protocol: WORKER_PROTOCOL,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        highs: solvers::milp::highs_version(),
    };
    call_yourself(WAITING);
    let Ok(request) = tasks.recv() else {
        eprintln!("executing-worker: no task came on the input pipe");
        return ExitCode::from(EXIT_NO_TASK);
    };
    call_yourself(WORKING);
    pipe.send(&hello);
    let outcome = attempt(&request, &pipe);
    pipe.end(match outcome {
        Ok((outputs, facts)) => FromWorker::Result { outputs, facts },
        Err(error) => FromWorker::Error(error),
    });
    ExitCode::SUCCESS
}

/// Name of a process that waits for its task, for `ps`; the system keeps 15 bytes.
const WAITING: &CStr = c"executing-spare";
/// Its name as the program's own, as far as the system keeps it.
const WORKING: &CStr = c"executing-worke";

fn call_yourself(name: &CStr) {
    if let Err(error) = nix::sys::prctl::set_name(name) {
        eprintln!("executing-worker: the process cannot be named: {error}");
    }
}

type Outcome = Result<(Vec<engine::worker::TaskFile>, String), StageError>;

fn attempt(request: &TaskRequest, pipe: &Arc<Pipe>) -> Outcome {
    if request.protocol != WORKER_PROTOCOL {
        return Err(fail::permanent(
            "EX-0503",
            format!(
                "the task is of protocol {}, this worker speaks {WORKER_PROTOCOL}: install programs of one version",
                request.protocol
            ),
        ));
    }
    if request.memory_bytes_max > 0 {
        child::limit_memory(request.memory_bytes_max)
            .map_err(|error| fail::transient("EX-0501", format!("the memory limit was refused: {error}")))?;
    }
    std::env::set_current_dir(&request.output_dir).map_err(|error| {
        fail::transient("EX-0501", format!("{} cannot be entered: {error}", request.output_dir))
    })?;
    pipe.start_heartbeat(request.heartbeat_ms);
    let ran = catch_unwind(AssertUnwindSafe(|| {
        let mut work = Work::new(request.clone(), Arc::clone(pipe))?;
        drills::before(&work)?;
        let facts = perform(&mut work)?;
        drills::after(&work)?;
        Ok((work.into_outputs(), json::compact(&facts.into())))
    }));
    ran.unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "no text".to_owned());
        Err(fail::transient("EX-0501", format!("the worker panicked: {text}")))
    })
}

/// One file per stage kind.
fn perform(work: &mut Work) -> Result<Facts, StageError> {
    match work.request.kind {
        StageKind::Initialization => initialization::run(work),
        StageKind::ConstraintValidation => constraint_validation::run(work),
        StageKind::MilpSolving => milp_solving::run(work),
        StageKind::FeasibleSetGeneration => feasible_set_generation::run(work),
        StageKind::ResultValidation => result_validation::run(work),
        StageKind::QaoaOptimization => qaoa_optimization::run(work),
        StageKind::CvarCalculation => cvar_calculation::run(work),
        StageKind::ResultAnalysis => result_analysis::run(work),
        StageKind::ResultIntegration => result_integration::run(work),
        StageKind::Validation => validation::run(work),
        StageKind::QuantumBackendSetup
        | StageKind::Deployment
        | StageKind::ReleaseAssessment
        | StageKind::ReleaseRollback
        | StageKind::Exec
        | StageKind::Approval
        | StageKind::Check
        | StageKind::Signal => Err(fail::permanent(
            "EX-0503",
            format!("the kind {} is the daemon's own work, not a worker's", work.request.kind.name()),
        )),
    }
}

//! What a stage kind works with: its request, inputs, outputs, progress, checkpoints, cancellation.

use super::inputs::{self, Inputs};
use super::params::Params;
use super::pipe::Pipe;
use super::{fail, json};
use engine::definition::StageKind;
use engine::definition::parameters::{SHOTS, THREADS};
use engine::run::StageError;
use engine::worker::{FromWorker, TaskFile, TaskRequest};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Progress is told at most this often; each telling wakes the daemon.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Checkpoints may take this share of the time at most: the next one waits for so many times what the
/// last one took.
const CHECKPOINT_SHARE: u32 = 20;

#[derive(Debug)]
pub struct Work {
    pub request: TaskRequest,
    pub params: Params,
    pub inputs: Inputs,
    pipe: Arc<Pipe>,
    outputs: Vec<TaskFile>,
    checkpoints: u32,
    checkpoint_due: Instant,
    checkpoint_every: Duration,
    progress_due: Instant,
}

/// The parameter by which the daemon names a part of a stage on machines. What the parts before it have made
/// belongs to the values of its beginning, so such a part takes none.
const PART: &str = "quantum_step";

/// A whole number as a tuned value has it.
fn whole(value: &str) -> Option<u64> {
    value.trim_matches('"').parse().ok()
}

/// What work of this kind takes up.
fn takes(kind: &StageKind, params: &Params) -> Vec<&'static str> {
    let mut all = vec!["checkpoint_ms"];
    match kind {
        StageKind::MilpSolving => all.push("solve_seconds_max"),
        StageKind::FeasibleSetGeneration => all.push(THREADS),
        StageKind::CvarCalculation => all.push("risk_weight"),
        StageKind::QaoaOptimization if is_whole(params) => all.extend(["risk_weight", "iterations", SHOTS]),
        _ => {}
    }
    all
}

/// Whether the work is the whole stage: without a part, or all of it on the simulator.
fn is_whole(params: &Params) -> bool {
    params.get(PART).is_none_or(|part| part["step"] == "simulate")
}

impl Work {
    /// # Errors
    /// EX-0511 if the parameters are no object.
    pub fn new(request: TaskRequest, pipe: Arc<Pipe>) -> Result<Self, StageError> {
        let params = Params::read(&request.params)?;
        pipe.take_only(&takes(&request.kind, &params));
        if matches!(request.kind, StageKind::FeasibleSetGeneration | StageKind::QaoaOptimization) {
            pipe.expect_checkpoints();
        }
        // Milliseconds between checkpoints; 0 makes one at every chance.
        let every = Duration::from_millis(params.whole("checkpoint_ms", 500, 0, 3_600_000)?);
        let now = Instant::now();
        Ok(Self {
            inputs: Inputs::new(request.inputs.clone()),
            params,
            pipe,
            outputs: Vec::new(),
            checkpoints: 0,
            checkpoint_due: now + every,
            checkpoint_every: every,
            progress_due: now,
            request,
        })
    }

    pub fn pipe(&self) -> &Pipe {
        &self.pipe
    }

    /// The pipe for threads of the work.
    pub fn shared_pipe(&self) -> Arc<Pipe> {
        Arc::clone(&self.pipe)
    }

    pub fn is_cancelled(&self) -> bool {
        self.pipe.is_cancelled()
    }

    /// A safe point.
    ///
    /// # Errors
    /// EX-0590 if the daemon asked to stop.
    pub fn check(&self) -> Result<(), StageError> {
        if self.is_cancelled() { Err(fail::cancelled()) } else { Ok(()) }
    }

    /// Tells how far the work is, `done` in 0..=1; tellings that come too soon are left out.
    pub fn progress(&mut self, done: f64, message: impl FnOnce() -> String) {
        let now = Instant::now();
        if now >= self.progress_due {
            self.progress_due = now + PROGRESS_EVERY;
            self.pipe.send(&FromWorker::Progress { done: done.clamp(0.0, 1.0), message: message() });
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(&self.request.output_dir).join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<TaskFile, StageError> {
        let path = self.path(name);
        std::fs::write(&path, bytes).map_err(|error| {
            // The daemon waits for room on this code instead of charging the attempt.
            let full = error.kind() == std::io::ErrorKind::StorageFull;
            let code = if full { "EX-0013" } else { "EX-0501" };
            fail::transient(code, format!("{name} cannot be written: {error}"))
        })?;
        Ok(TaskFile {
            name: name.to_owned(),
            digest: inputs::digest(bytes),
            path: path.to_string_lossy().into_owned(),
            bytes: bytes.len() as u64,
        })
    }

    /// Writes an output of the stage and gives its digest.
    pub fn write(&mut self, name: &str, bytes: &[u8]) -> Result<String, StageError> {
        let file = self.put(name, bytes)?;
        let digest = file.digest.clone();
        self.outputs.push(file);
        Ok(digest)
    }

    pub fn write_json(&mut self, name: &str, value: &Value) -> Result<String, StageError> {
        self.write(name, &json::pretty(value))
    }

    /// Whether it is time for a checkpoint; before a stop it always is.
    pub fn wants_checkpoint(&mut self) -> bool {
        if let Some(every) = self.pipe.take_tuned("checkpoint_ms").as_deref().and_then(whole) {
            self.checkpoint_every = Duration::from_millis(every);
            self.checkpoint_due = self.checkpoint_due.min(Instant::now() + self.checkpoint_every);
        }
        self.is_cancelled() || Instant::now() >= self.checkpoint_due
    }

    /// Hands a checkpoint to the daemon. Every one is a file of its own: the daemon may still be reading
    /// the one before.
    pub fn checkpoint(&mut self, bytes: &[u8]) -> Result<(), StageError> {
        let started = Instant::now();
        self.checkpoints += 1;
        let file = self.put(&format!("checkpoint-{}.bin", self.checkpoints), bytes)?;
        self.pipe.send(&FromWorker::Checkpoint(file));
        let pause = self.checkpoint_every.max(started.elapsed() * CHECKPOINT_SHARE);
        let pause = if self.checkpoint_every.is_zero() { Duration::ZERO } else { pause };
        self.checkpoint_due = Instant::now() + pause;
        Ok(())
    }

    /// The checkpoint of an earlier attempt, if there is one that is whole. A damaged one is no reason to
    /// fail: the work begins anew.
    pub fn resume_bytes(&self) -> Option<Vec<u8>> {
        let file = self.request.resume_from.as_ref()?;
        match inputs::read_file(file) {
            Ok(bytes) => Some(bytes),
            Err(error) => {
                eprintln!("executing-worker: the checkpoint is not used: {}", error.message);
                None
            }
        }
    }

    /// The stage's cores.
    pub fn threads(&self) -> usize {
        (self.request.threads.max(1) as usize).min(solvers::enumeration::THREADS_MAX)
    }

    /// Threads that the parameter `threads` leaves of the stage's cores, as tuned last.
    ///
    /// # Errors
    /// EX-0511 if it is no number of threads.
    pub fn search_threads(&mut self) -> Result<usize, StageError> {
        let (cores, most) = (self.threads(), solvers::enumeration::THREADS_MAX as u64);
        if self.request.kind != StageKind::FeasibleSetGeneration {
            return Ok(cores);
        }
        self.take(THREADS);
        let threads = self.params.whole(THREADS, cores as u64, 1, most)?;
        Ok(usize::try_from(threads).map_or(cores, |threads| threads.min(cores)))
    }

    /// Takes a new value of a parameter in place of the one that the work began with.
    pub fn take(&mut self, parameter: &str) -> bool {
        let taken = self.pipe.take_tuned(parameter);
        if let Some(value) = &taken {
            self.params.set(parameter, value);
        }
        taken.is_some()
    }

    /// As [`Self::take`], for the last time.
    pub fn take_last(&mut self, parameter: &'static str) -> bool {
        let taken = self.pipe.take_last(parameter);
        if let Some(value) = &taken {
            self.params.set(parameter, value);
        }
        taken.is_some()
    }

    pub fn into_outputs(self) -> Vec<TaskFile> {
        self.outputs
    }
}

//! Qiskit Aer in a process of its own, spoken to over a Unix socket: one line of JSON each way.
//!
//! The jobs live as long as that process. A job that it does not know any more has ended without a result,
//! and is said to have failed, so that another may be bought; it cost nothing. Circuits in OpenQASM 3 only.
//! Start at [`Aer`]; the service itself is `services/aer/aer_service.py`.

mod process;
mod provision;

pub use process::Service;
pub use provision::{AER, List, ProvisionError, REQUIREMENTS, provide};

use super::{
    Asked, Backend, BackendError, Calibration, Cancelled, Capability, Estimate, JobId, JobKey, JobResult,
    JobSpec, JobWork, Poll, Price, Queue, Target, aside, unfit,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for an answer: parsing a large program takes seconds.
const REPLY_WAIT: Duration = Duration::from_secs(30);
/// Counts of 2^20 outcomes are about 20 MB of JSON.
const REPLY_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// When to ask again while the service is being started or installed.
const STARTING_MS: u64 = 2_000;

/// Noise of the simulation. Probabilities in 0..=1.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct Noise {
    /// Depolarising probability per gate on one and on two qubits, and of a wrong bit at readout.
    #[serde(default)]
    pub one_qubit: f64,
    #[serde(default)]
    pub two_qubit: f64,
    #[serde(default)]
    pub readout: f64,
    /// Qiskit's generic fake device instead, with its own noise and connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<Device>,
}

/// A generic fake device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    pub qubits: u32,
    #[serde(default)]
    pub seed: u64,
}

/// How the service is made and what it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    pub name: String,
    /// Interpreter from which the environment is made.
    pub python: PathBuf,
    /// Where environments are kept, shared by whoever names the same directory.
    pub cache: PathBuf,
    /// Directory of the socket; its path must be short (100 bytes).
    pub run_dir: PathBuf,
    /// Longest time for making the environment.
    pub provision_seconds: u64,
    pub qubits_max: u32,
    pub shots_max: u32,
    /// Threads of the simulation; 0 leaves it to Aer.
    pub threads: u32,
    pub noise: Option<Noise>,
}

/// Why the service does not run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServiceError {
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    #[error("EX-0484: the service did not start: {why}")]
    NotStarted { why: String },
    #[error("the service is being started")]
    Starting,
}

/// The backend.
#[derive(Debug, Clone)]
pub struct Aer {
    service: Arc<Service>,
}

impl Aer {
    pub fn new(options: Options) -> Self {
        Self { service: Arc::new(Service::new(options)) }
    }

    /// The process behind it.
    pub fn service(&self) -> &Service {
        &self.service
    }

    fn ask<T: Send + 'static>(
        &self,
        request: Value,
        changes: bool,
        read: impl FnOnce(&str, Result<Value, Value>) -> Result<T, BackendError> + Send + 'static,
    ) -> Asked<'static, T> {
        let service = Arc::clone(&self.service);
        let name = service.options().name.clone();
        aside::ask(&name.clone(), move || read(&name, converse(&service, &request, changes)?))
    }
}

/// One request and its answer: `Ok` or the service's own error.
fn converse(service: &Service, request: &Value, changes: bool) -> Result<Result<Value, Value>, BackendError> {
    let backend = service.options().name.clone();
    let nothing =
        |message: String, after_ms| BackendError::Transient { backend: backend.clone(), message, after_ms };
    let socket = service.socket().map_err(|error| match error {
        // Repeating does help once somebody has installed it, and the breaker spares everybody the wait.
        ServiceError::Starting => nothing(error.to_string(), Some(STARTING_MS)),
        _ => nothing(error.to_string(), None),
    })?;
    let mut stream = UnixStream::connect(&socket).map_err(|error| nothing(error.to_string(), None))?;
    let timeouts = stream.set_read_timeout(Some(REPLY_WAIT)).and(stream.set_write_timeout(Some(REPLY_WAIT)));
    timeouts.map_err(|error| nothing(error.to_string(), None))?;
    let unclear = |message: String| {
        let backend = service.options().name.clone();
        if changes {
            BackendError::Ambiguous { backend, message }
        } else {
            BackendError::Transient { backend, message, after_ms: None }
        }
    };
    let mut line = serde_json::to_vec(request).map_err(|error| nothing(error.to_string(), None))?;
    line.push(b'\n');
    stream.write_all(&line).map_err(|error| unclear(error.to_string()))?;
    let mut answer = String::new();
    let read = BufReader::new(stream.take(REPLY_BYTES_MAX)).read_line(&mut answer);
    read.map_err(|error| unclear(error.to_string()))?;
    if !answer.ends_with('\n') {
        return Err(unclear("the service ended in the middle of its answer".to_owned()));
    }
    let mut value: Value = serde_json::from_str(&answer).map_err(|error| unclear(error.to_string()))?;
    match (value["ok"].take(), value["error"].take()) {
        (Value::Null, error @ Value::Object(_)) => Ok(Err(error)),
        (ok, _) => Ok(Ok(ok)),
    }
}

fn is_gone(error: &Value) -> bool {
    error["class"] == "gone"
}

fn sorted(backend: &str, error: &Value) -> BackendError {
    let backend = backend.to_owned();
    let message = error["message"].as_str().unwrap_or("the service gave no reason").to_owned();
    match error["class"].as_str() {
        Some("transient") => BackendError::Transient { backend, message, after_ms: None },
        _ => BackendError::Permanent { backend, message },
    }
}

fn garbled(backend: &str, answer: &Value) -> BackendError {
    let message = format!("an answer that is not understood: {:.200}", answer.to_string());
    BackendError::Transient { backend: backend.to_owned(), message, after_ms: None }
}

impl Backend for Aer {
    fn name(&self) -> &str {
        &self.service.options().name
    }

    fn describe(&self) -> Asked<'_, Target> {
        self.ask(json!({ "verb": "describe" }), false, |name, answer| {
            let answer = answer.map_err(|error| sorted(name, &error))?;
            let number = |key: &str| answer[key].as_u64().ok_or_else(|| garbled(name, &answer));
            let small = |key: &str| number(key).map(|n| u32::try_from(n).unwrap_or(u32::MAX));
            let gates = answer["gates"].as_array().cloned().unwrap_or_default();
            let calibration =
                answer["calibration"].as_str().map(|id| Calibration { id: id.to_owned(), time_ms: 0 });
            Ok(Target {
                name: name.to_owned(),
                simulated: true,
                qubits_max: small("qubits_max")?,
                designs_max: 0,
                shots_max: small("shots_max")?,
                gates: gates.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                capability: Capability {
                    idempotent_submit: true,
                    find: true,
                    cancel: true,
                    openqasm3: true,
                    feasible_set: false,
                },
                price: Price::default(),
                calibration,
                queue: Queue { jobs: Some(number("jobs")?), wait_ms: None },
            })
        })
    }

    fn estimate<'a>(&'a self, job: &'a JobSpec) -> Asked<'a, Estimate> {
        Box::pin(async move {
            let target = self.describe().await?;
            if let Some(message) = unfit(&target, job) {
                return Err(BackendError::Permanent { backend: target.name, message });
            }
            Ok(Estimate { shots: u64::from(job.shots), ..Estimate::default() })
        })
    }

    fn submit<'a>(&'a self, job: &'a JobSpec, key: &'a JobKey) -> Asked<'a, JobId> {
        let JobWork::OpenQasm3 { program, inputs, .. } = &job.work else {
            let backend = self.name().to_owned();
            let message = "it takes circuits only, not QAOA over a listed set of designs".to_owned();
            return Box::pin(async { Err(BackendError::Permanent { backend, message }) });
        };
        let work = json!({ "program": program, "inputs": inputs, "shots": job.shots, "seed": job.seed });
        self.ask(json!({ "verb": "submit", "key": key.0, "job": work }), true, |name, answer| {
            let answer = answer.map_err(|error| sorted(name, &error))?;
            answer["id"].as_str().map(|id| JobId(id.to_owned())).ok_or_else(|| garbled(name, &answer))
        })
    }

    fn find<'a>(&'a self, key: &'a JobKey) -> Asked<'a, Option<JobId>> {
        self.ask(json!({ "verb": "find", "key": key.0 }), false, |name, answer| {
            let answer = answer.map_err(|error| sorted(name, &error))?;
            Ok(answer["id"].as_str().map(|id| JobId(id.to_owned())))
        })
    }

    fn poll<'a>(&'a self, job: &'a JobId) -> Asked<'a, Poll> {
        self.ask(json!({ "verb": "poll", "id": job.0 }), false, |name, answer| match answer {
            Err(error) if is_gone(&error) => Ok(Poll::Failed {
                message: "the service was restarted and the job is gone with it".to_owned(),
            }),
            Err(error) => Err(sorted(name, &error)),
            Ok(answer) => Ok(match answer["state"].as_str() {
                Some("queued") => Poll::Queued { position: answer["position"].as_u64(), wait_ms: None },
                Some("running") => Poll::Running,
                Some("succeeded") => Poll::Succeeded,
                Some("cancelled") => Poll::Cancelled,
                Some("failed") => {
                    Poll::Failed { message: answer["message"].as_str().unwrap_or_default().to_owned() }
                }
                word => Poll::Unknown { word: word.unwrap_or_default().to_owned() },
            }),
        })
    }

    fn result<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobResult> {
        self.ask(json!({ "verb": "result", "id": job.0 }), false, |name, answer| {
            let answer = answer.map_err(|error| sorted(name, &error))?;
            serde_json::from_value(answer.clone()).map_err(|_| garbled(name, &answer))
        })
    }

    fn cancel<'a>(&'a self, job: &'a JobId) -> Asked<'a, Cancelled> {
        self.ask(json!({ "verb": "cancel", "id": job.0 }), true, |name, answer| match answer {
            // A job that went with its process does not run any more.
            Err(error) if is_gone(&error) => Ok(Cancelled::Yes),
            Err(error) => Err(sorted(name, &error)),
            Ok(answer) if answer["cancelled"] == true => Ok(Cancelled::Yes),
            Ok(_) => Ok(Cancelled::AlreadyEnded),
        })
    }
}

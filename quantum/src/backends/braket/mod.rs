//! Amazon Braket over its REST interface.
//!
//! A job's key becomes the `clientToken` of its task, which makes a repeated submission give the same task, and
//! a tag, by which it is found without submitting. Results are read from the bucket that the settings name.
//! Written after the vendor's service model 2019-09-01; tested against a server made from that model, never
//! against the vendor. Start at [`Braket`].

mod credentials;
mod results;
mod wire;

pub use credentials::{CredentialsError, CredentialsFile, Keys};

use super::{
    Asked, Backend, BackendError, Calibration, Cancelled, Capability, Estimate, JobId, JobKey, JobResult,
    JobSpec, JobWork, Poll, Price, Queue, Target, aside, unfit,
};
use serde_json::{Value, json};
use wire::{Reply, Request, Service, Wire, classify, encoded};

/// Tag that holds the digest of a job's key.
const TAG: &str = "executing-key";
/// Pages of tasks that are looked through for a key; after these the key is submitted again, which is safe.
const PAGES_MAX: u32 = 20;
const PAGE_TASKS: u32 = 100;
/// Most qubits whose outcomes fit a number.
const QUBITS_MAX: u64 = 64;

/// Where and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BraketOptions {
    pub name: String,
    pub region: String,
    /// `https://braket.REGION.amazonaws.com` unless another is named.
    pub endpoint: String,
    /// `https://s3.REGION.amazonaws.com` unless another is named.
    pub s3_endpoint: String,
    pub device_arn: String,
    /// Bucket and prefix of the results.
    pub bucket: String,
    pub prefix: String,
    pub credentials: CredentialsFile,
    /// What a task and a shot cost; the vendor's interface does not say all of it.
    pub price: Price,
    /// Most qubits and shots to use, whatever the device has.
    pub qubits_max: u32,
    pub shots_max: u32,
}

impl BraketOptions {
    /// The vendor's own endpoints of a region.
    pub fn endpoints(region: &str) -> (String, String) {
        (format!("https://braket.{region}.amazonaws.com"), format!("https://s3.{region}.amazonaws.com"))
    }
}

/// The backend.
#[derive(Debug, Clone)]
pub struct Braket {
    options: BraketOptions,
    wire: Wire,
}

impl Braket {
    pub fn new(options: BraketOptions) -> Self {
        Self { options, wire: Wire::new() }
    }

    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&BraketOptions, &Wire) -> Result<T, BackendError> + Send + 'static,
    ) -> Asked<'static, T> {
        let (options, wire) = (self.options.clone(), self.wire.clone());
        aside::ask(&self.options.name, move || work(&options, &wire))
    }
}

/// As long as a client token may be, and the same for the same key.
fn token(key: &JobKey) -> String {
    blake3::hash(key.0.as_bytes()).to_hex().to_string()
}

fn request(method: &'static str, path: String, body: Option<Value>, changes: bool) -> Request {
    let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
    Request { service: Service::Braket, method, path, body, changes }
}

/// Sends it and gives the JSON of a success.
fn json_of(options: &BraketOptions, wire: &Wire, request: &Request) -> Result<Value, BackendError> {
    let reply = wire.send(options, request)?;
    success(options, request, &reply)?;
    serde_json::from_slice(&reply.body).map_err(|error| garbled(options, request, &error.to_string()))
}

fn success(options: &BraketOptions, request: &Request, reply: &Reply) -> Result<(), BackendError> {
    if (200..300).contains(&reply.status) { Ok(()) } else { Err(classify(&options.name, request, reply)) }
}

fn garbled(options: &BraketOptions, request: &Request, why: &str) -> BackendError {
    let (backend, message) = (options.name.clone(), format!("an answer that is not understood: {why:.200}"));
    if request.changes {
        BackendError::Ambiguous { backend, message }
    } else {
        BackendError::Transient { backend, message, after_ms: None }
    }
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}

fn task(options: &BraketOptions, wire: &Wire, job: &JobId) -> Result<Value, BackendError> {
    let path = format!("/quantum-task/{}?additionalAttributeNames=QueueInfo", encoded(&job.0));
    json_of(options, wire, &request("GET", path, None, false))
}

fn create(options: &BraketOptions, wire: &Wire, job: &JobSpec, key: &JobKey) -> Result<JobId, BackendError> {
    let permanent = |message: &str| BackendError::Permanent {
        backend: options.name.clone(),
        message: message.to_owned(),
    };
    let JobWork::OpenQasm3 { program, inputs, .. } = &job.work else {
        return Err(permanent("it takes circuits only, not QAOA over a listed set of designs"));
    };
    let inputs: serde_json::Map<String, Value> =
        inputs.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
    let action = json!({
        "braketSchemaHeader": { "name": "braket.ir.openqasm.program", "version": "1" },
        "source": results::dialect(program),
        "inputs": inputs,
    });
    let body = json!({
        "clientToken": token(key),
        "deviceArn": options.device_arn,
        "shots": job.shots,
        "outputS3Bucket": options.bucket,
        "outputS3KeyPrefix": options.prefix,
        "action": action.to_string(),
        "tags": { TAG: token(key) },
    });
    let request = request("POST", "/quantum-task".to_owned(), Some(body), true);
    let answer = json_of(options, wire, &request)?;
    let id =
        text(&answer, "quantumTaskArn").ok_or_else(|| garbled(options, &request, "no quantumTaskArn"))?;
    Ok(JobId(id.to_owned()))
}

fn search(options: &BraketOptions, wire: &Wire, key: &JobKey) -> Result<Option<JobId>, BackendError> {
    let wanted = token(key);
    let mut next: Option<String> = None;
    for _ in 0..PAGES_MAX {
        let filter = json!({ "name": "deviceArn", "operator": "EQUAL", "values": [options.device_arn] });
        let mut body = json!({ "filters": [filter], "maxResults": PAGE_TASKS });
        if let Some(next) = &next {
            body["nextToken"] = json!(next);
        }
        let request = request("POST", "/quantum-tasks".to_owned(), Some(body), false);
        let page = json_of(options, wire, &request)?;
        let tasks = page.get("quantumTasks").and_then(Value::as_array);
        let tasks = tasks.ok_or_else(|| garbled(options, &request, "no quantumTasks"))?;
        let ours = |task: &&Value| task.get("tags").and_then(|tags| text(tags, TAG)) == Some(&wanted);
        if let Some(id) = tasks.iter().find(ours).and_then(|task| text(task, "quantumTaskArn")) {
            return Ok(Some(JobId(id.to_owned())));
        }
        next = text(&page, "nextToken").map(str::to_owned);
        if next.is_none() {
            return Ok(None);
        }
    }
    let message = format!("the key is not among {} tasks and there are more", PAGES_MAX * PAGE_TASKS);
    Err(BackendError::Permanent { backend: options.name.clone(), message })
}

fn stand(task: &Value) -> Poll {
    let reason = || text(task, "failureReason").unwrap_or("no reason was given").to_owned();
    match text(task, "status").unwrap_or_default() {
        "CREATED" | "QUEUED" => {
            let position = task.get("queueInfo").and_then(|info| text(info, "position"));
            Poll::Queued { position: position.and_then(first_number), wait_ms: None }
        }
        // Cancelling is not cancelled: it may still have run.
        "RUNNING" | "CANCELLING" => Poll::Running,
        "COMPLETED" => Poll::Succeeded,
        "FAILED" => Poll::Failed { message: reason() },
        "CANCELLED" => Poll::Cancelled,
        word => Poll::Unknown { word: word.chars().take(64).collect() },
    }
}

/// "12" and ">2000" alike.
fn first_number(text: &str) -> Option<u64> {
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn fetch(options: &BraketOptions, wire: &Wire, job: &JobId) -> Result<JobResult, BackendError> {
    let task = task(options, wire, job)?;
    let permanent = |message: String| BackendError::Permanent { backend: options.name.clone(), message };
    if stand(&task) != Poll::Succeeded {
        return Err(permanent(format!(
            "{} has no result: it is {}",
            job.0,
            text(&task, "status").unwrap_or("?")
        )));
    }
    let (Some(bucket), Some(directory), Some(shots)) = (
        text(&task, "outputS3Bucket"),
        text(&task, "outputS3Directory"),
        task.get("shots").and_then(Value::as_u64),
    ) else {
        return Err(permanent("the task does not say where its result is".to_owned()));
    };
    let key: Vec<String> = directory.split('/').map(encoded).collect();
    let path = format!("/{}/{}/results.json", encoded(bucket), key.join("/"));
    let get = Request { service: Service::S3, method: "GET", path, body: Vec::new(), changes: false };
    let reply = wire.send(options, &get)?;
    success(options, &get, &reply)?;
    let counts = results::counts(&reply.body, u32::try_from(shots).unwrap_or(u32::MAX));
    Ok(JobResult {
        // A file that cannot be read is a wrong result, and fetched again like one.
        counts: counts.map_err(|message| BackendError::Transient {
            backend: options.name.clone(),
            message,
            after_ms: None,
        })?,
        qpu_ms: None,
        cost_micro_usd: None,
        calibration: None,
    })
}

fn device(options: &BraketOptions, wire: &Wire) -> Result<Target, BackendError> {
    let get = request("GET", format!("/device/{}", encoded(&options.device_arn)), None, false);
    let device = json_of(options, wire, &get)?;
    let status = text(&device, "deviceStatus").unwrap_or_default();
    if status != "ONLINE" {
        let (backend, message) = (options.name.clone(), format!("the device is {status}"));
        return Err(BackendError::Transient { backend, message, after_ms: None });
    }
    let capabilities: Value = text(&device, "deviceCapabilities")
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default();
    let qubits = capabilities.pointer("/paradigm/qubitCount").and_then(Value::as_u64).unwrap_or(QUBITS_MAX);
    let shots = capabilities.pointer("/service/shotsRange/1").and_then(Value::as_u64);
    let gates = capabilities.pointer("/paradigm/nativeGateSet").and_then(Value::as_array);
    let updated = capabilities.pointer("/service/updatedAt").and_then(Value::as_str);
    let queues = device.get("deviceQueueInfo").and_then(Value::as_array);
    let waiting =
        queues.into_iter().flatten().find(|queue| text(queue, "queue") == Some("QUANTUM_TASKS_QUEUE"));
    Ok(Target {
        name: options.name.clone(),
        simulated: text(&device, "deviceType") == Some("SIMULATOR"),
        qubits_max: u32::try_from(qubits.min(QUBITS_MAX)).unwrap_or(u32::MAX).min(options.qubits_max),
        designs_max: 0,
        shots_max: shots
            .and_then(|shots| u32::try_from(shots).ok())
            .unwrap_or(u32::MAX)
            .min(options.shots_max),
        gates: gates.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        capability: Capability {
            idempotent_submit: true,
            find: true,
            cancel: true,
            openqasm3: true,
            feasible_set: false,
        },
        price: options.price,
        // The vendor gives the time as text only, which is the calibration's name here.
        calibration: updated.map(|id| Calibration { id: id.to_owned(), time_ms: 0 }),
        queue: Queue {
            jobs: waiting.and_then(|queue| text(queue, "queueSize")).and_then(first_number),
            wait_ms: None,
        },
    })
}

impl Backend for Braket {
    fn name(&self) -> &str {
        &self.options.name
    }

    fn describe(&self) -> Asked<'_, Target> {
        self.call(device)
    }

    fn estimate<'a>(&'a self, job: &'a JobSpec) -> Asked<'a, Estimate> {
        Box::pin(async move {
            let target = self.describe().await?;
            if let Some(message) = unfit(&target, job) {
                return Err(BackendError::Permanent { backend: target.name, message });
            }
            let shots = u64::from(job.shots);
            let cost_micro_usd = target.price.of(shots, 0);
            Ok(Estimate { shots, qpu_ms: 0, cost_micro_usd, wait_ms: target.queue.wait_ms })
        })
    }

    fn submit<'a>(&'a self, job: &'a JobSpec, key: &'a JobKey) -> Asked<'a, JobId> {
        let (job, key) = (job.clone(), key.clone());
        self.call(move |options, wire| create(options, wire, &job, &key))
    }

    fn find<'a>(&'a self, key: &'a JobKey) -> Asked<'a, Option<JobId>> {
        let key = key.clone();
        self.call(move |options, wire| search(options, wire, &key))
    }

    fn poll<'a>(&'a self, job: &'a JobId) -> Asked<'a, Poll> {
        let job = job.clone();
        self.call(move |options, wire| task(options, wire, &job).map(|task| stand(&task)))
    }

    fn result<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobResult> {
        let job = job.clone();
        self.call(move |options, wire| fetch(options, wire, &job))
    }

    fn cancel<'a>(&'a self, job: &'a JobId) -> Asked<'a, Cancelled> {
        let job = job.clone();
        self.call(move |options, wire| {
            let path = format!("/quantum-task/{}/cancel", encoded(&job.0));
            let body = json!({ "clientToken": token(&JobKey(format!("cancel {}", job.0))) });
            let request = request("PUT", path, Some(body), true);
            let reply = wire.send(options, &request)?;
            // A conflict means that it has ended before.
            if reply.status == 409 {
                return Ok(Cancelled::AlreadyEnded);
            }
            success(options, &request, &reply)?;
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            match text(&answer, "cancellationStatus") {
                Some("CANCELLED") => Ok(Cancelled::Yes),
                // It was asked for, and may still come too late: a poll shows what became of it.
                _ => Ok(Cancelled::AlreadyEnded),
            }
        })
    }
}

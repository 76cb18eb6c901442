//! Settings `backends`: which quantum backends there are, what they may cost, and as whom they are asked.
//!
//! ```yaml
//! backends:
//!   aer: {kind: aer, threads: 1, budget: {day: {shots: 10000000}}}
//!   braket:
//!     kind: braket
//!     region: us-east-1
//!     device: arn:aws:braket:us-east-1::device/qpu/ionq/Aria-1
//!     bucket: amazon-braket-results
//!     credentials: braket-keys          # a systemd credential, or a path of mode 0600
//!     price: {job_micro_usd: 300000, shot_micro_usd: 30000}
//!     budget: {job: {micro_usd: 50000000}, day: {micro_usd: 200000000}}
//!     queue_seconds: 7200
//! ```
//! Rule: every field is checked with its range before anything starts, a field that its kind does not have is
//! refused by name, and no secret stands here. The backend `simulator` is always there. Start at [`setups`].

use super::SettingsError;
use actors::quantum_proxy::{InWorker, SIMULATOR, Setup};
use quantum::backends::aer::{Aer, Noise, Options};
use quantum::backends::braket::{Braket, BraketOptions, CredentialsFile};
use quantum::backends::{Budget, Ceiling, Price};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// All backends by name.
pub type Backends = BTreeMap<String, BackendSettings>;

/// What executes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// In the worker process of the stage; only under the name `simulator`.
    Simulator,
    /// Qiskit Aer, a process that the daemon provisions and starts.
    Aer,
    /// Amazon Braket.
    Braket,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Aer => "aer",
            Self::Braket => "braket",
        }
    }
}

/// One backend. What is absent has a default; the fields of another kind must be absent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackendSettings {
    pub kind: Kind,
    /// Most that jobs may take: per job, run and day of UTC; shots, machine time in ms, millionths of a US dollar.
    #[serde(default)]
    pub budget: Budget,
    /// Longest wait in the queue of the backend, in seconds; then the next of the chain is asked.
    #[serde(default)]
    pub queue_seconds: Option<u64>,
    /// Stages that may be on it at once.
    #[serde(default)]
    pub jobs: Option<u32>,
    /// Most qubits and shots of a job, whatever the backend itself takes.
    #[serde(default)]
    pub qubits_max: Option<u32>,
    #[serde(default)]
    pub shots_max: Option<u32>,
    /// aer: the interpreter its environment is made from.
    #[serde(default)]
    pub python: Option<PathBuf>,
    /// aer: where environments are kept; by default `cache` in the state directory.
    #[serde(default)]
    pub cache: Option<PathBuf>,
    /// aer: longest time for making the environment, in seconds.
    #[serde(default)]
    pub provision_seconds: Option<u64>,
    /// aer: threads of the simulation.
    #[serde(default)]
    pub threads: Option<u32>,
    /// aer: probabilities of errors, or a fake device.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// braket: region, device and bucket of the results.
    #[serde(default)]
    pub region: Option<String>,
    #[serde(default)]
    pub device: Option<String>,
    #[serde(default)]
    pub bucket: Option<String>,
    #[serde(default)]
    pub prefix: Option<String>,
    /// braket: a file of mode 0600, or the name of a systemd credential.
    #[serde(default)]
    pub credentials: Option<String>,
    /// braket: other addresses than the region's own.
    #[serde(default)]
    pub endpoint: Option<String>,
    #[serde(default)]
    pub s3_endpoint: Option<String>,
    /// braket: what a task and a shot cost, in millionths of a US dollar.
    #[serde(default)]
    pub price: Option<BackendPrice>,
}

/// What the vendor takes, in millionths of a US dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BackendPrice {
    pub job_micro_usd: u64,
    pub shot_micro_usd: u64,
    pub qpu_second_micro_usd: u64,
}

/// An hour; machines that are asked for longer are asked for by name.
const QUEUE_SECONDS_DEFAULT: u64 = 3_600;
const QUEUE_SECONDS_MAX: u64 = 30 * 86_400;
const JOBS_DEFAULT: u32 = 4;
const JOBS_MAX: u32 = 1_024;
/// A state vector of 30 qubits takes 16 GiB; a name of more bits than 64 no outcome has.
const QUBITS_MAX: u32 = 64;
const AER_QUBITS_DEFAULT: u32 = 20;
const AER_QUBITS_MAX: u32 = 30;
const SHOTS_MAX: u32 = 10_000_000;
const SHOTS_DEFAULT: u32 = 100_000;
const PROVISION_SECONDS_DEFAULT: u64 = 900;
const PROVISION_SECONDS_MAX: u64 = 86_400;
const THREADS_MAX: u32 = 1_024;
/// A million dollars per thing: more is a slip of the pen.
const MICRO_USD_MAX: u64 = 1_000_000_000_000;
/// More backends than this nobody oversees.
const BACKENDS_MAX: usize = 64;
/// The system's limit of a socket's path is 107 bytes.
const SOCKET_PATH_MAX: usize = 100;

/// Everything that is wrong with `backends`, one sentence each.
pub fn faults(backends: &Backends) -> Vec<String> {
    let mut faults = Vec::new();
    if backends.len() > BACKENDS_MAX {
        faults.push(format!("backends: expected at most {BACKENDS_MAX}, got {}", backends.len()));
    }
    for (name, settings) in backends {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let reserved = ["classical-exact", "exact"].contains(&name.as_str());
        // It also names a directory.
        let begins = name.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !begins || name.len() > 64 || !name.chars().all(plain) || reserved {
            faults.push(format!(
                "backends.{name}: expected a name of 1 to 64 letters, digits, `-`, `_` or `.`, beginning with a letter or digit, and not classical-exact"
            ));
        }
        settings.check(name, &mut faults);
    }
    faults
}

/// A field of a backend that must be there: name, value, what is expected, and whether a value is that.
type Need<'a> = (&'a str, &'a Option<String>, &'a str, &'a dyn Fn(&str) -> bool);

impl BackendSettings {
    fn check(&self, name: &str, faults: &mut Vec<String>) {
        let mut wrong = |field: &str, expected: &str, got: String| {
            faults.push(format!("backends.{name}.{field}: expected {expected}, got {got}"));
        };
        if (self.kind == Kind::Simulator) != (name == SIMULATOR) {
            let expected = "the kind `simulator` under the name `simulator` and nowhere else";
            wrong("kind", expected, self.kind.name().to_owned());
        }
        for (field, is_there, kinds) in self.fields() {
            if is_there && !kinds.contains(&self.kind) {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                let expected = format!("it only for the kind {}", kinds.join(" or "));
                wrong(field, &expected, format!("it for the kind {}", self.kind.name()));
            }
        }
        let mut range = |field: &str, value: Option<u64>, least: u64, most: u64| {
            if let Some(value) = value.filter(|value| !(least..=most).contains(value)) {
                wrong(field, &format!("{least} to {most}"), value.to_string());
            }
        };
        let wide = |value: Option<u32>| value.map(u64::from);
        let qubits = if self.kind == Kind::Aer { AER_QUBITS_MAX } else { QUBITS_MAX };
        range("queue_seconds", self.queue_seconds, 1, QUEUE_SECONDS_MAX);
        range("jobs", wide(self.jobs), 1, JOBS_MAX.into());
        range("qubits_max", wide(self.qubits_max), 1, qubits.into());
        range("shots_max", wide(self.shots_max), 1, SHOTS_MAX.into());
        range("provision_seconds", self.provision_seconds, 1, PROVISION_SECONDS_MAX);
        range("threads", wide(self.threads), 0, THREADS_MAX.into());
        if let Some(price) = &self.price {
            range("price.job_micro_usd", Some(price.job_micro_usd), 0, MICRO_USD_MAX);
            range("price.shot_micro_usd", Some(price.shot_micro_usd), 0, MICRO_USD_MAX);
            range("price.qpu_second_micro_usd", Some(price.qpu_second_micro_usd), 0, MICRO_USD_MAX);
        }
        let Budget { job, run, day } = &self.budget;
        for (per, Ceiling { micro_usd, .. }) in [("job", job), ("run", run), ("day", day)] {
            range(&format!("budget.{per}.micro_usd"), *micro_usd, 0, MICRO_USD_MAX);
        }
        if let Some(noise) = &self.noise {
            for (field, value) in [
                ("noise.one_qubit", noise.one_qubit),
                ("noise.two_qubit", noise.two_qubit),
                ("noise.readout", noise.readout),
            ] {
                if !(0.0..=1.0).contains(&value) {
                    wrong(field, "a probability from 0 to 1", value.to_string());
                }
            }
            if let Some(device) = &noise.device {
                if !(2..=AER_QUBITS_MAX).contains(&device.qubits) {
                    wrong(
                        "noise.device.qubits",
                        &format!("2 to {AER_QUBITS_MAX}"),
                        device.qubits.to_string(),
                    );
                }
                if noise.one_qubit + noise.two_qubit + noise.readout > 0.0 {
                    wrong("noise", "probabilities or a device", "both".to_owned());
                }
            }
        }
        if self.kind == Kind::Braket {
            let limits = [("job", &self.budget.job), ("run", &self.budget.run), ("day", &self.budget.day)];
            for (per, limit) in limits {
                if limit.qpu_ms.is_some() {
                    let expected = "shots or money only, as this vendor does not tell machine time";
                    wrong(&format!("budget.{per}.qpu_ms"), expected, "a limit".to_owned());
                }
                if limit.micro_usd.is_some()
                    && self.price.is_none_or(|price| price == BackendPrice::default())
                {
                    let expected = "a price beside a budget of money, which it would never spend";
                    wrong(&format!("budget.{per}.micro_usd"), expected, "none".to_owned());
                }
            }
            let region =
                |text: &str| text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
            let arn = |text: &str| text.starts_with("arn:") && !text.contains(char::is_whitespace);
            let bucket = |text: &str| {
                let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
                (3..=63).contains(&text.len()) && text.chars().all(plain)
            };
            let some = |_: &str| true;
            let needs: [Need<'_>; 4] = [
                ("region", &self.region, "a region such as us-east-1", &region),
                ("device", &self.device, "the ARN of a device", &arn),
                ("bucket", &self.bucket, "the name of a bucket, 3 to 63 of a-z, 0-9, `-` and `.`", &bucket),
                (
                    "credentials",
                    &self.credentials,
                    "a file of mode 0600 or the name of a systemd credential",
                    &some,
                ),
            ];
            for (field, value, expected, sound) in needs {
                match value.as_deref().filter(|text| !text.is_empty()) {
                    Some(text) if sound(text) => {}
                    Some(text) => wrong(field, expected, text.to_owned()),
                    None => wrong(field, expected, "nothing".to_owned()),
                }
            }
            for (field, value) in [("endpoint", &self.endpoint), ("s3_endpoint", &self.s3_endpoint)] {
                let local = |text: &str| {
                    ["127.0.0.1", "localhost", "[::1]"]
                        .iter()
                        .any(|host| text.strip_prefix("http://").is_some_and(|rest| rest.starts_with(host)))
                };
                if let Some(text) =
                    value.as_deref().filter(|text| !text.starts_with("https://") && !local(text))
                {
                    wrong(field, "https://.., or http:// on this machine", text.to_owned());
                }
            }
        }
    }

    /// Fields that not every kind has: whether each is there, and whose it is.
    fn fields(&self) -> [(&'static str, bool, &'static [Kind]); 16] {
        const AER: &[Kind] = &[Kind::Aer];
        const BRAKET: &[Kind] = &[Kind::Braket];
        const BOTH: &[Kind] = &[Kind::Aer, Kind::Braket];
        [
            ("queue_seconds", self.queue_seconds.is_some(), BOTH),
            ("qubits_max", self.qubits_max.is_some(), BOTH),
            ("shots_max", self.shots_max.is_some(), BOTH),
            ("python", self.python.is_some(), AER),
            ("cache", self.cache.is_some(), AER),
            ("provision_seconds", self.provision_seconds.is_some(), AER),
            ("threads", self.threads.is_some(), AER),
            ("noise", self.noise.is_some(), AER),
            ("region", self.region.is_some(), BRAKET),
            ("device", self.device.is_some(), BRAKET),
            ("bucket", self.bucket.is_some(), BRAKET),
            ("prefix", self.prefix.is_some(), BRAKET),
            ("credentials", self.credentials.is_some(), BRAKET),
            ("endpoint", self.endpoint.is_some(), BRAKET),
            ("s3_endpoint", self.s3_endpoint.is_some(), BRAKET),
            ("price", self.price.is_some(), BRAKET),
        ]
    }

    fn jobs(&self) -> u32 {
        self.jobs.unwrap_or(JOBS_DEFAULT)
    }

    fn queue_ms(&self) -> u64 {
        self.queue_seconds.unwrap_or(QUEUE_SECONDS_DEFAULT).saturating_mul(1_000)
    }

    fn aer(&self, name: &str, state: &Path) -> Result<Aer, SettingsError> {
        // Short, since a socket lies in it.
        let run_dir = state.join("q").join(name);
        let length = run_dir.join("aer.sock").as_os_str().len();
        if length > SOCKET_PATH_MAX {
            return Err(SettingsError(format!(
                "backends.{name}: its socket {}/aer.sock would have a path of {length} bytes, at most {SOCKET_PATH_MAX} work; use a state directory with a shorter path",
                run_dir.display()
            )));
        }
        Ok(Aer::new(Options {
            name: name.to_owned(),
            python: self.python.clone().unwrap_or_else(|| "python3".into()),
            cache: self.cache.clone().unwrap_or_else(|| state.join("cache")),
            run_dir,
            provision_seconds: self.provision_seconds.unwrap_or(PROVISION_SECONDS_DEFAULT),
            qubits_max: self.qubits_max.unwrap_or(AER_QUBITS_DEFAULT),
            shots_max: self.shots_max.unwrap_or(SHOTS_DEFAULT),
            threads: self.threads.unwrap_or(1),
            noise: self.noise.clone(),
        }))
    }

    fn braket(&self, name: &str) -> Braket {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        let region = text(&self.region);
        let (endpoint, s3_endpoint) = BraketOptions::endpoints(&region);
        let directory = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        let price = self.price.unwrap_or_default();
        let credentials = CredentialsFile::named(&text(&self.credentials), directory.as_deref());
        if let Err(error) = credentials.read() {
            // Others may work, and the file is read at each call: whoever mends it need not start again.
            tracing::warn!(backend = name, %error, "The keys of a backend cannot be read.");
        }
        Braket::new(BraketOptions {
            name: name.to_owned(),
            region,
            endpoint: self.endpoint.clone().unwrap_or(endpoint),
            s3_endpoint: self.s3_endpoint.clone().unwrap_or(s3_endpoint),
            device_arn: text(&self.device),
            bucket: text(&self.bucket),
            prefix: self.prefix.clone().unwrap_or_else(|| "executing".to_owned()),
            credentials,
            price: Price {
                job_micro_usd: price.job_micro_usd,
                shot_micro_usd: price.shot_micro_usd,
                qpu_second_micro_usd: price.qpu_second_micro_usd,
            },
            qubits_max: self.qubits_max.unwrap_or(QUBITS_MAX),
            shots_max: self.shots_max.unwrap_or(SHOTS_DEFAULT),
        })
    }
}

/// Jobs at once by backend, the simulator among them; what it says there wins over `simulator_jobs`.
pub fn capacity(backends: &Backends, simulator_jobs: u32) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::from([(SIMULATOR.to_owned(), simulator_jobs)]);
    for (name, settings) in backends {
        let jobs = if settings.kind == Kind::Simulator {
            settings.jobs.unwrap_or(simulator_jobs)
        } else {
            settings.jobs()
        };
        all.insert(name.clone(), jobs);
    }
    all
}

/// Whether some backend has a budget, so that shots are counted before they are made.
pub fn limit_shots(backends: &Backends) -> bool {
    backends.values().any(|settings| settings.budget != Budget::default())
}

/// The backends themselves, for checked settings. Starts nothing and asks nobody.
///
/// # Errors
/// A state directory whose path is too long for a socket.
pub fn setups(backends: &Backends, state: &Path) -> Result<Vec<Setup>, SettingsError> {
    let budget = backends.get(SIMULATOR).map_or_else(Budget::default, |settings| settings.budget);
    let mut all = vec![Setup { backend: Arc::new(InWorker), kind: "simulator", budget, queue_ms: 0 }];
    for (name, settings) in backends {
        let (kind, budget, queue_ms) = (settings.kind.name(), settings.budget, settings.queue_ms());
        match settings.kind {
            Kind::Simulator => {}
            Kind::Aer => {
                let backend = Arc::new(settings.aer(name, state)?);
                all.push(Setup { backend, kind, budget, queue_ms });
            }
            Kind::Braket => {
                let backend = Arc::new(settings.braket(name));
                all.push(Setup { backend, kind, budget, queue_ms });
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::settings::Settings;

    fn read(text: &str) -> Result<Backends, String> {
        let settings = Settings::read(&format!("state: x\nbackends:\n{text}\n"), "s.yaml");
        settings.map(|settings| settings.backends).map_err(|error| error.to_string())
    }

    const BRAKET: &str = "  b: {kind: braket, region: us-east-1, device: 'arn:aws:braket:::device/qpu/x/y', bucket: results, credentials: keys}";

    #[test]
    fn sound_settings_make_one_backend_each_beside_the_simulator() {
        let text = format!(
            "  aer: {{kind: aer, noise: {{readout: 0.1}}, jobs: 2}}\n{BRAKET}\n  simulator: {{kind: simulator, jobs: 7}}"
        );
        let backends = read(&text).unwrap();
        assert_eq!(faults(&backends), Vec::<String>::new());
        let names: Vec<(String, &str)> = setups(&backends, Path::new("/s"))
            .unwrap()
            .iter()
            .map(|setup| (setup.backend.name().to_owned(), setup.kind))
            .collect();
        let expected = [("simulator", "simulator"), ("aer", "aer"), ("b", "braket")];
        assert_eq!(names, expected.map(|(name, kind)| (name.to_owned(), kind)));
        let places = capacity(&backends, 3);
        assert_eq!((places["simulator"], places["aer"], places["b"]), (7, 2, 4));
        assert_eq!(capacity(&Backends::new(), 3), BTreeMap::from([("simulator".to_owned(), 3)]));
        assert!(setups(&backends, Path::new(&format!("/{}", "s".repeat(90)))).is_err());
    }

    #[test]
    fn every_field_out_of_its_range_or_kind_is_named_with_what_was_expected() {
        for (text, expected) in [
            ("  a: {kind: aer, jobs: 0}", "backends.a.jobs: expected 1 to 1024, got 0"),
            ("  a: {kind: aer, queue_seconds: 0}", "queue_seconds: expected 1 to"),
            ("  a: {kind: aer, qubits_max: 31}", "qubits_max: expected 1 to 30, got 31"),
            ("  a: {kind: aer, shots_max: 0}", "shots_max: expected 1 to"),
            ("  a: {kind: aer, provision_seconds: 0}", "provision_seconds: expected 1 to"),
            ("  a: {kind: aer, threads: 5000}", "threads: expected 0 to 1024"),
            ("  a: {kind: aer, noise: {readout: 1.5}}", "noise.readout: expected a probability"),
            ("  a: {kind: aer, noise: {one_qubit: -0.1}}", "noise.one_qubit"),
            ("  a: {kind: aer, noise: {device: {qubits: 1}}}", "noise.device.qubits: expected 2 to"),
            ("  a: {kind: aer, noise: {readout: 0.1, device: {qubits: 5}}}", "probabilities or a device"),
            ("  a: {kind: aer, region: us-east-1}", "region: expected it only for the kind braket"),
            ("  a: {kind: aer, price: {shot_micro_usd: 1}}", "price: expected it only for the kind braket"),
            (
                "  a: {kind: aer, budget: {day: {micro_usd: 99999999999999}}}",
                "budget.day.micro_usd: expected 0 to",
            ),
            ("  simulator: {kind: simulator, python: python3}", "python: expected it only for the kind aer"),
            ("  simulator: {kind: aer}", "kind: expected the kind `simulator`"),
            ("  s: {kind: simulator}", "kind: expected the kind `simulator`"),
            ("  'a b': {kind: aer}", "expected a name of"),
            ("  '..': {kind: aer}", "beginning with a letter"),
            (
                &BRAKET.replace("keys}", "keys, budget: {day: {micro_usd: 5}}}"),
                "budget.day.micro_usd: expected a price beside",
            ),
            (
                &BRAKET.replace("keys}", "keys, budget: {run: {qpu_ms: 5}}}"),
                "budget.run.qpu_ms: expected shots or money",
            ),
            ("  classical-exact: {kind: aer}", "expected a name of"),
            ("  b: {kind: braket}", "region: expected a region such as us-east-1, got nothing"),
            (&BRAKET.replace("results", "B"), "bucket: expected the name of a bucket"),
            (&BRAKET.replace("'arn:aws:braket:::device/qpu/x/y'", "x"), "device: expected the ARN"),
            (
                &BRAKET.replace("keys}", "keys, endpoint: 'http://example.org'}"),
                "endpoint: expected https://",
            ),
            (&BRAKET.replace("keys}", "keys, noise: {}}"), "noise: expected it only for the kind aer"),
        ] {
            let faults = faults(&read(text).unwrap()).join("\n");
            assert!(faults.contains(expected), "{text}: {faults}");
        }
    }

    #[test]
    fn unknown_fields_kinds_and_wrong_types_are_refused_when_read() {
        for text in [
            "  a: {kind: ibm}",
            "  a: {}",
            "  a: {kind: aer, secret: x}",
            "  a: {kind: aer, budget: {week: {shots: 1}}}",
            "  a: {kind: aer, budget: {day: {dollars: 1}}}",
            "  a: {kind: aer, budget: {day: {shots: -1}}}",
            "  a: {kind: aer, noise: {thermal: 0.1}}",
            "  a: {kind: braket, price: {task: 1}}",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

//! The Braket fake as a child process, its keys and its books, for the tests of three crates (by `#[path]`).
//!
//! Rule: where pip cannot install what the fake needs, its tests say so and are skipped; a fake ends with its value.
//! Start at [`Fake::start`]; what it can be told to do wrong is in fake_braket.py.
// Each of the three uses a part.
#![allow(dead_code, clippy::unwrap_used)]

use quantum::backends::Price;
use quantum::backends::aer::{List, provide};
use quantum::backends::braket::{BraketOptions, CredentialsFile};
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// What the fake's Python needs.
pub const FAKES: List<'static> = List { name: "fakes", requirements: include_str!("requirements.txt") };
/// The one pair of keys that it takes; both words must never be shown by anybody.
pub const ACCESS: &str = "AKFAKECANARY";
pub const SECRET: &str = "secret-of-the-canary";
/// Its one machine.
pub const DEVICE: &str = "arn:aws:braket:::device/qpu/fake/one";
/// Its prices, as its books count them.
pub const TASK_MICRO_USD: u64 = 300_000;
pub const SHOT_MICRO_USD: u64 = 350;
pub const PRICE: Price =
    Price { job_micro_usd: TASK_MICRO_USD, shot_micro_usd: SHOT_MICRO_USD, qpu_second_micro_usd: 0 };

/// The project's own folder, from whichever crate's tests this is part of.
fn project() -> &'static Path {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.ancestors().find(|folder| folder.join("quantum/tests/fakes").is_dir()).unwrap()
}

/// A file beside the fake.
pub fn file(name: &str) -> PathBuf {
    project().join("quantum/tests/fakes").join(name)
}

/// Where pip installs for all tests.
pub fn cache() -> PathBuf {
    project().join("target/aer-cache")
}

/// The Python of an environment with what `list` names; `None`, with a word, where it cannot be had.
pub fn installed(list: List<'_>) -> Option<PathBuf> {
    provide(list, Path::new("python3"), &cache(), 900).map_err(|error| println!("skipped: {error}")).ok()
}

/// Writes a file of keys that only its owner may read.
pub fn write_keys(path: &Path, id: &str, secret: &str) {
    fs::write(path, format!("aws_access_key_id = {id}\naws_secret_access_key = {secret}\n")).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

/// The fake, serving.
pub struct Fake {
    child: Child,
    pub port: u16,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fake {
    /// `None`, with a word, where it cannot be installed.
    pub fn start() -> Option<Self> {
        let mut child = Command::new(installed(FAKES)?)
            .arg(file("fake_braket.py"))
            .args([ACCESS, SECRET])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self { child, port: line.trim().parse().unwrap() })
    }

    pub fn endpoint(&self) -> String {
        endpoint(self.port)
    }

    fn http(&self, text: &str) -> Value {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
    }

    /// Tells it how to behave from now on.
    pub fn control(&self, wish: &Value) {
        let body = wish.to_string();
        let length = body.len();
        self.http(&format!(
            "POST /_control HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        ));
    }

    pub fn faults(&self, faults: Value) {
        self.control(&json!({ "faults": faults }));
    }

    /// What it was asked, what it made, what it charged.
    pub fn books(&self) -> Value {
        self.http("GET /_books HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    }

    pub fn tasks(&self) -> Vec<Value> {
        self.books()["tasks"].as_array().unwrap().clone()
    }

    /// How often it was called.
    pub fn calls(&self) -> usize {
        self.books()["seen"].as_array().unwrap().len()
    }
}

/// Where a fake with this port answers.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

/// A backend at this endpoint, with this file of keys, that takes all that the fake takes.
pub fn options(endpoint: String, keys: PathBuf) -> BraketOptions {
    BraketOptions {
        name: "braket".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: endpoint.clone(),
        s3_endpoint: endpoint,
        device_arn: DEVICE.to_owned(),
        bucket: "bucket".to_owned(),
        prefix: "some prefix/a+b".to_owned(),
        credentials: CredentialsFile(keys),
        price: PRICE,
        qubits_max: 64,
        shots_max: 1_000_000,
    }
}

//! The daemon's side of the pipe, as small as it can be.

use engine::definition::StageKind;
use engine::run::StageError;
use engine::worker::{FrameReader, FromWorker, TaskFile, TaskRequest, ToWorker, WORKER_PROTOCOL, encode};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

pub fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(path)
}

pub fn digest(bytes: &[u8]) -> String {
    format!("b3:{}", blake3::hash(bytes).to_hex())
}

/// What is handed over, and the files of the attempts before it.
pub struct Task {
    pub folder: tempfile::TempDir,
    pub inputs: Vec<TaskFile>,
    pub params: Value,
    pub seed: u64,
    pub attempts: u32,
    pub heartbeat_ms: u64,
    pub memory_bytes_max: u64,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub messages: Vec<FromWorker>,
    pub garbage: Option<String>,
    pub status: ExitStatus,
    pub stderr: String,
}

impl Answer {
    pub fn result(&self) -> (BTreeMap<String, Vec<u8>>, Map<String, Value>) {
        match self.messages.last() {
            Some(FromWorker::Result { outputs, facts }) => {
                let files = outputs
                    .iter()
                    .map(|file| {
                        let bytes = std::fs::read(&file.path).unwrap();
                        assert_eq!(digest(&bytes), file.digest, "{}", file.name);
                        assert_eq!(bytes.len() as u64, file.bytes);
                        (file.name.clone(), bytes)
                    })
                    .collect();
                (files, serde_json::from_str(facts).unwrap())
            }
            other => panic!("expected a result, got {other:?}\n{}", self.stderr),
        }
    }

    pub fn error(&self) -> &StageError {
        match self.messages.last() {
            Some(FromWorker::Error(error)) => error,
            other => panic!("expected an error, got {other:?}\n{}", self.stderr),
        }
    }

    pub fn checkpoints(&self) -> Vec<TaskFile> {
        let checkpoint = |message: &FromWorker| match message {
            FromWorker::Checkpoint(file) => Some(file.clone()),
            _ => None,
        };
        self.messages.iter().filter_map(checkpoint).collect()
    }
}

impl Task {
    pub fn new(inputs: &[(&str, &str)]) -> Self {
        let file = |&(name, path): &(&str, &str)| {
            let path = example(path);
            let bytes = std::fs::read(&path).unwrap();
            TaskFile {
                name: name.into(),
                digest: digest(&bytes),
                path: path.to_string_lossy().into_owned(),
                bytes: bytes.len() as u64,
            }
        };
        Self {
            folder: tempfile::tempdir().unwrap(),
            inputs: inputs.iter().map(file).collect(),
            params: json!({}),
            seed: 7,
            attempts: 0,
            heartbeat_ms: 200,
            memory_bytes_max: 2 * 1024 * 1024 * 1024,
        }
    }

    /// An input that no example holds.
    pub fn with(mut self, name: &str, text: &str) -> Self {
        let path = self.folder.path().join(format!("input-{name}"));
        std::fs::write(&path, text).unwrap();
        self.inputs.retain(|file| file.name != name);
        self.inputs.push(TaskFile {
            name: name.into(),
            digest: digest(text.as_bytes()),
            path: path.to_string_lossy().into_owned(),
            bytes: text.len() as u64,
        });
        self
    }

    pub fn request(&mut self, kind: StageKind, tasks: &[&str], resume_from: Option<TaskFile>) -> TaskRequest {
        self.attempts += 1;
        let dir = self.folder.path().join(format!("attempt-{}", self.attempts));
        std::fs::create_dir(&dir).unwrap();
        TaskRequest {
            protocol: WORKER_PROTOCOL,
            run: "r1".into(),
            stage: format!("parent/{}", kind.name()),
            attempt: 1,
            fence: 1,
            kind,
            tasks: tasks.iter().map(|task| (*task).to_owned()).collect(),
            params: self.params.to_string(),
            seed: self.seed,
            inputs: self.inputs.clone(),
            resume_from,
            output_dir: dir.to_string_lossy().into_owned(),
            memory_bytes_max: self.memory_bytes_max,
            threads: 2,
            heartbeat_ms: self.heartbeat_ms,
        }
    }

    /// Runs one stage to its end; its outputs become inputs of what follows.
    pub fn run(&mut self, kind: StageKind, tasks: &[&str]) -> Answer {
        let request = self.request(kind, tasks, None);
        let answer = talk(&request, |_, _| {});
        if let Some(FromWorker::Result { outputs, .. }) = answer.messages.last() {
            for output in outputs {
                self.inputs.retain(|file| file.name != output.name);
                self.inputs.push(output.clone());
            }
        }
        answer
    }
}

pub fn spawn(cwd: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_executing-worker"))
        .args(["task", "--parent", &std::process::id().to_string()])
        .env_clear()
        .current_dir(cwd)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends the task and listens to the end; `each` sees every message and may write to the worker or kill it.
pub fn talk(request: &TaskRequest, mut each: impl FnMut(&FromWorker, &mut Child)) -> Answer {
    let mut child = spawn(&request.output_dir);
    let frame = encode(&ToWorker::Task(Box::new(request.clone()))).unwrap();
    child.stdin.as_mut().unwrap().write_all(&frame).unwrap();
    listen(child, &mut each)
}

pub fn listen(mut child: Child, each: &mut dyn FnMut(&FromWorker, &mut Child)) -> Answer {
    let mut stdout = child.stdout.take().unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let words = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut frames = FrameReader::default();
    let mut messages = Vec::new();
    let mut garbage = None;
    let mut buffer = [0; 65_536];
    'pipe: loop {
        let read = stdout.read(&mut buffer).unwrap_or(0);
        if read == 0 {
            break;
        }
        frames.push(&buffer[..read]);
        loop {
            match frames.take::<FromWorker>() {
                Ok(Some(message)) => {
                    each(&message, &mut child);
                    messages.push(message);
                }
                Ok(None) => break,
                Err(error) => {
                    garbage = Some(error.to_string());
                    let _ = child.kill();
                    break 'pipe;
                }
            }
        }
    }
    let status = child.wait().unwrap();
    Answer { messages, garbage, status, stderr: words.join().unwrap() }
}

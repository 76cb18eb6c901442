//! A Python environment: made once from a pinned list, named by that list's digest.
//!
//! Rule: an environment is there whole or not at all. It is made under another name and renamed at the end,
//! under a lock, so that two daemons with one cache make it once. Start at [`provide`].

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// The pinned list, as it is shipped.
pub const REQUIREMENTS: &str = include_str!("../../../../services/aer/requirements.txt");
/// Pause between two looks at a program that runs.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Last words of pip that a message quotes.
const WORDS_BYTES: usize = 800;

/// Why there is no environment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvisionError {
    #[error("EX-0481: {python} cannot be used: {why}")]
    Python { python: String, why: String },
    #[error("EX-0482: the environment {} could not be made: {why}", dir.display())]
    Failed { dir: PathBuf, why: String },
    #[error("EX-0483: the environment {} was not made within {seconds} s", dir.display())]
    Slow { dir: PathBuf, seconds: u64 },
}

/// A pinned list of packages and the first word of its environment's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct List<'a> {
    pub name: &'a str,
    pub requirements: &'a str,
}

/// What the Aer service needs.
pub const AER: List<'static> = List { name: "aer", requirements: REQUIREMENTS };

impl List<'_> {
    /// Directory of the environment under `cache`, whether it is there or not.
    pub fn place(&self, cache: &Path) -> PathBuf {
        let digest = blake3::hash(self.requirements.as_bytes()).to_hex();
        cache.join(format!("{}-{}", self.name, &digest[..16]))
    }

    /// The environment's interpreter, if the environment is there.
    pub fn ready(&self, cache: &Path) -> Option<PathBuf> {
        let program = self.place(cache).join("bin/python");
        program.exists().then_some(program)
    }
}

/// Makes the environment unless it is there; about 35 s and 360 MB the first time.
///
/// # Errors
/// [`ProvisionError`]: no usable python, pip failed, or `seconds_max` were not enough.
pub fn provide(
    list: List<'_>,
    python: &Path,
    cache: &Path,
    seconds_max: u64,
) -> Result<PathBuf, ProvisionError> {
    if let Some(program) = list.ready(cache) {
        return Ok(program);
    }
    let dir = list.place(cache);
    let failed = |why: String| ProvisionError::Failed { dir: dir.clone(), why };
    fs::create_dir_all(cache).map_err(|error| failed(error.to_string()))?;
    let until = Instant::now() + Duration::from_secs(seconds_max);
    let slow = || ProvisionError::Slow { dir: dir.clone(), seconds: seconds_max };
    let lock =
        File::create(cache.join(format!("{}.lock", list.name))).map_err(|error| failed(error.to_string()))?;
    while let Err(error) = lock.try_lock() {
        match error {
            fs::TryLockError::WouldBlock if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            fs::TryLockError::WouldBlock => return Err(slow()),
            fs::TryLockError::Error(error) => return Err(failed(error.to_string())),
        }
    }
    if let Some(program) = list.ready(cache) {
        // Somebody else was faster.
        return Ok(program);
    }
    let incoming = cache.join(format!("{}-incoming", list.name));
    if incoming.exists() {
        fs::remove_dir_all(&incoming).map_err(|error| failed(error.to_string()))?;
    }
    let words = |error: &StepError| match error {
        StepError::Start(why) | StepError::Ended(why) => why.clone(),
        StepError::Slow => String::new(),
    };
    let mut venv = Command::new(python);
    venv.args(["-m", "venv"]).arg(&incoming);
    run(venv, until).map_err(|error| match error {
        StepError::Slow => slow(),
        _ => ProvisionError::Python { python: python.display().to_string(), why: words(&error) },
    })?;
    let file = incoming.join("requirements.txt");
    fs::write(&file, list.requirements).map_err(|error| failed(error.to_string()))?;
    let mut pip = Command::new(incoming.join("bin/python"));
    pip.args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]);
    pip.arg("-r").arg(&file);
    run(pip, until).map_err(|error| match error {
        StepError::Slow => slow(),
        _ => failed(words(&error)),
    })?;
    fs::rename(&incoming, &dir).map_err(|error| failed(error.to_string()))?;
    list.ready(cache).ok_or_else(|| failed("it has no interpreter after all".to_owned()))
}

enum StepError {
    Start(String),
    Ended(String),
    Slow,
}

/// Runs a program to its end or to `until`; its whole group is killed then.
fn run(mut command: Command, until: Instant) -> Result<(), StepError> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| StepError::Start(error.to_string()))?;
    let pipe = child.stderr.take();
    let reader = std::thread::spawn(move || {
        let mut words = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut words);
        }
        words
    });
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Ok(None) => {
                super::process::kill_group(&mut child);
                return Err(StepError::Slow);
            }
            Err(error) => return Err(StepError::Ended(error.to_string())),
        }
    };
    if status.success() {
        return Ok(());
    }
    let words = reader.join().unwrap_or_default();
    let tail = &words[words.len().saturating_sub(WORDS_BYTES)..];
    Err(StepError::Ended(format!("{status}; {}", String::from_utf8_lossy(tail).trim())))
}

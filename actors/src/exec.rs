//! One attempt of an `exec` stage: a program of the user's, with its own rules about repetition.
//!
//! The program finds the stage's artefacts under `inputs/`, gets an idempotency key that stays the same
//! for all attempts, and leaves its promised outputs in its working directory. Rule: a program that
//! ended with a code said what happened; one that was killed is ambiguous. Start at [`run`].

use crate::shared::Shared;
use crate::stages::Work;
use crate::steering::Order;
use crate::worker_drive::{DriveEvent, Finished, adopt, fresh_dir, permanent, transient};
use engine::run::{ErrorClass, StageError};
use engine::worker::TaskFile;
use std::ffi::OsString;
use std::path::Path;
use supervisors::process::{ExitKind, SpawnRequest};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

/// Output of a program kept as `stdout.txt`; what a person reads fits, a flood does not fill the disk.
const STDOUT_BYTES_MAX: usize = 1024 * 1024;

/// After a program has ended, its last words are in the pipe already; what comes later is somebody else's.
const LAST_WORDS_WAIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Runs the stage's `command` (or, to undo it, its `undo`).
///
/// # Errors
/// EX-0530 if it cannot be started or ends with a code other than 0, EX-0531 (ambiguous) if it was
/// killed, EX-0510 if it did not leave a promised output.
pub async fn run(
    shared: &Shared,
    work: &Work,
    undo: bool,
    events: &mpsc::UnboundedSender<DriveEvent>,
) -> Result<Finished, StageError> {
    let argv = command(work, undo)?;
    let Some((program, args)) = argv.split_first() else {
        return Ok(Finished { outputs: Vec::new(), facts: "{}".to_owned() });
    };
    let dir = fresh_dir(shared, work).await?;
    lay_inputs(shared, work, &dir).await?;
    let key = format!("{}/{}", work.run, work.path);
    let env: Vec<(OsString, OsString)> = [
        ("PATH", std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())),
        ("EXECUTING_RUN", work.run.clone()),
        ("EXECUTING_STAGE", work.path.clone()),
        ("EXECUTING_ATTEMPT", work.attempt.to_string()),
        ("EXECUTING_KEY", key),
        ("EXECUTING_PARAMS", work.params.clone()),
    ]
    .into_iter()
    .map(|(name, value)| (name.into(), value.into()))
    .collect();
    let found = find_program(program);
    if !found.is_file() {
        return Err(permanent(
            "EX-0530",
            format!("{program} could not be started: there is no such program"),
        ));
    }
    journal::failpoint!("exec.before-spawn");
    let mut process = shared
        .spawner
        .spawn(SpawnRequest {
            program: shared.limits.worker_program.clone(),
            args: run_args(work, &found, args),
            env,
            current_dir: Some(dir.clone()),
        })
        .await
        .map_err(|error| permanent("EX-0530", format!("{program} could not be started: {error}")))?;
    let _ = events.send(DriveEvent::Started { pid: process.pid, start_time_ticks: process.start_time_ticks });
    journal::failpoint!("exec.after-spawn");
    drop(process.stdin.take());
    let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
    let mut reading = std::pin::pin!(async { tokio::join!(read_some(stdout), read_some(stderr)) });
    let mut helm = shared.steering.listen((work.run.clone(), work.stage.0, work.fence));
    let asked = async {
        // It has no checkpoint to leave; a limit on its time is kept by the run.
        while helm.order().await != Order::Stop {}
    };
    // The program's end counts, not the end of its pipes: something it started may hold those for ever.
    let (exit, (stdout, stderr)) = tokio::select! {
        () = asked => {
            process.killer().kill_group();
            let _ = (&mut process.exit).await;
            return Err(crate::worker_drive::stopped());
        }
        read = &mut reading => ((&mut process.exit).await, read),
        exit = &mut process.exit => {
            let read = tokio::time::timeout(LAST_WORDS_WAIT, reading).await;
            (exit, read.unwrap_or_default())
        }
    };
    journal::failpoint!("exec.ended");
    let words = String::from_utf8_lossy(&stderr).trim().to_owned();
    match exit {
        ExitKind::Code(0) => collect(shared, work, &dir, &stdout, undo).await,
        ExitKind::Code(code) => {
            let class = if work.idempotent { ErrorClass::Transient } else { ErrorClass::Permanent };
            let message = format!("{program} ended with exit code {code}: {words}");
            Err(StageError { code: "EX-0530".to_owned(), message, class })
        }
        killed => Err(StageError {
            code: "EX-0531".to_owned(),
            message: format!("{program} ended with {killed}; what it did is not known: {words}"),
            class: ErrorClass::Ambiguous,
        }),
    }
}

fn command(work: &Work, undo: bool) -> Result<Vec<String>, StageError> {
    let params: serde_json::Value = serde_json::from_str(&work.params)
        .map_err(|error| permanent("EX-0511", format!("the stage's parameters are not JSON: {error}")))?;
    let name = if undo { "undo" } else { "command" };
    match params.get(name) {
        None if undo => Ok(Vec::new()),
        Some(serde_json::Value::Array(words)) if words.iter().all(serde_json::Value::is_string) => {
            Ok(words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect())
        }
        other => Err(permanent(
            "EX-0511",
            format!(
                "expected `{name}: [program, argument, ..]` in the stage's params, got {}",
                other.map_or("nothing".to_owned(), ToString::to_string)
            ),
        )),
    }
}

async fn lay_inputs(shared: &Shared, work: &Work, dir: &Path) -> Result<(), StageError> {
    let inputs = dir.join("inputs");
    let files: Vec<_> = work
        .files
        .iter()
        .filter_map(|file| Some((inputs.join(&file.name), shared.artefacts.path(&file.digest.parse().ok()?))))
        .collect();
    let laid = tokio::task::spawn_blocking(move || {
        std::fs::create_dir_all(&inputs)?;
        // Copies, not links: the program may write where it likes, the store stays as it is.
        files.iter().try_for_each(|(to, from)| std::fs::copy(from, to).map(|_| ()))
    })
    .await;
    match laid {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            Err(transient("EX-0510", format!("the stage's inputs could not be laid out: {error}")))
        }
        Err(error) => Err(transient("EX-0510", error.to_string())),
    }
}

/// The program runs behind `executing-worker run`, which binds it to the daemon's life and limits its
/// memory before it becomes the program.
fn run_args(work: &Work, program: &std::path::Path, args: &[String]) -> Vec<OsString> {
    let mut all: Vec<OsString> = vec![
        "run".into(),
        "--parent".into(),
        std::process::id().to_string().into(),
        "--memory-mib".into(),
        // Address space is no measure of what runtimes such as a JVM really use, so no default here.
        if work.memory_stated { work.memory_mib } else { 0 }.to_string().into(),
        "--".into(),
        program.into(),
    ];
    all.extend(args.iter().map(OsString::from));
    all
}

/// A bare name is looked for on PATH, as a shell would.
pub(crate) fn find_program(name: &str) -> std::path::PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = (!name.contains('/'))
        .then(|| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file()))
        .flatten();
    found.unwrap_or_else(|| name.into())
}

pub(crate) async fn read_some<R: tokio::io::AsyncRead + Unpin>(pipe: Option<R>) -> Vec<u8> {
    let Some(mut pipe) = pipe else { return Vec::new() };
    let (mut kept, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    // Reads on past the limit: a program blocked on a full pipe would never end.
    while let Ok(read @ 1..) = pipe.read(&mut buffer).await {
        let room = STDOUT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&buffer[..read.min(room)]);
    }
    kept
}

async fn collect(
    shared: &Shared,
    work: &Work,
    dir: &Path,
    stdout: &[u8],
    undo: bool,
) -> Result<Finished, StageError> {
    let mut outputs = Vec::new();
    if !undo {
        let written = dir.join("stdout.txt");
        tokio::fs::write(&written, stdout).await.map_err(|e| transient("EX-0013", e.to_string()))?;
        let names = work.outputs.iter().cloned().chain(std::iter::once("stdout.txt".to_owned()));
        for name in names {
            let path = dir.join(&name);
            let bytes = std::fs::metadata(&path)
                .map_err(|error| {
                    permanent("EX-0510", format!("the program did not leave its output {name}: {error}"))
                })?
                .len();
            let path = path.to_string_lossy().into_owned();
            outputs.push(adopt(shared, dir, TaskFile { name, digest: String::new(), path, bytes }).await?);
        }
    }
    let _ = tokio::fs::remove_dir_all(dir).await;
    // The program's last line may be a JSON object of facts for predicates.
    let last = String::from_utf8_lossy(stdout);
    let facts = last
        .lines()
        .next_back()
        .and_then(|line| serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line).ok())
        .map_or_else(|| "{}".to_owned(), |facts| serde_json::Value::Object(facts).to_string());
    Ok(Finished { outputs, facts })
}

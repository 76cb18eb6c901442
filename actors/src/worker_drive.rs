//! One attempt in one worker process, from spawn to adopted outputs.
//!
//! The daemon trusts nothing that comes up the pipe: frames are length-checked, files are re-hashed,
//! silence and garbage end the attempt. Rule: whatever happens to the process becomes one
//! [`StageError`]; dropping the future kills the process group. Start at [`drive`].

use crate::shared::Shared;
use crate::stages::Work;
use crate::steering::{Helm, Order};
use engine::run::{ArtefactRef, ErrorClass, StageError};
use engine::worker::{FrameReader, FromWorker, TaskFile, TaskRequest, ToWorker, WORKER_PROTOCOL};
use std::path::{Path, PathBuf};
use std::time::Duration;
use supervisors::process::{ExitKind, Process};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// What an attempt tells while it runs.
#[derive(Debug, Clone)]
pub enum DriveEvent {
    Started {
        pid: u32,
        start_time_ticks: u64,
    },
    Progress {
        done: f64,
        message: String,
    },
    Checkpointed(ArtefactRef),
    /// The worker has taken a new value of a parameter, or says why not.
    Tuned {
        parameter: String,
        value: String,
        taken: bool,
        why: String,
    },
}

/// What a finished attempt leaves.
#[derive(Debug, Clone)]
pub struct Finished {
    pub outputs: Vec<ArtefactRef>,
    pub facts: String,
}

/// Last words of a worker kept for the error message.
const STDERR_TAIL_BYTES: usize = 2_048;
/// After the result a worker has this long to leave by itself.
const LEAVE_WAIT: Duration = Duration::from_secs(2);
/// Address space beyond the demanded memory: code, stacks and allocator slack of the worker.
const ADDRESS_SPACE_SLACK_MIB: u64 = 512;
/// A worker that was asked to stop has this long for its checkpoint; then it is killed.
const STOP_WAIT: Duration = Duration::from_secs(10);
/// The code of an attempt that ended as it was asked to.
pub const STOPPED: &str = "EX-0590";
/// Silence for more than so many heartbeats means hung.
const HEARTBEATS_MISSED_MAX: u32 = 2;

/// Directory of everything a run's stages may scribble on.
pub fn environment_of(state_dir: &Path, run: &str) -> PathBuf {
    state_dir.join("work").join(run)
}

/// An error that another try may mend.
pub fn transient(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message, class: ErrorClass::Transient }
}

/// An error that stays.
pub fn permanent(code: &str, message: String) -> StageError {
    StageError { code: code.to_owned(), message, class: ErrorClass::Permanent }
}

/// Makes the empty directory an attempt writes into.
pub async fn fresh_dir(shared: &Shared, work: &Work) -> Result<PathBuf, StageError> {
    let name = format!("{}-{}", work.path.replace('/', "."), work.fence);
    let dir = environment_of(&shared.limits.state_dir, &work.run).join(name);
    let made = dir.clone();
    tokio::task::spawn_blocking(move || {
        match std::fs::remove_dir_all(&made) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        std::fs::create_dir_all(&made)
    })
    .await
    .map_err(|error| transient("EX-0501", format!("the attempt's directory could not be made: {error}")))?
    .map_err(|error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        transient(if full { "EX-0013" } else { "EX-0501" }, format!("{}: {error}", dir.display()))
    })?;
    Ok(dir)
}

/// Runs the worker program on `work` until it has answered or failed.
///
/// # Errors
/// A [`StageError`] with the code of what happened: crash EX-0501, silence EX-0502, garbage EX-0503,
/// no result EX-0504, out of memory EX-0506, or the worker's own error.
pub async fn drive(
    shared: &Shared,
    work: &Work,
    events: &mpsc::UnboundedSender<DriveEvent>,
) -> Result<Finished, StageError> {
    let mut helm = shared.steering.listen((work.run.clone(), work.stage.0, work.fence));
    loop {
        match drive_once(shared, work, events, &mut helm).await {
            // A full disk is nobody's failed attempt: the same attempt goes on when there is room.
            Err(error) if error.code == "EX-0013" => {
                let mut room = std::pin::pin!(shared.wait_for_room("work", error.message));
                loop {
                    tokio::select! {
                        () = &mut room => break,
                        order = helm.order() => if order == Order::Stop { return Err(stopped()) },
                    }
                }
            }
            result => {
                shared.board.set_disk_full("work", None);
                return result;
            }
        }
    }
}

/// The attempt ended because it was asked to; it is neither a failure nor a result.
pub fn stopped() -> StageError {
    permanent(STOPPED, "stopped as asked".to_owned())
}

async fn drive_once(
    shared: &Shared,
    work: &Work,
    events: &mpsc::UnboundedSender<DriveEvent>,
    helm: &mut Helm,
) -> Result<Finished, StageError> {
    journal::failpoint!("worker.before-directory");
    let dir = fresh_dir(shared, work).await?;
    let request = task_request(shared, work, &dir)?;
    let outcome = converse(shared, work, request, &dir, events, helm).await;
    journal::failpoint!("worker.conversation-ended");
    let leftover = dir.clone();
    // Adopted files are in the store; what is left in the directory is of no use to anybody.
    let _ = tokio::task::spawn_blocking(move || std::fs::remove_dir_all(leftover)).await;
    outcome
}

fn task_request(shared: &Shared, work: &Work, dir: &Path) -> Result<TaskRequest, StageError> {
    let file = |artefact: &ArtefactRef| -> Result<TaskFile, StageError> {
        let digest = artefact
            .digest
            .parse()
            .map_err(|e| permanent("EX-0016", format!("artefact {}: {e}", artefact.name)))?;
        Ok(TaskFile {
            name: artefact.name.clone(),
            digest: artefact.digest.clone(),
            path: shared.artefacts.path(&digest).to_string_lossy().into_owned(),
            bytes: artefact.bytes,
        })
    };
    Ok(TaskRequest {
        protocol: WORKER_PROTOCOL,
        run: work.run.clone(),
        stage: work.path.clone(),
        attempt: work.attempt,
        fence: work.fence,
        kind: work.kind,
        tasks: work.tasks.clone(),
        params: work.params.clone(),
        seed: work.seed,
        inputs: work.files.iter().map(file).collect::<Result<_, _>>()?,
        resume_from: work.resume_from.as_ref().map(file).transpose()?,
        output_dir: dir.to_string_lossy().into_owned(),
        memory_bytes_max: (work.memory_mib + ADDRESS_SPACE_SLACK_MIB) * 1024 * 1024,
        threads: work.threads,
        heartbeat_ms: (silence_max(shared, work) / HEARTBEATS_MISSED_MAX).as_millis() as u64,
    })
}

async fn converse(
    shared: &Shared,
    work: &Work,
    request: TaskRequest,
    dir: &Path,
    events: &mpsc::UnboundedSender<DriveEvent>,
    helm: &mut Helm,
) -> Result<Finished, StageError> {
    let begun = tokio::time::Instant::now();
    journal::failpoint!("worker.before-process");
    let (mut process, source) = worker_process(shared).await?;
    journal::failpoint!("worker.after-process");
    let _ = events.send(DriveEvent::Started { pid: process.pid, start_time_ticks: process.start_time_ticks });
    let frame = engine::worker::encode(&ToWorker::Task(Box::new(request)))
        .map_err(|error| permanent("EX-0501", format!("the task does not fit a frame: {error}")))?;
    let mut stdin = process
        .stdin
        .take()
        .ok_or_else(|| transient("EX-0501", "the worker's input pipe is missing".to_owned()))?;
    journal::failpoint!("worker.before-request");
    if let Err(error) = stdin.write_all(&frame).await {
        tracing::debug!(%error, "The worker did not take its task; its exit says why.");
    }
    journal::failpoint!("worker.request-sent");
    let stderr = collect_stderr(&mut process);
    let silence_max = silence_max(shared, work);
    let answer = {
        let greeted = || {
            let waited = begun.elapsed();
            metrics::histogram!("executing_worker_first_frame_seconds", "process" => source).record(waited);
            tracing::debug!(source, waited_us = waited.as_micros() as u64, "A worker has taken its task.");
        };
        let listening = listen(shared, &mut process, dir, events, silence_max, greeted);
        steered(listening, &mut stdin, helm).await
    };
    // End of pipe tells a worker to leave, whatever it is doing.
    drop(stdin);
    match answer {
        Ok(Some(finished)) => {
            let _ = tokio::time::timeout(LEAVE_WAIT, &mut process.exit).await;
            Ok(finished)
        }
        Ok(None) => {
            let exit = match tokio::time::timeout(LEAVE_WAIT, &mut process.exit).await {
                Ok(exit) => exit,
                Err(_) => ExitKind::Unknown("it closed its pipe and stayed".to_owned()),
            };
            process.killer().kill_group();
            Err(without_result(work, exit, &stderr.await.unwrap_or_default()))
        }
        Err(error) => {
            process.killer().kill_group();
            Err(error)
        }
    }
}

/// Listens to the worker while passing on what it is told. Whatever it says after it was asked to stop but a
/// result means that it stopped.
async fn steered(
    listening: impl Future<Output = Result<Option<Finished>, StageError>>,
    stdin: &mut tokio::process::ChildStdin,
    helm: &mut Helm,
) -> Result<Option<Finished>, StageError> {
    let mut listening = std::pin::pin!(listening);
    let mut stop_by = None;
    loop {
        let patience = async {
            match stop_by {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let message = tokio::select! {
            answer = &mut listening => return match answer {
                Err(error) if error.code == STOPPED && stop_by.is_none() => {
                    Err(transient("EX-0501", "the worker says that it was cancelled, and nobody asked it to".to_owned()))
                }
                Ok(None) if stop_by.is_some() => Err(stopped()),
                other => other,
            },
            () = patience => {
                tracing::warn!("A worker did not stop in time; it is killed and goes on from its last checkpoint.");
                return Err(stopped());
            }
            order = helm.order() => match order {
                Order::Stop if stop_by.is_some() => continue,
                Order::Stop => {
                    stop_by = Some(tokio::time::Instant::now() + STOP_WAIT);
                    ToWorker::Cancel
                }
                Order::Tune { parameter, value } => ToWorker::Tune { parameter, value },
            },
        };
        match engine::worker::encode(&message) {
            // A worker that is gone says so by its exit.
            Ok(frame) => drop(stdin.write_all(&frame).await),
            Err(error) => {
                tracing::warn!(%error, "An order does not fit a frame; the worker did not hear it.")
            }
        }
    }
}

/// Silence after which a worker counts as hung: by the daemon's heartbeat or the stage's own limit, whichever
/// is less.
fn silence_max(shared: &Shared, work: &Work) -> Duration {
    let of_daemon = shared.limits.heartbeat * HEARTBEATS_MISSED_MAX;
    of_daemon.min(Duration::from_millis(work.heartbeat_ms.max(1)))
}

/// A spare that waits already, or else a process spawned now.
async fn worker_process(shared: &Shared) -> Result<(Process, &'static str), StageError> {
    if let Some(spare) = shared.spares.take() {
        return Ok((spare, "spare"));
    }
    let spawned = shared.spares.spawn().await.map_err(|error| {
        transient(
            "EX-0501",
            format!("{} could not be started: {error}", shared.limits.worker_program.display()),
        )
    })?;
    Ok((spawned, "spawned"))
}

/// Reads frames until a result (`Some`), an error, or the end of the pipe (`None`).
async fn listen(
    shared: &Shared,
    process: &mut Process,
    dir: &Path,
    events: &mpsc::UnboundedSender<DriveEvent>,
    stated_max: Duration,
    greeted: impl Fn(),
) -> Result<Option<Finished>, StageError> {
    let Some(mut stdout) = process.stdout.take() else { return Ok(None) };
    // Until it has greeted it may still be loading.
    let mut silence_max = shared.limits.heartbeat * HEARTBEATS_MISSED_MAX;
    let mut frames = FrameReader::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // Judged by arrival: a clock in the worker proves nothing about the worker.
        let read = match tokio::time::timeout(silence_max, stdout.read(&mut buffer)).await {
            Err(_) => {
                return Err(transient(
                    "EX-0502",
                    format!("the worker was silent for {} ms; it was killed", silence_max.as_millis()),
                ));
            }
            Ok(Err(_)) | Ok(Ok(0)) => return Ok(None),
            Ok(Ok(read)) => read,
        };
        frames.push(&buffer[..read]);
        loop {
            let message = frames
                .take::<FromWorker>()
                .map_err(|error| transient("EX-0503", format!("the worker talks garbage: {error}")))?;
            match message {
                None => break,
                Some(FromWorker::Hello { protocol, version, .. }) if protocol != WORKER_PROTOCOL => {
                    return Err(permanent(
                        "EX-0503",
                        format!(
                            "worker {version} speaks protocol {protocol}, expected {WORKER_PROTOCOL}: install programs of one version"
                        ),
                    ));
                }
                Some(FromWorker::Hello { .. }) => {
                    silence_max = stated_max;
                    greeted();
                }
                Some(FromWorker::Heartbeat) => {}
                Some(FromWorker::Progress { done, message }) => {
                    let _ = events.send(DriveEvent::Progress { done: done.clamp(0.0, 1.0), message });
                }
                Some(FromWorker::Checkpoint(file)) => {
                    let adopted = adopt(shared, dir, file).await?;
                    let _ = events.send(DriveEvent::Checkpointed(adopted));
                }
                Some(FromWorker::Result { outputs, facts }) => {
                    journal::failpoint!("worker.result-received");
                    let mut adopted = Vec::with_capacity(outputs.len());
                    for file in outputs {
                        journal::failpoint!("worker.before-adopt");
                        adopted.push(adopt(shared, dir, file).await?);
                        journal::failpoint!("worker.after-adopt");
                    }
                    return Ok(Some(Finished { outputs: adopted, facts }));
                }
                Some(FromWorker::Error(error)) => return Err(error),
                Some(FromWorker::Tuned { parameter, value, taken, why }) => {
                    let _ = events.send(DriveEvent::Tuned { parameter, value, taken, why });
                }
            }
        }
    }
}

/// Takes a file of the attempt's directory into the store and makes sure that it is what was announced.
pub async fn adopt(shared: &Shared, dir: &Path, file: TaskFile) -> Result<ArtefactRef, StageError> {
    let path = PathBuf::from(&file.path);
    if path.parent() != Some(dir) {
        return Err(transient("EX-0503", format!("{} lies outside the attempt's directory", file.path)));
    }
    // Only a plain file: a pipe would never end and a link may lead anywhere.
    let bytes = match std::fs::symlink_metadata(&path) {
        Ok(found) if found.is_file() => found.len(),
        Ok(_) => return Err(permanent("EX-0503", format!("{} is not a plain file", file.path))),
        Err(error) => return Err(transient("EX-0503", format!("{}: {error}", file.path))),
    };
    let stored = shared
        .store(move |artefacts| artefacts.put_file(&path))
        .await
        .map_err(|error| transient("EX-0501", format!("{} could not be stored: {error}", file.name)))?;
    if !file.digest.is_empty() && stored.to_string() != file.digest {
        return Err(transient(
            "EX-0017",
            format!("{}: announced as {}, is {stored}", file.name, file.digest),
        ));
    }
    Ok(ArtefactRef { name: file.name, digest: stored.to_string(), bytes })
}

fn collect_stderr(process: &mut Process) -> tokio::task::JoinHandle<String> {
    let stderr = process.stderr.take();
    tokio::task::spawn_local(async move {
        let Some(mut stderr) = stderr else { return String::new() };
        let mut tail = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read) = stderr.read(&mut buffer).await {
            if read == 0 {
                break;
            }
            tail.extend_from_slice(&buffer[..read]);
            let over = tail.len().saturating_sub(STDERR_TAIL_BYTES);
            tail.drain(..over);
        }
        String::from_utf8_lossy(&tail).trim().to_owned()
    })
}

fn without_result(work: &Work, exit: ExitKind, stderr: &str) -> StageError {
    let words = if stderr.is_empty() { String::new() } else { format!("; it said: {stderr}") };
    let out_of_memory = stderr.contains("memory allocation of") || stderr.contains("bad_alloc");
    match exit {
        _ if out_of_memory => transient(
            "EX-0506",
            format!(
                "the worker ran out of its {} MiB: raise `resources.memory` of the stage{words}",
                work.memory_mib
            ),
        ),
        ExitKind::Code(0) => {
            transient("EX-0504", format!("the worker left with exit code 0 and no result{words}"))
        }
        other => transient("EX-0501", format!("the worker ended with {other}{words}")),
    }
}

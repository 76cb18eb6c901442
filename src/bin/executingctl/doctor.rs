//! `doctor`: does everything work that a run needs?
//!
//! Rule: every check says what it found; one that could not be made counts as failed.

use crate::context::{Context, Outcome};
use engine::protocol::Request;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a worker may take to say its version; it links large libraries but does nothing.
const WORKER_START_MAX: Duration = Duration::from_secs(10);

/// Pause between two looks at a worker that starts.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

const WORKER: &str = "executing-worker";

/// One thing that was looked at.
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Exit code 0 only if all is well, 6 if no daemon answers, else 1.
pub async fn doctor(context: &Context) -> Outcome {
    let mut checks = vec![worker()];
    let (mut reached, mut theirs) = (true, Value::Null);
    match context.client().await {
        Ok(mut client) => {
            let socket = context.options.socket.display();
            let detail = format!("{} answers at {socket}", client.software());
            checks.push(Check { name: "daemon", ok: true, detail });
            checks.push(version(client.software()));
            match client.request(&Request::Doctor).await {
                Ok(data) => theirs = data,
                Err(error) => {
                    let detail = error.to_string();
                    checks.push(Check { name: "daemon's own checks", ok: false, detail });
                }
            }
        }
        Err(error) => {
            reached = error.exit != 6;
            checks.push(Check { name: "daemon", ok: false, detail: error.message });
        }
    }
    let mut rows: Vec<Value> = checks
        .iter()
        .map(|Check { name, ok, detail }| json!({"name": name, "ok": ok, "detail": detail}))
        .collect();
    // State directory, disk space, settings: only the daemon can look at its own.
    rows.extend(theirs.get("checks").and_then(Value::as_array).into_iter().flatten().cloned());
    let all_well = rows.iter().all(|row| row.get("ok") == Some(&Value::Bool(true)))
        && theirs.get("ok").and_then(Value::as_bool).unwrap_or(true);
    let mut data = json!({"ok": all_well, "checks": rows});
    // Stops nothing, but nobody should believe that it holds.
    if let Some(keys) = theirs.get("not_honoured").filter(|keys| **keys != json!([])) {
        data["not_honoured"] = keys.clone();
    }
    context.output.data(&data);
    Ok(match (all_well, reached) {
        (true, _) => 0,
        (false, true) => 1,
        (false, false) => 6,
    })
}

fn version(daemon: &str) -> Check {
    let own = env!("CARGO_PKG_VERSION");
    let ok = daemon.split_whitespace().last() == Some(own);
    Check { name: "versions", ok, detail: format!("client {own}, daemon: {daemon}") }
}

fn worker() -> Check {
    let program = worker_path();
    let (ok, detail) = match says_its_version(&program) {
        Ok(version) => (true, format!("{}: {version}", program.display())),
        Err(error) => (false, format!("{}: {error}", program.display())),
    };
    Check { name: "worker program", ok, detail }
}

/// Beside this program, else wherever PATH leads.
pub fn worker_path() -> PathBuf {
    let beside = std::env::current_exe().ok().map(|own| own.with_file_name(WORKER));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| WORKER.into())
}

fn says_its_version(program: &PathBuf) -> Result<String, String> {
    let mut child = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("does not start: {error}"))?;
    let begun = Instant::now();
    while child.try_wait().map_err(|error| error.to_string())?.is_none() {
        if begun.elapsed() > WORKER_START_MAX {
            // It is being given up either way.
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("did not say its version within {} s", WORKER_START_MAX.as_secs()));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let output = child.wait_with_output().map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match (output.status.success(), text.is_empty()) {
        (true, false) => Ok(text),
        (true, true) => Err("says no version".into()),
        (false, _) => Err(format!("ends with {}", output.status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_or_fails_or_is_silent_is_no_worker() {
        assert!(says_its_version(&"no/such/program".into()).unwrap_err().contains("does not start"));
        assert!(says_its_version(&"false".into()).unwrap_err().contains("ends with"));
        assert!(says_its_version(&"cargo".into()).is_ok_and(|words| words.contains("cargo")));
    }

    #[test]
    fn another_version_of_the_daemon_is_told() {
        assert!(version(concat!("executingd ", env!("CARGO_PKG_VERSION"))).ok);
        assert!(!version("executingd 999.0.0").ok);
    }
}

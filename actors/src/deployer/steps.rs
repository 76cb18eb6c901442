//! What the deployer does with releases, step by step: deploy, undo, assess, roll back, recover.
//!
//! Rule: plan (journal the intent), switch, verify, journal the outcome; on any failure the link goes
//! back to the release before. All of it may be repeated from the start.

use super::Books;
use crate::records::{self, Principal};
use crate::stages::Work;
use crate::worker_drive::{Finished, permanent, transient};
use engine::deployment::Input;
use engine::run::{ArtefactRef, StageError};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use supervisors::process::{ExitKind, SpawnRequest};

/// Artefacts that make up a release, as far as the run has them.
const RELEASE_FILES: [&str; 4] =
    ["optimal_config.json", "design_record.json", "validation_report.json", "risk_analysis.json"];
/// Words of a failed check kept for the error message.
const CHECK_WORDS_BYTES: usize = 2_000;

/// Builds the release of a run, activates it, verifies it.
pub(super) async fn deploy(books: &Books, work: &Work) -> Result<Finished, StageError> {
    let by = submitter(work);
    let mut files = BTreeMap::new();
    for name in RELEASE_FILES {
        if let Some(artefact) = work.files.iter().rev().find(|file| file.name == name) {
            files.insert(name.to_owned(), load(books, artefact).await?);
        }
    }
    if !files.contains_key("optimal_config.json") {
        return Err(permanent(
            "EX-0510",
            "expected the artefact optimal_config.json of an earlier stage, there is none: a design must be chosen before it is deployed".to_owned(),
        ));
    }
    journal::failpoint!("deployer.before-build");
    let releases = books.releases.clone();
    let workflow = work.workflow.clone();
    let release = tokio::task::spawn_blocking(move || releases.build(&workflow, &files))
        .await
        .map_err(|e| transient("EX-0521", e.to_string()))?
        .map_err(|e| transient("EX-0521", format!("the release could not be built: {e}")))?;
    journal::failpoint!("deployer.built");
    // Staged and whole, but not active yet: a release that fails here never replaces anything.
    let staged = verify(books, work, &release, "staged").await?;
    if books.is_abandoned(work) {
        // Stopped or timed out meanwhile: nobody waits for it, and what nobody waits for is not activated.
        return Err(transient(
            "EX-0521",
            "the attempt was abandoned before its release became active".to_owned(),
        ));
    }
    journal::failpoint!("deployer.before-intent");
    let previous = books.now().active().map(str::to_owned);
    books
        .commit(
            Input::Activate {
                release: Some(release.clone()),
                run: Some(work.run.clone()),
                by: by.name.clone(),
            },
            &by,
        )
        .await?;
    journal::failpoint!("deployer.after-intent");
    let active = match switch(books, Some(&release)).await {
        Ok(()) => {
            journal::failpoint!("deployer.switched");
            verify(books, work, &release, "active").await.and_then(|words| {
                match books.shared.board.emergency() {
                    Some(reason) => Err(transient(
                        "EX-0018",
                        format!("an emergency stop came during the activation: {reason}"),
                    )),
                    None => Ok(words),
                }
            })
        }
        Err(error) => Err(error),
    };
    let active = match active {
        Ok(words) => words,
        Err(error) => {
            switch(books, previous.as_deref()).await?;
            books.commit(Input::Failed { why: error.message.clone() }, &by).await?;
            return Err(error);
        }
    };
    journal::failpoint!("deployer.before-outcome");
    books.commit(Input::Verified, &by).await?;
    journal::failpoint!("deployer.after-outcome");
    tracing::info!(release, "The release is active.");
    let manifest = books.releases.check(&release).map_err(|e| transient("EX-0521", e.to_string()))?;
    let deployed = json!({
        "release": release,
        "workflow": work.workflow,
        "previous": previous,
        "files": manifest.files,
        "checks": { "staged": staged, "active": active },
    });
    let trail = audit_trail(books, work)?;
    let outputs = vec![
        store(books, "deployment_manifest.json", &deployed).await?,
        store(books, "audit_trail.json", &trail).await?,
    ];
    let facts = json!({ "release": release, "deployed": true }).to_string();
    Ok(Finished { outputs, facts })
}

/// Takes back what a run deployed: the newest release whose run is not undone becomes active.
pub(super) async fn undo(books: &Books, work: &Work) -> Result<Finished, StageError> {
    let now = books.now();
    if now.has_deployed(&work.run) {
        let back_to = now.before_run(&work.run).flatten().map(str::to_owned);
        let by = Principal::system();
        let undo = Input::Undo { run: work.run.clone(), by: by.name.clone() };
        activate_existing(books, back_to, undo, &by).await?;
    }
    Ok(Finished { outputs: Vec::new(), facts: "{}".to_owned() })
}

/// Says what is active, whether it is whole, and what a rollback would go back to.
pub(super) async fn assess(books: &Books) -> Result<Finished, StageError> {
    let now = books.now();
    let intact = match now.active() {
        Some(release) => books.releases.check(release).map_or_else(|e| json!(e.to_string()), |_| json!(true)),
        None => Value::Null,
    };
    let target = now.before_active();
    let report = json!({
        "active": now.active(),
        "active_intact": intact,
        "rollback_target": target.flatten(),
        "rollback_possible": target.is_some(),
        "frozen_by": now.frozen_by(),
        "activations": now.history().len(),
    });
    let outputs = vec![store(books, "assessment_report.json", &report).await?];
    let facts = json!({ "rollback_possible": target.is_some() }).to_string();
    Ok(Finished { outputs, facts })
}

/// The stage that goes back to the state before the present one; a machine on which nothing was ever
/// activated is already in its earliest state, and the report says so.
pub(super) async fn roll_back_stage(books: &Books, work: &Work) -> Result<Finished, StageError> {
    let by = submitter(work);
    let now = books.now();
    let report = if now.before_active().is_none() {
        json!({
            "action": "none",
            "reason": "no release was ever activated here, so there is nothing to go back from",
            "active": now.active(),
        })
    } else {
        rollback(books, None, &by, Some(&work.run)).await?
    };
    let audit = audit_trail(books, work)?;
    let outputs = vec![
        store(books, "rollback_report.json", &report).await?,
        store(books, "emergency_audit.json", &audit).await?,
    ];
    let facts = json!({ "active_release": books.now().active() }).to_string();
    Ok(Finished { outputs, facts })
}

/// Makes an earlier release active: the named one, or the one before the present.
pub(super) async fn rollback(
    books: &Books,
    to: Option<String>,
    by: &Principal,
    run: Option<&str>,
) -> Result<Value, StageError> {
    let now = books.now();
    let from = now.active().map(str::to_owned);
    let target = match to {
        Some(release) => {
            let known = now.history().iter().any(|a| a.release.as_deref() == Some(release.as_str()));
            if !known {
                return Err(permanent(
                    "EX-0522",
                    format!("release {release} was never active here; `deployments` lists those that were"),
                ));
            }
            Some(release)
        }
        None => match now.before_active() {
            Some(target) => target.map(str::to_owned),
            None => {
                return Err(permanent(
                    "EX-0522",
                    "no release was ever activated here, so there is nothing to go back to".to_owned(),
                ));
            }
        },
    };
    let activate =
        Input::Activate { release: target.clone(), run: run.map(str::to_owned), by: by.name.clone() };
    activate_existing(books, target.clone(), activate, by).await?;
    Ok(
        json!({ "action": "rollback", "from": from, "release": target, "active": books.now().active(), "by": by.name }),
    )
}

/// Journals `intent` and carries it out, if it is to switch anything.
async fn activate_existing(
    books: &Books,
    target: Option<String>,
    intent: Input,
    by: &Principal,
) -> Result<(), StageError> {
    if let Some(release) = &target {
        books.releases.check(release).map_err(|e| permanent("EX-0520", e.to_string()))?;
    }
    let previous = books.now().active().map(str::to_owned);
    books.commit(intent, by).await?;
    if books.now().open().is_none() {
        return Ok(());
    }
    if let Err(error) = switch(books, target.as_deref()).await {
        switch(books, previous.as_deref()).await?;
        books.commit(Input::Failed { why: error.message.clone() }, by).await?;
        return Err(error);
    }
    books.commit(Input::Verified, by).await
}

/// After a restart: what was cut short goes back, and the link says what the journal says.
pub(super) async fn recover(books: &Books) {
    journal::failpoint!("deployer.before-recovery");
    let now = books.now();
    if let Some(open) = now.recover() {
        tracing::warn!(release = ?open.release, "An activation was cut short; the release before is made active again.");
        if let Err(error) = switch(books, now.active()).await {
            tracing::error!(error = error.message, "The link of the active release could not be restored.");
            return;
        }
        journal::failpoint!("deployer.reverted");
        let why = "cut short by a restart of the daemon".to_owned();
        if let Err(error) = books.commit(Input::Failed { why }, &Principal::system()).await {
            tracing::error!(error = error.message, "The reverted activation could not be journaled.");
        }
    } else if books.releases.active().as_deref() != now.active() {
        tracing::warn!(active = ?now.active(), "The link of the active release does not agree with the journal; it is set again.");
        if let Err(error) = switch(books, now.active()).await {
            tracing::error!(error = error.message, "The link of the active release could not be restored.");
        }
    }
}

async fn switch(books: &Books, release: Option<&str>) -> Result<(), StageError> {
    let (releases, release) = (books.releases.clone(), release.map(str::to_owned));
    tokio::task::spawn_blocking(move || releases.activate(release.as_deref()))
        .await
        .map_err(|e| transient("EX-0521", e.to_string()))?
        .map_err(|e| transient("EX-0521", format!("the active release could not be switched: {e}")))
}

/// Digests always; then the check program of the stage or of the settings, if there is one.
async fn verify(books: &Books, work: &Work, release: &str, when: &str) -> Result<String, StageError> {
    books.releases.check(release).map_err(|e| permanent("EX-0520", e.to_string()))?;
    let params: Value = serde_json::from_str(&work.params).unwrap_or_default();
    let argv: Vec<String> = match params.get("check").and_then(Value::as_array) {
        Some(words) => words.iter().filter_map(|word| word.as_str().map(str::to_owned)).collect(),
        None => books.shared.limits.deployment_check.clone(),
    };
    let Some((program, args)) = argv.split_first() else {
        return Ok("digests agree; no check program is set".to_owned());
    };
    let failed =
        |message: String| permanent("EX-0520", format!("the check of the {when} release failed: {message}"));
    let path = books.releases.path(release);
    let env = [
        ("PATH", std::env::var("PATH").unwrap_or_else(|_| "/usr/local/bin:/usr/bin:/bin".to_owned())),
        ("RELEASE_DIR", path.to_string_lossy().into_owned()),
        ("RELEASE", release.to_owned()),
        ("RELEASE_PHASE", when.to_owned()),
        ("EXECUTING_RUN", work.run.clone()),
    ];
    let mut process = books
        .shared
        .spawner
        .spawn(SpawnRequest {
            program: crate::exec::find_program(program),
            args: args.iter().map(Into::into).collect(),
            env: env.into_iter().map(|(k, v)| (k.into(), v.into())).collect(),
            current_dir: Some(path),
        })
        .await
        .map_err(|e| failed(format!("{program} could not be started: {e}")))?;
    drop(process.stdin.take());
    let limit = books.shared.limits.check_timeout;
    let conversation = async {
        let (stdout, stderr) = (process.stdout.take(), process.stderr.take());
        let (stdout, mut words) =
            tokio::join!(crate::exec::read_some(stdout), crate::exec::read_some(stderr));
        words.extend(stdout);
        words.truncate(CHECK_WORDS_BYTES);
        ((&mut process.exit).await, String::from_utf8_lossy(&words).trim().to_owned())
    };
    match tokio::time::timeout(limit, conversation).await {
        Ok((ExitKind::Code(0), words)) => Ok(format!("digests agree; {program}: {words}")),
        Ok((exit, words)) => Err(failed(format!("{program} ended with {exit}: {words}"))),
        Err(_) => Err(failed(format!("{program} took longer than {} s", limit.as_secs()))),
    }
}

/// The run's own chapter of the journal, as it stands before the deployment's result.
fn audit_trail(books: &Books, work: &Work) -> Result<Value, StageError> {
    let records = books
        .shared
        .journal
        .read_stream(&records::run_stream(&work.run), 1, engine::limits::PAGE_RECORDS_MAX)
        .map_err(|e| transient("EX-0014", e.to_string()))?;
    let entries: Vec<Value> = records
        .iter()
        .map(|record| {
            json!({
                "position": record.position,
                "time_ms": record.time_ms,
                "event": record.kind,
                "principal": record.principal,
                "role": record.role,
                "hash": blake3::Hash::from_bytes(record.hash).to_hex().as_str(),
            })
        })
        .collect();
    Ok(json!({ "run": work.run, "entries": entries }))
}

fn submitter(work: &Work) -> Principal {
    Principal { name: work.submitted_by.clone(), role: "operator".to_owned() }
}

async fn load(books: &Books, artefact: &ArtefactRef) -> Result<Vec<u8>, StageError> {
    let digest =
        artefact.digest.parse().map_err(|e| permanent("EX-0016", format!("{}: {e}", artefact.name)))?;
    let artefacts = std::sync::Arc::clone(&books.shared.artefacts);
    tokio::task::spawn_blocking(move || artefacts.get(&digest))
        .await
        .map_err(|e| transient("EX-0016", e.to_string()))?
        .map_err(|e| permanent("EX-0017", format!("{}: {e}", artefact.name)))
}

async fn store(books: &Books, name: &str, value: &Value) -> Result<ArtefactRef, StageError> {
    let bytes = serde_json::to_vec_pretty(value).map_err(|e| permanent("EX-0521", e.to_string()))?;
    let length = bytes.len() as u64;
    let digest = books
        .shared
        .store(move |artefacts| artefacts.put(&bytes))
        .await
        .map_err(|e| transient("EX-0013", format!("{name} could not be stored: {e}")))?;
    Ok(ArtefactRef { name: name.to_owned(), digest: digest.to_string(), bytes: length })
}

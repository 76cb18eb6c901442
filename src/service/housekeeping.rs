//! Verbs of the operator: pins, tidying up, and the journal as a whole (verify, head, export, backup, compact).
//!
//! Rule: what removes or copies everything is for admins; what reads or writes many files runs off the
//! actors' thread. Absent: what is removed and when (the housekeeper decides).

use super::replies::{self, error, exit};
use super::{CHANGE_WAIT, Inner};
use crate::control::{Caller, Reply};
use actors::housekeeper::{Collect, Gc, HousekeepingError, Pin, Want};
use actors::records::Principal;
use engine::limits::PAGE_RECORDS_MAX;
use engine::protocol::ErrorReply;
use journal::{BackupError, ExportError, Head};
use serde_json::{Value, json};
use std::fs;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::oneshot;

/// Exports that wait to be fetched, below the state directory.
const EXPORTS: &str = "work/exports";
/// An export that nobody fetched is removed by the next one after this time.
const EXPORT_AGE_MAX: Duration = Duration::from_secs(600);
/// A file that was opened stays readable when its name goes; opening takes microseconds.
const FETCH_GRACE: Duration = Duration::from_secs(10);
/// A page of the audit log ends beyond this; it must fit a frame.
const PAGE_BYTES: usize = 512 * 1024;

fn admin(inner: &Inner, who: &Caller, what: &str) -> Result<Principal, ErrorReply> {
    if who.role != "admin" && !inner.settings.trust_client_names {
        let message = format!("{} ({}) may not {what}; an admin may", who.name, who.role);
        return Err(error("EX-0004", exit::DENIED, message));
    }
    Ok(Principal { name: who.name.clone(), role: who.role.clone() })
}

pub(super) fn refused(refused: HousekeepingError) -> ErrorReply {
    let message = refused.to_string();
    match refused {
        HousekeepingError::UnknownRun(_) => error("EX-0003", exit::NOT_FOUND, message),
        HousekeepingError::NotDead { .. } => error("EX-0020", exit::CONFLICT, message),
        HousekeepingError::Busy(_) => error("EX-0009", exit::TRY_LATER, message),
        HousekeepingError::Refused(_) => error("EX-0044", exit::TRY_LATER, message),
        HousekeepingError::NotDurable(_) => error("EX-0013", exit::TRY_LATER, message),
    }
}

pub(super) async fn pin(
    inner: &Inner,
    who: &Caller,
    run: String,
    pinned: bool,
    reason: Option<String>,
) -> Result<Value, ErrorReply> {
    let (reply, answered) = oneshot::channel();
    let by = Principal { name: who.name.clone(), role: who.role.clone() };
    let pin = Pin { run, pinned, reason: reason.unwrap_or_default(), by, reply };
    inner.housekeeper.tell(pin).map_err(|_| replies::busy("the housekeeper"))?;
    match tokio::time::timeout(CHANGE_WAIT, answered).await {
        Ok(Ok(answer)) => answer.map_err(refused),
        Ok(Err(_)) => Err(replies::busy("the housekeeper")),
        Err(_) => Err(error("EX-0010", exit::TIMEOUT, "the housekeeper did not answer in time")),
    }
}

/// `gc` and `journal compact`. Takes as long as it takes; the client decides how long it waits.
pub(super) async fn tidy(
    inner: &Inner,
    who: &Caller,
    dry_run: bool,
    compact_only: bool,
) -> Result<Value, ErrorReply> {
    let by = if dry_run {
        Principal { name: who.name.clone(), role: who.role.clone() }
    } else {
        admin(inner, who, "remove anything")?
    };
    let want = Want { compact_now: compact_only, collect: !compact_only };
    let gc = Gc { by, dry_run, forget: !compact_only, want };
    let (reply, answered) = oneshot::channel();
    inner.housekeeper.tell(Collect { gc, reply }).map_err(|_| replies::busy("the housekeeper"))?;
    answered.await.map_err(|_| replies::busy("the housekeeper"))?.map_err(refused)
}

fn head_json(head: Head) -> Value {
    json!({ "position": head.position, "hash": head.hash_hex() })
}

/// A head as `POSITION:HASH`, or what is wrong with it.
fn head_of(text: &str) -> Result<Head, ErrorReply> {
    text.parse().map_err(|e: journal::HeadError| error("EX-0002", exit::USAGE, e.to_string()))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ErrorReply> + Send + 'static,
) -> Result<T, ErrorReply> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|e| error("EX-0009", exit::TRY_LATER, format!("the work was cut short: {e}")))?
}

pub(super) async fn verify(inner: &Inner, expect: Option<String>) -> Result<Value, ErrorReply> {
    let expected = expect.as_deref().map(head_of).transpose()?;
    let dir = inner.shared.limits.state_dir.join("journal");
    let report = blocking(move || {
        let report = match expected {
            Some(head) => journal::verify_against(&dir, head),
            None => journal::verify(&dir),
        };
        report.map_err(|e| error("EX-0014", exit::FAILED, e.to_string()))
    })
    .await?;
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    Ok(json!({
        "ok": report.ok, "records": report.records, "head": head_json(report.head),
        "problems": problems, "notes": report.notes,
    }))
}

/// The newest durable record; keep it outside, `verify --expect` compares with it.
pub(super) fn head(inner: &Inner) -> Value {
    let head = inner.shared.journal.head();
    json!({ "ok": true, "records": head.position, "head": head_json(head), "text": head.to_string() })
}

/// Writes an export beside the state; `fetch` sends it.
pub(super) async fn export(inner: &Inner, who: &Caller) -> Result<Value, ErrorReply> {
    admin(inner, who, "export the journal")?;
    if let Some(why) = inner.shared.board.no_room() {
        return Err(no_room(&why));
    }
    let (journal, state) = (inner.shared.journal.clone(), inner.shared.limits.state_dir.clone());
    let name = format!("export-{}", inner.shared.clock.now_ms());
    blocking(move || {
        let dir = state.join(EXPORTS);
        let failed = |e: std::io::Error| error("EX-0013", exit::TRY_LATER, format!("{}: {e}", dir.display()));
        fs::create_dir_all(&dir).map_err(failed)?;
        remove_old(&dir);
        let path = dir.join(&name);
        let written = (|| {
            let file = fs::File::create(&path).map_err(failed)?;
            let mut out = BufWriter::with_capacity(1024 * 1024, file);
            let report = journal.export(&mut out).map_err(|e| from_export(&e))?;
            out.flush().map_err(failed)?;
            Ok(report)
        })();
        let report = written.inspect_err(|_: &ErrorReply| drop(fs::remove_file(&path)))?;
        Ok(json!({
            "ok": true, "records": report.records, "head": head_json(report.head),
            "bytes": report.bytes, "name": name,
        }))
    })
    .await
}

fn from_export(failed: &ExportError) -> ErrorReply {
    match failed {
        ExportError::Busy => error("EX-0009", exit::TRY_LATER, failed.to_string()),
        ExportError::Io { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
            error("EX-0013", exit::TRY_LATER, failed.to_string())
        }
        _ => error("EX-0014", exit::FAILED, failed.to_string()),
    }
}

fn remove_old(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let age = entry.metadata().and_then(|m| m.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_none_or(|age| age > EXPORT_AGE_MAX) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

pub(super) fn fetch(inner: &Inner, who: &Caller, name: &str) -> Result<Reply, ErrorReply> {
    admin(inner, who, "export the journal")?;
    let is_ours = name.strip_prefix("export-").is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let path = inner.shared.limits.state_dir.join(EXPORTS).join(name);
    let found = if is_ours { fs::metadata(&path).ok() } else { None };
    let Some(found) = found else {
        return Err(error("EX-0016", exit::NOT_FOUND, format!("there is no export {name} to fetch")));
    };
    let fetched = path.clone();
    tokio::task::spawn_local(async move {
        tokio::time::sleep(FETCH_GRACE).await;
        let _ = fs::remove_file(fetched);
    });
    Ok(Reply::File { path, bytes: found.len() })
}

fn no_room(why: &str) -> ErrorReply {
    error("EX-0013", exit::TRY_LATER, format!("there is too little room on disk: {why}"))
}

/// A copy of journal, artefacts and releases from which a daemon can start.
pub(super) async fn backup(inner: &Inner, who: &Caller, directory: &str) -> Result<Value, ErrorReply> {
    admin(inner, who, "make a backup")?;
    let target = PathBuf::from(directory);
    if !target.is_absolute() {
        let message = format!("expected an absolute directory, got {directory}");
        return Err(error("EX-0002", exit::USAGE, message));
    }
    let (journal, artefacts) = (inner.shared.journal.clone(), inner.shared.artefacts.clone());
    let releases = inner.releases.clone();
    blocking(move || {
        if fs::symlink_metadata(&target).is_ok() {
            let message = format!("{} is there already; name a new directory", target.display());
            return Err(error("EX-0045", exit::CONFLICT, message));
        }
        let mut part = target.clone().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let report = journal::backup(&journal, Some(&artefacts), &part).map_err(|e| match &e {
            BackupError::Busy => error("EX-0009", exit::TRY_LATER, e.to_string()),
            BackupError::TargetExists { .. } => error("EX-0045", exit::CONFLICT, e.to_string()),
            BackupError::DiskFull => error("EX-0013", exit::TRY_LATER, e.to_string()),
            BackupError::Damaged(_) => error("EX-0014", exit::FAILED, e.to_string()),
            BackupError::Io { .. } => error("EX-0012", exit::FAILED, e.to_string()),
        })?;
        // After the journal's head was taken, so that every release that it names is there.
        let copied = copy_releases(releases.dir(), &part.join("releases")).and_then(|copied| {
            fs::rename(&part, &target)?;
            fs::File::open(target.parent().unwrap_or(Path::new("/")))?.sync_all()?;
            Ok(copied)
        });
        let copied = copied.map_err(|e| {
            let _ = fs::remove_dir_all(&part);
            error("EX-0012", exit::FAILED, format!("the releases could not be copied: {e}"))
        })?;
        Ok(json!({
            "ok": true, "records": report.records, "head": head_json(report.head),
            "artefacts": report.artefacts, "linked": report.linked, "releases": copied,
            "journal_bytes": report.journal_bytes, "directory": target.display().to_string(),
        }))
    })
    .await
}

/// Copies every release and the link to the active one; durable when it returns.
fn copy_releases(from: &Path, to: &Path) -> std::io::Result<u64> {
    fs::create_dir(to)?;
    let mut copied = 0;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        if entry.file_type()?.is_symlink() && name == actors::releases::ACTIVE_LINK {
            std::os::unix::fs::symlink(fs::read_link(&path)?, to.join(&name))?;
        } else if entry.file_type()?.is_dir() && name.to_string_lossy().starts_with("rel-") {
            let home = to.join(&name);
            fs::create_dir(&home)?;
            for file in fs::read_dir(&path)? {
                let file = file?;
                let copy = home.join(file.file_name());
                fs::copy(file.path(), &copy)?;
                fs::File::open(&copy)?.sync_all()?;
            }
            fs::File::open(&home)?.sync_all()?;
            copied += 1;
        }
    }
    fs::File::open(to)?.sync_all()?;
    Ok(copied)
}

/// A page of the audit log: the envelope of every record from `from` on.
pub(super) fn audit(inner: &Inner, from: u64) -> Result<Value, ErrorReply> {
    let from = from.max(1);
    let journal = &inner.shared.journal;
    let records =
        journal.read(from, PAGE_RECORDS_MAX).map_err(|e| error("EX-0014", exit::TRY_LATER, e.to_string()))?;
    let (mut page, mut bytes, mut next) = (Vec::new(), 0, from);
    for record in &records {
        let line = json!({
            "position": record.position, "time": super::queries::time(record.time_ms),
            "stream": record.stream, "sequence": record.stream_seq, "event": record.kind,
            "schema": record.schema, "principal": record.principal, "role": record.role,
            "cause": record.cause, "payload": blake3::hash(&record.payload).to_hex().to_string(),
            "hash": hex(&record.hash),
        });
        bytes += line.to_string().len();
        page.push(line);
        next = record.position + 1;
        if bytes >= PAGE_BYTES {
            break;
        }
    }
    let head = journal.head();
    Ok(json!({ "records": page, "next": next, "head": head_json(head) }))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

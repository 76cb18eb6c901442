//! `journal`, `audit`, `gc`: the store as a whole, through the daemon or, with `--state DIR`, without one.
//!
//! Rule: without a daemon whatever writes, or must find the files at rest, holds the lock of DIR, so a
//! running daemon is exit code 75. A file or directory that was not finished never has its name.

use crate::args::{AuditVerb, JournalVerb};
use crate::bar::{Bar, Counted, CountedRead, with_spinner};
use crate::context::{Context, Outcome, refusal};
use crate::{missing, offline};
use engine::protocol::{ErrorReply, Request};
use journal::{ExportError, Head, ImportError, OpenError, RebuildError};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const BUFFER_BYTES: usize = 1024 * 1024;

pub async fn journal(context: &Context, verb: &JournalVerb) -> Outcome {
    match verb {
        JournalVerb::Verify { state, expect } => verify(context, state.as_deref(), expect.as_deref()).await,
        JournalVerb::Head => context.show(&Request::JournalHead).await,
        JournalVerb::Export { file, state: None } => export(context, file).await,
        JournalVerb::Export { file, state: Some(state) } => export_offline(context, file, state),
        JournalVerb::Import { file, state, expect } => import(context, file, state, expect.as_deref()),
        JournalVerb::Rebuild { state } => rebuild(context, state),
        JournalVerb::Backup { directory } => {
            let directory = std::path::absolute(directory).map_err(|e| file_error(directory, &e))?;
            let directory = directory.display().to_string();
            tidy(context, &Request::JournalBackup { directory }).await
        }
        JournalVerb::Compact => tidy(context, &Request::JournalCompact).await,
    }
}

pub async fn audit(context: &Context, verb: &AuditVerb) -> Outcome {
    match verb {
        AuditVerb::Verify { state, expect } => verify(context, state.as_deref(), expect.as_deref()).await,
        AuditVerb::Export { file } => export_audit(context, file).await,
    }
}

/// Something that takes the daemon long and is answered by one object.
pub async fn tidy(context: &Context, request: &Request) -> Outcome {
    let answer = with_spinner("working", async {
        Ok::<Value, ErrorReply>(context.patient_client().await?.request(request).await?)
    });
    context.output.data(&answer.await?);
    Ok(0)
}

/// Damage, and a head that does not fit, are exit code 1.
async fn verify(context: &Context, state: Option<&Path>, expect: Option<&str>) -> Outcome {
    let expected = expect.map(head_of).transpose()?;
    if let Some(state) = state {
        return offline::journal_verify(context.output, state, expected);
    }
    let request = Request::JournalVerify { expect: expected.map(|head| head.to_string()) };
    let report = with_spinner("verifying", async {
        Ok::<Value, ErrorReply>(context.patient_client().await?.request(&request).await?)
    });
    let report = report.await?;
    context.output.data(&report);
    Ok(u8::from(report.get("ok").and_then(Value::as_bool) != Some(true)))
}

fn head_of(text: &str) -> Result<Head, ErrorReply> {
    text.parse().map_err(|e: journal::HeadError| refusal("EX-0002", 2, e.to_string()))
}

async fn export(context: &Context, file: &Path) -> Outcome {
    let mut client = context.patient_client().await?;
    let prepared = with_spinner("exporting", async {
        Ok::<Value, ErrorReply>(client.request(&Request::JournalExport).await?)
    });
    let mut report = prepared.await?;
    let name = report.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
    let bytes = report.get("bytes").and_then(Value::as_u64).unwrap_or_default();
    let mut target = Whole::create(file)?;
    let mut counted = Counted { to: &mut target.out, bar: Bar::of_bytes(bytes) };
    let fetched = client.download(&Request::JournalFetch { name }, &mut counted).await;
    counted.bar.finish();
    fetched?;
    target.finish()?;
    if let Some(fields) = report.as_object_mut() {
        fields.remove("name");
        fields.insert("file".into(), file.display().to_string().into());
    }
    context.output.data(&report);
    Ok(0)
}

async fn export_audit(context: &Context, file: &Path) -> Outcome {
    let mut client = context.client().await?;
    let mut target = Whole::create(file)?;
    let (mut from, mut records, mut bar, mut head) = (1, 0_u64, None, Value::Null);
    loop {
        let page = client.request(&Request::Audit { from }).await?;
        // The log grows while it is read; it ends where it stood at the beginning.
        if head.is_null() {
            head = page.get("head").cloned().unwrap_or_default();
        }
        let last = head.get("position").and_then(Value::as_u64).unwrap_or_default();
        let bar = bar.get_or_insert_with(|| Bar::of_records(last));
        let lines = page.get("records").and_then(Value::as_array).into_iter().flatten();
        let position = |line: &Value| line.get("position").and_then(Value::as_u64).unwrap_or_default();
        for line in lines.filter(|line| position(line) <= last) {
            writeln!(target.out, "{line}").map_err(|e| file_error(file, &e))?;
            records += 1;
        }
        let next = page.get("next").and_then(Value::as_u64).unwrap_or(from);
        bar.set(next);
        if next <= from || next > last {
            break;
        }
        from = next;
    }
    if let Some(bar) = bar {
        bar.finish();
    }
    target.finish()?;
    context.output.data(&json!({
        "ok": true, "records": records, "head": head, "file": file.display().to_string(),
    }));
    Ok(0)
}

fn export_offline(context: &Context, file: &Path, state: &Path) -> Outcome {
    let _lock = lock(state)?;
    let mut target = Whole::create(file)?;
    let journal = offline::journal_directory(state);
    let total = directory_bytes(&journal);
    let mut counted = Counted { to: &mut target.out, bar: Bar::of_bytes(total) };
    let report = journal::export(&journal, &mut counted);
    counted.bar.finish();
    let report = report.map_err(|error| match &error {
        ExportError::NoJournal { .. } => refusal("EX-0014", 3, error.to_string()),
        ExportError::Busy => refusal("EX-0009", 75, error.to_string()),
        _ => refusal("EX-0014", 1, error.to_string()),
    })?;
    target.finish()?;
    context.output.data(&json!({
        "ok": true, "records": report.records, "head": head_json(report.head),
        "bytes": report.bytes, "file": file.display().to_string(),
    }));
    Ok(0)
}

fn import(context: &Context, file: &Path, state: &Path, expect: Option<&str>) -> Outcome {
    let expected = expect.map(head_of).transpose()?;
    let source = File::open(file).map_err(|e| file_error(file, &e))?;
    let bytes = source.metadata().map_or(0, |found| found.len());
    refuse_occupied(state)?;
    fs::create_dir_all(state)
        .and_then(|()| fs::set_permissions(state, fs::Permissions::from_mode(0o700)))
        .map_err(|e| refusal("EX-0012", 75, format!("{}: {e}", state.display())))?;
    let _lock = lock(state)?;
    let mut source =
        CountedRead { from: BufReader::with_capacity(BUFFER_BYTES, source), bar: Bar::of_bytes(bytes) };
    let report = journal::import(&state.join("journal"), &mut source, expected);
    source.bar.finish();
    let report = report.map_err(|error| match &error {
        ImportError::NotEmpty { .. } => refusal("EX-0045", 5, error.to_string()),
        ImportError::Newer { .. } => refusal("EX-0040", 8, error.to_string()),
        ImportError::Damaged { .. } | ImportError::OtherHead { .. } => {
            refusal("EX-0014", 1, format!("{}: {error}", file.display()))
        }
        ImportError::NotAnExport => refusal("EX-0041", 8, format!("{}: {error}", file.display())),
        ImportError::DiskFull => refusal("EX-0013", 75, error.to_string()),
        ImportError::Io { .. } => refusal("EX-0012", 75, error.to_string()),
    })?;
    context.output.data(&json!({
        "ok": true, "records": report.records, "head": head_json(report.head),
        "state": state.display().to_string(),
    }));
    Ok(0)
}

/// A journal is imported into nothing but a new state directory: what else lies there belongs to another one.
fn refuse_occupied(state: &Path) -> Result<(), ErrorReply> {
    let Ok(entries) = fs::read_dir(state) else { return Ok(()) };
    let other =
        entries.flatten().map(|entry| entry.file_name()).find(|name| name != "lock" && name != "lost+found");
    match other {
        None => Ok(()),
        Some(name) => {
            let message =
                format!("{} holds {} already; nothing was changed", state.display(), name.to_string_lossy());
            Err(refusal("EX-0045", 5, message))
        }
    }
}

fn rebuild(context: &Context, state: &Path) -> Outcome {
    if !state.join("journal").is_dir() {
        let message = format!("there is no journal in {}", state.display());
        return Err(refusal("EX-0014", 3, message));
    }
    let _lock = lock(state)?;
    let bar = Bar::spinner("rebuilding");
    let report = journal::rebuild(&state.join("journal"), &state.join("checkpoints"));
    bar.finish();
    let report = report.map_err(|error| match &error {
        RebuildError::Damaged(_) | RebuildError::Verify(_) => refusal("EX-0014", 1, error.to_string()),
        RebuildError::Open(OpenError::NewerFormat { .. }) => refusal("EX-0040", 8, error.to_string()),
        RebuildError::Open(OpenError::ReadOnly { .. }) => refusal("EX-0043", 75, error.to_string()),
        RebuildError::Open(OpenError::ForeignOwner { .. }) => refusal("EX-0042", 75, error.to_string()),
        RebuildError::Open(OpenError::DiskFull { .. }) => refusal("EX-0013", 75, error.to_string()),
        RebuildError::Open(_) => refusal("EX-0014", 1, error.to_string()),
        RebuildError::Io { .. } => refusal("EX-0012", 75, error.to_string()),
    })?;
    context.output.data(&json!({
        "ok": true, "records": report.records, "head": head_json(report.head),
        "sidecars": report.sidecars, "notes": report.notes,
        "checkpoints_moved_to": report.quarantined.map(|path| path.display().to_string()),
    }));
    Ok(0)
}

fn head_json(head: Head) -> Value {
    json!({ "position": head.position, "hash": head.hash_hex() })
}

fn file_error(file: &Path, error: &io::Error) -> ErrorReply {
    let message = format!("{}: {error}", file.display());
    let (code, exit) = match error.kind() {
        io::ErrorKind::StorageFull => ("EX-0013", 75),
        io::ErrorKind::NotFound => return missing::about(file, 3, message, missing::looked_at(file)),
        _ => ("EX-0012", 75),
    };
    refusal(code, exit, message)
}

/// The lock of a state directory, so that no daemon works there meanwhile. On a file system that cannot be
/// written nobody can, and a directory without the file was never a daemon's.
fn lock(state: &Path) -> Result<Option<File>, ErrorReply> {
    let path = state.join("lock");
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = match opened.or_else(|_| File::open(&path)) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ReadOnlyFilesystem) => {
            return Ok(None);
        }
        Err(error) => return Err(file_error(&path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(_) => {
            let message =
                format!("a daemon holds {}. Stop it first, or leave --state out and ask it", path.display());
            Err(refusal("EX-0011", 75, message))
        }
    }
}

fn directory_bytes(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.metadata().ok()).map(|found| found.len()).sum()
}

/// A file that gets its name only when it is whole and durable.
struct Whole {
    out: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    is_done: bool,
}

impl Whole {
    fn create(path: &Path) -> Result<Self, ErrorReply> {
        let mut part = path.to_owned().into_os_string();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).map_err(|e| file_error(&part, &e))?;
        Ok(Self {
            out: BufWriter::with_capacity(BUFFER_BYTES, file),
            part,
            path: path.to_owned(),
            is_done: false,
        })
    }

    fn finish(mut self) -> Result<(), ErrorReply> {
        let written = self.out.flush().and_then(|()| self.out.get_ref().sync_all());
        written.and_then(|()| fs::rename(&self.part, &self.path)).map_err(|e| file_error(&self.path, &e))?;
        self.is_done = true;
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.is_done {
            let _ = fs::remove_file(&self.part);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_not_finished_has_no_name_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("export");
        let mut target = Whole::create(&path).unwrap();
        target.out.write_all(b"half").unwrap();
        drop(target);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        let mut target = Whole::create(&path).unwrap();
        target.out.write_all(b"whole").unwrap();
        target.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"whole");
    }

    #[test]
    fn a_directory_that_is_in_use_is_exit_code_75_and_one_that_holds_something_is_5() {
        let folder = tempfile::tempdir().unwrap();
        let held = lock(folder.path()).unwrap().unwrap();
        assert_eq!(lock(folder.path()).map(|_| ()).unwrap_err().exit, 75);
        drop(held);
        assert!(refuse_occupied(folder.path()).is_ok());
        fs::create_dir(folder.path().join("checkpoints")).unwrap();
        assert_eq!(refuse_occupied(folder.path()).unwrap_err().exit, 5);
    }

    #[test]
    fn a_head_is_a_position_and_a_hash() {
        assert_eq!(head_of("7").unwrap_err().exit, 2);
        let head = head_of(&format!("7:{}", "ab".repeat(32))).unwrap();
        assert_eq!((head.position, head.hash), (7, [0xab; 32]));
    }
}

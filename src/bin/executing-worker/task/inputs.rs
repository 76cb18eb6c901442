//! Inputs and artefacts of earlier stages by name, each checked against its digest before use.

use super::fail;
use engine::limits::INPUT_BYTES_MAX;
use engine::run::StageError;
use engine::worker::TaskFile;

/// `b3:<hex>` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("b3:{}", blake3::hash(bytes).to_hex())
}

/// The bytes of a file, if they are what its digest says.
///
/// # Errors
/// EX-0510 if it cannot be read, EX-0017 if it is damaged: another try may find it mended.
pub fn read_file(file: &TaskFile) -> Result<Vec<u8>, StageError> {
    let bytes = std::fs::read(&file.path)
        .map_err(|error| fail::transient("EX-0510", format!("{} cannot be read: {error}", file.name)))?;
    let found = digest(&bytes);
    if found != file.digest {
        return Err(fail::transient(
            "EX-0017",
            format!("{} is damaged: its digest is {found}, expected {}", file.name, file.digest),
        ));
    }
    Ok(bytes)
}

#[derive(Debug, Clone)]
pub struct Inputs(Vec<TaskFile>);

impl Inputs {
    pub fn new(files: Vec<TaskFile>) -> Self {
        Self(files)
    }

    pub fn all(&self) -> &[TaskFile] {
        &self.0
    }

    /// The last file of that name: an artefact stands after an input.
    pub fn find(&self, name: &str) -> Option<&TaskFile> {
        self.0.iter().rev().find(|file| file.name == name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// # Errors
    /// As [`read_file`], and EX-0511 beyond the size an input may have.
    pub fn bytes(&self, name: &str) -> Result<Option<Vec<u8>>, StageError> {
        self.find(name).map(read_file).transpose()
    }

    /// # Errors
    /// As [`Self::bytes`]; EX-0511 if the file is too large for a text or not UTF-8.
    pub fn text(&self, name: &str) -> Result<Option<String>, StageError> {
        let Some(file) = self.find(name) else { return Ok(None) };
        if file.bytes > INPUT_BYTES_MAX {
            return Err(fail::permanent(
                "EX-0511",
                format!("{name} has {} bytes; at most {INPUT_BYTES_MAX} are read", file.bytes),
            ));
        }
        String::from_utf8(read_file(file)?)
            .map(Some)
            .map_err(|error| fail::permanent("EX-0511", format!("{name}: not UTF-8 text: {error}")))
    }

    /// # Errors
    /// As [`Self::text`]; EX-0511 if it is not JSON.
    pub fn json(&self, name: &str) -> Result<Option<serde_json::Value>, StageError> {
        let Some(text) = self.text(name)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|error| {
            fail::permanent(
                "EX-0511",
                format!("{name}:{}:{}: not JSON: {error}", error.line(), error.column()),
            )
        })
    }

    /// The table that a scenario file names: an input of that name, or of the name without its folder
    /// or ending.
    pub fn table(&self, named: &str) -> Option<String> {
        let file = named.rsplit('/').next().unwrap_or(named);
        let stem = file.strip_suffix(".csv").unwrap_or(file);
        [named, file, stem].into_iter().find_map(|name| self.text(name).ok().flatten())
    }
}

//! Reads what the arguments name: a design space or a program.

use crate::answer::Failure;
use solvers::problem::Problem;
use solvers::programs::{self, Program};
use solvers::space::{self, DesignSpace};
use std::io::ErrorKind;
use std::path::Path;

/// A design space, or a program in 0-1 or bounded integer variables.
#[derive(Debug)]
pub enum Input {
    Space(DesignSpace),
    Program(Program),
}

/// The bytes of `path`.
pub fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => Failure::NotFound(format!("{} is not there", path.display())),
        _ => Failure::Failed(format!("{} cannot be read: {error}", path.display())),
    })
}

/// Reads by ending: `.mps` and `.lp` are programs, all else is a design space.
pub fn read(path: &Path) -> Result<Input, Failure> {
    let ending = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    if matches!(ending.as_str(), "mps" | "lp") {
        if !path.exists() {
            return Err(Failure::NotFound(format!("{} is not there", path.display())));
        }
        return programs::read(path).map(Input::Program).map_err(Failure::Invalid);
    }
    space(path).map(Input::Space)
}

/// Reads a design space.
pub fn space(path: &Path) -> Result<DesignSpace, Failure> {
    let file = path.display().to_string();
    let text = String::from_utf8(bytes(path)?).map_err(|error| {
        Failure::Invalid(vec![Problem {
            code: "EX-0300".to_string(),
            file: file.clone(),
            line: 0,
            column: 0,
            message: format!("the file is not UTF-8 text: {error}"),
            help: "save it as UTF-8".to_string(),
        }])
    })?;
    space::read(&text, &file).map_err(Failure::Invalid)
}

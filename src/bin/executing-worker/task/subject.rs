//! The design problem of a task: a design space, or the AMPEL360 programme's files read as one.
//!
//! Inputs: `space`, or `candidates` and `constraints`; parameter `capacity: true` makes the passenger
//! bins one more decision. `config` is `ampel360_config.json`.

use super::fail;
use super::work::Work;
use engine::run::StageError;
use solvers::ampel360::{self, Configuration, File, Programme};
use solvers::problem::Problem;
use solvers::space::{self, DesignSpace};

#[derive(Debug)]
pub struct Subject {
    pub space: DesignSpace,
    /// Present when the problem came from the programme's files.
    pub programme: Option<Programme>,
}

/// The subject, or every problem of its files.
pub fn read(work: &Work) -> Result<Subject, StageError> {
    let mut problems = Vec::new();
    match collect(work, &mut problems)? {
        Some(subject) if problems.is_empty() => Ok(subject),
        _ if !problems.is_empty() => Err(fail::invalid(&problems)),
        _ => Err(missing(work)),
    }
}

/// EX-0510: what is there and what is needed.
pub fn missing(work: &Work) -> StageError {
    let there: Vec<&str> = work.inputs.all().iter().map(|file| file.name.as_str()).collect();
    let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
    fail::permanent(
        "EX-0510",
        format!("expected the input `space`, or `candidates` and `constraints`; found {there}"),
    )
}

/// The subject if its inputs are there and sound; what is wrong with them goes into `problems`.
pub fn collect(work: &Work, problems: &mut Vec<Problem>) -> Result<Option<Subject>, StageError> {
    if let Some(text) = work.inputs.text("space")? {
        return Ok(match space::read(&text, "space") {
            Ok(space) => Some(Subject { space, programme: None }),
            Err(found) => {
                problems.extend(found);
                None
            }
        });
    }
    let (candidates, constraints) = (work.inputs.text("candidates")?, work.inputs.text("constraints")?);
    let (candidates, constraints) = match (candidates, constraints) {
        (Some(candidates), Some(constraints)) => (candidates, constraints),
        (None, None) => return Ok(None),
        (Some(_), None) => return Err(half("candidates", "constraints")),
        (None, Some(_)) => return Err(half("constraints", "candidates")),
    };
    let capacity = work.params.flag("capacity")?;
    let read = ampel360::read(
        File { name: "candidates", text: &candidates },
        File { name: "constraints", text: &constraints },
        capacity,
    );
    Ok(match read {
        Ok(programme) => Some(Subject { space: programme.space.clone(), programme: Some(programme) }),
        Err(found) => {
            problems.extend(found);
            None
        }
    })
}

fn half(given: &str, wanted: &str) -> StageError {
    fail::permanent("EX-0510", format!("the input `{given}` needs the input `{wanted}` beside it"))
}

/// The programme's configuration, if it was given and is sound; what is wrong goes into `problems`.
pub fn configuration(work: &Work, problems: &mut Vec<Problem>) -> Result<Option<Configuration>, StageError> {
    let Some(text) = work.inputs.text("config")? else { return Ok(None) };
    let read = ampel360::read_configuration(File { name: "config", text: &text });
    Ok(read.map_err(|found| problems.extend(found)).ok())
}

/// As [`configuration`], where a problem is the end.
pub fn sound_configuration(work: &Work) -> Result<Option<Configuration>, StageError> {
    let mut problems = Vec::new();
    let found = configuration(work, &mut problems)?;
    if problems.is_empty() { Ok(found) } else { Err(fail::invalid(&problems)) }
}

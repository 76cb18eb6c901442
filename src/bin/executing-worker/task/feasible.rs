//! The feasible set as later stages get it: an artefact, an input, or enumerated on the spot.

use super::subject::Subject;
use super::work::Work;
use super::{fail, json};
use engine::definition::parameters::THREADS;
use engine::run::StageError;
use serde_json::Value;
use solvers::enumeration::{
    Checkpoint, DIAGRAM_BYTES_MAX, DesignSet, EnumerationError, Flow, Mode, Observer, Options, Outcome,
    Packing, Progress, enumerate, feasible_set_digest,
};
use solvers::space::{Design, DesignSpace};

/// The designs to choose from, in canonical order.
#[derive(Debug)]
pub struct Feasible {
    pub designs: Vec<Design>,
    /// `artefact`, `input`, or `enumerated here`.
    pub source: &'static str,
    pub complete: bool,
    /// All feasible designs there are, where that is known.
    pub count: u128,
    /// `b3:<hex>` of the set.
    pub digest: String,
}

pub fn set_digest(space: &DesignSpace, set: &DesignSet) -> String {
    format!("b3:{}", feasible_set_digest(space, set).to_hex())
}

/// Watches a search for the daemon: progress, cancel, checkpoints, a limit on what is found.
#[derive(Debug)]
pub struct Watch<'w> {
    pub work: &'w mut Work,
    /// More designs than this end the search.
    pub found_max: Option<u128>,
    /// The limit ended it.
    pub over: bool,
    pub checkpoints: bool,
    pub what: &'static str,
    /// Why a checkpoint could not be written.
    pub error: Option<StageError>,
    /// A checkpoint was left after a cancel.
    pub left: bool,
}

impl<'w> Watch<'w> {
    pub fn new(work: &'w mut Work, what: &'static str) -> Self {
        Self { work, found_max: None, over: false, checkpoints: false, what, error: None, left: false }
    }

    /// What ended the search from outside, if anything did.
    pub fn verdict(self) -> Result<bool, StageError> {
        match self.error {
            Some(error) => Err(error),
            None => self.work.check().map(|()| self.over),
        }
    }
}

impl Observer for Watch<'_> {
    fn progress(&mut self, progress: &Progress) -> Flow {
        let (found, what) = (progress.found, self.what);
        let of = match (progress.total, progress.estimate) {
            (Some(total), _) => format!(" of {total}"),
            (None, Some(guess)) => format!(" (a guess: {:.1e} in all)", guess.designs),
            (None, None) => String::new(),
        };
        self.work.progress(progress.fraction(), || format!("{what}: {found} designs{of}"));
        self.over = self.found_max.is_some_and(|most| progress.found > most);
        // A cancelled search ends behind the unit it is at, once that is kept.
        let leaves = self.work.is_cancelled() && (self.left || !self.checkpoints);
        if self.over || self.error.is_some() || leaves { Flow::Stop } else { Flow::Continue }
    }

    fn threads(&mut self) -> Option<usize> {
        if self.work.take(THREADS) { self.work.search_threads().ok() } else { None }
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.checkpoints && self.work.wants_checkpoint()
    }

    fn checkpoint(&mut self, checkpoint: Checkpoint) {
        if let Err(error) = self.work.checkpoint(&checkpoint.to_bytes()) {
            self.error = Some(error);
        }
        self.left |= self.work.is_cancelled();
    }
}

/// Room for a decision diagram: a quarter of what the attempt may use.
fn diagram_bytes(work: &Work) -> usize {
    let of_limit = usize::try_from(work.request.memory_bytes_max / 4).unwrap_or(usize::MAX);
    if of_limit == 0 { DIAGRAM_BYTES_MAX } else { of_limit.min(DIAGRAM_BYTES_MAX) }
}

/// What a search is to do beyond its mode.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wish {
    /// More designs than this end it.
    pub found_max: Option<u128>,
    /// Room for the diagram that counts again; 0 for no second count.
    pub confirm_bytes_max: usize,
}

/// Runs one search under a [`Watch`].
pub fn search(
    work: &mut Work,
    space: &DesignSpace,
    mode: Mode,
    resume: Option<Checkpoint>,
    wish: Wish,
    what: &'static str,
) -> Result<(Outcome, bool), StageError> {
    let confirm = wish.confirm_bytes_max > 0;
    let bytes_max = if confirm { wish.confirm_bytes_max } else { usize::MAX };
    let options = Options {
        threads: work.search_threads()?,
        resume,
        confirm,
        diagram_bytes_max: diagram_bytes(work).min(bytes_max),
        ..Options::new(mode)
    };
    let mut watch = Watch { found_max: wish.found_max, checkpoints: true, ..Watch::new(work, what) };
    let outcome = enumerate(space, &options, &mut watch).map_err(|error| match error {
        EnumerationError::MethodsDiffer { .. } => fail::permanent("EX-0513", error.to_string()),
        _ => fail::search(error),
    })?;
    let over = watch.verdict()?;
    Ok((outcome, over))
}

/// Most designs that a stage without a set before it lists by itself; a set this size takes 2 GiB.
pub const HERE_DESIGNS_MAX: u128 = 20_000_000;

/// Finds the set: `feasible_set.bin`, `feasible_set.json`, the input `feasible_set`, or a search.
///
/// # Errors
/// EX-0512 if it is empty, EX-0511 if a file is no set of this space, EX-0523 if there are too many.
pub fn load(work: &mut Work, subject: &Subject) -> Result<Feasible, StageError> {
    let found = match stored(work, subject)? {
        Some(found) => found,
        None => {
            let (outcome, over) = search(
                work,
                &subject.space,
                Mode::List,
                None,
                Wish { found_max: Some(HERE_DESIGNS_MAX), confirm_bytes_max: 0 },
                "feasible set enumerated here",
            )?;
            if over {
                return Err(fail::permanent(
                    "EX-0523",
                    format!(
                        "there are more than {HERE_DESIGNS_MAX} feasible designs; run feasible-set-generation first, \
                         which takes the best or a sample of them"
                    ),
                ));
            }
            Feasible {
                designs: outcome.designs.iter().collect(),
                source: "enumerated here",
                complete: outcome.complete,
                count: outcome.count,
                digest: set_digest(&subject.space, &outcome.designs),
            }
        }
    };
    if found.designs.is_empty() {
        return Err(fail::infeasible(&subject.space));
    }
    Ok(found)
}

/// The set that an earlier stage or the user stored.
pub fn stored(work: &Work, subject: &Subject) -> Result<Option<Feasible>, StageError> {
    for (name, source) in
        [("feasible_set.bin", "artefact"), ("feasible_set.json", "artefact"), ("feasible_set", "input")]
    {
        let Some(bytes) = work.inputs.bytes(name)? else { continue };
        if DesignSet::is_file(&bytes) {
            let set = DesignSet::from_file(&subject.space, &bytes)
                .map_err(|error| fail::permanent("EX-0511", format!("{name}: {error}")))?;
            // What the compact file cannot say stands in the file beside it.
            let beside = work.inputs.json("feasible_set.json")?;
            return Ok(Some(Feasible {
                source,
                complete: beside.as_ref().is_none_or(complete),
                count: beside.as_ref().and_then(counted).unwrap_or(set.len() as u128),
                digest: set_digest(&subject.space, &set),
                designs: set.iter().collect(),
            }));
        }
        return from_json(&subject.space, name, source, &bytes).map(Some);
    }
    Ok(None)
}

pub fn complete(object: &Value) -> bool {
    object.get("complete").and_then(Value::as_bool).unwrap_or(true)
}

/// The stated `count`, a number or digits.
pub fn counted(object: &Value) -> Option<u128> {
    match object.get("count")? {
        Value::Number(number) => number.as_u64().map(u128::from),
        Value::String(digits) => digits.parse().ok(),
        _ => None,
    }
}

/// A set written as JSON: `{"designs": [..]}` or the bare list.
pub fn from_json(
    space: &DesignSpace,
    name: &str,
    source: &'static str,
    bytes: &[u8],
) -> Result<Feasible, StageError> {
    let bad = |words: String| fail::permanent("EX-0511", format!("{name}: {words}"));
    let object: Value = serde_json::from_slice(bytes)
        .map_err(|error| bad(format!("{}:{}: not JSON: {error}", error.line(), error.column())))?;
    let listed = object.get("designs").unwrap_or(&object).as_array();
    let listed = listed.ok_or_else(|| bad("expected `designs`, a list of objects".to_owned()))?;
    let mut designs = Vec::with_capacity(listed.len());
    for (index, design) in listed.iter().enumerate() {
        designs.push(space.design_from_json(design).map_err(|e| bad(format!("design {index}: {e}")))?);
    }
    designs.sort_unstable();
    let before = designs.len();
    designs.dedup();
    if designs.len() != before {
        return Err(bad(format!("{} designs stand in it twice", before - designs.len())));
    }
    let count = counted(&object).unwrap_or(designs.len() as u128);
    let mut set = DesignSet::new(Packing::new(space));
    designs.iter().for_each(|design| set.push(design));
    Ok(Feasible {
        source,
        complete: complete(&object) && count == designs.len() as u128,
        count,
        digest: set_digest(space, &set),
        designs,
    })
}

/// The facts about a set that predicates read.
pub fn facts(found: &Feasible) -> json::Facts {
    json::facts(serde_json::json!({
        "feasible_configurations_found": json::count(found.count),
        "feasible_set_complete": found.complete,
        "feasible_set_digest": found.digest,
        "feasible_set_source": found.source,
    }))
}

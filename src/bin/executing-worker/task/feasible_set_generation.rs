//! `feasible-set-generation`: all designs that meet every constraint, with checkpoints.
//!
//! Outputs: `feasible_set.json` and `feasible_set.bin` (the same bytes in every run), and
//! `enumeration_metrics.json` (speed differs between runs). Parameters: `list_max` (default 5,000,000):
//! a larger set is not listed; then the `keep` (default 10,000) best by the objective, or without an
//! objective a uniform sample of as many, stand for it and `complete` is false; `best` (default 20) names
//! how many are ranked in the metrics; `checkpoint_ms`; `threads`, at most the stage's cores, of which the set does not
//! depend and which the metrics tell as they were last. A list is counted again by a decision diagram where
//! that fits `confirm_bytes_max` (default 64 MiB, some tenths of a second; 0 leaves it out), and
//! `confirmed_by` says so; that every design keeps every rule is checked by `result-validation`. Facts: `feasible_configurations_found`,
//! `feasible_set_complete`, `feasible_set_digest`. An empty set is EX-0512 with the conflict.

use super::feasible::{Watch, Wish, search, set_digest};
use super::json::{self, Facts};
use super::work::Work;
use super::{fail, subject};
use engine::definition::parameters::THREADS;
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::enumeration::{Checkpoint, DesignSet, Mode, Options, Outcome, Packing, enumerate};
use solvers::space::DesignSpace;
use std::time::Instant;

/// Designs that the JSON file lists; at some 150 bytes each more would be a file nobody opens.
const JSON_DESIGNS_MAX: usize = 200_000;

struct Found {
    set: DesignSet,
    /// All designs there are.
    count: u128,
    complete: bool,
    method: String,
    nodes: u64,
    confirmed_by: Vec<String>,
    notes: Vec<String>,
}

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let space = &subject.space;
    let started = Instant::now();
    let resume = checkpoint(work);
    let resumed = resume.is_some();
    let found = generate(work, space, resume)?;
    let seconds = started.elapsed().as_secs_f64();
    if found.count == 0 {
        return Err(fail::infeasible(space));
    }
    let digest = set_digest(space, &found.set);
    let ranked = ranked(work, space)?;
    let json = listing(space, &found, &digest);
    work.write("feasible_set.json", &json)?;
    work.write("feasible_set.bin", &found.set.to_file(space))?;
    work.take_last(THREADS);
    let threads = work.search_threads()?;
    let metrics = json!({
        "varies_between_runs": ["seconds", "designs_per_second", "resumed", "threads"],
        "seconds": seconds,
        "designs_per_second": found.count as f64 / seconds.max(1e-9),
        "search_nodes": found.nodes,
        "resumed": resumed,
        "threads": threads,
        "count": json::count(found.count),
        "listed": found.set.len(),
        "method": found.method,
        "confirmed_by": found.confirmed_by,
        "notes": found.notes,
        "combinations": space.combinations().map(json::count),
        "best": ranked,
        "tasks": work.request.tasks,
    });
    work.write_json("enumeration_metrics.json", &metrics)?;
    Ok(json::facts(json!({
        "feasible_configurations_found": json::count(found.count),
        "feasible_set_complete": found.complete,
        "feasible_set_digest": digest,
        "feasible_set_source": "search",
    })))
}

/// The checkpoint to go on from, if it is one of a search of this space.
fn checkpoint(work: &Work) -> Option<Checkpoint> {
    Checkpoint::from_bytes(&work.resume_bytes()?).ok()
}

fn generate(work: &mut Work, space: &DesignSpace, resume: Option<Checkpoint>) -> Result<Found, StageError> {
    let list_max = u128::from(work.params.whole("list_max", 5_000_000, 1, 100_000_000)?);
    let keep = work.params.whole("keep", 10_000, 1, 1_000_000)?;
    let digest = space.digest().to_hex().to_string();
    // A checkpoint of another space is none; its mode says which part of the way was reached.
    let resume = resume.filter(|checkpoint| checkpoint.space == digest);
    let reached = resume.as_ref().map(|checkpoint| checkpoint.mode);
    let of = |mode: Mode| resume.clone().filter(|checkpoint| checkpoint.mode == mode);
    if reached.is_none_or(|mode| mode == Mode::List) {
        let confirm_bytes_max = work.params.whole("confirm_bytes_max", 64 << 20, 0, 1 << 40)?;
        let wish = Wish {
            found_max: Some(list_max),
            confirm_bytes_max: usize::try_from(confirm_bytes_max).unwrap_or(usize::MAX),
        };
        let (outcome, over) =
            search(work, space, Mode::List, of(Mode::List), wish, "listing the feasible set")?;
        if !over {
            return Ok(listed(outcome));
        }
    }
    if space.objective.is_none() {
        let mode = Mode::Sample { k: keep, seed: work.request.seed };
        let (outcome, _) = search(work, space, mode, of(mode), Wish::default(), "counting and sampling")?;
        return Ok(Found { complete: false, ..listed(outcome) });
    }
    let mode = Mode::Best { k: keep };
    let (best, _) = search(work, space, mode, of(mode), Wish::default(), "finding the best")?;
    let (counted, _) = search(work, space, Mode::Count, of(Mode::Count), Wish::default(), "counting")?;
    let mut designs: Vec<_> = best.best.into_iter().map(|ranked| ranked.design).collect();
    designs.sort_unstable();
    let mut set = DesignSet::new(Packing::new(space));
    designs.iter().for_each(|design| set.push(design));
    Ok(Found {
        set,
        count: counted.count,
        complete: false,
        method: format!("{}; {}", best.method, counted.method),
        nodes: best.nodes + counted.nodes,
        confirmed_by: counted.confirmed_by,
        notes: counted.notes,
    })
}

fn listed(outcome: Outcome) -> Found {
    Found {
        count: outcome.count,
        complete: outcome.complete,
        method: outcome.method,
        nodes: outcome.nodes,
        confirmed_by: outcome.confirmed_by,
        notes: outcome.notes,
        set: outcome.designs,
    }
}

/// The best by the space's own objective, for the metrics.
fn ranked(work: &mut Work, space: &DesignSpace) -> Result<Value, StageError> {
    let k = work.params.whole("best", 20, 0, 10_000)?;
    if space.objective.is_none() || k == 0 {
        return Ok(json!({"reason": "the space states no objective, or none was asked for"}));
    }
    let mut watch = Watch::new(work, "ranking the best");
    let outcome = enumerate(space, &Options::new(Mode::Best { k }), &mut watch).map_err(fail::search)?;
    watch.verdict()?;
    let best: Vec<Value> = outcome
        .best
        .iter()
        .map(|r| json!({"objective": r.objective.to_f64(), "design": space.design_json(&r.design)}))
        .collect();
    Ok(best.into())
}

/// `feasible_set.json`: a design per line, so that a set of 40,000 stays readable and small.
fn listing(space: &DesignSpace, found: &Found, digest: &str) -> Vec<u8> {
    let shown = found.set.len().min(JSON_DESIGNS_MAX);
    let mut text = String::with_capacity(shown * 160 + 1024);
    text.push_str(&format!("{{\n  \"complete\": {},\n", found.complete));
    text.push_str(&format!("  \"count\": {},\n  \"designs\": [\n", json::count(found.count)));
    for (index, design) in found.set.iter().take(shown).enumerate() {
        let end = if index + 1 == shown { "\n" } else { ",\n" };
        text.push_str(&format!("    {}{end}", json::compact(&space.design_json(&design))));
    }
    let confirmed_by = json::compact(&json!(found.confirmed_by));
    text.push_str(&format!("  ],\n  \"confirmed_by\": {confirmed_by},\n"));
    text.push_str(&format!("  \"digest\": \"{digest}\",\n  \"listed\": {shown},\n"));
    text.push_str(&format!("  \"method\": {}\n}}\n", Value::from(found.method.as_str())));
    text.into_bytes()
}

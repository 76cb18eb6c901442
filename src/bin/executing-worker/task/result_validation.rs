//! `result-validation`: every design of the set checked again by code that shares nothing with the search.
//!
//! Output: `recheck_report.json`. Parameter `brute_force_max` (default 200,000): spaces with no more
//! combinations are also counted by trying each one. A disagreement is EX-0513, permanent. Facts:
//! `recheck_passed`, `rechecked`, and those of the set.

use super::fail;
use super::feasible::{self, Watch};
use super::json::{self, Facts};
use super::subject::{self, Subject};
use super::work::Work;
use engine::run::StageError;
use serde_json::{Value, json};
use solvers::enumeration::{Method, Mode, Options, enumerate};
use solvers::recheck::{recheck, violations};
use solvers::space::DesignSpace;

/// Violations written into the error; the report of a failed stage is not kept.
const VIOLATIONS_TOLD: usize = 5;

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let subject = subject::read(work)?;
    let found = feasible::load(work, &subject)?;
    let total = found.designs.len();
    let report = {
        let work = &mut *work;
        let mut told = 0usize;
        let watched = found.designs.iter().take_while(|_| {
            told += 1;
            if told.is_multiple_of(1_024) {
                work.progress(0.7 * told as f64 / total as f64, || format!("{told} of {total} re-checked"));
            }
            !work.is_cancelled()
        });
        recheck(&subject.space, watched)
    };
    work.check()?;
    let mut disagreements = Vec::new();
    if !report.clean() {
        let told: Vec<String> = report
            .violations
            .iter()
            .take(VIOLATIONS_TOLD)
            .map(|v| format!("design {} breaks {}: {}", v.index, v.constraint, v.what))
            .collect();
        disagreements.push(format!(
            "{} of {} designs are infeasible, {} stand twice, {} out of order. {}",
            report.infeasible,
            report.checked,
            report.duplicates,
            report.out_of_order,
            told.join("; ")
        ));
    }
    let files = agreement(work, &subject, &found, &mut disagreements)?;
    let counts = counts(work, &subject.space, &found, &mut disagreements)?;
    if !disagreements.is_empty() {
        return Err(fail::permanent("EX-0513", disagreements.join("\n")));
    }
    let object = json!({
        "checked": report.checked,
        "infeasible": report.infeasible,
        "duplicates": report.duplicates,
        "out_of_order": report.out_of_order,
        "violations": report.violations,
        "set_source": found.source,
        "set_digest": found.digest,
        "complete": found.complete,
        "count": json::count(found.count),
        "files": files,
        "counts": counts,
        "passed": true,
        "tasks": work.request.tasks,
    });
    work.write_json("recheck_report.json", &object)?;
    let mut facts = feasible::facts(&found);
    facts.insert("recheck_passed".into(), true.into());
    facts.insert("rechecked".into(), report.checked.into());
    Ok(facts)
}

/// Whether the JSON file and the compact one say the same.
fn agreement(
    work: &Work,
    subject: &Subject,
    found: &feasible::Feasible,
    disagreements: &mut Vec<String>,
) -> Result<Value, StageError> {
    let (Some(bytes), true) = (work.inputs.bytes("feasible_set.json")?, work.inputs.has("feasible_set.bin"))
    else {
        return Ok(Value::Null);
    };
    let listed = feasible::from_json(&subject.space, "feasible_set.json", "artefact", &bytes)?;
    // The JSON file may hold only the first designs of a large set; those must be the same.
    let same = found.designs.starts_with(&listed.designs);
    if !same {
        disagreements.push("feasible_set.json and feasible_set.bin list different designs".to_owned());
    }
    let object = work.inputs.json("feasible_set.json")?.unwrap_or_default();
    let stated = object.get("digest").and_then(Value::as_str).unwrap_or_default().to_owned();
    if stated != found.digest {
        disagreements
            .push(format!("feasible_set.json states the digest {stated}, the set has {}", found.digest));
    }
    if found.complete && found.count != found.designs.len() as u128 {
        disagreements.push(format!(
            "feasible_set.json states {} designs, feasible_set.bin holds {}",
            found.count,
            found.designs.len()
        ));
    }
    Ok(
        json!({"listed_in_json": listed.designs.len(), "same_designs": same, "same_digest": stated == found.digest}),
    )
}

/// The count again: by the search in counting mode, and by trying every combination where they are few.
fn counts(
    work: &mut Work,
    space: &DesignSpace,
    found: &feasible::Feasible,
    disagreements: &mut Vec<String>,
) -> Result<Value, StageError> {
    if !found.complete {
        return Ok(json!({"reason": "the set is not complete, so its size proves nothing"}));
    }
    let options = Options { threads: work.threads(), method: Method::Search, ..Options::new(Mode::Count) };
    let mut watch = Watch::new(work, "counting again");
    let counted = enumerate(space, &options, &mut watch).map_err(fail::search)?;
    watch.verdict()?;
    if counted.count != found.count {
        disagreements.push(format!("the set has {} designs, counting finds {}", found.count, counted.count));
    }
    let brute_force_max = u128::from(work.params.whole("brute_force_max", 200_000, 0, 100_000_000)?);
    let tried = match space.combinations() {
        Some(combinations) if combinations <= brute_force_max => {
            let count = brute_force(work, space)?;
            if count != found.count {
                disagreements.push(format!(
                    "the set has {} designs, trying every combination finds {count}",
                    found.count
                ));
            }
            json::count(count)
        }
        _ => Value::Null,
    };
    Ok(json!({"counting_search": json::count(counted.count), "every_combination_tried": tried}))
}

fn brute_force(work: &Work, space: &DesignSpace) -> Result<u128, StageError> {
    let mut design = vec![0u16; space.decisions.len()];
    let mut count = 0;
    loop {
        work.check()?;
        count += u128::from(violations(space, &design).is_empty());
        let Some(at) =
            (0..design.len()).rev().find(|&d| usize::from(design[d]) + 1 < space.decisions[d].options.len())
        else {
            return Ok(count);
        };
        design[at] += 1;
        design[at + 1..].fill(0);
    }
}

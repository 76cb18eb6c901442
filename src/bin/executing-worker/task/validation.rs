//! `validation`: hard constraints of the chosen design again, certification predicates, waivers.
//!
//! The design is that of `optimal_config.json`, else the input `design`, else the architecture of
//! `config`, else the lowest canonical feasible design; `design_source` says which. Outputs:
//! `validation_report.json`, `compliance_certificates.json`, `certification_status.json`. Parameters:
//! `certification_constraints` (names of constraints of a plain space that are certification predicates),
//! `waivers` (a list of `{criterion, reason, by, expires}`, handed on as a fact). A broken hard constraint is
//! EX-0515. Facts: `validation_passed`, `certification_compliant` (true, false or not-evaluated),
//! `design_source`, `waivers`.

use super::json::{self, Facts};
use super::params::wrong;
use super::subject::{self, Subject};
use super::work::Work;
use super::{fail, feasible};
use engine::predicate::NOT_EVALUATED;
use engine::run::StageError;
use serde_json::{Map, Value, json};
use solvers::ampel360::GeometryStatus;
use solvers::milp::describe::describe;
use solvers::recheck::violations;
use solvers::space::{Attribute, Constraint, Design, DesignSpace, EachTest, Rule};

const SCOPE: &str = "Checks of figures that the input files state against limits that they state. They say nothing \
                     about airworthiness and replace no type certificate; no authority took part.";
/// Geometry requirement that is a certification predicate: 90 seconds, CS/FAR 25.803(c).
const NINETY_SECONDS: &str = "evacuation_compliance.ninety_second_rule";

/// One certification predicate and its answer.
struct Predicate {
    name: String,
    /// `trl`, `hydrogen`, `safety`, or `constraint`.
    group: &'static str,
    verdict: Option<bool>,
    evidence: Value,
}

impl Predicate {
    fn shown(&self) -> Value {
        json!({
            "predicate": self.name,
            "group": self.group,
            "verdict": verdict(self.verdict),
            "evidence": self.evidence,
        })
    }
}

fn verdict(answer: Option<bool>) -> Value {
    answer.map_or_else(|| NOT_EVALUATED.into(), Value::from)
}

/// True if all are, false if one is, else not evaluated; nothing to evaluate is not evaluated.
fn all<'p>(predicates: impl Iterator<Item = &'p Predicate>) -> Option<bool> {
    let answers: Vec<Option<bool>> = predicates.map(|predicate| predicate.verdict).collect();
    if answers.contains(&Some(false)) {
        return Some(false);
    }
    (!answers.is_empty() && answers.iter().all(|answer| *answer == Some(true))).then_some(true)
}

pub fn run(work: &mut Work) -> Result<Facts, StageError> {
    let waivers = waivers(work)?;
    let subject = subject::read(work)?;
    let space = &subject.space;
    let mut notes = Vec::new();
    let (design, source) = design(work, &subject, &mut notes)?;
    let named = space.design_json(&design);
    work.check()?;

    let broken = violations(space, &design);
    if !broken.is_empty() {
        let lines: Vec<String> = broken
            .iter()
            .map(|(name, what)| format!("the design ({source}) breaks `{name}`: {what}"))
            .collect();
        return Err(fail::permanent(
            "EX-0515",
            format!("{}\ndesign: {}", lines.join("\n"), json::compact(&named)),
        ));
    }
    let checked: Vec<Value> = space
        .constraints
        .iter()
        .map(|c| json!({"constraint": c.name, "words": describe(space, c), "section": section(&c.rule), "holds": true}))
        .collect();
    let geometry = subject.programme.as_ref().map(|p| p.geometry(&design)).unwrap_or_default();
    if geometry.iter().any(|item| item.status == GeometryStatus::NotEvaluated) {
        notes.push("Geometry requirements without figures were not evaluated; that is no pass.".to_owned());
    }
    let predicates = predicates(work, &subject, &design)?;
    let compliant = all(predicates.iter());
    if predicates.is_empty() {
        notes.push("The files state no certification predicate.".to_owned());
    }
    let tasks: Vec<Value> = work
        .request
        .tasks
        .iter()
        .map(|task| {
            let (section, answer) = answered(task, compliant, &predicates, &geometry);
            json!({"task": task, "section": section, "verdict": answer})
        })
        .collect();
    let report = json!({
        "design": named,
        "design_source": source,
        "hard_constraints": {"passed": true, "checked": checked},
        "geometry": geometry,
        "certification": {
            "compliant": verdict(compliant),
            "predicates": predicates.iter().map(Predicate::shown).collect::<Vec<_>>(),
            "arp4754a": {
                "verdict": NOT_EVALUATED,
                "reason": "no predicate is recorded for ARP4754A in the input files",
            },
        },
        "validation_passed": true,
        "tasks": tasks,
        "waivers": waivers,
        "notes": notes,
        "scope": SCOPE,
    });
    let report_digest = work.write_json("validation_report.json", &report)?;
    let evidence = json!({
        "note": "Evidence per predicate, gathered by a program. These are no certificates of an authority.",
        "scope": SCOPE,
        "design": named,
        "validation_report": report_digest,
        "evidence": predicates.iter().map(Predicate::shown).collect::<Vec<_>>(),
    });
    work.write_json("compliance_certificates.json", &evidence)?;
    let open: Vec<&str> =
        predicates.iter().filter(|p| p.verdict.is_none()).map(|p| p.name.as_str()).collect();
    let failed: Vec<&str> =
        predicates.iter().filter(|p| p.verdict == Some(false)).map(|p| p.name.as_str()).collect();
    let status = json!({
        "certification_compliant": verdict(compliant),
        "predicates": predicates.len(),
        "failed": failed,
        "not_evaluated": open,
        "scope": SCOPE,
    });
    work.write_json("certification_status.json", &status)?;
    Ok(json::facts(json!({
        "validation_passed": true,
        "certification_compliant": verdict(compliant),
        "design_source": source,
        "waivers": waivers,
    })))
}

/// The design to validate and where it came from.
fn design(
    work: &mut Work,
    subject: &Subject,
    notes: &mut Vec<String>,
) -> Result<(Design, &'static str), StageError> {
    let space = &subject.space;
    for (name, source) in [("optimal_config.json", "optimal_config.json"), ("design", "input")] {
        if let Some(object) = work.inputs.json(name)? {
            let design = object.get("design").unwrap_or(&object);
            let design = space
                .design_from_json(design)
                .map_err(|error| fail::permanent("EX-0511", format!("{name}: {error}")))?;
            return Ok((design, source));
        }
    }
    let architecture = subject::sound_configuration(work)?.map(|c| c.architecture).unwrap_or_default();
    if !architecture.is_empty() {
        let mut object = Map::new();
        for (subsystem, donor) in architecture {
            if space.decision_index(&subsystem).is_none() && subsystem == "tail" {
                notes.push(format!(
                    "The architecture's tail, {donor}, is no decision of this space and is ignored."
                ));
            } else {
                object.insert(subsystem, donor.into());
            }
        }
        let design = space
            .design_from_json(&Value::Object(object))
            .map_err(|error| fail::permanent("EX-0511", format!("config: the architecture: {error}")))?;
        return Ok((design, "config architecture"));
    }
    notes.push("No design was given; the lowest canonical feasible design was validated.".to_owned());
    let found = feasible::load(work, subject)?;
    let first = found.designs.into_iter().next().ok_or_else(|| fail::infeasible(space))?;
    Ok((first, "lowest canonical feasible design"))
}

/// Which part of the report a rule belongs to.
fn section(rule: &Rule) -> &'static str {
    match rule {
        Rule::Allowed { .. } | Rule::Forbidden { .. } | Rule::Implies { .. } => "component-compatibility",
        Rule::Each { .. } => "parts",
        _ => "integration",
    }
}

fn answered(
    task: &str,
    compliant: Option<bool>,
    predicates: &[Predicate],
    geometry: &[solvers::ampel360::GeometryItem],
) -> (&'static str, Value) {
    match task {
        "validate_configuration_constraints" | "check_hard_constraints" => ("hard_constraints", true.into()),
        "validate_component_compatibility" => ("hard_constraints.component-compatibility", true.into()),
        "verify_integration_requirements" => {
            let open = geometry.iter().any(|item| item.status == GeometryStatus::NotEvaluated);
            let failed = geometry.iter().any(|item| item.status == GeometryStatus::NotMet);
            let answer = if failed { Some(false) } else { (!open).then_some(true) };
            ("hard_constraints.integration and geometry", verdict(answer))
        }
        "check_certification_requirements" | "validate_certification_criteria" => {
            ("certification", verdict(compliant))
        }
        "check_arp4754a_compliance" => ("certification.arp4754a", NOT_EVALUATED.into()),
        "verify_safety_criteria" | "verify_safety_requirements" => {
            let safety = all(predicates.iter().filter(|p| matches!(p.group, "safety" | "hydrogen")));
            ("certification, groups safety and hydrogen", verdict(safety))
        }
        "generate_compliance_report" => ("the three files of this stage", "written".into()),
        _ => ("the whole report", "see there".into()),
    }
}

fn predicates(work: &Work, subject: &Subject, design: &[u16]) -> Result<Vec<Predicate>, StageError> {
    let space = &subject.space;
    let Some(programme) = &subject.programme else {
        let names = work.params.texts("certification_constraints")?;
        return names
            .iter()
            .map(|name| {
                let constraint = space.constraints.iter().find(|c| c.name == *name);
                let constraint = constraint.ok_or_else(|| {
                    wrong("certification_constraints", name, "names of constraints of the space")
                })?;
                Ok(of_constraint(space, constraint, design, "constraint"))
            })
            .collect();
    };
    let mut all: Vec<Predicate> = space
        .constraints
        .iter()
        .filter_map(|constraint| {
            let group = match constraint.name.as_str() {
                name if name.starts_with("trl-") => "trl",
                "propulsion-energy-type" | "energy-storage-type" => "hydrogen",
                _ => return None,
            };
            Some(of_constraint(space, constraint, design, group))
        })
        .collect();
    all.extend(programme.geometry(design).into_iter().filter(|item| item.requirement == NINETY_SECONDS).map(
        |item| Predicate {
            name: item.requirement,
            group: "safety",
            verdict: match item.status {
                GeometryStatus::Met => Some(true),
                GeometryStatus::NotMet => Some(false),
                GeometryStatus::NotEvaluated => None,
            },
            evidence: json!({"reason": item.reason}),
        },
    ));
    Ok(all)
}

/// A constraint as a predicate, with the figures that decide it.
fn of_constraint(
    space: &DesignSpace,
    constraint: &Constraint,
    design: &[u16],
    group: &'static str,
) -> Predicate {
    let mut single = space.clone();
    single.constraints = vec![constraint.clone()];
    let broken = violations(&single, design);
    let mut figures = Vec::new();
    if let Rule::Each { attribute, decisions, test, .. } = &constraint.rule {
        for &d in decisions {
            let decision = &space.decisions[d];
            let Some(option) = decision.options.get(usize::from(design[d])) else { continue };
            figures.push(json!({
                "decision": decision.name,
                "option": option.id,
                "attribute": attribute,
                "value": option.attributes.get(attribute).map(figure),
                "limit": limit(test),
            }));
        }
    }
    Predicate {
        name: constraint.name.clone(),
        group,
        verdict: Some(broken.is_empty()),
        evidence: json!({
            "words": describe(space, constraint),
            "line": constraint.line,
            "figures": figures,
            "broken": broken.into_iter().map(|(_, what)| what).collect::<Vec<_>>(),
        }),
    }
}

fn figure(value: &Attribute) -> Value {
    match value {
        Attribute::Number(number) => json!(number.to_f64()),
        Attribute::Text(text) => json!(text),
        Attribute::Flag(flag) => json!(flag),
    }
}

fn limit(test: &EachTest) -> Value {
    match test {
        EachTest::Within(range) => {
            json!({"min": range.min.map(|d| d.to_f64()), "max": range.max.map(|d| d.to_f64())})
        }
        EachTest::Equals(value) => json!({"equals": figure(value)}),
    }
}

/// Waivers as they were given, if each says what, why, by whom and until when.
fn waivers(work: &Work) -> Result<Value, StageError> {
    let Some(given) = work.params.get("waivers") else { return Ok(json!([])) };
    let expected = "a list of objects with `criterion`, `reason`, `by` and `expires`, all texts";
    let parsed = match given {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    };
    let sound = parsed.as_array().is_some_and(|list| {
        list.iter().all(|waiver| {
            ["criterion", "reason", "by", "expires"]
                .iter()
                .all(|key| waiver.get(key).and_then(Value::as_str).is_some_and(|text| !text.is_empty()))
        })
    });
    if sound { Ok(parsed) } else { Err(wrong("waivers", &given.to_string(), expected)) }
}

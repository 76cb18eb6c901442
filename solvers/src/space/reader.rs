//! Reads a design-space file, version 1, in YAML or JSON.
//!
//! Rule: every problem of the file is reported at once, each with line, column and code; a space is
//! returned only when there is none. Numbers are read from their text, never through a float.
//! Absent: opening files; the caller passes text. Start at [`read`]; rules are read in [`super::rules`].

use super::fields::Walk;
use super::rules;
use super::tree::{self, Kind, Node, Place};
use super::{Attribute, Decision, DesignOption, DesignSpace};
use crate::problem::Problem;
use std::collections::BTreeMap;

/// Largest file in bytes. The largest known space has 68 kB; a thousand times that is a mistake.
pub const FILE_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most decisions. An aircraft has nine subsystems; 256 leaves room for finer ones.
pub const DECISIONS_MAX: usize = 256;

/// Most options of one decision. 43 donors with 24 variants each; domains stay within 16 machine words.
pub const OPTIONS_MAX: usize = 1024;

/// Most tuples of one rule: all pairs of two decisions at [`OPTIONS_MAX`].
pub const TUPLES_MAX: usize = 1024 * 1024;

/// Reads `text`; `file` is the name used in problems.
///
/// # Errors
/// All [`Problem`]s of the file, in its order, with codes EX-0300 to EX-0324 ([`super::CODES`]).
///
/// ```
/// let text = "design_space: 1\nname: one\ndecisions: [{name: wing, options: [{id: d24}]}]\n";
/// let space = solvers::space::read(text, "one.yaml").map_err(|all| format!("{all:?}"))?;
/// assert_eq!(space.decisions[0].options[0].id, "d24");
/// # Ok::<(), String>(())
/// ```
pub fn read(text: &str, file: &str) -> Result<DesignSpace, Vec<Problem>> {
    let mut walk = Walk::new(file);
    if text.len() > FILE_BYTES_MAX {
        let message = format!("the file has {} bytes; at most {FILE_BYTES_MAX} are read", text.len());
        walk.problem(Place::default(), "EX-0301", message, "split the space");
        return Err(walk.finish());
    }
    let root = match tree::parse(text) {
        Ok(Some(root)) => root,
        Ok(None) => {
            walk.problem(Place { line: 1, column: 1 }, "EX-0300", "the file is empty", "");
            return Err(walk.finish());
        }
        Err(error) => {
            walk.problem(error.place, "EX-0300", error.message, "");
            return Err(walk.finish());
        }
    };
    let space = space(&mut walk, &root);
    match space {
        Some(space) if walk.clean() => fits(space, file),
        _ => Err(walk.finish()),
    }
}

/// Every rule and the objective must have an exact integer form.
fn fits(space: DesignSpace, file: &str) -> Result<DesignSpace, Vec<Problem>> {
    let mut problems: Vec<Problem> = space
        .constraints
        .iter()
        .filter(|c| super::forms(&space, &c.rule).is_err())
        .map(|c| rules::does_not_fit(file, c.line, &c.name))
        .collect();
    if let Some(objective) = &space.objective
        && super::objective_form(&space, objective).is_err()
    {
        problems.push(rules::does_not_fit(file, 0, "objective"));
    }
    if problems.is_empty() { Ok(space) } else { Err(problems) }
}

fn space(walk: &mut Walk, root: &Node) -> Option<DesignSpace> {
    let fields = walk.fields(
        root,
        "design space",
        &["design_space", "name", "decisions"],
        &["constraints", "objective", "description"],
    )?;
    if let Some(version) = fields.get("design_space") {
        let one = matches!(&version.kind, Kind::Scalar { text, plain: true } if text == "1");
        if !one {
            let message = format!("design_space: expected version 1, found {}", version.describe());
            walk.problem(version.place, "EX-0306", message, "this program reads version 1");
        }
    }
    let name = fields.get("name").and_then(|n| walk.name(n, "the name of the space"));
    if let Some(text) = fields.get("description") {
        walk.name(text, "the description");
    }
    let (decisions, all_named) = fields.get("decisions").map(|n| decisions(walk, n)).unwrap_or_default();
    // Rules are read against the decisions that could be read, so that their own problems show too;
    // but names that could not be read must not make every rule that uses them look wrong.
    let lenient = !all_named;
    let context = rules::Context::new(&decisions, lenient);
    let constraints = fields
        .get("constraints")
        .filter(|n| !n.is_null())
        .map(|n| rules::constraints(walk, &context, n))
        .unwrap_or_default();
    let objective = fields.get("objective").and_then(|n| rules::objective(walk, &context, n));
    Some(DesignSpace { name: name?, decisions, constraints, objective })
}

/// The decisions, and whether all of them and their options could be read.
fn decisions(walk: &mut Walk, node: &Node) -> (Vec<Decision>, bool) {
    let Some(items) = walk.list(node, "decisions") else {
        return (Vec::new(), false);
    };
    if items.is_empty() {
        walk.problem(node.place, "EX-0307", "decisions is empty", "name at least one decision");
    }
    if items.len() > DECISIONS_MAX {
        let message = format!("{} decisions; at most {DECISIONS_MAX} are read", items.len());
        walk.problem(node.place, "EX-0301", message, "split the space");
        return (Vec::new(), false);
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut whole = true;
    let mut decisions = Vec::with_capacity(items.len());
    for item in items {
        let Some(fields) = walk.fields(item, "decision", &["name", "options"], &["description"]) else {
            whole = false;
            continue;
        };
        let Some(name) = fields.get("name").and_then(|n| walk.name(n, "the name of a decision")) else {
            whole = false;
            continue;
        };
        if let Some(first) = seen.insert(name.clone(), item.place.line) {
            let message = format!("decision `{name}` is there twice, first in line {first}");
            walk.problem(fields.place_of("name"), "EX-0308", message, "rename one");
            whole = false;
            continue;
        }
        let options = match fields.get("options") {
            Some(node) => options(walk, &name, node, &mut whole),
            None => {
                whole = false;
                Vec::new()
            }
        };
        decisions.push(Decision { name, options });
    }
    (decisions, whole)
}

fn options(walk: &mut Walk, decision: &str, node: &Node, whole: &mut bool) -> Vec<DesignOption> {
    let Some(items) = walk.list(node, &format!("options of `{decision}`")) else {
        *whole = false;
        return Vec::new();
    };
    if items.is_empty() {
        let message = format!("decision `{decision}` has no options");
        walk.problem(node.place, "EX-0307", message, "give it at least one option");
    }
    if items.len() > OPTIONS_MAX {
        let message =
            format!("decision `{decision}` has {} options; at most {OPTIONS_MAX} are read", items.len());
        walk.problem(node.place, "EX-0301", message, "split the decision");
        *whole = false;
        return Vec::new();
    }
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut options = Vec::with_capacity(items.len());
    for item in items {
        let what = format!("option of `{decision}`");
        let option = walk.fields(item, &what, &["id"], &["attributes", "description"]).and_then(|fields| {
            let id = walk.name(fields.get("id")?, &format!("the id of an option of `{decision}`"))?;
            let attributes = fields
                .get("attributes")
                .filter(|n| !n.is_null())
                .map(|n| attributes(walk, decision, &id, n))
                .unwrap_or_default();
            Some((id, attributes, fields.place_of("id")))
        });
        let Some((id, attributes, place)) = option else {
            *whole = false;
            continue;
        };
        if let Some(first) = seen.insert(id.clone(), item.place.line) {
            let message = format!("option `{id}` of `{decision}` is there twice, first in line {first}");
            walk.problem(place, "EX-0308", message, "rename one");
            *whole = false;
            continue;
        }
        options.push(DesignOption { id, attributes });
    }
    options
}

fn attributes(walk: &mut Walk, decision: &str, id: &str, node: &Node) -> BTreeMap<String, Attribute> {
    let mut attributes = BTreeMap::new();
    let Some(items) = walk.map(node, &format!("attributes of `{decision}`/`{id}`")) else {
        return attributes;
    };
    for (key, value) in items {
        let Some(name) = walk.name(key, "the name of an attribute") else {
            continue;
        };
        if let Some(attribute) = walk.attribute(value, &format!("`{name}` of `{decision}`/`{id}`"))
            && attributes.insert(name.clone(), attribute).is_some()
        {
            let message = format!("attribute `{name}` of `{decision}`/`{id}` is there twice");
            walk.problem(key.place, "EX-0305", message, "keep one of the two");
        }
    }
    attributes
}

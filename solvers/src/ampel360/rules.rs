//! The hard constraints as rules of the design space.

use super::codes;
use super::reader::{attribute, decimal};
use crate::scenarios::document::{Node, Place, Reader};
use crate::space::{Attribute, Constraint, Decimal, Decision, EachTest, Range, Rule};

/// A forbidden pair [a, b] has a as the wing's donor and b as the donor of one of these.
const FORBIDDEN_WITH: [&str; 3] = ["fuselage", "energy", "propulsion"];

/// `physics_constraints` key, the attribute it limits, and whether it is a minimum.
const LIMITS: [(&str, &str, bool); 4] = [
    ("weight_max", "weight_normalized", false),
    ("twr_min", "twr", true),
    ("noise_max", "noise_normalized", false),
    ("evacuation_time_max", "evacuation_time", false),
];

/// `hydrogen_policy` key and the subsystem it binds.
const ENERGY: [(&str, &str); 2] =
    [("propulsion_energy_type", "propulsion"), ("energy_storage_type", "energy")];

pub(super) struct Rules {
    pub constraints: Vec<Constraint>,
    pub geometry_flags: Vec<String>,
    pub evacuation_max: Option<Decimal>,
}

pub(super) fn rules(
    reader: &mut Reader,
    root: &Node,
    decisions: &[Decision],
    notes: &mut Vec<String>,
) -> Rules {
    let mut all = Rules { constraints: Vec::new(), geometry_flags: Vec::new(), evacuation_max: None };
    let everywhere: Vec<usize> = (0..decisions.len()).collect();
    let mut add = |name: String, rule: Rule, at: Place| {
        all.constraints.push(Constraint { name, rule, line: at.line });
    };
    for gate in root.get("trl_gates").map_or(&[][..], Node::entries) {
        let min = decimal(reader, &gate.value, &format!("the TRL gate of `{}`", gate.key));
        let decision = decisions.iter().position(|d| d.name == gate.key);
        if let (Some(min), Some(decision)) = (min, decision) {
            let rule = Rule::Each {
                attribute: "trl".into(),
                decisions: vec![decision],
                test: EachTest::Within(Range { min: Some(min), max: None }),
                missing_ignored: false,
            };
            add(format!("trl-{}", gate.key), rule, gate.at);
        }
    }
    if let Some(node) = root.get("physics_constraints") {
        let known: Vec<&str> = LIMITS.iter().map(|l| l.0).collect();
        reader.keys(node, "`physics_constraints`", &known, &[]);
        for (key, attribute, is_min) in LIMITS {
            let Some(limit) = node.get(key) else { continue };
            let Some(value) = decimal(reader, limit, &format!("`{key}`")) else {
                continue;
            };
            if key == "evacuation_time_max" {
                all.evacuation_max = Some(value);
            }
            let range = if is_min {
                Range { min: Some(value), max: None }
            } else {
                Range { min: None, max: Some(value) }
            };
            let rule = Rule::Each {
                attribute: attribute.into(),
                decisions: everywhere.clone(),
                test: EachTest::Within(range),
                missing_ignored: true,
            };
            add(key.replace('_', "-"), rule, limit.at);
        }
    }
    if let Some(node) = root.get("allowed_pairs") {
        reader.keys(node, "`allowed_pairs`", &[], &[]);
        for entry in node.entries() {
            let Some((a, b)) = two_subsystems(&entry.key, decisions) else {
                reader.problem(
                    codes::PAIR_NAMES,
                    entry.at,
                    format!("`{}` does not name two subsystems with TRL gates", entry.key),
                    "write for example wing_fuselage",
                );
                continue;
            };
            let what = format!("the allowed pairs `{}`", entry.key);
            let tuples = pairs(reader, &entry.value, &what)
                .into_iter()
                .filter_map(|(donors, _)| tuple(decisions, [a, b], &donors))
                .collect();
            let rule = Rule::Allowed { decisions: vec![a, b], tuples };
            add(format!("allowed-{}", entry.key.replace('_', "-")), rule, entry.at);
        }
    }
    if let Some(node) = root.get("forbidden_pairs") {
        let wing = decisions.iter().position(|d| d.name == "wing");
        for (donors, at) in pairs(reader, node, "`forbidden_pairs`") {
            let mut applies = false;
            for name in FORBIDDEN_WITH {
                let other = decisions.iter().position(|d| d.name == name);
                let (Some(wing), Some(other)) = (wing, other) else { continue };
                if let Some(tuple) = tuple(decisions, [wing, other], &donors) {
                    applies = true;
                    let rule = Rule::Forbidden { decisions: vec![wing, other], tuples: vec![tuple] };
                    add(format!("forbidden-{}-{}-{name}", donors[0], donors[1]), rule, at);
                }
            }
            if !applies {
                notes.push(format!(
                    "The forbidden pair [{}, {}] removes nothing: no donor {} offers a wing together with a \
                     fuselage, energy or propulsion of donor {}.",
                    donors[0], donors[1], donors[0], donors[1]
                ));
            }
        }
    }
    if let Some(node) = root.get("hydrogen_policy") {
        let known: Vec<&str> = ENERGY.iter().map(|e| e.0).collect();
        reader.keys(node, "`hydrogen_policy`", &known, &[]);
        for (key, subsystem) in ENERGY {
            let Some(wanted) = node.get(key) else { continue };
            let value = attribute(reader, wanted, &format!("`{key}`"));
            let decision = decisions.iter().position(|d| d.name == subsystem);
            if let (Some(value @ Attribute::Text(_)), Some(decision)) = (value, decision) {
                let rule = Rule::Each {
                    attribute: "energy_type".into(),
                    decisions: vec![decision],
                    test: EachTest::Equals(value),
                    missing_ignored: false,
                };
                add(key.replace('_', "-"), rule, wanted.at);
            }
        }
    }
    if let Some(node) = root.get("diversity_limits") {
        let key = "max_subsystems_per_donor";
        reader.keys(node, "`diversity_limits`", &[key], &[]);
        if let Some(limit) = node.get(key)
            && let Some(max) = reader.whole(limit, "`max_subsystems_per_donor`", 0..=1_000_000)
        {
            let rule =
                Rule::Same { attribute: "donor".into(), decisions: everywhere.clone(), max: max as u32 };
            add("max-subsystems-per-donor".into(), rule, limit.at);
        }
    }
    if let Some(node) = root.get("geometry_requirements") {
        flags(reader, node, "", &mut all.geometry_flags);
    }
    all
}

/// `wing_fuselage` as the two decisions it names.
fn two_subsystems(key: &str, decisions: &[Decision]) -> Option<(usize, usize)> {
    (0..decisions.len())
        .flat_map(|a| (0..decisions.len()).map(move |b| (a, b)))
        .find(|&(a, b)| a != b && key == format!("{}_{}", decisions[a].name, decisions[b].name))
}

fn pairs(reader: &mut Reader, node: &Node, what: &str) -> Vec<([String; 2], Place)> {
    let Some(items) = reader.list(node, what, None) else {
        return Vec::new();
    };
    let mut pairs = Vec::new();
    for item in items {
        let Some(donors) = reader.list(item, &format!("a pair of {what}"), Some(2)) else {
            continue;
        };
        let mut donor = |n: &Node| reader.whole(n, &format!("a donor of {what}"), 0..=1_000_000);
        if let (Some(a), Some(b)) = (donor(&donors[0]), donor(&donors[1])) {
            pairs.push(([a.to_string(), b.to_string()], item.at));
        }
    }
    pairs
}

/// Option positions of two donors in two decisions, if both offer them.
fn tuple(decisions: &[Decision], of: [usize; 2], donors: &[String; 2]) -> Option<Vec<u16>> {
    of.iter()
        .zip(donors)
        .map(|(&decision, donor)| {
            let position = decisions[decision].options.iter().position(|o| o.id == *donor)?;
            u16::try_from(position).ok()
        })
        .collect()
}

/// Names of all flags that are true, with those of the mappings they stand in.
fn flags(reader: &mut Reader, node: &Node, prefix: &str, into: &mut Vec<String>) {
    let what = if prefix.is_empty() { "geometry_requirements" } else { prefix.trim_end_matches('.') };
    if !reader.keys(node, &format!("`{what}`"), &[], &[]) {
        return;
    }
    for entry in node.entries() {
        let name = format!("{prefix}{}", entry.key);
        if matches!(entry.value.kind, crate::scenarios::document::Kind::Map(_)) {
            flags(reader, &entry.value, &format!("{name}."), into);
            continue;
        }
        match attribute(reader, &entry.value, &format!("`{name}`")) {
            Some(Attribute::Flag(true)) => into.push(name),
            Some(Attribute::Flag(false)) | None => {}
            Some(_) => reader.problem(
                codes::COMMON.wrong_type,
                entry.value.at,
                format!("`{name}` must be true or false, not {}", entry.value.describe()),
                "",
            ),
        }
    }
}

//! Candidates and hard constraints to a design space: the decisions and their options.

use super::{File, Programme, codes, rules};
use crate::problem::Problem;
use crate::scenarios::document::{Kind, Node, Reader, to_f64};
use crate::space::{Attribute, Decimal, Decision, DesignOption, DesignSpace};
use std::collections::BTreeMap;

/// Name of the decision over passenger bins.
const CAPACITY: &str = "capacity";

/// A donor and what it offers, as the file states it.
struct Donor {
    id: String,
    common: BTreeMap<String, Attribute>,
    offers: BTreeMap<String, BTreeMap<String, Attribute>>,
}

/// Reads both files. With `capacity` the passenger bins become one more decision.
///
/// Decisions stand in the order of `trl_gates`, options in the order of the candidates, named by the
/// donor's id. No rule of the files limits the bins, so each architecture comes with every bin.
///
/// # Errors
/// Every problem of both files, with line and column; codes EX-0410 to EX-0429 ([`super::CODES`]).
pub fn read(candidates: File, constraints: File, capacity: bool) -> Result<Programme, Vec<Problem>> {
    let mut of_candidates = Reader::new(candidates.name, codes::COMMON);
    let mut of_constraints = Reader::new(constraints.name, codes::COMMON);
    let candidates = of_candidates.parse(candidates.text);
    let constraints = of_constraints.parse(constraints.text);
    let mut programme = None;
    if let (Some(candidates), Some(constraints)) = (candidates, constraints) {
        let donors = donors(&mut of_candidates, &candidates);
        let bins = if capacity { bins(&mut of_candidates, &candidates) } else { None };
        programme = space(&mut of_constraints, &constraints, &donors, bins);
    }
    let mut problems = of_candidates.problems;
    problems.sort_by_key(|p| (p.line, p.column));
    of_constraints.problems.sort_by_key(|p| (p.line, p.column));
    problems.append(&mut of_constraints.problems);
    match programme {
        Some(programme) if problems.is_empty() => Ok(programme),
        _ => Err(problems),
    }
}

fn donors(reader: &mut Reader, root: &Node) -> Vec<Donor> {
    reader.keys(
        root,
        "the candidates file",
        &["candidates", "passenger_binning", "cost_components", "corridors"],
        &["candidates"],
    );
    let mut donors: Vec<Donor> = Vec::new();
    let Some(items) =
        root.get("candidates").and_then(|node| reader.list(node, "`candidates`", None).map(<[Node]>::to_vec))
    else {
        return donors;
    };
    for item in &items {
        reader.keys(item, "a candidate", &["id", "name", "type", "subsystems"], &["id", "subsystems"]);
        let Some(id) = item.get("id").and_then(|n| reader.whole(n, "the id of a candidate", 0..=1_000_000))
        else {
            continue;
        };
        let id = id.to_string();
        if donors.iter().any(|d| d.id == id) {
            reader.problem(
                codes::SAME_DONOR,
                item.at,
                format!("a second candidate has the id {id}"),
                "give every donor its own id",
            );
            continue;
        }
        let mut common = BTreeMap::new();
        for (key, name) in [("name", "donor_name"), ("type", "donor_type")] {
            if let Some(text) = item.get(key).and_then(|n| reader.text(n, &format!("`{key}` of donor {id}")))
            {
                common.insert(name.to_string(), Attribute::Text(text));
            }
        }
        let mut offers = BTreeMap::new();
        if let Some(subsystems) = item.get("subsystems")
            && reader.keys(subsystems, &format!("the subsystems of donor {id}"), &[], &[])
        {
            for entry in subsystems.entries() {
                let what = format!("the {} of donor {id}", entry.key);
                let mut attributes = BTreeMap::new();
                flatten(reader, &entry.value, &what, "", &mut attributes);
                offers.insert(entry.key.clone(), attributes);
            }
        }
        donors.push(Donor { id, common, offers });
    }
    donors
}

/// Attributes of a subsystem; those of an inner mapping get its name in front, `geometry_keel_depth`.
fn flatten(
    reader: &mut Reader,
    node: &Node,
    what: &str,
    prefix: &str,
    into: &mut BTreeMap<String, Attribute>,
) {
    if !reader.keys(node, what, &[], &[]) {
        return;
    }
    for entry in node.entries() {
        let name = format!("{prefix}{}", entry.key);
        match &entry.value.kind {
            Kind::Map(_) => flatten(reader, &entry.value, what, &format!("{name}_"), into),
            _ => {
                if let Some(attribute) = attribute(reader, &entry.value, &format!("`{name}` of {what}")) {
                    into.insert(name, attribute);
                }
            }
        }
    }
}

pub(super) fn attribute(reader: &mut Reader, node: &Node, what: &str) -> Option<Attribute> {
    let text = reader.text(node, what)?;
    if let Kind::Scalar { quoted: false, .. } = node.kind {
        if let "true" | "false" = text.as_str() {
            return Some(Attribute::Flag(text == "true"));
        }
        if to_f64(&text).is_some() {
            return decimal(reader, node, what).map(Attribute::Number);
        }
    }
    Some(Attribute::Text(text))
}

/// An exact decimal, or a complaint.
pub(super) fn decimal(reader: &mut Reader, node: &Node, what: &str) -> Option<Decimal> {
    reader.number(node, what)?;
    let Kind::Scalar { text, .. } = &node.kind else {
        return None;
    };
    let exact = exact(text);
    if exact.is_none() {
        reader.problem(
            codes::DIGITS,
            node.at,
            format!("{what} cannot be held exactly: {}", node.describe()),
            "write it as a plain decimal of at most 18 digits",
        );
    }
    exact
}

fn exact(text: &str) -> Option<Decimal> {
    let plain = text.replace('_', "");
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.strip_prefix('+').unwrap_or(&plain)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let all = format!("{whole}{fraction}");
    if all.len() > 18 || !all.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let mantissa = if all.is_empty() { 0 } else { format!("{sign}{all}").parse().ok()? };
    Some(Decimal { mantissa, scale: u8::try_from(fraction.len()).ok()? })
}

/// The decision over passenger bins.
fn bins(reader: &mut Reader, root: &Node) -> Option<Decision> {
    let node = root.get("passenger_binning").and_then(|b| b.get("bins"));
    let Some(items) = node.and_then(|n| reader.list(n, "the passenger bins", None)) else {
        reader.problem(
            codes::BINS,
            root.at,
            "the capacity was asked for, and the candidates file has no `passenger_binning` with `bins`",
            "add them, or leave the capacity out",
        );
        return None;
    };
    let mut options: Vec<DesignOption> = Vec::new();
    for item in items {
        let mut attributes = BTreeMap::new();
        flatten(reader, item, "a passenger bin", "", &mut attributes);
        let Some(seats) =
            item.get(CAPACITY).and_then(|n| reader.whole(n, "the capacity of a passenger bin", 1..=10_000))
        else {
            continue;
        };
        if options.iter().any(|o| o.id == seats.to_string()) {
            reader.problem(codes::BINS, item.at, format!("a second bin has {seats} seats"), "");
        }
        options.push(DesignOption { id: seats.to_string(), attributes });
    }
    if items.is_empty() {
        reader.problem(
            codes::BINS,
            root.at,
            "the capacity was asked for, and the list of passenger bins is empty",
            "add a bin with its `capacity`, or leave the capacity out",
        );
    }
    Some(Decision { name: CAPACITY.into(), options })
}

fn space(reader: &mut Reader, root: &Node, donors: &[Donor], bins: Option<Decision>) -> Option<Programme> {
    reader.keys(
        root,
        "the constraints file",
        &[
            "trl_gates",
            "allowed_pairs",
            "forbidden_pairs",
            "physics_constraints",
            "hydrogen_policy",
            "diversity_limits",
            "bwb_constraints",
            "geometry_requirements",
            "certification",
        ],
        &["trl_gates"],
    );
    let gates = root.get("trl_gates")?;
    if !reader.keys(gates, "`trl_gates`", &[], &[]) {
        return None;
    }
    let mut decisions = Vec::new();
    for gate in gates.entries() {
        let options: Vec<DesignOption> = donors
            .iter()
            .filter_map(|donor| {
                let mut attributes = donor.common.clone();
                attributes.extend(donor.offers.get(&gate.key)?.clone());
                attributes.insert("donor".into(), Attribute::Number(exact(&donor.id)?));
                Some(DesignOption { id: donor.id.clone(), attributes })
            })
            .collect();
        if options.is_empty() {
            reader.problem(
                codes::NOBODY_OFFERS,
                gate.at,
                format!("no candidate offers the subsystem `{}`", gate.key),
                "add a donor that does, or remove the gate",
            );
        }
        decisions.push(Decision { name: gate.key.clone(), options });
    }
    let mut notes = Vec::new();
    let mut unused: Vec<&str> = donors
        .iter()
        .flat_map(|d| d.offers.keys())
        .map(String::as_str)
        .filter(|s| decisions.iter().all(|d| d.name != *s))
        .collect();
    unused.sort_unstable();
    unused.dedup();
    for subsystem in unused {
        notes.push(format!("The subsystem `{subsystem}` has no TRL gate and is not chosen."));
    }
    let rules = rules::rules(reader, root, &decisions, &mut notes);
    for key in ["bwb_constraints", "certification"] {
        if root.get(key).is_some() {
            notes.push(format!("`{key}` states no rule that a design could break; it has no effect."));
        }
    }
    if let Some(bins) = bins {
        notes.push("No door or evacuation rule is stated for the passenger bins; none is removed.".into());
        decisions.push(bins);
    }
    Some(Programme {
        space: DesignSpace {
            name: "ampel360".into(),
            decisions,
            constraints: rules.constraints,
            objective: None,
        },
        geometry_flags: rules.geometry_flags,
        evacuation_max: rules.evacuation_max,
        notes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact_or_refused() {
        assert_eq!(exact("0.38"), Some(Decimal { mantissa: 38, scale: 2 }));
        assert_eq!(exact("-6.50"), Some(Decimal { mantissa: -65, scale: 1 }));
        assert_eq!(exact("24"), Some(Decimal { mantissa: 24, scale: 0 }));
        assert_eq!(exact("1e3"), None);
        assert_eq!(exact("1234567890123456789"), None);
    }
}

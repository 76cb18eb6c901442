//! Reads constraints and the objective of a design-space file.
//!
//! Rule: names are resolved to positions here and checked for existence and type; a rule that comes out
//! of here can be evaluated for every design. Start at [`constraints`].

use super::fields::{Fields, Walk, nearest};
use super::reader::TUPLES_MAX;
use super::tree::{Kind, Node, Place};
use super::{
    Attribute, Constraint, Decimal, Decision, DecisionIndex, EachTest, LinearTerm, Objective, Range, Rule,
};
use crate::problem::Problem;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

const RULES: [&str; 9] = ["allowed", "forbidden", "sum", "each", "same", "distinct", "linear", "ratio", "if"];

/// What rules refer to.
pub(super) struct Context<'a> {
    decisions: &'a [Decision],
    by_name: BTreeMap<&'a str, DecisionIndex>,
    by_id: Vec<BTreeMap<&'a str, u16>>,
    /// Some names could not be read: a name that is not found proves nothing.
    lenient: bool,
}

impl<'a> Context<'a> {
    pub fn new(decisions: &'a [Decision], lenient: bool) -> Self {
        let by_name = decisions.iter().enumerate().map(|(i, d)| (d.name.as_str(), i)).collect();
        let ids = |d: &'a Decision| d.options.iter().zip(0u16..).map(|(o, i)| (o.id.as_str(), i)).collect();
        Context { decisions, by_name, by_id: decisions.iter().map(ids).collect(), lenient }
    }

    fn decision(&self, walk: &mut Walk, node: &Node) -> Option<DecisionIndex> {
        let name = walk.name(node, "the name of a decision")?;
        let found = self.by_name.get(name.as_str()).copied();
        if found.is_none() && !self.lenient {
            let known: Vec<&str> = self.decisions.iter().map(|d| d.name.as_str()).collect();
            let message = format!("there is no decision `{name}`");
            walk.problem(node.place, "EX-0309", message, known_help(&name, &known));
        }
        found
    }

    fn option(&self, walk: &mut Walk, decision: DecisionIndex, node: &Node) -> Option<u16> {
        let id = walk.name(node, "the id of an option")?;
        let found = self.by_id[decision].get(id.as_str()).copied();
        if found.is_none() && !self.lenient {
            let decision = &self.decisions[decision];
            let known: Vec<&str> = decision.options.iter().map(|o| o.id.as_str()).collect();
            let message = format!("decision `{}` has no option `{id}`", decision.name);
            walk.problem(node.place, "EX-0310", message, known_help(&id, &known));
        }
        found
    }

    /// A list of different decisions, not empty. `None` if it is absent or unusable.
    fn decision_list(&self, walk: &mut Walk, node: &Node) -> Option<Vec<DecisionIndex>> {
        let items = walk.list(node, "decisions")?;
        if items.is_empty() {
            walk.problem(node.place, "EX-0307", "the list of decisions is empty", "leave it out to mean all");
            return None;
        }
        let mut all = Vec::with_capacity(items.len());
        let mut whole = true;
        for item in items {
            match self.decision(walk, item) {
                None => whole = false,
                Some(d) if all.contains(&d) => {
                    let message = format!("decision `{}` is listed twice", self.decisions[d].name);
                    walk.problem(item.place, "EX-0308", message, "list it once");
                    whole = false;
                }
                Some(d) => all.push(d),
            }
        }
        whole.then_some(all)
    }

    fn all_or(&self, walk: &mut Walk, node: Option<&Node>) -> Option<Vec<DecisionIndex>> {
        match node {
            None => Some((0..self.decisions.len()).collect()),
            Some(node) => self.decision_list(walk, node),
        }
    }

    /// Every option of `decisions` must state `attribute` as a number, unless `missing` stands for it.
    fn numeric(
        &self,
        walk: &mut Walk,
        place: Place,
        attribute: &str,
        decisions: &[DecisionIndex],
        missing_stands: bool,
    ) {
        if !self.stated(walk, place, attribute, decisions) {
            return;
        }
        for &d in decisions {
            let decision = &self.decisions[d];
            let (mut without, mut words) = (Vec::new(), Vec::new());
            for option in &decision.options {
                match option.attributes.get(attribute) {
                    Some(Attribute::Number(_)) => {}
                    Some(_) => words.push(option.id.as_str()),
                    None => without.push(option.id.as_str()),
                }
            }
            if !without.is_empty() && !missing_stands && !self.lenient {
                let message = format!(
                    "`{attribute}` is not stated by {} of decision `{}`",
                    options_in_words(&without),
                    decision.name
                );
                let help = "state it there, or give the rule `missing: N`";
                walk.problem(place, "EX-0317", message, help);
            }
            if !words.is_empty() {
                let message = format!(
                    "`{attribute}` is not a number in {} of decision `{}`",
                    options_in_words(&words),
                    decision.name
                );
                walk.problem(place, "EX-0318", message, "write it as a number without quotes");
            }
        }
    }

    /// At least one option of `decisions` must state `attribute`.
    fn stated(&self, walk: &mut Walk, place: Place, attribute: &str, decisions: &[DecisionIndex]) -> bool {
        let options = || decisions.iter().flat_map(|&d| &self.decisions[d].options);
        if options().any(|o| o.attributes.contains_key(attribute)) {
            return true;
        }
        if !self.lenient {
            let known: BTreeSet<&str> =
                options().flat_map(|o| o.attributes.keys().map(String::as_str)).collect();
            let known: Vec<&str> = known.into_iter().collect();
            let message = format!("no option of the decisions concerned states `{attribute}`");
            walk.problem(place, "EX-0319", message, known_help(attribute, &known));
        }
        false
    }
}

fn known_help(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return "there is none at all".to_string();
    }
    let some: Vec<&str> = known.iter().copied().take(20).collect();
    let rest = if known.len() > some.len() { ", .." } else { "" };
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`? known: {}{rest}", some.join(", ")),
        None => format!("known: {}{rest}", some.join(", ")),
    }
}

fn options_in_words(ids: &[&str]) -> String {
    let some: Vec<String> = ids.iter().take(10).map(|id| format!("`{id}`")).collect();
    let more = if ids.len() > 10 { format!(" and {} more", ids.len() - 10) } else { String::new() };
    format!("option{} {}{more}", if ids.len() == 1 { "" } else { "s" }, some.join(", "))
}

pub(super) fn constraints(walk: &mut Walk, context: &Context, node: &Node) -> Vec<Constraint> {
    let Some(items) = walk.list(node, "constraints") else {
        return Vec::new();
    };
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        let required = ["name"];
        let optional = [
            "allowed",
            "forbidden",
            "sum",
            "each",
            "same",
            "distinct",
            "linear",
            "ratio",
            "if",
            "then",
            "min",
            "max",
            "equals",
            "missing",
            "decisions",
            "description",
        ];
        let Some(fields) = walk.fields(item, "constraint", &required, &optional) else {
            continue;
        };
        let name = fields.get("name").and_then(|n| walk.name(n, "the name of a constraint"));
        if let Some(name) = &name
            && let Some(first) = seen.insert(name.clone(), item.place.line)
        {
            let message = format!("constraint `{name}` is there twice, first in line {first}");
            walk.problem(fields.place_of("name"), "EX-0308", message, "rename one");
        }
        let rule = rule(walk, context, &fields);
        if let (Some(name), Some(rule)) = (name, rule) {
            all.push(Constraint { name, rule, line: item.place.line });
        }
    }
    all
}

fn rule(walk: &mut Walk, context: &Context, fields: &Fields) -> Option<Rule> {
    let kinds: Vec<&str> = RULES.into_iter().filter(|k| fields.get(k).is_some()).collect();
    let [kind] = kinds[..] else {
        let message = match kinds.len() {
            0 => "the constraint has no rule".to_string(),
            n => format!("the constraint has {n} rules: {}", kinds.join(", ")),
        };
        let help = format!("give it one of {}", RULES.join(", "));
        walk.problem(fields.place, "EX-0314", message, help);
        return None;
    };
    let body = fields.get(kind)?;
    let beside: &[&str] = match kind {
        "allowed" | "forbidden" => &[],
        "each" => &["min", "max", "equals", "missing", "decisions"],
        "sum" | "linear" | "ratio" => &["min", "max", "missing", "decisions"],
        "same" => &["max", "decisions"],
        "distinct" => &["min", "max", "decisions"],
        _ => &["then"],
    };
    for key in ["min", "max", "equals", "missing", "decisions", "then"] {
        if fields.get(key).is_some() && !beside.contains(&key) {
            let message = format!("`{key}` means nothing beside `{kind}`");
            walk.problem(fields.place_of(key), "EX-0321", message, "remove it");
        }
    }
    match kind {
        "allowed" | "forbidden" => table(walk, context, kind, body),
        "if" => implies(walk, context, fields, body),
        "linear" => linear(walk, context, fields, body),
        "ratio" => ratio(walk, context, fields, body),
        _ => over_attribute(walk, context, kind, fields, body),
    }
}

fn table(walk: &mut Walk, context: &Context, kind: &str, body: &Node) -> Option<Rule> {
    let fields = walk.fields(body, kind, &["decisions", "tuples"], &[])?;
    let decisions = fields.get("decisions").and_then(|n| context.decision_list(walk, n));
    let tuples_node = fields.get("tuples")?;
    let items = walk.list(tuples_node, "tuples")?;
    if items.len() > TUPLES_MAX {
        let message = format!("{} tuples; at most {TUPLES_MAX} are read", items.len());
        walk.problem(tuples_node.place, "EX-0301", message, "split the rule");
        return None;
    }
    let decisions = decisions?;
    let mut tuples = Vec::with_capacity(items.len());
    for item in items {
        let Some(entries) = walk.list(item, "a tuple") else {
            continue;
        };
        if entries.len() != decisions.len() {
            let message =
                format!("the tuple has {} entries for {} decisions", entries.len(), decisions.len());
            walk.problem(item.place, "EX-0313", message, "one option id per decision, in their order");
            continue;
        }
        let tuple: Vec<Option<u16>> =
            decisions.iter().zip(entries).map(|(&d, entry)| context.option(walk, d, entry)).collect();
        if let Some(tuple) = tuple.into_iter().collect() {
            tuples.push(tuple);
        }
    }
    Some(match kind {
        "allowed" => Rule::Allowed { decisions, tuples },
        _ => Rule::Forbidden { decisions, tuples },
    })
}

fn implies(walk: &mut Walk, context: &Context, fields: &Fields, body: &Node) -> Option<Rule> {
    let when = choice(walk, context, "if", body);
    let Some(then) = fields.get("then") else {
        walk.problem(
            fields.place,
            "EX-0303",
            "`if` stands without `then`",
            "add then: {decision: .., in: [..]}",
        );
        return None;
    };
    let then = choice(walk, context, "then", then);
    let (decision, when) = when?;
    let (then_decision, then) = then?;
    Some(Rule::Implies { decision, when, then_decision, then })
}

fn choice(walk: &mut Walk, context: &Context, what: &str, node: &Node) -> Option<(DecisionIndex, Vec<u16>)> {
    let fields = walk.fields(node, what, &["decision", "in"], &[])?;
    let decision = context.decision(walk, fields.get("decision")?)?;
    let mut options: Vec<u16> = Vec::new();
    for item in walk.list(fields.get("in")?, "in")? {
        if let Some(option) = context.option(walk, decision, item) {
            if options.contains(&option) {
                let id = &context.decisions[decision].options[usize::from(option)].id;
                walk.problem(item.place, "EX-0308", format!("option `{id}` is listed twice"), "list it once");
            } else {
                options.push(option);
            }
        }
    }
    Some((decision, options))
}

/// A key that may stand inside the rule or beside it, but not in both places.
fn either<'n>(walk: &mut Walk, inner: &Fields<'n>, outer: &Fields<'n>, key: &str) -> Option<&'n Node> {
    if inner.get(key).is_some() && outer.get(key).is_some() {
        let message = format!("`{key}` stands inside the rule and beside it");
        walk.problem(outer.place_of(key), "EX-0305", message, "keep one of the two");
    }
    inner.get(key).or(outer.get(key))
}

fn range(walk: &mut Walk, fields: &Fields, needed: bool) -> Option<Range> {
    let min = fields.get("min").map(|n| walk.number(n, "min"));
    let max = fields.get("max").map(|n| walk.number(n, "max"));
    if needed && min.is_none() && max.is_none() {
        walk.problem(fields.place, "EX-0315", "the rule has neither min nor max", "give at least one");
        return None;
    }
    // A bound that is there but unreadable has been reported; the rule is then unusable.
    let bound = |b: Option<Option<Decimal>>| match b {
        None => Some(None),
        Some(None) => None,
        Some(some) => Some(some),
    };
    let range = Range { min: bound(min)?, max: bound(max)? };
    if let (Some(min), Some(max)) = (range.min, range.max)
        && min.compare(max) == Ordering::Greater
    {
        let message = format!("min {min} is greater than max {max}");
        walk.problem(fields.place_of("min"), "EX-0316", message, "");
    }
    Some(range)
}

fn missing_number(walk: &mut Walk, node: Option<&Node>) -> (bool, Option<Decimal>) {
    match node {
        None => (false, None),
        Some(node) => (true, walk.number(node, "missing")),
    }
}

fn over_attribute(
    walk: &mut Walk,
    context: &Context,
    kind: &str,
    outer: &Fields,
    body: &Node,
) -> Option<Rule> {
    let optional: &[&'static str] = match kind {
        "sum" | "each" => &["decisions", "missing"],
        _ => &["decisions"],
    };
    let inner = walk.fields(body, kind, &["attribute"], optional)?;
    let decisions = either(walk, &inner, outer, "decisions");
    let decisions = context.all_or(walk, decisions);
    let place = inner.get("attribute").map_or(inner.place, |n| n.place);
    let attribute = inner.get("attribute").and_then(|n| walk.name(n, "the name of an attribute"));
    let missing = either(walk, &inner, outer, "missing");
    match kind {
        "sum" => {
            let range = range(walk, outer, true);
            let (given, missing) = missing_number(walk, missing);
            let (attribute, decisions) = (attribute?, decisions?);
            context.numeric(walk, place, &attribute, &decisions, given);
            Some(Rule::Sum { attribute, decisions, missing, range: range? })
        }
        "each" => {
            let missing_ignored = match missing {
                None => false,
                Some(node) => {
                    let ignore = matches!(&node.kind, Kind::Scalar { text, .. } if text == "ignore");
                    if !ignore {
                        let message = format!("missing: expected `ignore`, found {}", node.describe());
                        walk.problem(
                            node.place,
                            "EX-0302",
                            message,
                            "leave it out to make a missing value fail",
                        );
                    }
                    ignore
                }
            };
            let equals = outer.get("equals").map(|n| walk.attribute(n, "equals"));
            let bounded = outer.get("min").is_some() || outer.get("max").is_some();
            if equals.is_some() && bounded {
                let message = "`equals` stands beside min or max";
                walk.problem(outer.place_of("equals"), "EX-0321", message, "keep one of the two");
            }
            let range = if equals.is_none() { range(walk, outer, true) } else { None };
            let (attribute, decisions) = (attribute?, decisions?);
            let test = match equals {
                Some(value) => {
                    context.stated(walk, place, &attribute, &decisions);
                    EachTest::Equals(value?)
                }
                None => {
                    context.numeric(walk, place, &attribute, &decisions, true);
                    EachTest::Within(range?)
                }
            };
            Some(Rule::Each { attribute, decisions, test, missing_ignored })
        }
        "same" => {
            let max = match outer.get("max") {
                Some(node) => walk.count(node, "max"),
                None => {
                    walk.problem(outer.place, "EX-0315", "`same` has no max", "give max: N");
                    None
                }
            };
            let (attribute, decisions) = (attribute?, decisions?);
            context.stated(walk, place, &attribute, &decisions);
            Some(Rule::Same { attribute, decisions, max: max? })
        }
        _ => {
            let min = outer.get("min").map(|n| walk.count(n, "min"));
            let max = outer.get("max").map(|n| walk.count(n, "max"));
            if min.is_none() && max.is_none() {
                walk.problem(
                    outer.place,
                    "EX-0315",
                    "`distinct` has neither min nor max",
                    "give at least one",
                );
            }
            if let (Some(Some(min)), Some(Some(max))) = (min, max)
                && min > max
            {
                let message = format!("min {min} is greater than max {max}");
                walk.problem(outer.place_of("min"), "EX-0316", message, "");
            }
            let (attribute, decisions) = (attribute?, decisions?);
            context.stated(walk, place, &attribute, &decisions);
            Some(Rule::Distinct { attribute, decisions, min: min.flatten(), max: max.flatten() })
        }
    }
}

fn linear(walk: &mut Walk, context: &Context, outer: &Fields, body: &Node) -> Option<Rule> {
    let range = range(walk, outer, true);
    let decisions = context.all_or(walk, outer.get("decisions"));
    let (shared_given, shared) = missing_number(walk, outer.get("missing"));
    let items = walk.list(body, "linear")?;
    if items.is_empty() {
        walk.problem(body.place, "EX-0307", "`linear` has no terms", "give at least one");
    }
    let mut terms = Vec::with_capacity(items.len());
    let mut seen = BTreeSet::new();
    for item in items {
        let Some(inner) = walk.fields(item, "term", &["attribute"], &["times", "missing"]) else {
            continue;
        };
        let place = inner.get("attribute").map_or(inner.place, |n| n.place);
        let attribute = inner.get("attribute").and_then(|n| walk.name(n, "the name of an attribute"));
        let times = match inner.get("times") {
            None => Some(Decimal::whole(1)),
            Some(node) => walk.number(node, "times"),
        };
        let (own_given, own) = missing_number(walk, inner.get("missing"));
        let Some(attribute) = attribute else { continue };
        if !seen.insert(attribute.clone()) {
            let message = format!("attribute `{attribute}` has two terms");
            walk.problem(place, "EX-0308", message, "add their weights into one term");
        }
        if let Some(decisions) = &decisions {
            context.numeric(walk, place, &attribute, decisions, own_given || shared_given);
        }
        if let Some(times) = times {
            let missing = if own_given { own } else { shared };
            terms.push(LinearTerm { attribute, times, missing });
        }
    }
    Some(Rule::Linear { terms, decisions: decisions?, range: range? })
}

fn ratio(walk: &mut Walk, context: &Context, outer: &Fields, body: &Node) -> Option<Rule> {
    let range = range(walk, outer, true);
    let inner = walk.fields(body, "ratio", &["of", "over"], &["decisions", "missing"])?;
    let decisions = either(walk, &inner, outer, "decisions");
    let decisions = context.all_or(walk, decisions)?;
    let missing = either(walk, &inner, outer, "missing");
    let (given, missing) = missing_number(walk, missing);
    let mut names = Vec::new();
    for key in ["of", "over"] {
        let node = inner.get(key)?;
        let name = walk.name(node, "the name of an attribute")?;
        context.numeric(walk, node.place, &name, &decisions, given);
        names.push(name);
    }
    let over = names.pop()?;
    let of = names.pop()?;
    Some(Rule::Ratio { of, over, decisions, missing, range: range? })
}

pub(super) fn objective(walk: &mut Walk, context: &Context, node: &Node) -> Option<Objective> {
    let fields = walk.fields(node, "objective", &[], &["minimise", "maximise"])?;
    let (maximise, body) = match (fields.get("minimise"), fields.get("maximise")) {
        (Some(body), None) => (false, body),
        (None, Some(body)) => (true, body),
        _ => {
            let message = "the objective needs exactly one of minimise and maximise";
            walk.problem(node.place, "EX-0314", message, "minimise: {sum: {attribute: ..}}");
            return None;
        }
    };
    let body = walk.fields(body, "objective", &["sum"], &[])?;
    let inner = walk.fields(body.get("sum")?, "sum", &["attribute"], &["missing"])?;
    let node = inner.get("attribute")?;
    let attribute = walk.name(node, "the name of an attribute")?;
    let (given, missing) = missing_number(walk, inner.get("missing"));
    let all: Vec<DecisionIndex> = (0..context.decisions.len()).collect();
    context.numeric(walk, node.place, &attribute, &all, given);
    Some(Objective { attribute, maximise, missing })
}

/// The problem of a rule whose numbers do not fit exact sums; for use after reading.
pub(super) fn does_not_fit(file: &str, line: u32, name: &str) -> Problem {
    Problem {
        code: "EX-0324".to_string(),
        file: file.to_string(),
        line,
        column: 1,
        message: format!("the numbers of `{name}`, brought to one scale, do not fit exact 64-bit sums"),
        help: "use fewer digits or another unit".to_string(),
    }
}

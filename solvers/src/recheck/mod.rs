//! A second opinion on a list of designs, from the raw model.
//!
//! Rule: nothing here is shared with the search or the integer forms: every rule is evaluated from its
//! own words, on exact fractions in 128 bits, design by design. It is slow and simple on purpose; a
//! mistake in the search would have to be made here a second time, in other words, to go unnoticed.
//! Start at [`recheck`].

mod fraction;

use crate::space::{Attribute, Decimal, DesignOption, DesignSpace, EachTest, Range, Rule};
use fraction::Fraction;
use serde::Serialize;
use std::cmp::Ordering;

/// Most violations written out; a list that is wrong everywhere says so in its first thousand.
pub const VIOLATIONS_MAX: usize = 1000;

/// One rule that one design breaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Place of the design in the list, from 0.
    pub index: u64,
    /// Name of the constraint; `design` if the design itself is malformed.
    pub constraint: String,
    /// What was asked and what the design has.
    pub what: String,
}

/// What the re-check saw.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    pub checked: u64,
    /// Designs that break at least one rule.
    pub infeasible: u64,
    /// The first [`VIOLATIONS_MAX`] violations.
    pub violations: Vec<Violation>,
    /// Designs that are equal to an earlier one of the list.
    pub duplicates: u64,
    /// Designs that stand before their predecessor in canonical order.
    pub out_of_order: u64,
}

impl Report {
    /// Everything holds: feasible, different, in canonical order.
    pub fn clean(&self) -> bool {
        self.infeasible == 0 && self.duplicates == 0 && self.out_of_order == 0
    }
}

/// Checks every design of the list against every constraint of `space`.
///
/// Cost: designs x constraints; duplicates are found by sorting when the list is out of order.
pub fn recheck<D: AsRef<[u16]>>(space: &DesignSpace, designs: impl IntoIterator<Item = D>) -> Report {
    let mut report =
        Report { checked: 0, infeasible: 0, violations: Vec::new(), duplicates: 0, out_of_order: 0 };
    let mut positions: Vec<u16> = Vec::new();
    let mut ends: Vec<usize> = Vec::new();
    let mut start = 0;
    for (index, design) in (0u64..).zip(designs) {
        let design = design.as_ref();
        let wrong = violations(space, design);
        report.checked += 1;
        report.infeasible += u64::from(!wrong.is_empty());
        for (constraint, what) in wrong {
            if report.violations.len() < VIOLATIONS_MAX {
                report.violations.push(Violation { index, constraint, what });
            }
        }
        if index > 0 {
            match design.cmp(&positions[start..]) {
                Ordering::Less => report.out_of_order += 1,
                Ordering::Equal => report.duplicates += 1,
                Ordering::Greater => {}
            }
        }
        start = positions.len();
        positions.extend_from_slice(design);
        ends.push(positions.len());
    }
    if report.out_of_order > 0 {
        // Only neighbours were compared; out of order, equal designs may stand apart.
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let mut all: Vec<&[u16]> = starts.zip(&ends).map(|(a, &b)| &positions[a..b]).collect();
        all.sort_unstable();
        report.duplicates = all.windows(2).filter(|pair| pair[0] == pair[1]).count() as u64;
    }
    report
}

/// The rules that `design` breaks: name of the constraint and what is wrong. Empty if feasible.
pub fn violations(space: &DesignSpace, design: &[u16]) -> Vec<(String, String)> {
    let fits = design.len() == space.decisions.len()
        && design.iter().zip(&space.decisions).all(|(&o, d)| usize::from(o) < d.options.len());
    if !fits {
        let what = format!("it is no choice of one option for each of {} decisions", space.decisions.len());
        return vec![("design".to_string(), what)];
    }
    let mut wrong = Vec::new();
    for constraint in &space.constraints {
        if let Err(what) = holds(space, &constraint.rule, design) {
            wrong.push((constraint.name.clone(), what));
        }
    }
    wrong
}

fn option<'s>(space: &'s DesignSpace, design: &[u16], decision: usize) -> &'s DesignOption {
    &space.decisions[decision].options[usize::from(design[decision])]
}

fn picked(space: &DesignSpace, design: &[u16], decisions: &[usize]) -> String {
    let one = |&d: &usize| format!("{}={}", space.decisions[d].name, option(space, design, d).id);
    decisions.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn number(
    space: &DesignSpace,
    design: &[u16],
    d: usize,
    attribute: &str,
    missing: Option<Decimal>,
) -> Result<Fraction, String> {
    match option(space, design, d).attributes.get(attribute) {
        Some(Attribute::Number(n)) => Ok(Fraction::from(*n)),
        Some(_) => Err(format!("`{attribute}` of {} is not a number", picked(space, design, &[d]))),
        None => missing
            .map(Fraction::from)
            .ok_or_else(|| format!("`{attribute}` of {} is not stated", picked(space, design, &[d]))),
    }
}

const TOO_LARGE: &str = "the exact sum does not fit 128 bits";

fn total(
    space: &DesignSpace,
    design: &[u16],
    decisions: &[usize],
    attribute: &str,
    missing: Option<Decimal>,
) -> Result<Fraction, String> {
    let mut sum = Fraction::ZERO;
    for &d in decisions {
        sum = sum.plus(number(space, design, d, attribute, missing)?).ok_or(TOO_LARGE)?;
    }
    Ok(sum)
}

fn within(value: Fraction, range: &Range, name: &str) -> Result<(), String> {
    if let Some(min) = range.min
        && value.less_than(Fraction::from(min)).ok_or(TOO_LARGE)?
    {
        return Err(format!("{name} is {value}, the least allowed is {min}"));
    }
    if let Some(max) = range.max
        && Fraction::from(max).less_than(value).ok_or(TOO_LARGE)?
    {
        return Err(format!("{name} is {value}, the most allowed is {max}"));
    }
    Ok(())
}

fn same_value(a: &Attribute, b: &Attribute) -> bool {
    match (a, b) {
        (Attribute::Number(a), Attribute::Number(b)) => {
            let (a, b) = (Fraction::from(*a), Fraction::from(*b));
            a.less_than(b) == Some(false) && b.less_than(a) == Some(false)
        }
        (Attribute::Text(a), Attribute::Text(b)) => a == b,
        (Attribute::Flag(a), Attribute::Flag(b)) => a == b,
        _ => false,
    }
}

/// Groups of equal values of `attribute` among the chosen options: a value and how often.
fn groups<'s>(
    space: &'s DesignSpace,
    design: &[u16],
    decisions: &[usize],
    attribute: &str,
) -> Vec<(&'s Attribute, u32)> {
    let mut groups: Vec<(&Attribute, u32)> = Vec::new();
    for &d in decisions {
        if let Some(value) = option(space, design, d).attributes.get(attribute) {
            match groups.iter_mut().find(|(known, _)| same_value(known, value)) {
                Some((_, count)) => *count += 1,
                None => groups.push((value, 1)),
            }
        }
    }
    groups
}

fn shown(value: &Attribute) -> String {
    match value {
        Attribute::Number(n) => n.to_string(),
        Attribute::Text(s) => s.clone(),
        Attribute::Flag(b) => b.to_string(),
    }
}

fn holds(space: &DesignSpace, rule: &Rule, design: &[u16]) -> Result<(), String> {
    let is = |tuple: &[u16], decisions: &[usize]| decisions.iter().zip(tuple).all(|(&d, &o)| design[d] == o);
    match rule {
        Rule::Allowed { decisions, tuples } => match tuples.iter().any(|t| is(t, decisions)) {
            true => Ok(()),
            false => Err(format!("{} is not among the allowed", picked(space, design, decisions))),
        },
        Rule::Forbidden { decisions, tuples } => match tuples.iter().any(|t| is(t, decisions)) {
            false => Ok(()),
            true => Err(format!("{} is forbidden", picked(space, design, decisions))),
        },
        Rule::Sum { attribute, decisions, missing, range } => within(
            total(space, design, decisions, attribute, *missing)?,
            range,
            &format!("the sum of `{attribute}`"),
        ),
        Rule::Linear { terms, decisions, range } => {
            let mut sum = Fraction::ZERO;
            for term in terms {
                let part = total(space, design, decisions, &term.attribute, term.missing)?;
                let part = part.times(Fraction::from(term.times)).ok_or(TOO_LARGE)?;
                sum = sum.plus(part).ok_or(TOO_LARGE)?;
            }
            within(sum, range, "the weighted sum")
        }
        Rule::Ratio { of, over, decisions, missing, range } => {
            let of_sum = total(space, design, decisions, of, *missing)?;
            let over_sum = total(space, design, decisions, over, *missing)?;
            if !Fraction::ZERO.less_than(over_sum).ok_or(TOO_LARGE)? {
                return Err(format!("the sum of `{over}` is {over_sum}, a ratio needs more than 0"));
            }
            let quotient = of_sum.over(over_sum).ok_or(TOO_LARGE)?;
            within(quotient, range, &format!("`{of}` over `{over}`"))
        }
        Rule::Each { attribute, decisions, test, missing_ignored } => {
            for &d in decisions {
                let name = || format!("`{attribute}` of {}", picked(space, design, &[d]));
                let Some(value) = option(space, design, d).attributes.get(attribute) else {
                    if *missing_ignored {
                        continue;
                    }
                    return Err(format!("{} is not stated", name()));
                };
                match test {
                    EachTest::Equals(wanted) if same_value(value, wanted) => {}
                    EachTest::Equals(wanted) => {
                        return Err(format!("{} is {}, not {}", name(), shown(value), shown(wanted)));
                    }
                    EachTest::Within(range) => {
                        within(number(space, design, d, attribute, None)?, range, &name())?;
                    }
                }
            }
            Ok(())
        }
        Rule::Same { attribute, decisions, max } => {
            match groups(space, design, decisions, attribute).into_iter().find(|(_, count)| count > max) {
                None => Ok(()),
                Some((value, count)) => Err(format!(
                    "`{attribute}` {} stands {count} times, the most allowed is {max}",
                    shown(value)
                )),
            }
        }
        Rule::Distinct { attribute, decisions, min, max } => {
            let count = groups(space, design, decisions, attribute).len() as u64;
            let low = min.is_some_and(|min| count < u64::from(min));
            let high = max.is_some_and(|max| count > u64::from(max));
            if !low && !high {
                return Ok(());
            }
            let bound = if low {
                format!("the least allowed is {}", min.unwrap_or(0))
            } else {
                format!("the most allowed is {}", max.unwrap_or(0))
            };
            Err(format!("`{attribute}` has {count} different values, {bound}"))
        }
        Rule::Implies { decision, when, then_decision, then } => {
            if when.contains(&design[*decision]) && !then.contains(&design[*then_decision]) {
                return Err(format!(
                    "{} does not go with {}",
                    picked(space, design, &[*then_decision]),
                    picked(space, design, &[*decision])
                ));
            }
            Ok(())
        }
    }
}

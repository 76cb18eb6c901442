//! Which single bound to move, and how far, so that a space has a design.
//!
//! Rule: the new bound is the nearest that works, exactly: with it a design exists (it is given and was
//! re-checked), with anything short of it none does. One bound of one constraint is moved at a time; the
//! other side of a two-sided constraint stays. Sums come from the best design of the exact engine, ratios
//! from Dinkelbach's method on exact fractions (Management Science 13, 1967), counts and single figures
//! from trying their few values.

use super::{Budget, ExplainError};
use crate::enumeration::{Any, EnumerationError, Mode, Options, any, enumerate};
use crate::milp::conflict::TEST_NODES_MAX;
use crate::milp::describe::describe;
use crate::recheck;
use crate::space::{
    Attribute, Decimal, DecisionIndex, Design, DesignSpace, EachTest, LinearTerm, Objective, Range, Rule,
};
use serde::{Serialize, Serializer};
use serde_json::Value;
use std::cmp::Ordering;

/// What is moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    Min,
    Max,
    /// There is no bound: the rule as a whole.
    Drop,
}

/// One change that is enough.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Relaxation {
    pub constraint: String,
    pub line: u32,
    pub side: Side,
    /// The bound as it is; absent for [`Side::Drop`].
    #[serde(serialize_with = "text")]
    pub from: Option<Decimal>,
    /// The bound that is needed: exact, or for a ratio the nearest decimal of nine places that suffices.
    #[serde(serialize_with = "text")]
    pub to: Option<Decimal>,
    /// The same as a fraction where no decimal says it exactly.
    pub exactly: Option<String>,
    /// A design that is feasible after the change.
    pub design: Value,
    pub words: String,
}

fn text<S: Serializer>(value: &Option<Decimal>, to: S) -> Result<S::Ok, S::Error> {
    match value {
        None => to.serialize_none(),
        Some(decimal) => to.serialize_str(&decimal.normalised().to_string()),
    }
}

/// Attribute that carries what a rule sums; no file can name it, for names have no control characters.
const SUMMED: &str = "\u{1}summed";

/// Most steps of Dinkelbach's method; it needs a handful.
const STEPS_MAX: usize = 64;

/// Places after the point of the decimal given for a fraction.
const PLACES: u32 = 9;

/// A bound that would do, as a decimal and, if that is not exact, as a fraction.
struct Found {
    to: Decimal,
    exactly: Option<String>,
    design: Design,
}

/// What came of looking for one.
enum Search {
    Found(Found),
    /// No bound is enough: other constraints contradict each other.
    Never,
    Unknown,
}

/// Every single change that gives `space` (which has no design) one.
pub(super) fn relaxations(
    space: &DesignSpace,
    budget: &mut Budget,
    not_computed: &mut Vec<String>,
) -> Result<Vec<Relaxation>, ExplainError> {
    let mut all = Vec::new();
    for (at, constraint) in space.constraints.iter().enumerate() {
        let mut unknown = false;
        let sides = bounds(&constraint.rule);
        for &(side, from) in &sides {
            match nearest(space, at, side, from, budget)? {
                Search::Found(found) => all.push(told(space, at, side, Some(from), found)),
                Search::Never => {}
                Search::Unknown => unknown = true,
            }
        }
        if sides.is_empty() {
            match possible(&without(space, at))? {
                Search::Found(found) => all.push(told(space, at, Side::Drop, None, found)),
                Search::Never => {}
                Search::Unknown => unknown = true,
            }
        }
        if unknown {
            not_computed.push(format!("how far to relax `{}`: the search was not finished", constraint.name));
        }
    }
    Ok(all)
}

/// The bounds that a rule has.
fn bounds(rule: &Rule) -> Vec<(Side, Decimal)> {
    let whole = |n: u32| Decimal::whole(i64::from(n));
    let (min, max) = match rule {
        Rule::Sum { range, .. }
        | Rule::Linear { range, .. }
        | Rule::Ratio { range, .. }
        | Rule::Each { test: EachTest::Within(range), .. } => (range.min, range.max),
        Rule::Same { max, .. } => (None, Some(whole(*max))),
        Rule::Distinct { min, max, .. } => (min.map(whole), max.map(whole)),
        _ => (None, None),
    };
    let min = min.map(|m| (Side::Min, m));
    min.into_iter().chain(max.map(|m| (Side::Max, m))).collect()
}

fn without(space: &DesignSpace, at: usize) -> DesignSpace {
    let mut out = space.clone();
    out.constraints.remove(at);
    out
}

/// `space` with one bound of constraint `at` replaced; `None` takes it away.
fn moved(space: &DesignSpace, at: usize, side: Side, to: Option<Decimal>) -> DesignSpace {
    let mut out = space.clone();
    let small = |d: Decimal| d.scaled(0).and_then(|n| u32::try_from(n.max(0)).ok());
    let shift = |range: &mut Range| match side {
        Side::Min => range.min = to,
        _ => range.max = to,
    };
    match &mut out.constraints[at].rule {
        Rule::Sum { range, .. }
        | Rule::Linear { range, .. }
        | Rule::Ratio { range, .. }
        | Rule::Each { test: EachTest::Within(range), .. } => shift(range),
        Rule::Same { max, .. } => *max = to.map_or(Some(u32::MAX), small).unwrap_or(u32::MAX),
        Rule::Distinct { min, max, .. } => match side {
            Side::Min => *min = to.and_then(small),
            _ => *max = to.and_then(small),
        },
        _ => {}
    }
    out
}

/// Some design of `space`.
fn possible(space: &DesignSpace) -> Result<Search, ExplainError> {
    Ok(match any(space, TEST_NODES_MAX)? {
        Any::Design(design) => Search::Found(Found { to: Decimal::whole(0), exactly: None, design }),
        Any::None => Search::Never,
        Any::Unknown => Search::Unknown,
    })
}

fn nearest(
    space: &DesignSpace,
    at: usize,
    side: Side,
    from: Decimal,
    budget: &mut Budget,
) -> Result<Search, ExplainError> {
    let open = moved(space, at, side, None);
    match &space.constraints[at].rule {
        Rule::Sum { attribute, decisions, missing, .. } => {
            let term =
                LinearTerm { attribute: attribute.clone(), times: Decimal::whole(1), missing: *missing };
            sum(&open, decisions, &[term], side, budget)
        }
        Rule::Linear { terms, decisions, .. } => sum(&open, decisions, terms, side, budget),
        Rule::Ratio { of, over, decisions, missing, .. } => {
            ratio(&open, (of, over), decisions, *missing, side, budget)
        }
        Rule::Each { attribute, decisions, .. } => {
            let values = decisions.iter().flat_map(|&d| &space.decisions[d].options);
            let values = values.filter_map(|o| match o.attributes.get(attribute) {
                Some(Attribute::Number(n)) => Some(*n),
                _ => None,
            });
            let beyond = |v: &Decimal| match side {
                Side::Min => v.compare(from) == Ordering::Less,
                _ => v.compare(from) == Ordering::Greater,
            };
            tried(space, at, side, values.filter(beyond).collect())
        }
        Rule::Same { decisions, .. } | Rule::Distinct { decisions, .. } => {
            let now = from.scaled(0).unwrap_or(0);
            let most = decisions.len() as i64;
            let values = if side == Side::Min { 0..now } else { now + 1..most + 1 };
            tried(space, at, side, values.map(Decimal::whole).collect())
        }
        _ => Ok(Search::Never),
    }
}

/// The value nearest to the present bound with which a design exists; more relaxed ones allow more.
fn tried(
    space: &DesignSpace,
    at: usize,
    side: Side,
    mut values: Vec<Decimal>,
) -> Result<Search, ExplainError> {
    values.sort_by(|a, b| if side == Side::Min { b.compare(*a) } else { a.compare(*b) });
    values.dedup_by(|a, b| a.compare(*b) == Ordering::Equal);
    let (mut low, mut high) = (0, values.len());
    let mut best = Search::Never;
    while low < high {
        let middle = (low + high) / 2;
        match possible(&moved(space, at, side, Some(values[middle])))? {
            Search::Found(found) => {
                best = Search::Found(Found { to: values[middle], ..found });
                high = middle;
            }
            Search::Never => low = middle + 1,
            Search::Unknown => return Ok(Search::Unknown),
        }
    }
    Ok(best)
}

/// Exact product and sum of decimals; `None` if it does not fit.
fn weighted(parts: &[(Decimal, Decimal)]) -> Option<Decimal> {
    let mut total = Wide { mantissa: 0, scale: 0 };
    for &(a, b) in parts {
        let (a, b) = (a.normalised(), b.normalised());
        let product = Wide {
            mantissa: i128::from(a.mantissa) * i128::from(b.mantissa),
            scale: u32::from(a.scale) + u32::from(b.scale),
        };
        total = total.plus(product)?;
    }
    total.decimal()
}

#[derive(Clone, Copy)]
struct Wide {
    mantissa: i128,
    scale: u32,
}

impl Wide {
    fn plus(self, other: Wide) -> Option<Wide> {
        let scale = self.scale.max(other.scale);
        let raise = |w: Wide| 10i128.checked_pow(scale - w.scale)?.checked_mul(w.mantissa);
        Some(Wide { mantissa: raise(self)?.checked_add(raise(other)?)?, scale })
    }

    fn decimal(mut self) -> Option<Decimal> {
        while self.scale > 0 && self.mantissa % 10 == 0 {
            self.mantissa /= 10;
            self.scale -= 1;
        }
        let scale = u8::try_from(self.scale).ok().filter(|s| *s <= crate::space::SCALE_MAX)?;
        Some(Decimal { mantissa: i64::try_from(self.mantissa).ok()?, scale })
    }
}

/// What an option states, or stands for when it states nothing.
fn stated(
    space: &DesignSpace,
    d: usize,
    o: usize,
    attribute: &str,
    missing: Option<Decimal>,
) -> Option<Decimal> {
    match space.decisions[d].options[o].attributes.get(attribute) {
        Some(Attribute::Number(n)) => Some(*n),
        None => missing,
        _ => None,
    }
}

/// The design of `open` whose weighted sum is smallest, or largest.
fn best(
    open: &DesignSpace,
    decisions: &[DecisionIndex],
    terms: &[LinearTerm],
    maximise: bool,
    budget: &mut Budget,
) -> Result<Result<(Decimal, Design), Search>, ExplainError> {
    let mut space = open.clone();
    for &d in decisions {
        for o in 0..space.decisions[d].options.len() {
            let parts: Option<Vec<(Decimal, Decimal)>> =
                terms.iter().map(|t| Some((stated(open, d, o, &t.attribute, t.missing)?, t.times))).collect();
            let Some(value) = parts.as_deref().and_then(weighted) else { return Ok(Err(Search::Unknown)) };
            space.decisions[d].options[o].attributes.insert(SUMMED.to_string(), Attribute::Number(value));
        }
    }
    let missing = Some(Decimal::whole(0));
    space.objective = Some(Objective { attribute: SUMMED.to_string(), maximise, missing });
    if budget.stopped {
        return Ok(Err(Search::Unknown));
    }
    // The best one is found among however many designs; only the clock may end it.
    let designs_max = std::mem::replace(&mut budget.designs_max, u128::MAX);
    let outcome = enumerate(&space, &Options::new(Mode::Best { k: 1 }), budget);
    budget.designs_max = designs_max;
    let outcome = match outcome {
        // Numbers that do not fit are no defect of the space: only this question has no answer.
        Err(EnumerationError::Exact { .. } | EnumerationError::ObjectiveOverflow) => {
            return Ok(Err(Search::Unknown));
        }
        other => other?,
    };
    Ok(match outcome.best.into_iter().next() {
        _ if !outcome.complete => Err(Search::Unknown),
        None => Err(Search::Never),
        Some(first) => Ok((first.objective, first.design)),
    })
}

fn sum(
    open: &DesignSpace,
    decisions: &[DecisionIndex],
    terms: &[LinearTerm],
    side: Side,
    budget: &mut Budget,
) -> Result<Search, ExplainError> {
    Ok(match best(open, decisions, terms, side == Side::Min, budget)? {
        Ok((to, design)) => Search::Found(Found { to, exactly: None, design }),
        Err(other) => other,
    })
}

fn divisor(a: i128, b: i128) -> i128 {
    if b == 0 { a.abs() } else { divisor(b, a % b) }
}

/// Sum of `attribute` over `decisions` in a design.
fn total(
    space: &DesignSpace,
    design: &[u16],
    decisions: &[DecisionIndex],
    attribute: &str,
    missing: Option<Decimal>,
) -> Option<Wide> {
    let mut sum = Wide { mantissa: 0, scale: 0 };
    for &d in decisions {
        let value = stated(space, d, usize::from(*design.get(d)?), attribute, missing)?;
        sum = sum.plus(Wide { mantissa: value.mantissa.into(), scale: value.scale.into() })?;
    }
    Some(sum)
}

/// `of` over `over` in lowest terms, the denominator positive.
fn quotient(of: Wide, over: Wide) -> Option<(i128, i128)> {
    let p = of.mantissa.checked_mul(10i128.checked_pow(over.scale)?)?;
    let q = over.mantissa.checked_mul(10i128.checked_pow(of.scale)?)?;
    let d = divisor(p, q);
    (q > 0 && d > 0).then(|| (p / d, q / d))
}

fn ratio(
    open: &DesignSpace,
    (of, over): (&str, &str),
    decisions: &[DecisionIndex],
    missing: Option<Decimal>,
    side: Side,
    budget: &mut Budget,
) -> Result<Search, ExplainError> {
    // Moving the minimum asks for the largest ratio there is, moving the maximum for the smallest.
    let maximise = side == Side::Min;
    let mut design = match possible(open)? {
        Search::Found(found) => found.design,
        other => return Ok(other),
    };
    for _ in 0..STEPS_MAX {
        let sums = total(open, &design, decisions, of, missing)
            .zip(total(open, &design, decisions, over, missing))
            .and_then(|(of, over)| quotient(of, over));
        let Some((p, q)) = sums else { return Ok(Search::Unknown) };
        let whole = |n: i128| i64::try_from(n).ok().map(Decimal::whole);
        let (Some(times_of), Some(times_over)) = (whole(q), whole(-p)) else { return Ok(Search::Unknown) };
        let term = |attribute: &str, times| LinearTerm { attribute: attribute.to_string(), times, missing };
        let terms = [term(of, times_of), term(over, times_over)];
        // of x q - over x p is zero for this design; a better ratio is on the other side of zero.
        match best(open, decisions, &terms, maximise, budget)? {
            Ok((value, next)) if value.mantissa != 0 => design = next,
            Ok(_) => {
                let Some((to, exactly)) = written(p, q, side) else { return Ok(Search::Unknown) };
                return Ok(Search::Found(Found { to, exactly, design }));
            }
            Err(other) => return Ok(other),
        }
    }
    Ok(Search::Unknown)
}

/// A fraction as a decimal of few places on its relaxed side, and as a fraction if that is not exact.
fn written(p: i128, q: i128, side: Side) -> Option<(Decimal, Option<String>)> {
    for scale in 0..=PLACES {
        let wide = p.checked_mul(10i128.checked_pow(scale)?)?;
        let exact = wide % q == 0;
        if exact || scale == PLACES {
            let down = wide.div_euclid(q);
            let mantissa = if exact || side == Side::Min { down } else { down + 1 };
            let to = Wide { mantissa, scale }.decimal()?;
            return Some((to, (!exact).then(|| format!("{p}/{q}"))));
        }
    }
    None
}

fn told(space: &DesignSpace, at: usize, side: Side, from: Option<Decimal>, found: Found) -> Relaxation {
    let constraint = &space.constraints[at];
    let to = from.map(|_| found.to.normalised());
    let relaxed = match side {
        Side::Drop => without(space, at),
        _ => moved(space, at, side, to),
    };
    debug_assert!(recheck::violations(&relaxed, &found.design).is_empty());
    let words = match (side, from, to) {
        (Side::Drop, ..) | (_, None, _) | (_, _, None) => {
            format!(
                "drop `{}` or let it accept this design ({})",
                constraint.name,
                describe(space, constraint)
            )
        }
        (_, Some(from), Some(to)) => {
            let (verb, word) = if side == Side::Min { ("lower", "min") } else { ("raise", "max") };
            let by = Wide { mantissa: to.mantissa.into(), scale: to.scale.into() }
                .plus(Wide { mantissa: -i128::from(from.mantissa), scale: from.scale.into() })
                .and_then(Wide::decimal)
                .map_or(String::new(), |d| format!(", by {}", d.to_string().trim_start_matches('-')));
            let exactly = found.exactly.as_ref().map_or(String::new(), |f| format!(" (exactly {f})"));
            format!("{verb} {word} of `{}` from {} to {to}{exactly}{by}", constraint.name, from.normalised())
        }
    };
    Relaxation {
        constraint: constraint.name.clone(),
        line: constraint.line,
        side,
        from: from.map(Decimal::normalised),
        to,
        exactly: found.exactly,
        design: space.design_json(&found.design),
        words,
    }
}

/// The change of constraint `at` that lets `design` pass it, if it has a bound that can do so.
pub(super) fn for_design(space: &DesignSpace, at: usize, design: &[u16]) -> Option<Relaxation> {
    let rule = &space.constraints[at].rule;
    let found = |to: Decimal| Found { to, exactly: None, design: design.to_vec() };
    let alone = |side: Side, to: Decimal| {
        let mut relaxed = moved(space, at, side, Some(to));
        relaxed.constraints = vec![relaxed.constraints.swap_remove(at)];
        recheck::violations(&relaxed, design).is_empty()
    };
    let candidates: Vec<Found> = match rule {
        Rule::Sum { attribute, decisions, missing, .. } => {
            total(space, design, decisions, attribute, *missing)?.decimal().map(found).into_iter().collect()
        }
        Rule::Linear { terms, decisions, .. } => {
            let mut parts = Vec::new();
            for &d in decisions {
                for term in terms {
                    let o = usize::from(*design.get(d)?);
                    parts.push((stated(space, d, o, &term.attribute, term.missing)?, term.times));
                }
            }
            weighted(&parts).map(found).into_iter().collect()
        }
        Rule::Ratio { of, over, decisions, missing, .. } => {
            let of = total(space, design, decisions, of, *missing)?;
            let (p, q) = quotient(of, total(space, design, decisions, over, *missing)?)?;
            let each = [Side::Min, Side::Max].into_iter().filter_map(|side| written(p, q, side));
            each.map(|(to, exactly)| Found { exactly, ..found(to) }).collect()
        }
        Rule::Each { attribute, decisions, .. } => {
            let mut values: Vec<Decimal> = decisions
                .iter()
                .filter_map(|&d| stated(space, d, usize::from(*design.get(d)?), attribute, None))
                .collect();
            values.sort_by(|a, b| a.compare(*b));
            [values.first(), values.last()].into_iter().flatten().map(|v| found(*v)).collect()
        }
        Rule::Same { decisions, .. } | Rule::Distinct { decisions, .. } => {
            let (_, from) = *bounds(rule).last()?;
            // The nearest to the bound first.
            let mut values: Vec<i64> = (0..=decisions.len() as i64).collect();
            let now = from.scaled(0)?;
            values.sort_by_key(|v| (v - now).abs());
            values.into_iter().map(|v| found(Decimal::whole(v))).collect()
        }
        _ => return None,
    };
    for (side, from) in bounds(rule) {
        for candidate in &candidates {
            if alone(side, candidate.to) {
                let Found { to, exactly, design } = candidate;
                let found = Found { to: *to, exactly: exactly.clone(), design: design.clone() };
                let mut told = told_unchecked(space, at, side, from, found);
                told.design = space.design_json(design);
                return Some(told);
            }
        }
    }
    None
}

/// As [`told`] for a design that may break other constraints.
fn told_unchecked(space: &DesignSpace, at: usize, side: Side, from: Decimal, found: Found) -> Relaxation {
    let mut only = space.clone();
    only.constraints = vec![space.constraints[at].clone()];
    let mut told = told(&only, 0, side, Some(from), found);
    told.line = space.constraints[at].line;
    told
}

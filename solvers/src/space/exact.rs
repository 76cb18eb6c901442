//! Sums over options as integers of one scale: the form that search and solver models use.
//!
//! Rule: every weight, every bound and every sum of weights of a [`Form`] fits 64 bits, or making it
//! fails; nothing is rounded except a bound, and that to the exact side. Start at [`forms`].

use super::{Attribute, Decimal, DecisionIndex, DesignSpace, Objective, Range, Rule};

/// `min <= sum over entries of weights[chosen option] <= max`, exactly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Form {
    /// Decisions that take part, each once.
    pub decisions: Vec<DecisionIndex>,
    /// Per entry of `decisions`, the weight of every option.
    pub weights: Vec<Vec<i64>>,
    pub min: Option<i64>,
    pub max: Option<i64>,
}

/// Why a rule has no exact integer form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExactError {
    #[error(
        "option `{option}` of decision `{decision}` does not state `{attribute}` as a number; state it or give the rule a `missing` value"
    )]
    NotStated { decision: String, option: String, attribute: String },
    #[error("the numbers do not fit exact 64-bit sums; use fewer digits or another unit")]
    Overflow,
}

/// Exact rational of a common denominator 10^scale in 128 bits.
#[derive(Clone, Copy)]
struct Wide {
    mantissa: i128,
    scale: u32,
}

fn product(a: Decimal, b: Decimal) -> Wide {
    let (a, b) = (a.normalised(), b.normalised());
    let (mut mantissa, mut scale) =
        (i128::from(a.mantissa) * i128::from(b.mantissa), u32::from(a.scale) + u32::from(b.scale));
    while scale > 0 && mantissa % 10 == 0 {
        mantissa /= 10;
        scale -= 1;
    }
    Wide { mantissa, scale }
}

fn raise(value: Wide, scale: u32) -> Result<i128, ExactError> {
    10i128
        .checked_pow(scale - value.scale)
        .and_then(|f| f.checked_mul(value.mantissa))
        .ok_or(ExactError::Overflow)
}

/// The number an option states, or the stand-in.
fn stated(
    space: &DesignSpace,
    d: DecisionIndex,
    o: usize,
    attribute: &str,
    missing: Option<Decimal>,
) -> Result<Decimal, ExactError> {
    let decision = &space.decisions[d];
    match (decision.options[o].attributes.get(attribute), missing) {
        (Some(Attribute::Number(number)), _) => Ok(*number),
        (None, Some(number)) => Ok(number),
        _ => Err(ExactError::NotStated {
            decision: decision.name.clone(),
            option: decision.options[o].id.clone(),
            attribute: attribute.to_string(),
        }),
    }
}

type Term<'a> = (&'a str, Decimal, Option<Decimal>);

fn form(
    space: &DesignSpace,
    decisions: &[DecisionIndex],
    terms: &[Term],
    range: Range,
) -> Result<Form, ExactError> {
    let mut rows: Vec<Vec<Vec<Wide>>> = Vec::with_capacity(decisions.len());
    let mut scale = 0;
    for &d in decisions {
        let mut row = Vec::new();
        for o in 0..space.decisions[d].options.len() {
            let mut parts = Vec::with_capacity(terms.len());
            for &(attribute, times, missing) in terms {
                let part = product(stated(space, d, o, attribute, missing)?, times);
                scale = scale.max(part.scale);
                parts.push(part);
            }
            row.push(parts);
        }
        rows.push(row);
    }
    let bounds: Vec<Option<Wide>> =
        [range.min, range.max].iter().map(|b| b.map(|b| product(b, Decimal::whole(1)))).collect();
    for bound in bounds.iter().flatten() {
        scale = scale.max(bound.scale);
    }
    let narrow = |n: i128| i64::try_from(n).map_err(|_| ExactError::Overflow);
    let mut weights = Vec::with_capacity(rows.len());
    let (mut low, mut high) = (0i64, 0i64);
    for row in rows {
        let mut out = Vec::with_capacity(row.len());
        for parts in row {
            let mut sum = 0i128;
            for part in parts {
                sum = sum.checked_add(raise(part, scale)?).ok_or(ExactError::Overflow)?;
            }
            out.push(narrow(sum)?);
        }
        let min = out.iter().copied().min().unwrap_or(0).min(0);
        let max = out.iter().copied().max().unwrap_or(0).max(0);
        low = low.checked_add(min).ok_or(ExactError::Overflow)?;
        high = high.checked_add(max).ok_or(ExactError::Overflow)?;
        weights.push(out);
    }
    // The search subtracts sums from bounds; a quarter of the range keeps every such difference exact.
    let fits = |n: i64| n.unsigned_abs() <= (i64::MAX as u64) / 4;
    let bound = |b: Option<Wide>| match b {
        None => Ok(None),
        Some(b) => raise(b, scale).and_then(narrow).map(Some),
    };
    let (min, max) = (bound(bounds[0])?, bound(bounds[1])?);
    if ![low, high, min.unwrap_or(0), max.unwrap_or(0)].into_iter().all(fits) {
        return Err(ExactError::Overflow);
    }
    Ok(Form { decisions: decisions.to_vec(), weights, min, max })
}

/// The integer forms of a sum, linear or ratio rule; empty for the other kinds.
///
/// A ratio holds when the denominator is greater than zero and the quotient is within range:
/// `of - min * over >= 0`, `of - max * over <= 0`, `over > 0`.
///
/// # Errors
/// [`ExactError`] if an attribute is not stated or the numbers do not fit.
pub fn forms(space: &DesignSpace, rule: &Rule) -> Result<Vec<Form>, ExactError> {
    let one = Decimal::whole(1);
    match rule {
        Rule::Sum { attribute, decisions, missing, range } => {
            Ok(vec![form(space, decisions, &[(attribute, one, *missing)], *range)?])
        }
        Rule::Linear { terms, decisions, range } => {
            let terms: Vec<Term> = terms.iter().map(|t| (t.attribute.as_str(), t.times, t.missing)).collect();
            Ok(vec![form(space, decisions, &terms, *range)?])
        }
        Rule::Ratio { of, over, decisions, missing, range } => {
            let zero = Some(Decimal::whole(0));
            let mut positive = form(space, decisions, &[(over, one, *missing)], Range::default())?;
            positive.min = Some(1);
            let mut all = vec![positive];
            for (bound, is_min) in [(range.min, true), (range.max, false)] {
                let Some(bound) = bound else { continue };
                let times = Decimal {
                    mantissa: bound.mantissa.checked_neg().ok_or(ExactError::Overflow)?,
                    scale: bound.scale,
                };
                let range =
                    Range { min: if is_min { zero } else { None }, max: if is_min { None } else { zero } };
                all.push(form(space, decisions, &[(of, one, *missing), (over, times, *missing)], range)?);
            }
            Ok(all)
        }
        _ => Ok(Vec::new()),
    }
}

/// The objective as integer weights of every option and the scale: value = sum / 10^scale.
///
/// # Errors
/// [`ExactError`] as for [`forms`].
pub fn objective(space: &DesignSpace, objective: &Objective) -> Result<(Form, u8), ExactError> {
    let all: Vec<DecisionIndex> = (0..space.decisions.len()).collect();
    let mut scale = 0u8;
    for &d in &all {
        for o in 0..space.decisions[d].options.len() {
            scale =
                scale.max(stated(space, d, o, &objective.attribute, objective.missing)?.normalised().scale);
        }
    }
    let terms = [(objective.attribute.as_str(), Decimal::whole(1), objective.missing)];
    Ok((form(space, &all, &terms, Range::default())?, scale))
}

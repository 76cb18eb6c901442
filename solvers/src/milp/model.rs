//! A design space as a program in 0-1 variables: one per option, exactly one chosen per decision.
//!
//! Rule: every feasible design is one solution in the option variables and the other way round; extra
//! variables (tuples, values in use) are determined by the option variables. The model is built from the
//! rules directly, not from the search's plan, so that the two are independent views of the set.

use super::MilpError;
use crate::programs::{Column, Program, Row};
use crate::space::{self, Attribute, Decimal, DesignSpace, EachTest, Objective, Rule};
use std::collections::{BTreeMap, BTreeSet};

/// The program and where the options are in it.
#[derive(Debug, Clone)]
pub struct SpaceModel {
    pub program: Program,
    /// First column of each decision; its options follow in order.
    pub starts: Vec<usize>,
    /// Number of option variables; they come first.
    pub options: usize,
}

impl SpaceModel {
    /// The design that a solution chooses; `None` if a decision has no chosen option.
    pub fn design(&self, space: &DesignSpace, values: &[i64]) -> Option<Vec<u16>> {
        let mut design = Vec::with_capacity(self.starts.len());
        for (decision, &start) in space.decisions.iter().zip(&self.starts) {
            let chosen = (0..decision.options.len()).find(|o| values.get(start + o) == Some(&1))?;
            design.push(u16::try_from(chosen).ok()?);
        }
        Some(design)
    }

    /// The option variables of a design as a partial solution: column and value. The extra variables are
    /// left to the solver, which completes it.
    pub fn switches(&self, design: &[u16]) -> Vec<(usize, i64)> {
        let ends = self.starts.iter().skip(1).copied().chain([self.options]);
        let each = self.starts.iter().zip(ends).zip(design);
        each.flat_map(|((&start, end), &o)| {
            (start..end).map(move |c| (c, i64::from(c - start == usize::from(o))))
        })
        .collect()
    }
}

struct Builder<'s> {
    space: &'s DesignSpace,
    program: Program,
    starts: Vec<usize>,
}

fn key(value: &Attribute) -> (u8, String) {
    match value {
        Attribute::Number(n) => (0, n.to_string()),
        Attribute::Text(s) => (1, s.clone()),
        Attribute::Flag(b) => (2, b.to_string()),
    }
}

impl Builder<'_> {
    fn x(&self, decision: usize, option: usize) -> usize {
        self.starts[decision] + option
    }

    fn column(&mut self, name: String) -> usize {
        self.program.columns.push(Column { name, lower: 0, upper: 1 });
        self.program.costs.push(0);
        self.program.columns.len() - 1
    }

    fn row(&mut self, name: &str, terms: Vec<(usize, i64)>, lower: Option<i64>, upper: Option<i64>) {
        let mut sums: BTreeMap<usize, i64> = BTreeMap::new();
        for (c, a) in terms {
            *sums.entry(c).or_insert(0) += a;
        }
        let terms = sums.into_iter().filter(|(_, a)| *a != 0).collect();
        self.program.rows.push(Row { name: name.to_string(), terms, lower, upper });
    }

    /// The options of a decision that have the attribute, by value.
    fn by_value(&self, decision: usize, attribute: &str) -> BTreeMap<(u8, String), Vec<usize>> {
        let mut groups: BTreeMap<(u8, String), Vec<usize>> = BTreeMap::new();
        for (o, option) in self.space.decisions[decision].options.iter().enumerate() {
            if let Some(value) = option.attributes.get(attribute) {
                groups.entry(key(value)).or_default().push(self.x(decision, o));
            }
        }
        groups
    }

    fn table(&mut self, name: &str, decisions: &[usize], tuples: &[Vec<u16>], allowed: bool) {
        let consistent = |t: &&Vec<u16>| {
            decisions.iter().zip(*t).all(|(d, o)| decisions.iter().zip(*t).all(|(e, p)| d != e || o == p))
        };
        let tuples: BTreeSet<&Vec<u16>> = tuples.iter().filter(consistent).collect();
        match (decisions, allowed) {
            ([a, b], true) if a != b => {
                for (from, to, first) in [(*a, *b, 0), (*b, *a, 1)] {
                    for o in 0..self.space.decisions[from].options.len() {
                        let partners = tuples.iter().filter(|t| usize::from(t[first]) == o);
                        let mut terms: Vec<(usize, i64)> =
                            partners.map(|t| (self.x(to, usize::from(t[1 - first])), -1)).collect();
                        terms.push((self.x(from, o), 1));
                        self.row(name, terms, None, Some(0));
                    }
                }
            }
            ([a, b], false) if a != b => {
                for o in 0..self.space.decisions[*a].options.len() {
                    let partners: Vec<&&Vec<u16>> =
                        tuples.iter().filter(|t| usize::from(t[0]) == o).collect();
                    if !partners.is_empty() {
                        let mut terms: Vec<(usize, i64)> =
                            partners.iter().map(|t| (self.x(*b, usize::from(t[1])), 1)).collect();
                        terms.push((self.x(*a, o), 1));
                        self.row(name, terms, None, Some(1));
                    }
                }
            }
            (_, true) => {
                // One variable per tuple; exactly one holds, and it says what every decision is.
                let columns: Vec<usize> =
                    (0..tuples.len()).map(|t| self.column(format!("{name}#{t}"))).collect();
                let distinct: BTreeSet<usize> = decisions.iter().copied().collect();
                self.row(name, columns.iter().map(|&c| (c, 1)).collect(), Some(1), Some(1));
                for d in distinct {
                    let Some(at) = decisions.iter().position(|e| *e == d) else { continue };
                    for o in 0..self.space.decisions[d].options.len() {
                        let with = tuples.iter().zip(&columns).filter(|(t, _)| usize::from(t[at]) == o);
                        let mut terms: Vec<(usize, i64)> = with.map(|(_, &c)| (c, -1)).collect();
                        terms.push((self.x(d, o), 1));
                        self.row(name, terms, Some(0), Some(0));
                    }
                }
            }
            (_, false) => {
                for tuple in tuples {
                    let chosen: BTreeSet<usize> =
                        decisions.iter().zip(tuple).map(|(&d, &o)| self.x(d, usize::from(o))).collect();
                    let most = chosen.len() as i64 - 1;
                    self.row(name, chosen.into_iter().map(|c| (c, 1)).collect(), None, Some(most));
                }
            }
        }
    }

    fn rule(&mut self, name: &str, rule: &Rule) -> Result<(), MilpError> {
        match rule {
            Rule::Allowed { decisions, tuples } => self.table(name, decisions, tuples, true),
            Rule::Forbidden { decisions, tuples } => self.table(name, decisions, tuples, false),
            Rule::Sum { .. } | Rule::Linear { .. } | Rule::Ratio { .. } => {
                let forms = space::forms(self.space, rule)
                    .map_err(|error| MilpError::Exact { constraint: name.to_string(), error })?;
                for form in forms {
                    let mut terms = Vec::new();
                    for (&d, weights) in form.decisions.iter().zip(&form.weights) {
                        terms.extend(weights.iter().enumerate().map(|(o, &w)| (self.x(d, o), w)));
                    }
                    self.row(name, terms, form.min, form.max);
                }
            }
            Rule::Each { attribute, decisions, test, missing_ignored } => {
                for &d in decisions {
                    for (o, option) in self.space.decisions[d].options.iter().enumerate() {
                        let holds = match (option.attributes.get(attribute), test) {
                            (None, _) => *missing_ignored,
                            (Some(value), EachTest::Equals(wanted)) => key(value) == key(wanted),
                            (Some(Attribute::Number(n)), EachTest::Within(range)) => {
                                let above = |min: Decimal| n.compare(min).is_ge();
                                let below = |max: Decimal| n.compare(max).is_le();
                                range.min.is_none_or(above) && range.max.is_none_or(below)
                            }
                            _ => false,
                        };
                        if !holds {
                            self.row(name, vec![(self.x(d, o), 1)], None, Some(0));
                        }
                    }
                }
            }
            Rule::Same { attribute, decisions, max } => {
                let mut values: BTreeMap<(u8, String), Vec<(usize, i64)>> = BTreeMap::new();
                for &d in decisions {
                    for (value, options) in self.by_value(d, attribute) {
                        values.entry(value).or_default().extend(options.into_iter().map(|x| (x, 1)));
                    }
                }
                for terms in values.into_values() {
                    self.row(name, terms, None, Some(i64::from(*max)));
                }
            }
            Rule::Distinct { attribute, decisions, min, max } => {
                let mut values: BTreeMap<(u8, String), Vec<Vec<usize>>> = BTreeMap::new();
                for &d in decisions {
                    for (value, options) in self.by_value(d, attribute) {
                        values.entry(value).or_default().push(options);
                    }
                }
                let mut used = Vec::with_capacity(values.len());
                for ((_, value), groups) in values {
                    let z = self.column(format!("{name}={value}"));
                    used.push((z, 1));
                    for group in &groups {
                        let mut terms: Vec<(usize, i64)> = group.iter().map(|&x| (x, 1)).collect();
                        terms.push((z, -1));
                        self.row(name, terms, None, Some(0));
                    }
                    let mut terms: Vec<(usize, i64)> = groups.iter().flatten().map(|&x| (x, -1)).collect();
                    terms.push((z, 1));
                    self.row(name, terms, None, Some(0));
                }
                self.row(name, used, min.map(i64::from), max.map(i64::from));
            }
            Rule::Implies { decision, when, then_decision, then } => {
                let not_then: Vec<u16> = (0u16..)
                    .take(self.space.decisions[*then_decision].options.len())
                    .filter(|o| !then.contains(o))
                    .collect();
                if decision == then_decision {
                    for &o in when.iter().filter(|o| not_then.contains(o)) {
                        self.row(name, vec![(self.x(*decision, usize::from(o)), 1)], None, Some(0));
                    }
                } else {
                    let mut terms: Vec<(usize, i64)> =
                        when.iter().map(|&o| (self.x(*decision, usize::from(o)), 1)).collect();
                    terms.extend(not_then.iter().map(|&o| (self.x(*then_decision, usize::from(o)), 1)));
                    self.row(name, terms, None, Some(1));
                }
            }
        }
        Ok(())
    }
}

/// The 0-1 program of `space` with `objective`, or with none (any solution will do).
///
/// # Errors
/// [`MilpError::Exact`] if a sum has no exact integer form.
pub fn model(space: &DesignSpace, objective: Option<&Objective>) -> Result<SpaceModel, MilpError> {
    let mut builder = Builder {
        space,
        program: Program { name: space.name.clone(), ..Program::default() },
        starts: Vec::new(),
    };
    for decision in &space.decisions {
        builder.starts.push(builder.program.columns.len());
        for option in &decision.options {
            builder.column(format!("{}={}", decision.name, option.id));
        }
    }
    let options = builder.program.columns.len();
    for (d, decision) in space.decisions.iter().enumerate() {
        let terms = (0..decision.options.len()).map(|o| (builder.x(d, o), 1)).collect();
        builder.row(&decision.name, terms, Some(1), Some(1));
    }
    for constraint in &space.constraints {
        builder.rule(&constraint.name, &constraint.rule)?;
    }
    if let Some(objective) = objective {
        let (form, scale) = space::objective_form(space, objective)
            .map_err(|error| MilpError::Exact { constraint: "objective".to_string(), error })?;
        for (&d, weights) in form.decisions.iter().zip(&form.weights) {
            for (o, &w) in weights.iter().enumerate() {
                let x = builder.x(d, o);
                builder.program.costs[x] = w;
            }
        }
        builder.program.scale = scale;
        builder.program.maximise = objective.maximise;
    }
    Ok(SpaceModel { program: builder.program, starts: builder.starts, options })
}

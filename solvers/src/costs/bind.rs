//! A cost model meets a design space and scenarios: names resolved, figures laid out, costs computed.

use super::formula::{Column, Formula};
use super::units::Dimension;
use super::{AttributeRule, CostModel, Gather, codes};
use crate::problem::Problem;
use crate::scenarios::ScenarioSet;
use crate::scenarios::document::Reader;
use crate::space::{Attribute, DesignSpace};
use std::collections::HashMap;
use std::sync::Arc;

/// Most figures kept for reuse, over all terms: 128 MB. Beyond it columns are computed anew.
const KEPT_FIGURES_MAX: usize = 16 * 1024 * 1024;

/// What can go wrong with the cost of one design.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CostError {
    #[error(
        "EX-0398: design {design} has no figure for the attribute `{attribute}`: {place} states none; \
         state it, or give the attribute `missing`"
    )]
    Missing { attribute: String, design: String, place: String },
    #[error(
        "EX-0399: the term `{term}` is {value} for design {design} in scenario {scenario} \
         (counted from 0); a cost must be finite"
    )]
    TermNotFinite { term: String, design: String, scenario: usize, value: f64 },
    #[error(
        "EX-0400: the terms of design {design} in scenario {scenario} (counted from 0) sum to {value}; \
         a cost must be finite"
    )]
    TotalNotFinite { design: String, scenario: usize, value: f64 },
    #[error(
        "EX-0401: the term `{term}` is {value} for design {design} in scenario {scenario} (counted from 0); \
         the cost model says `negative: forbidden`"
    )]
    TermNegative { term: String, design: String, scenario: usize, value: f64 },
    #[error("EX-0389: the formula of the term `{term}` cannot be evaluated: {reason}")]
    Formula { term: String, reason: String },
}

impl CostError {
    /// The stable code, as in the message.
    pub fn code(&self) -> &'static str {
        match self {
            CostError::Missing { .. } => codes::MISSING,
            CostError::TermNotFinite { .. } => codes::TERM_NOT_FINITE,
            CostError::TotalNotFinite { .. } => codes::TOTAL_NOT_FINITE,
            CostError::TermNegative { .. } => codes::TERM_NEGATIVE,
            CostError::Formula { .. } => codes::FORMULA,
        }
    }
}

/// Where a name of a formula gets its value.
#[derive(Debug, Clone)]
pub(super) enum Slot {
    Attribute(usize),
    Fixed(Column),
}

#[derive(Debug)]
pub(super) struct BoundTerm {
    pub(super) name: String,
    pub(super) formula: Formula,
    pub(super) slots: Vec<Slot>,
}

/// A figure per decision and option, where stated.
#[derive(Debug)]
pub(super) struct Figures {
    pub(super) rule: AttributeRule,
    /// Decision and its figures by option; only decisions that the rule looks at.
    pub(super) by_decision: Vec<(usize, Vec<Option<f64>>)>,
}

/// A cost model whose every name has a meaning.
#[derive(Debug)]
pub struct BoundModel {
    pub(super) terms: Vec<BoundTerm>,
    pub(super) figures: Vec<Figures>,
    /// Whether a term below 0 is refused.
    negative_forbidden: bool,
    scenarios: usize,
    decisions: Vec<(String, Vec<String>)>,
    /// Unit of the cost, as the model states it.
    pub unit: Option<String>,
    /// Things to know that are no errors, such as terms of different units.
    pub notes: Vec<String>,
}

impl CostModel {
    /// Resolves every name of the formulas against attributes, constants and scenario variables.
    ///
    /// # Errors
    /// All names, decisions, figures and units that do not fit, codes EX-0390 to EX-0397.
    pub fn bind(&self, space: &DesignSpace, scenarios: &ScenarioSet) -> Result<BoundModel, Vec<Problem>> {
        let mut reader = Reader::new(&self.file, codes::COMMON);
        let figures = self.figures(&mut reader, space);
        let mut dimensions: Vec<(&str, Dimension)> = Vec::new();
        let mut slots: HashMap<&str, Slot> = HashMap::new();
        for (index, rule) in self.attributes.iter().enumerate() {
            slots.insert(&rule.name, Slot::Attribute(index));
            dimensions.push((&rule.name, Dimension::stated(rule.unit.as_deref())));
        }
        for constant in &self.constants {
            slots.insert(&constant.name, Slot::Fixed(Column::Same(constant.value)));
            dimensions.push((&constant.name, Dimension::stated(constant.unit.as_deref())));
        }
        for (index, variable) in scenarios.variables.iter().enumerate() {
            let column = Slot::Fixed(Column::Shared(Arc::from(scenarios.column(index))));
            if slots.insert(&variable.name, column).is_some() {
                let at = self
                    .attributes
                    .iter()
                    .find(|rule| rule.name == variable.name)
                    .map(|rule| rule.at)
                    .unwrap_or_default();
                reader.problem(
                    codes::AMBIGUOUS_NAME,
                    at,
                    format!("`{}` is also a scenario variable", variable.name),
                    "rename one of them",
                );
            }
            dimensions.push((&variable.name, Dimension::stated(variable.unit.as_deref())));
        }
        let mut known: Vec<&str> = slots.keys().copied().collect();
        known.sort_unstable();
        let mut terms = Vec::new();
        let mut units: Vec<(String, String)> = Vec::new();
        for term in &self.terms {
            let unknown: Vec<&String> =
                term.formula.names().iter().filter(|name| !slots.contains_key(name.as_str())).collect();
            for name in &unknown {
                reader.problem(
                    codes::UNKNOWN_NAME,
                    term.at,
                    format!("the term `{}` uses `{name}`, which is not known", term.name),
                    format!("known: {}", known.join(", ")),
                );
            }
            if !unknown.is_empty() {
                continue;
            }
            let of_names: Vec<Dimension> = term
                .formula
                .names()
                .iter()
                .map(|name| {
                    dimensions
                        .iter()
                        .find(|(known, _)| known == name)
                        .map_or(Dimension::Unknown, |(_, d)| d.clone())
                })
                .collect();
            match term.formula.dimension(&of_names) {
                Ok(Dimension::Clash(sum)) => reader.problem(
                    codes::UNITS,
                    term.at,
                    format!("the term `{}` brings unlike units together: {sum}", term.name),
                    "multiply or divide one side so that both have the same unit",
                ),
                Ok(known @ Dimension::Known(_)) => {
                    units.push((term.name.clone(), known.to_string()));
                }
                Ok(_) => {}
                Err(reason) => reader.problem(codes::FORMULA, term.at, reason, ""),
            }
            terms.push(BoundTerm {
                name: term.name.clone(),
                formula: term.formula.clone(),
                slots: term
                    .formula
                    .names()
                    .iter()
                    .filter_map(|name| slots.get(name.as_str()).cloned())
                    .collect(),
            });
        }
        if !reader.problems.is_empty() {
            reader.problems.sort_by_key(|p| (p.line, p.column));
            return Err(reader.problems);
        }
        let notes = units
            .iter()
            .skip(1)
            .filter(|(_, unit)| *unit != units[0].1)
            .map(|(term, unit)| {
                format!(
                    "the term `{term}` is in {unit}, the term `{}` in {}: they are added all the same",
                    units[0].0, units[0].1
                )
            })
            .collect();
        Ok(BoundModel {
            terms,
            figures,
            negative_forbidden: self.negative_forbidden,
            scenarios: scenarios.len(),
            unit: self.unit.clone(),
            decisions: space
                .decisions
                .iter()
                .map(|d| (d.name.clone(), d.options.iter().map(|o| o.id.clone()).collect()))
                .collect(),
            notes,
        })
    }

    fn figures(&self, reader: &mut Reader, space: &DesignSpace) -> Vec<Figures> {
        for table in &self.factors {
            for (name, at) in table.decisions.iter().flatten() {
                if space.decisions.iter().all(|d| d.name != *name) {
                    reader.problem(
                        codes::UNKNOWN_DECISION,
                        *at,
                        format!("a factor table names the decision `{name}`, which the space does not have"),
                        "",
                    );
                }
            }
        }
        let mut all = Vec::new();
        for rule in &self.attributes {
            let mut by_decision = Vec::new();
            for (index, decision) in space.decisions.iter().enumerate() {
                if matches!(&rule.gather, Gather::Decision(name) if *name != decision.name) {
                    continue;
                }
                let column = decision
                    .options
                    .iter()
                    .map(|option| self.figure(reader, rule, &decision.name, option))
                    .collect();
                by_decision.push((index, column));
            }
            if let Gather::Decision(name) = &rule.gather
                && by_decision.is_empty()
            {
                reader.problem(
                    codes::UNKNOWN_DECISION,
                    rule.at,
                    format!(
                        "the attribute `{}` names the decision `{name}`, which the space does not have",
                        rule.name
                    ),
                    "",
                );
            } else if rule.missing.is_none()
                && by_decision
                    .iter()
                    .all(|(_, column): &(usize, Vec<Option<f64>>)| column.iter().all(Option::is_none))
            {
                reader.problem(
                    codes::NOWHERE,
                    rule.at,
                    format!("no option states the attribute `{}`", rule.name),
                    "correct the name, add a factor table, or give `missing`",
                );
            }
            all.push(Figures { rule: rule.clone(), by_decision });
        }
        all
    }

    /// The figure that one option states itself or gets from a factor table.
    fn figure(
        &self,
        reader: &mut Reader,
        rule: &AttributeRule,
        decision: &str,
        option: &crate::space::DesignOption,
    ) -> Option<f64> {
        let place = || format!("option `{}` of `{decision}`", option.id);
        let mut found = match option.attributes.get(&rule.name) {
            None => None,
            Some(Attribute::Number(number)) => Some(number.to_f64()),
            Some(other) => {
                reader.problem(
                    codes::NOT_A_NUMBER,
                    rule.at,
                    format!("the attribute `{}` of {} is {}, not a number", rule.name, place(), word(other)),
                    "",
                );
                None
            }
        };
        for table in &self.factors {
            let applies =
                table.decisions.as_ref().is_none_or(|names| names.iter().any(|(name, _)| name == decision));
            if !applies {
                continue;
            }
            let Some(value) = option
                .attributes
                .get(&table.key)
                .and_then(|key| table.rows.get(&word(key)))
                .and_then(|row| row.get(&rule.name))
            else {
                continue;
            };
            if found.replace(*value).is_some() {
                reader.problem(
                    codes::TWICE,
                    table.at,
                    format!("`{}` of {} is stated twice", rule.name, place()),
                    "state it in one place",
                );
            }
        }
        found
    }
}

/// An attribute as a word, for the rows of factor tables: `24`, `0.5`, `Hydrogen`, `true`.
fn word(attribute: &Attribute) -> String {
    match attribute {
        Attribute::Text(text) => text.clone(),
        Attribute::Flag(flag) => flag.to_string(),
        Attribute::Number(number) => number.to_f64().to_string(),
    }
}

impl BoundModel {
    pub fn scenarios(&self) -> usize {
        self.scenarios
    }

    pub fn term_names(&self) -> impl Iterator<Item = &str> {
        self.terms.iter().map(|term| term.name.as_str())
    }

    /// Number of options by decision.
    pub(super) fn options(&self) -> Vec<usize> {
        self.decisions.iter().map(|(_, options)| options.len()).collect()
    }

    /// A design in words, for messages: `{wing: 24, fuselage: 24}`.
    pub fn name_design(&self, design: &[u16]) -> String {
        let parts: Vec<String> = self
            .decisions
            .iter()
            .zip(design)
            .map(|((decision, options), &option)| {
                let id = options.get(usize::from(option)).map_or("?", String::as_str);
                format!("{decision}: {id}")
            })
            .collect();
        format!("{{{}}}", parts.join(", "))
    }

    /// The figures of a design in the order of the model's attributes.
    fn attributes(&self, design: &[u16], out: &mut Vec<f64>) -> Result<(), CostError> {
        out.clear();
        for figures in &self.figures {
            let stated = figures
                .by_decision
                .iter()
                .filter_map(|(decision, column)| *column.get(usize::from(*design.get(*decision)?))?);
            let gathered = match figures.rule.gather {
                Gather::Sum => stated.reduce(|a, b| a + b),
                Gather::Product => stated.reduce(|a, b| a * b),
                Gather::Max => stated.reduce(f64::max),
                Gather::Min => stated.reduce(f64::min),
                Gather::Decision(_) => stated.reduce(|a, _| a),
                Gather::Mean => {
                    let (sum, count) = stated.fold((0.0, 0u32), |(s, n), x| (s + x, n + 1));
                    (count > 0).then(|| sum / f64::from(count))
                }
            };
            let value = gathered.or(figures.rule.missing).ok_or_else(|| CostError::Missing {
                attribute: figures.rule.name.clone(),
                design: self.name_design(design),
                place: match &figures.rule.gather {
                    Gather::Decision(name) => format!("its option of `{name}`"),
                    _ => "none of its options".into(),
                },
            })?;
            out.push(value);
        }
        Ok(())
    }

    /// Cost of one design in one scenario, by term. For many of them use [`Columns`].
    ///
    /// # Errors
    /// [`CostError`], for this design in any scenario.
    pub fn costs(&self, design: &[u16], scenario: usize) -> Result<Vec<f64>, CostError> {
        let mut columns = Columns::new(self);
        let mut by_term = vec![vec![0.0; self.scenarios]; self.terms.len()];
        let mut total = vec![0.0; self.scenarios];
        columns.by_term(design, &mut by_term, &mut total)?;
        Ok(by_term.iter().map(|column| column[scenario]).collect())
    }
}

#[derive(Debug, Clone)]
enum Kept {
    Same(f64),
    Each(Arc<[f64]>),
}

/// Computes the costs of one design after the other, and each term once per distinct figures in it.
#[derive(Debug)]
pub struct Columns<'m> {
    model: &'m BoundModel,
    /// By term: the bits of the attributes it uses, and what came out.
    kept: Vec<HashMap<Box<[u64]>, Kept>>,
    kept_figures: usize,
    kept_figures_max: usize,
    attributes: Vec<f64>,
    key: Vec<u64>,
}

impl<'m> Columns<'m> {
    pub fn new(model: &'m BoundModel) -> Self {
        Columns::shared(model, 1)
    }

    /// As [`Columns::new`] for one of `threads` that work side by side: the memory for reuse is divided.
    pub fn shared(model: &'m BoundModel, threads: usize) -> Self {
        Columns {
            kept_figures_max: KEPT_FIGURES_MAX / threads.max(1),
            model,
            kept: vec![HashMap::new(); model.terms.len()],
            kept_figures: 0,
            attributes: Vec::new(),
            key: Vec::new(),
        }
    }

    /// Total cost of `design` in every scenario, into `total`.
    ///
    /// # Errors
    /// A missing figure, or a term or total that is not finite.
    pub fn total(&mut self, design: &[u16], total: &mut [f64]) -> Result<(), CostError> {
        self.each_term(design, total, |_, _| {})
    }

    /// As [`Columns::total`], and every term's own column.
    ///
    /// # Errors
    /// As [`Columns::total`].
    pub fn by_term(
        &mut self,
        design: &[u16],
        by_term: &mut [Vec<f64>],
        total: &mut [f64],
    ) -> Result<(), CostError> {
        self.each_term(design, total, |term, column| match column {
            Kept::Same(x) => by_term[term].fill(*x),
            Kept::Each(column) => by_term[term].copy_from_slice(column),
        })
    }

    fn each_term(
        &mut self,
        design: &[u16],
        total: &mut [f64],
        mut see: impl FnMut(usize, &Kept),
    ) -> Result<(), CostError> {
        let model = self.model;
        let mut attributes = std::mem::take(&mut self.attributes);
        let gathered = model.attributes(design, &mut attributes);
        self.attributes = attributes;
        gathered?;
        total.fill(0.0);
        for term in 0..model.terms.len() {
            let column = self.column(term, design)?;
            match &column {
                Kept::Same(x) => {
                    for sum in total.iter_mut() {
                        *sum += x;
                    }
                }
                Kept::Each(column) => {
                    for (sum, x) in total.iter_mut().zip(column.iter()) {
                        *sum += x;
                    }
                }
            }
            see(term, &column);
        }
        match total.iter().position(|cost| !cost.is_finite()) {
            None => Ok(()),
            Some(scenario) => Err(CostError::TotalNotFinite {
                design: model.name_design(design),
                scenario,
                value: total[scenario],
            }),
        }
    }

    fn column(&mut self, term: usize, design: &[u16]) -> Result<Kept, CostError> {
        let bound = &self.model.terms[term];
        self.key.clear();
        for slot in &bound.slots {
            if let Slot::Attribute(index) = slot {
                self.key.push(self.attributes[*index].to_bits());
            }
        }
        if let Some(kept) = self.kept[term].get(self.key.as_slice()) {
            return Ok(kept.clone());
        }
        let values: Vec<Column> = bound
            .slots
            .iter()
            .map(|slot| match slot {
                Slot::Attribute(index) => Column::Same(self.attributes[*index]),
                Slot::Fixed(column) => column.clone(),
            })
            .collect();
        let column = bound
            .formula
            .evaluate(&values)
            .map_err(|reason| CostError::Formula { term: bound.name.clone(), reason })?;
        let kept = match column {
            Column::Same(x) => Kept::Same(x),
            Column::Shared(column) => Kept::Each(column),
            Column::Own(column) => Kept::Each(Arc::from(column)),
        };
        let odd = match &kept {
            Kept::Same(x) => (!x.is_finite()).then_some((0, *x)),
            Kept::Each(column) => {
                column.iter().position(|x| !x.is_finite()).map(|scenario| (scenario, column[scenario]))
            }
        };
        if let Some((scenario, value)) = odd {
            return Err(CostError::TermNotFinite {
                term: bound.name.clone(),
                design: self.model.name_design(design),
                scenario,
                value,
            });
        }
        if self.model.negative_forbidden {
            let below = match &kept {
                Kept::Same(x) => (*x < 0.0).then_some((0, *x)),
                Kept::Each(column) => {
                    column.iter().position(|x| *x < 0.0).map(|scenario| (scenario, column[scenario]))
                }
            };
            if let Some((scenario, value)) = below {
                return Err(CostError::TermNegative {
                    term: bound.name.clone(),
                    design: self.model.name_design(design),
                    scenario,
                    value,
                });
            }
        }
        let size = match &kept {
            Kept::Same(_) => 1,
            Kept::Each(column) => column.len(),
        } + self.key.len();
        if self.kept_figures + size <= self.kept_figures_max {
            self.kept_figures += size;
            self.kept[term].insert(self.key.as_slice().into(), kept.clone());
        }
        Ok(kept)
    }
}

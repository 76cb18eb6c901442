//! A program as a design space: equations that ask for exactly one switch become decisions.
//!
//! Rule: solutions of the program and designs of the space are in one-to-one correspondence
//! ([`Choices::values`]), and every row becomes rules that say exactly what it says. With it the engine of
//! design spaces lists, counts, ranks and samples programs. Absent: programs with a column of more than
//! [`OPTIONS_MAX`] values or more than [`DECISIONS_MAX`] columns left over; they are searched column by
//! column. Start at [`Choices::new`].

use super::Program;
use crate::space::{
    Attribute, Constraint, Decimal, Decision, Design, DesignOption, DesignSpace, OPTIONS_MAX, Objective,
    Range, Rule,
};
use std::collections::{BTreeMap, BTreeSet};

/// Most decisions: the engine looks at every pair of them at every step.
pub const DECISIONS_MAX: usize = 512;

/// Most pairs of options written out as a table for rows between two decisions.
const PAIRS_MAX: usize = 1 << 16;

/// The option of a decision that every unit of the objective's constant is added to.
const COST: &str = "cost";

/// A program seen as choices.
#[derive(Debug, Clone)]
pub struct Choices {
    pub space: DesignSpace,
    /// Per decision and option: the columns that are not at zero, with their values.
    sets: Vec<Vec<Option<(usize, i64)>>>,
    columns: usize,
    /// Columns that stand in an exactly-one equation.
    pub grouped: usize,
}

impl Choices {
    /// The space of `program`; `None` if it cannot be written as one.
    pub fn new(program: &Program) -> Option<Choices> {
        let switch = |c: usize| program.columns[c].lower == 0 && program.columns[c].upper == 1;
        let mut place: Vec<Option<(usize, usize)>> = vec![None; program.columns.len()];
        let mut sets: Vec<Vec<Option<(usize, i64)>>> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        let mut made_of = BTreeSet::new();
        for (r, row) in program.rows.iter().enumerate() {
            let Some(&(_, unit)) = row.terms.first() else { continue };
            let one = row.lower == Some(unit)
                && row.upper == Some(unit)
                && (2..=OPTIONS_MAX).contains(&row.terms.len())
                && row.terms.iter().all(|&(c, a)| a == unit && switch(c) && place[c].is_none());
            if one {
                for (o, &(c, _)) in row.terms.iter().enumerate() {
                    place[c] = Some((sets.len(), o));
                }
                sets.push(row.terms.iter().map(|&(c, _)| Some((c, 1))).collect());
                names.push(format!("{} ({})", row.name, sets.len()));
                made_of.insert(r);
            }
        }
        let grouped = place.iter().flatten().count();
        for (c, column) in program.columns.iter().enumerate() {
            if place[c].is_none() {
                if column.upper.checked_sub(column.lower)?.unsigned_abs() >= OPTIONS_MAX as u64
                    || column.lower > column.upper
                {
                    return None;
                }
                place[c] = Some((sets.len(), 0));
                sets.push((column.lower..=column.upper).map(|v| (v != 0).then_some((c, v))).collect());
                names.push(format!("{} ({})", column.name, sets.len()));
            }
        }
        if sets.is_empty() || sets.len() > DECISIONS_MAX {
            return None;
        }
        let decisions = sets
            .iter()
            .zip(names)
            .map(|(options, name)| {
                let option = |o: usize| DesignOption { id: o.to_string(), attributes: BTreeMap::new() };
                Decision { name, options: (0..options.len()).map(option).collect() }
            })
            .collect();
        let space =
            DesignSpace { name: program.name.clone(), decisions, constraints: Vec::new(), objective: None };
        let mut choices = Choices { space, sets, columns: program.columns.len(), grouped };
        let decision_of: Vec<usize> = place.iter().map(|p| p.map_or(0, |p| p.0)).collect();
        choices.rows(program, &decision_of, &made_of);
        choices.objective(program)?;
        Some(choices)
    }

    /// The solution that a design stands for; one value per column.
    pub fn values(&self, design: &Design) -> Vec<i64> {
        let mut values = vec![0; self.columns];
        for (options, &o) in self.sets.iter().zip(design) {
            if let Some(Some((c, v))) = options.get(usize::from(o)) {
                values[*c] = *v;
            }
        }
        values
    }

    /// What the options of decision `d` add to a row.
    fn weights(&self, d: usize, terms: &BTreeMap<usize, i64>) -> Vec<i64> {
        let weight = |set: &Option<(usize, i64)>| set.map_or(0, |(c, v)| terms.get(&c).map_or(0, |a| a * v));
        self.sets[d].iter().map(weight).collect()
    }

    fn rows(&mut self, program: &Program, decision_of: &[usize], made_of: &BTreeSet<usize>) {
        let mut alone: BTreeMap<usize, Vec<bool>> = BTreeMap::new();
        let mut pairs: BTreeMap<(usize, usize), Vec<bool>> = BTreeMap::new();
        // Rows that say "at most `max` of these" over different columns are one rule together.
        let mut families: Vec<(i64, BTreeSet<usize>, Vec<usize>)> = Vec::new();
        for (r, row) in program.rows.iter().enumerate() {
            if made_of.contains(&r) {
                continue;
            }
            let terms: BTreeMap<usize, i64> = row.terms.iter().copied().collect();
            let touched: BTreeSet<usize> = terms.keys().map(|&c| decision_of[c]).collect();
            let touched: Vec<usize> = touched.into_iter().collect();
            let within = |sum: i64| row.lower.is_none_or(|l| sum >= l) && row.upper.is_none_or(|u| sum <= u);
            match touched[..] {
                [] if within(0) => {}
                // A row of no columns that does not hold: no option is left anywhere.
                [] => alone.entry(0).or_insert_with(|| vec![true; self.sets[0].len()]).fill(false),
                [d] => {
                    let weights = self.weights(d, &terms);
                    let open = alone.entry(d).or_insert_with(|| vec![true; weights.len()]);
                    open.iter_mut().zip(weights).for_each(|(o, w)| *o &= within(w));
                }
                [d, e] if self.sets[d].len() * self.sets[e].len() <= PAIRS_MAX => {
                    let (first, second) = (self.weights(d, &terms), self.weights(e, &terms));
                    let open = pairs.entry((d, e)).or_insert_with(|| vec![true; first.len() * second.len()]);
                    for (i, a) in first.iter().enumerate() {
                        for (j, b) in second.iter().enumerate() {
                            open[i * second.len() + j] &= within(a + b);
                        }
                    }
                }
                _ => {
                    let switches = |&(c, a): &(usize, i64)| {
                        a == 1 && program.columns[c].lower == 0 && program.columns[c].upper == 1
                    };
                    let most = row.upper.filter(|u| {
                        row.lower.is_none_or(|l| l <= 0)
                            && (1..=i64::from(u32::MAX)).contains(u)
                            && row.terms.iter().all(switches)
                    });
                    match most {
                        Some(max) => {
                            let fits = |f: &&mut (i64, BTreeSet<usize>, Vec<usize>)| {
                                f.0 == max && terms.keys().all(|c| !f.1.contains(c))
                            };
                            match families.iter_mut().find(fits) {
                                Some(family) => {
                                    family.1.extend(terms.keys());
                                    family.2.push(r);
                                }
                                None => families.push((max, terms.keys().copied().collect(), vec![r])),
                            }
                        }
                        None => self.sum(r, &touched, &terms, row.lower, row.upper),
                    }
                }
            }
        }
        let position = |at: usize| u16::try_from(at).unwrap_or(u16::MAX);
        for (d, open) in alone {
            let tuples = (0..open.len()).filter(|&o| open[o]).map(|o| vec![position(o)]).collect();
            self.rule(format!("one {d}"), Rule::Allowed { decisions: vec![d], tuples });
        }
        for ((d, e), open) in pairs {
            let width = self.sets[e].len();
            let at = |i: usize| vec![position(i / width), position(i % width)];
            let tuples: Vec<Vec<u16>> = (0..open.len()).filter(|&i| open[i]).map(at).collect();
            if tuples.len() < open.len() {
                self.rule(format!("pair {d} {e}"), Rule::Allowed { decisions: vec![d, e], tuples });
            }
        }
        for (f, (max, _, rows)) in families.into_iter().enumerate() {
            self.family(program, decision_of, f, max, &rows);
        }
    }

    fn rule(&mut self, name: String, rule: Rule) {
        self.space.constraints.push(Constraint { name, rule, line: 0 });
    }

    fn sum(
        &mut self,
        r: usize,
        touched: &[usize],
        terms: &BTreeMap<usize, i64>,
        lower: Option<i64>,
        upper: Option<i64>,
    ) {
        let attribute = format!("row {r}");
        for &d in touched {
            let weights = self.weights(d, terms);
            for (option, weight) in self.space.decisions[d].options.iter_mut().zip(weights) {
                if weight != 0 {
                    option.attributes.insert(attribute.clone(), Attribute::Number(Decimal::whole(weight)));
                }
            }
        }
        let range = Range { min: lower.map(Decimal::whole), max: upper.map(Decimal::whole) };
        let missing = Some(Decimal::whole(0));
        let decisions = touched.to_vec();
        self.rule(attribute.clone(), Rule::Sum { attribute, decisions, missing, range });
    }

    fn family(&mut self, program: &Program, decision_of: &[usize], f: usize, max: i64, rows: &[usize]) {
        let attribute = format!("family {f}");
        let row_of: BTreeMap<usize, usize> =
            rows.iter().flat_map(|&r| program.rows[r].terms.iter().map(move |t| (t.0, r))).collect();
        let decisions: BTreeSet<usize> = row_of.keys().map(|&c| decision_of[c]).collect();
        for &d in &decisions {
            for (option, set) in self.space.decisions[d].options.iter_mut().zip(&self.sets[d]) {
                if let Some(r) = set.and_then(|(c, _)| row_of.get(&c)) {
                    option.attributes.insert(attribute.clone(), Attribute::Text(r.to_string()));
                }
            }
        }
        let decisions = decisions.into_iter().collect();
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.rule(attribute.clone(), Rule::Same { attribute, decisions, max });
    }

    fn objective(&mut self, program: &Program) -> Option<()> {
        let costs: BTreeMap<usize, i64> =
            program.costs.iter().copied().enumerate().filter(|(_, a)| *a != 0).collect();
        for d in 0..self.sets.len() {
            for o in 0..self.sets[d].len() {
                let set = self.sets[d][o];
                let own = match set.and_then(|(c, v)| costs.get(&c).map(|a| (a, v))) {
                    None => 0,
                    Some((a, v)) => a.checked_mul(v)?,
                };
                // The constant of the objective is paid once, by the first decision.
                let cost = if d == 0 { own.checked_add(program.offset)? } else { own };
                let value = Attribute::Number(Decimal { mantissa: cost, scale: program.scale }.normalised());
                self.space.decisions[d].options[o].attributes.insert(COST.to_string(), value);
            }
        }
        let maximise = program.maximise;
        self.space.objective = Some(Objective { attribute: COST.to_string(), maximise, missing: None });
        Some(())
    }
}

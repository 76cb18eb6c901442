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
    /// Columns that say whether any of others is set, with these.
    marks: BTreeMap<usize, Vec<usize>>,
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
        let Distinct { counted, marks, rows: said } = Distinct::find(program, &place);
        made_of.extend(said);
        for (c, column) in program.columns.iter().enumerate() {
            if place[c].is_none() && !marks.contains_key(&c) {
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
        let mut choices = Choices { space, sets, marks, columns: program.columns.len(), grouped };
        let decision_of: Vec<usize> = place.iter().map(|p| p.map_or(0, |p| p.0)).collect();
        choices.rows(program, &decision_of, &made_of);
        for (r, marks) in counted {
            choices.distinct(program, &decision_of, r, &marks)?;
        }
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
        for (&mark, of) in &self.marks {
            values[mark] = i64::from(of.iter().any(|&c| values[c] == 1));
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
        let decisions = self.label(&attribute, decision_of, &row_of);
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        self.rule(attribute.clone(), Rule::Same { attribute, decisions, max });
    }

    /// A row that counts marks: so many different ones are set.
    fn distinct(
        &mut self,
        program: &Program,
        decision_of: &[usize],
        r: usize,
        marks: &[usize],
    ) -> Option<()> {
        let attribute = format!("marks {r}");
        let mut mark_of = BTreeMap::new();
        for mark in marks {
            mark_of.extend(self.marks.get(mark)?.iter().map(|&c| (c, *mark)));
        }
        let decisions = self.label(&attribute, decision_of, &mark_of);
        let row = &program.rows[r];
        let (min, max) = (row.lower.map(|l| l.max(0)), row.upper.map(|u| u.min(i64::from(u32::MAX))));
        // Fewer than no value cannot be; the plain search says so.
        if max.is_some_and(|m| m < 0) {
            return None;
        }
        let bound = |b: i64| u32::try_from(b).ok();
        let (min, max) = (min.map_or(Some(0), bound)?, max.map_or(Some(u32::MAX), bound)?);
        self.rule(attribute.clone(), Rule::Distinct { attribute, decisions, min: Some(min), max: Some(max) });
        Some(())
    }

    /// Gives the options of `label_of`'s columns their label; the decisions that have some.
    fn label(
        &mut self,
        attribute: &str,
        decision_of: &[usize],
        label_of: &BTreeMap<usize, usize>,
    ) -> Vec<usize> {
        let decisions: BTreeSet<usize> = label_of.keys().map(|&c| decision_of[c]).collect();
        for &d in &decisions {
            for (option, set) in self.space.decisions[d].options.iter_mut().zip(&self.sets[d]) {
                if let Some(label) = set.and_then(|(c, _)| label_of.get(&c)) {
                    option.attributes.insert(attribute.to_string(), Attribute::Text(label.to_string()));
                }
            }
        }
        decisions.into_iter().collect()
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

/// Switches that only count: each is set exactly if any of its columns is, and rows bound how many are set.
#[derive(Default)]
struct Distinct {
    /// Row and the marks it counts.
    counted: Vec<(usize, Vec<usize>)>,
    marks: BTreeMap<usize, Vec<usize>>,
    /// Rows that are said by it all.
    rows: Vec<usize>,
}

impl Distinct {
    /// The marks of `program` among the columns without a `place`. A mark stands in `x - mark <= 0` for
    /// each of its columns, in `mark - sum of them <= 0`, in one row that counts marks over different
    /// columns, and nowhere else.
    fn find(program: &Program, place: &[Option<(usize, usize)>]) -> Distinct {
        let switch = |c: usize| program.columns[c].lower == 0 && program.columns[c].upper == 1;
        let may = |c: usize| place[c].is_none() && switch(c) && program.costs.get(c) == Some(&0);
        let mut uses: Vec<Vec<usize>> = vec![Vec::new(); program.columns.len()];
        for (r, row) in program.rows.iter().enumerate() {
            row.terms.iter().for_each(|&(c, _)| uses[c].push(r));
        }
        // Per candidate: columns below it, the row above it, its other rows.
        let mut found: BTreeMap<usize, (BTreeSet<usize>, usize)> = BTreeMap::new();
        let mut out = Distinct::default();
        'column: for mark in (0..program.columns.len()).filter(|&c| may(c)) {
            let (mut below, mut above, mut counts) = (BTreeSet::new(), None, Vec::new());
            for &r in &uses[mark] {
                let row = &program.rows[r];
                let own = row.terms.iter().find(|t| t.0 == mark).map_or(0, |t| t.1);
                let others: Vec<(usize, i64)> = row.terms.iter().copied().filter(|t| t.0 != mark).collect();
                let at_most_0 = row.upper == Some(0) && row.lower.is_none();
                let placed = |t: &(usize, i64)| place[t.0].is_some() && switch(t.0);
                if at_most_0 && own == -1 && others.len() == 1 && others[0].1 == 1 && placed(&others[0]) {
                    below.insert(others[0].0);
                } else if at_most_0
                    && own == 1
                    && above.is_none()
                    && others.iter().all(|t| t.1 == -1 && placed(t))
                {
                    above = Some((others.iter().map(|t| t.0).collect::<BTreeSet<_>>(), r));
                } else if row.terms.iter().all(|&(c, a)| a == 1 && may(c)) {
                    counts.push(r);
                } else {
                    continue 'column;
                }
            }
            if let (Some((columns, _)), [count]) = (&above, &counts[..])
                && !below.is_empty()
                && *columns == below
            {
                found.insert(mark, (below, *count));
            }
        }
        let counting: BTreeSet<usize> = found.values().map(|f| f.1).collect();
        for r in counting {
            let marks: Vec<usize> = program.rows[r].terms.iter().map(|t| t.0).collect();
            let mut seen = BTreeSet::new();
            let whole = marks.iter().all(|m| {
                found.get(m).is_some_and(|(of, row)| *row == r && of.iter().all(|&c| seen.insert(c)))
            });
            if whole {
                for m in &marks {
                    out.rows.extend(&uses[*m]);
                    out.marks.insert(*m, found[m].0.iter().copied().collect());
                }
                out.counted.push((r, marks));
            }
        }
        out
    }
}

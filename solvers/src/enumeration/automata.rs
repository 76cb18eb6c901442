//! The rules of a space as small machines that read one decision after the other.
//!
//! Rule: what is read before depth `k` is known to a machine only by its state, so two partial designs in
//! equal states can be completed in the same ways. Everything here is compiled from the space itself and
//! shares no step with the search (`plan`, `search`), because a diagram built from it confirms what the
//! search counts; only the integer forms of sums are common. Absent: walking. Start at [`Machines::new`].

use super::EnumerationError;
use crate::space::{self, Attribute, DesignSpace, EachTest, Rule};
use std::collections::{BTreeMap, BTreeSet};

pub(super) const NO_CLASS: usize = usize::MAX;

/// Most different remaining sums kept per depth for rounding a slack down; more would merge little.
const SUMS_MAX: usize = 4096;

/// A sum at most `slack`, weights from 0 at every depth.
#[derive(Debug)]
pub(super) struct AtMost {
    pub weights: Vec<Vec<i64>>,
    pub slack: i64,
    /// Per depth: what the depths from it on can add, ascending; the last is the most. Beyond
    /// [`SUMS_MAX`] values only the most is kept.
    pub reachable: Vec<Vec<i64>>,
}

impl AtMost {
    /// The least slack that lets the same completions through from depth `k` on; `None` if none.
    pub fn rounded(&self, k: usize, slack: i64) -> Option<i64> {
        let sums = &self.reachable[k];
        let most = sums.last().copied().unwrap_or(0);
        if slack >= most {
            return Some(most);
        }
        if slack < 0 {
            return None;
        }
        if sums.len() == 1 {
            return Some(slack);
        }
        Some(sums[sums.partition_point(|&s| s <= slack) - 1])
    }
}

/// A table over three or more depths as an automaton whose equal residues are one state.
#[derive(Debug)]
pub(super) struct Table {
    pub depths: Vec<usize>,
    pub allowed: bool,
    /// Per state its moves by option, ascending. State 0 is reached by a whole tuple.
    moves: Vec<Vec<(u16, u32)>>,
    pub start: u32,
}

/// State of a forbidden table that no tuple can reach any more.
pub(super) const FREE: u32 = u32::MAX;

impl Table {
    fn new(depths: Vec<usize>, rows: &BTreeSet<Vec<u16>>, allowed: bool) -> Self {
        let mut table = Table { depths, allowed, moves: vec![Vec::new()], start: 0 };
        let mut known = BTreeMap::new();
        let rows: Vec<&[u16]> = rows.iter().map(Vec::as_slice).collect();
        table.start = table.state(&rows, &mut known);
        table
    }

    fn state(&mut self, rows: &[&[u16]], known: &mut BTreeMap<Vec<(u16, u32)>, u32>) -> u32 {
        if rows.first().is_some_and(|row| row.is_empty()) {
            return 0;
        }
        let mut moves = Vec::new();
        let mut at = 0;
        while at < rows.len() {
            let option = rows[at][0];
            let end = at + rows[at..].iter().take_while(|row| row[0] == option).count();
            let rest: Vec<&[u16]> = rows[at..end].iter().map(|row| &row[1..]).collect();
            moves.push((option, self.state(&rest, known)));
            at = end;
        }
        if let Some(&state) = known.get(&moves) {
            return state;
        }
        let state = self.moves.len() as u32;
        self.moves.push(moves.clone());
        known.insert(moves, state);
        state
    }

    /// The state after `option` at one of the depths; `None` if the rule is broken.
    pub fn step(&self, state: u32, option: usize, last: bool) -> Option<u32> {
        let moves = if state == FREE { &[][..] } else { &self.moves[state as usize] };
        match (moves.binary_search_by_key(&option, |m| usize::from(m.0)), self.allowed) {
            (Err(_), true) => None,
            (Err(_), false) => Some(FREE),
            (Ok(_), false) if last => None,
            (Ok(at), _) => Some(moves[at].1),
        }
    }

    /// Whether its state matters between the choices before `k` and those from `k` on.
    pub fn live(&self, k: usize) -> bool {
        self.depths[0] < k && self.depths.last().is_some_and(|&last| k <= last)
    }
}

/// Values of an attribute that are counted.
#[derive(Debug)]
pub(super) struct Counted {
    /// Class of every option by depth, or [`NO_CLASS`].
    pub class: Vec<Vec<usize>>,
    pub classes: usize,
    /// `later[k][class]`: depths from `k` on that can bring the class.
    pub later: Vec<Vec<u32>>,
    /// Depths from `k` on that can bring any class.
    pub any: Vec<u32>,
}

/// All rules of a space in one order of decisions.
#[derive(Debug)]
pub(super) struct Machines {
    pub order: Vec<usize>,
    pub sizes: Vec<usize>,
    /// Words of a set of options.
    pub words: usize,
    /// Options of each depth that the rules about single decisions let through.
    pub domains: Vec<Vec<u64>>,
    /// `pairs[k]`: later depth and, per option of `k`, what it leaves there.
    pub pairs: Vec<Vec<(usize, Vec<Vec<u64>>)>>,
    pub tables: Vec<Table>,
    pub sums: Vec<AtMost>,
    pub same: Vec<(Counted, u32)>,
    pub distinct: Vec<(Counted, u32, u32)>,
    /// Some rule can never hold.
    pub dead: bool,
}

fn equal(a: &Attribute, b: &Attribute) -> bool {
    match (a, b) {
        (Attribute::Number(a), Attribute::Number(b)) => a.compare(*b).is_eq(),
        (Attribute::Text(a), Attribute::Text(b)) => a == b,
        (Attribute::Flag(a), Attribute::Flag(b)) => a == b,
        _ => false,
    }
}

fn passes(value: Option<&Attribute>, test: &EachTest, missing_ignored: bool) -> bool {
    match (value, test) {
        (None, _) => missing_ignored,
        (Some(value), EachTest::Equals(wanted)) => equal(value, wanted),
        (Some(Attribute::Number(n)), EachTest::Within(range)) => {
            !(range.min.is_some_and(|min| n.compare(min).is_lt())
                || range.max.is_some_and(|max| n.compare(max).is_gt()))
        }
        (Some(_), EachTest::Within(_)) => false,
    }
}

pub(super) fn has(set: &[u64], o: usize) -> bool {
    set[o / 64] >> (o % 64) & 1 == 1
}

pub(super) fn members(set: &[u64]) -> impl Iterator<Item = usize> + '_ {
    set.iter()
        .enumerate()
        .flat_map(|(at, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| at * 64 + bit))
}

impl Machines {
    pub fn new(space: &DesignSpace, order: &[usize]) -> Result<Self, EnumerationError> {
        let n = order.len();
        let mut depth = vec![0; n];
        order.iter().enumerate().for_each(|(k, &d)| depth[d] = k);
        let sizes: Vec<usize> = order.iter().map(|&d| space.decisions[d].options.len()).collect();
        let words = sizes.iter().max().map_or(1, |most| most.div_ceil(64));
        let set = |options: &mut dyn Iterator<Item = usize>| {
            let mut set = vec![0u64; words];
            options.for_each(|o| set[o / 64] |= 1 << (o % 64));
            set
        };
        let mut new = Machines {
            order: order.to_vec(),
            domains: sizes.iter().map(|&s| set(&mut (0..s))).collect(),
            sizes,
            words,
            pairs: (0..n).map(|_| Vec::new()).collect(),
            tables: Vec::new(),
            sums: Vec::new(),
            same: Vec::new(),
            distinct: Vec::new(),
            dead: false,
        };
        let mut bounds = Vec::new();
        let mut counted = Vec::new();
        for constraint in &space.constraints {
            match &constraint.rule {
                Rule::Allowed { decisions, tuples } => {
                    new.table(decisions, &mut tuples.iter().cloned(), true, &depth)
                }
                Rule::Forbidden { decisions, tuples } => {
                    new.table(decisions, &mut tuples.iter().cloned(), false, &depth)
                }
                Rule::Implies { decision, when, then_decision, then } => {
                    let options = space.decisions[*then_decision].options.len() as u16;
                    let wrong: Vec<u16> = (0..options).filter(|o| !then.contains(o)).collect();
                    let mut tuples = when.iter().flat_map(|&w| wrong.iter().map(move |&o| vec![w, o]));
                    new.table(&[*decision, *then_decision], &mut tuples, false, &depth);
                }
                Rule::Each { attribute, decisions, test, missing_ignored } => {
                    for &d in decisions {
                        for (o, option) in space.decisions[d].options.iter().enumerate() {
                            if !passes(option.attributes.get(attribute), test, *missing_ignored) {
                                new.domains[depth[d]][o / 64] &= !(1 << (o % 64));
                            }
                        }
                    }
                }
                Rule::Same { .. } | Rule::Distinct { .. } => counted.push(&constraint.rule),
                rule => {
                    let forms = space::forms(space, rule).map_err(|error| EnumerationError::Exact {
                        constraint: constraint.name.clone(),
                        error,
                    })?;
                    for form in forms {
                        bounds.extend(form.max.map(|max| (form.clone(), 1, max)));
                        bounds.extend(form.min.map(|min| (form, -1, -min)));
                    }
                }
            }
        }
        new.dead = new.dead || new.domains.iter().any(|d| d.iter().all(|w| *w == 0));
        if new.dead {
            return Ok(new);
        }
        for (form, sign, max) in bounds {
            let mut weights: Vec<Vec<i64>> = new.sizes.iter().map(|&s| vec![0; s]).collect();
            for (&d, row) in form.decisions.iter().zip(&form.weights) {
                weights[depth[d]].iter_mut().zip(row).for_each(|(w, &add)| *w += sign * add);
            }
            new.sum(weights, max);
        }
        for rule in counted {
            match rule {
                Rule::Same { attribute, decisions, max } => {
                    let classes = new.counted(space, attribute, decisions);
                    new.same.push((classes, *max));
                }
                Rule::Distinct { attribute, decisions, min, max } => {
                    let classes = new.counted(space, attribute, decisions);
                    new.distinct.push((classes, min.unwrap_or(0), max.unwrap_or(u32::MAX)));
                }
                _ => {}
            }
        }
        Ok(new)
    }

    fn table(
        &mut self,
        decisions: &[usize],
        tuples: &mut dyn Iterator<Item = Vec<u16>>,
        allowed: bool,
        depth: &[usize],
    ) {
        let depths: BTreeSet<usize> = decisions.iter().map(|&d| depth[d]).collect();
        // A decision that is named twice must agree with itself, or the tuple matches nothing.
        let rows: BTreeSet<Vec<u16>> = tuples
            .filter_map(|tuple| {
                let mut row: BTreeMap<usize, u16> = BTreeMap::new();
                let sound = decisions.iter().zip(tuple).all(|(&d, o)| *row.entry(depth[d]).or_insert(o) == o);
                sound.then(|| row.into_values().collect())
            })
            .collect();
        let depths: Vec<usize> = depths.into_iter().collect();
        match depths[..] {
            [] => self.dead |= allowed == rows.is_empty(),
            [k] => {
                for o in 0..self.sizes[k] {
                    if rows.contains(&vec![o as u16]) != allowed {
                        self.domains[k][o / 64] &= !(1 << (o % 64));
                    }
                }
            }
            [a, b] => {
                let mut left = vec![vec![0u64; self.words]; self.sizes[a]];
                for (x, left) in left.iter_mut().enumerate() {
                    for y in 0..self.sizes[b] {
                        if rows.contains(&vec![x as u16, y as u16]) == allowed {
                            left[y / 64] |= 1 << (y % 64);
                        }
                    }
                }
                self.pairs[a].push((b, left));
            }
            _ if rows.is_empty() => self.dead |= allowed,
            _ => self.tables.push(Table::new(depths, &rows, allowed)),
        }
    }

    fn sum(&mut self, mut weights: Vec<Vec<i64>>, max: i64) {
        let n = weights.len();
        let mut slack = max;
        for (row, domain) in weights.iter_mut().zip(&self.domains) {
            let least = members(domain).map(|o| row[o]).min().unwrap_or(0);
            slack -= least;
            row.iter_mut().for_each(|w| *w -= least);
        }
        self.dead |= slack < 0;
        let mut reachable = vec![vec![0i64]; n + 1];
        let mut whole = true;
        for k in (0..n).rev() {
            let here: BTreeSet<i64> = members(&self.domains[k]).map(|o| weights[k][o]).collect();
            let most = here.last().copied().unwrap_or(0) + reachable[k + 1].last().copied().unwrap_or(0);
            let mut sums = BTreeSet::new();
            for add in &here {
                if !whole || sums.len() > SUMS_MAX {
                    break;
                }
                sums.extend(reachable[k + 1].iter().map(|s| s + add));
            }
            whole = whole && sums.len() <= SUMS_MAX;
            reachable[k] = if whole { sums.into_iter().collect() } else { vec![most] };
        }
        self.sums.push(AtMost { weights, slack, reachable });
    }

    fn counted(&self, space: &DesignSpace, attribute: &str, decisions: &[usize]) -> Counted {
        let n = self.order.len();
        let mut values: Vec<&Attribute> = Vec::new();
        let mut class: Vec<Vec<usize>> = self.sizes.iter().map(|&s| vec![NO_CLASS; s]).collect();
        for (k, &d) in self.order.iter().enumerate() {
            if !decisions.contains(&d) {
                continue;
            }
            for o in members(&self.domains[k]) {
                let Some(value) = space.decisions[d].options[o].attributes.get(attribute) else { continue };
                class[k][o] = values.iter().position(|v| equal(v, value)).unwrap_or_else(|| {
                    values.push(value);
                    values.len() - 1
                });
            }
        }
        let mut later = vec![vec![0; values.len()]; n + 1];
        let mut any = vec![0; n + 1];
        for k in (0..n).rev() {
            let here: BTreeSet<usize> = class[k].iter().copied().filter(|&c| c != NO_CLASS).collect();
            later[k] = later[k + 1].clone();
            any[k] = any[k + 1] + u32::from(!here.is_empty());
            here.into_iter().for_each(|c| later[k][c] += 1);
        }
        Counted { class, classes: values.len(), later, any }
    }
}

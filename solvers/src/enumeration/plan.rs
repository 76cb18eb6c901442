//! A design space compiled for the search: bit-set domains, pair tables, tries, slack masks.
//!
//! Rule: a plan says the same as its space, for every design; it may only choose another order of
//! decisions and options. Every sum is brought to the form "non-negative weights within a slack", so
//! that one table lookup gives all options that still fit. Absent: walking. Start at [`Plan::new`].

use super::bits::Bits;
use super::{EnumerationError, PLAN_BYTES_MAX};
use crate::space::{self, Attribute, DesignSpace, EachTest, Rule};
use std::collections::BTreeMap;

/// Weights up to this are looked up by slack directly; larger ones by binary search.
const DIRECT_MAX: i64 = 1024;

pub(super) const NONE: u32 = u32::MAX;

/// Options that fit a slack, for one sum at one depth.
#[derive(Debug)]
pub(super) struct Fits<const W: usize> {
    /// Which slack of the search state.
    pub sum: usize,
    largest: i64,
    /// Distinct weights ascending when they are not looked up directly.
    steps: Vec<i64>,
    masks: Vec<Bits<W>>,
}

impl<const W: usize> Fits<W> {
    fn new(sum: usize, weights: &[i64], domain: &Bits<W>) -> Self {
        let mut in_use: Vec<i64> = domain.ones().map(|o| weights[o]).collect();
        in_use.sort_unstable();
        in_use.dedup();
        let largest = in_use.last().copied().unwrap_or(0);
        let direct = largest <= DIRECT_MAX;
        let steps: Vec<i64> = if direct { (0..=largest).collect() } else { in_use };
        let masks = steps
            .iter()
            .map(|&step| {
                let mut mask = Bits::EMPTY;
                domain.ones().filter(|&o| weights[o] <= step).for_each(|o| mask.insert(o));
                mask
            })
            .collect();
        Fits { sum, largest, steps: if direct { Vec::new() } else { steps }, masks }
    }

    /// Options with weight at most `slack`; `None` when that is all of them.
    #[inline]
    pub fn mask(&self, slack: i64) -> Option<Bits<W>> {
        if slack >= self.largest {
            return None;
        }
        if slack < 0 {
            return Some(Bits::EMPTY);
        }
        if self.steps.is_empty() {
            return Some(self.masks[slack as usize]);
        }
        match self.steps.partition_point(|&s| s <= slack) {
            0 => Some(Bits::EMPTY),
            n => Some(self.masks[n - 1]),
        }
    }
}

/// Combinations of three or more decisions as a trie in search order.
#[derive(Debug)]
pub(super) struct Trie<const W: usize> {
    /// Per node: children by option; for the last level only the mask counts.
    pub masks: Vec<Bits<W>>,
    pub first_child: Vec<u32>,
    pub allowed: bool,
}

impl<const W: usize> Trie<W> {
    fn new(mut tuples: Vec<Vec<u16>>, arity: usize, allowed: bool) -> Self {
        tuples.sort_unstable();
        tuples.dedup();
        let mut trie = Trie { masks: vec![Bits::EMPTY], first_child: vec![NONE], allowed };
        // Level by level: the nodes of one level are runs of tuples with a common prefix.
        let mut runs: Vec<(usize, std::ops::Range<usize>)> = vec![(0, 0..tuples.len())];
        for level in 0..arity {
            let mut next = Vec::new();
            for (node, run) in runs {
                let mut at = run.start;
                while at < run.end {
                    let option = tuples[at][level];
                    let end = at + tuples[at..run.end].partition_point(|t| t[level] == option);
                    trie.masks[node].insert(usize::from(option));
                    if level + 1 < arity {
                        let child = trie.masks.len();
                        if trie.first_child[node] == NONE {
                            trie.first_child[node] = child as u32;
                        }
                        trie.masks.push(Bits::EMPTY);
                        trie.first_child.push(NONE);
                        next.push((child, at..end));
                    }
                    at = end;
                }
            }
            runs = next;
        }
        trie
    }

    #[inline]
    pub fn child(&self, node: u32, option: usize) -> u32 {
        if node == NONE {
            return NONE;
        }
        let mask = &self.masks[node as usize];
        if !mask.has(option) {
            return NONE;
        }
        self.first_child[node as usize] + mask.rank(option) as u32
    }
}

/// A trie is looked at when its `level`-th decision is chosen.
#[derive(Debug, Clone, Copy)]
pub(super) struct TrieUse {
    pub trie: usize,
    /// Slot of the node reached so far; the next one holds the node after this choice.
    pub slot: usize,
    pub last: bool,
}

/// A pair table towards a later depth.
#[derive(Debug)]
pub(super) struct Pair<const W: usize> {
    pub from_slot: usize,
    pub to_slot: usize,
    pub rows: Vec<Bits<W>>,
}

/// Values of an attribute that `same` and `distinct` count, by depth.
#[derive(Debug)]
pub(super) struct Classes<const W: usize> {
    /// `class[depth][option]`, [`NONE`] for options without the attribute or decisions not concerned.
    pub class: Vec<Vec<u32>>,
    /// `members[depth][class]`.
    pub members: Vec<Vec<Bits<W>>>,
    /// Options at a depth that have any class.
    pub any: Vec<Bits<W>>,
    /// Depths after this one that can still bring a class.
    pub later: Vec<u32>,
    pub count: usize,
    pub limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    Same { max: u32 },
    Distinct { min: u32, max: u32 },
}

/// Everything the search needs, indexed by depth.
#[derive(Debug)]
pub(super) struct Plan<const W: usize> {
    /// Decision at each depth.
    pub order: Vec<usize>,
    /// Canonical position of each option at each depth.
    pub canonical: Vec<Vec<u16>>,
    pub domains: Vec<Bits<W>>,
    /// Slot of the domain at depth `j` as seen from depth `k`: `slot[k][j]` for `j >= k`.
    pub slot: Vec<Vec<usize>>,
    pub slots: usize,
    pub pairs: Vec<Vec<Pair<W>>>,
    pub tries: Vec<Trie<W>>,
    pub trie_uses: Vec<Vec<TrieUse>>,
    pub trie_slots: usize,
    pub fits: Vec<Vec<Fits<W>>>,
    /// `weights[depth][option * sums + sum]`, all >= 0.
    pub weights: Vec<Vec<i64>>,
    pub slacks: Vec<i64>,
    pub classes: Vec<Classes<W>>,
    /// Per depth and option, the objective above its least value at that depth, options ascending.
    pub objective: Option<ObjectivePlan<W>>,
    /// Some rule can never hold.
    pub dead: bool,
}

#[derive(Debug)]
pub(super) struct ObjectivePlan<const W: usize> {
    pub weights: Vec<Vec<i64>>,
    pub fits: Vec<Fits<W>>,
    /// Sum of the least values: what the weights are counted from.
    pub least: i64,
}

/// One table with decisions as depths ascending and no decision twice.
struct Table {
    depths: Vec<usize>,
    tuples: Vec<Vec<u16>>,
    allowed: bool,
}

/// Sum of weights by decision, at most `max`.
struct AtMost {
    weights: Vec<Vec<i64>>,
    max: i64,
}

fn table(decisions: &[usize], tuples: &[Vec<u16>], allowed: bool, depth_of: &[usize]) -> Table {
    let mut depths: Vec<usize> = decisions.iter().map(|&d| depth_of[d]).collect();
    depths.sort_unstable();
    depths.dedup();
    let mut out = Vec::with_capacity(tuples.len());
    'tuples: for tuple in tuples {
        let mut row: Vec<Option<u16>> = vec![None; depths.len()];
        for (&d, &o) in decisions.iter().zip(tuple) {
            let at = depths.partition_point(|&x| x < depth_of[d]);
            match row[at] {
                Some(other) if other != o => continue 'tuples,
                _ => row[at] = Some(o),
            }
        }
        out.push(row.into_iter().flatten().collect());
    }
    Table { depths, tuples: out, allowed }
}

/// Equal values get equal numbers: attributes are compared by value.
fn class_key(value: &Attribute) -> String {
    match value {
        Attribute::Number(n) => format!("n{n}"),
        Attribute::Text(s) => format!("t{s}"),
        Attribute::Flag(b) => format!("f{b}"),
    }
}

fn each_holds(value: Option<&Attribute>, test: &EachTest, missing_ignored: bool) -> bool {
    let Some(value) = value else {
        return missing_ignored;
    };
    match test {
        EachTest::Equals(wanted) => class_key(value) == class_key(wanted),
        EachTest::Within(range) => match value {
            Attribute::Number(n) => {
                range.min.is_none_or(|min| n.compare(min).is_ge())
                    && range.max.is_none_or(|max| n.compare(max).is_le())
            }
            _ => false,
        },
    }
}

impl<const W: usize> Plan<W> {
    /// Compiles `space` for a search in `order`; `by_objective` also orders options by their cost.
    pub fn new(space: &DesignSpace, order: Vec<usize>, by_objective: bool) -> Result<Self, EnumerationError> {
        let n = space.decisions.len();
        let mut depth_of = vec![0; n];
        order.iter().enumerate().for_each(|(k, &d)| depth_of[d] = k);
        let sizes: Vec<usize> = order.iter().map(|&d| space.decisions[d].options.len()).collect();
        let mut domains: Vec<Bits<W>> = sizes.iter().map(|&s| Bits::full(s)).collect();
        let (mut tables, mut sums, mut counted) = (Vec::new(), Vec::new(), Vec::new());
        let mut dead = false;
        for constraint in &space.constraints {
            let named = |error| EnumerationError::Exact { constraint: constraint.name.clone(), error };
            match &constraint.rule {
                Rule::Allowed { decisions, tuples } => tables.push(table(decisions, tuples, true, &depth_of)),
                Rule::Forbidden { decisions, tuples } => {
                    tables.push(table(decisions, tuples, false, &depth_of))
                }
                Rule::Implies { decision, when, then_decision, then } => {
                    let mut tuples = Vec::new();
                    for &w in when {
                        for t in (0u16..).take(space.decisions[*then_decision].options.len()) {
                            if !then.contains(&t) {
                                tuples.push(vec![w, t]);
                            }
                        }
                    }
                    tables.push(table(&[*decision, *then_decision], &tuples, false, &depth_of));
                }
                Rule::Each { attribute, decisions, test, missing_ignored } => {
                    for &d in decisions {
                        for (o, option) in space.decisions[d].options.iter().enumerate() {
                            if !each_holds(option.attributes.get(attribute), test, *missing_ignored) {
                                domains[depth_of[d]].remove(o);
                            }
                        }
                    }
                }
                Rule::Same { attribute, decisions, max } => {
                    counted.push((attribute, decisions, Limit::Same { max: *max }));
                }
                Rule::Distinct { attribute, decisions, min, max } => {
                    let (min, max) = (min.unwrap_or(0), max.unwrap_or(u32::MAX));
                    counted.push((attribute, decisions, Limit::Distinct { min, max }));
                }
                Rule::Sum { .. } | Rule::Linear { .. } | Rule::Ratio { .. } => {
                    for form in space::forms(space, &constraint.rule).map_err(named)? {
                        let mut weights: Vec<Vec<i64>> = sizes.iter().map(|&s| vec![0; s]).collect();
                        for (&d, row) in form.decisions.iter().zip(&form.weights) {
                            let into = &mut weights[depth_of[d]];
                            into.iter_mut().zip(row).for_each(|(w, add)| *w += add);
                        }
                        if let Some(min) = form.min {
                            let weights = weights.iter().map(|r| r.iter().map(|w| -w).collect()).collect();
                            sums.push(AtMost { weights, max: -min });
                        }
                        if let Some(max) = form.max {
                            sums.push(AtMost { weights, max });
                        }
                    }
                }
            }
        }

        let mut pairs: BTreeMap<(usize, usize), Vec<Bits<W>>> = BTreeMap::new();
        let mut wide = Vec::new();
        for t in tables {
            match t.depths[..] {
                [] => dead |= t.allowed == t.tuples.is_empty(),
                [k] => {
                    let mut mask = Bits::EMPTY;
                    t.tuples.iter().for_each(|tuple| mask.insert(usize::from(tuple[0])));
                    domains[k] = if t.allowed { domains[k].and(&mask) } else { domains[k].without(&mask) };
                }
                [a, b] => {
                    let start = if t.allowed { Bits::EMPTY } else { Bits::full(sizes[b]) };
                    let mut rows = vec![start; sizes[a]];
                    for tuple in &t.tuples {
                        let (x, y) = (usize::from(tuple[0]), usize::from(tuple[1]));
                        if t.allowed { rows[x].insert(y) } else { rows[x].remove(y) }
                    }
                    match pairs.get_mut(&(a, b)) {
                        None => drop(pairs.insert((a, b), rows)),
                        Some(old) => old.iter_mut().zip(&rows).for_each(|(o, r)| *o = o.and(r)),
                    }
                }
                _ => wide.push(t),
            }
        }

        shrink(&mut domains, &pairs, &sums);
        dead |= domains.iter().any(Bits::is_empty);

        let objective_form = match &space.objective {
            Some(objective) if by_objective => {
                let named = |error| EnumerationError::Exact { constraint: "objective".to_string(), error };
                let (form, _) = space::objective_form(space, objective).map_err(named)?;
                let sign = if objective.maximise { -1 } else { 1 };
                let rows: Vec<Vec<i64>> =
                    order.iter().map(|&d| form.weights[d].iter().map(|w| w * sign).collect()).collect();
                Some(rows)
            }
            _ => None,
        };
        // Options in the order of their cost, so that the cheapest of a domain is its lowest bit.
        let canonical: Vec<Vec<u16>> = (0..n)
            .map(|k| {
                let mut all: Vec<u16> = (0u16..).take(sizes[k]).collect();
                if let Some(rows) = &objective_form {
                    all.sort_by_key(|&o| (rows[k][usize::from(o)], o));
                }
                all
            })
            .collect();
        let mut moved = Mover::new(&canonical);
        moved.apply(&mut domains, &mut pairs, &mut wide, &mut sums);

        let (slot, slots, pairs) = lay_out(n, pairs);
        let (tries, trie_uses, trie_slots) = lay_tries(n, wide);
        let classes: Vec<Classes<W>> = counted
            .into_iter()
            .map(|(attribute, decisions, limit)| {
                classes(space, &order, &canonical, attribute, decisions, limit)
            })
            .collect();
        let mut slacks = Vec::with_capacity(sums.len());
        let mut weights: Vec<Vec<i64>> = sizes.iter().map(|&s| vec![0; s * sums.len()]).collect();
        let mut fits: Vec<Vec<Fits<W>>> = (0..n).map(|_| Vec::new()).collect();
        for (c, sum) in sums.iter().enumerate() {
            let mut slack = sum.max;
            for k in 0..n {
                let least = domains[k].ones().map(|o| sum.weights[k][o]).min().unwrap_or(0);
                slack -= least;
                let row: Vec<i64> = sum.weights[k].iter().map(|w| w - least).collect();
                row.iter().enumerate().for_each(|(o, w)| weights[k][o * sums.len() + c] = *w);
                if domains[k].ones().any(|o| row[o] > 0) {
                    fits[k].push(Fits::new(c, &row, &domains[k]));
                }
            }
            dead |= slack < 0;
            slacks.push(slack);
        }
        let objective = objective_form.map(|rows| {
            let mut least = 0;
            let weights: Vec<Vec<i64>> = (0..n)
                .map(|k| {
                    let row: Vec<i64> = canonical[k].iter().map(|&o| rows[k][usize::from(o)]).collect();
                    let low = domains[k].first().map_or(0, |o| row[o]);
                    least += low;
                    row.iter().map(|w| w - low).collect()
                })
                .collect();
            let fits = (0..n).map(|k| Fits::new(0, &weights[k], &domains[k])).collect();
            ObjectivePlan { weights, fits, least }
        });
        let plan = Plan {
            order,
            canonical,
            domains,
            slot,
            slots,
            pairs,
            tries,
            trie_uses,
            trie_slots,
            fits,
            weights,
            slacks,
            classes,
            objective,
            dead,
        };
        let bytes = plan.bytes();
        if bytes > PLAN_BYTES_MAX {
            return Err(EnumerationError::TooLarge { bytes, limit: PLAN_BYTES_MAX });
        }
        Ok(plan)
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn bytes(&self) -> usize {
        let rows: usize = self.pairs.iter().flatten().map(|p| p.rows.len()).sum();
        let masks: usize = self.fits.iter().flatten().map(|f| f.masks.len()).sum();
        let tries: usize = self.tries.iter().map(|t| t.masks.len()).sum();
        let members: usize = self.classes.iter().flat_map(|c| &c.members).map(Vec::len).sum();
        (rows + masks + tries + members) * W * 8 + self.weights.iter().map(|w| w.len() * 8).sum::<usize>()
    }
}

/// Removes options that no design can have: pair tables and sums until nothing changes.
fn shrink<const W: usize>(
    domains: &mut [Bits<W>],
    pairs: &BTreeMap<(usize, usize), Vec<Bits<W>>>,
    sums: &[AtMost],
) {
    loop {
        let before: u32 = domains.iter().map(Bits::count).sum();
        for (&(a, b), rows) in pairs {
            let mut reached = Bits::EMPTY;
            for o in domains[a].ones() {
                let row = rows[o].and(&domains[b]);
                if row.is_empty() {
                    domains[a].remove(o);
                } else {
                    reached = reached.or(&row);
                }
            }
            domains[b] = domains[b].and(&reached);
        }
        for sum in sums {
            let least: Vec<i64> = domains
                .iter()
                .enumerate()
                .map(|(k, domain)| domain.ones().map(|o| sum.weights[k][o]).min().unwrap_or(0))
                .collect();
            let slack = sum.max - least.iter().sum::<i64>();
            for (k, domain) in domains.iter_mut().enumerate() {
                for o in domain.ones() {
                    if sum.weights[k][o] - least[k] > slack {
                        domain.remove(o);
                    }
                }
            }
        }
        if before == domains.iter().map(Bits::count).sum::<u32>() {
            return;
        }
    }
}

/// Renames options to their place in `canonical`.
struct Mover {
    place: Vec<Vec<usize>>,
}

impl Mover {
    fn new(canonical: &[Vec<u16>]) -> Self {
        let place = canonical
            .iter()
            .map(|row| {
                let mut place = vec![0; row.len()];
                row.iter().enumerate().for_each(|(at, &o)| place[usize::from(o)] = at);
                place
            })
            .collect();
        Mover { place }
    }

    fn bits<const W: usize>(&self, k: usize, bits: &Bits<W>) -> Bits<W> {
        let mut out = Bits::EMPTY;
        bits.ones().for_each(|o| out.insert(self.place[k][o]));
        out
    }

    fn apply<const W: usize>(
        &mut self,
        domains: &mut [Bits<W>],
        pairs: &mut BTreeMap<(usize, usize), Vec<Bits<W>>>,
        wide: &mut [Table],
        sums: &mut [AtMost],
    ) {
        for (k, domain) in domains.iter_mut().enumerate() {
            *domain = self.bits(k, domain);
        }
        for (&(a, b), rows) in pairs.iter_mut() {
            let mut out = vec![Bits::EMPTY; rows.len()];
            for (o, row) in rows.iter().enumerate() {
                out[self.place[a][o]] = self.bits(b, row);
            }
            *rows = out;
        }
        for table in wide {
            for tuple in &mut table.tuples {
                for (o, &k) in tuple.iter_mut().zip(&table.depths) {
                    *o = self.place[k][usize::from(*o)] as u16;
                }
            }
        }
        for sum in sums {
            for (k, row) in sum.weights.iter_mut().enumerate() {
                let mut out = vec![0; row.len()];
                row.iter().enumerate().for_each(|(o, &w)| out[self.place[k][o]] = w);
                *row = out;
            }
        }
    }
}

type Laid<const W: usize> = (Vec<Vec<usize>>, usize, Vec<Vec<Pair<W>>>);

/// Every depth's domain gets one slot per table that narrows it, so that nothing has to be undone.
fn lay_out<const W: usize>(n: usize, pairs: BTreeMap<(usize, usize), Vec<Bits<W>>>) -> Laid<W> {
    let mut current: Vec<usize> = (0..n).collect();
    let mut slots = n;
    let mut slot = Vec::with_capacity(n);
    let mut laid: Vec<Vec<Pair<W>>> = (0..n).map(|_| Vec::new()).collect();
    let mut pairs = pairs.into_iter().peekable();
    for (k, into) in laid.iter_mut().enumerate() {
        slot.push(current.clone());
        while let Some(((_, b), rows)) = pairs.next_if(|((a, _), _)| *a == k) {
            into.push(Pair { from_slot: current[b], to_slot: slots, rows });
            current[b] = slots;
            slots += 1;
        }
    }
    (slot, slots, laid)
}

fn lay_tries<const W: usize>(n: usize, wide: Vec<Table>) -> (Vec<Trie<W>>, Vec<Vec<TrieUse>>, usize) {
    let mut uses: Vec<Vec<TrieUse>> = (0..n).map(|_| Vec::new()).collect();
    let mut tries = Vec::with_capacity(wide.len());
    let mut slots = 0;
    for table in wide {
        let arity = table.depths.len();
        for (level, &k) in table.depths.iter().enumerate() {
            uses[k].push(TrieUse { trie: tries.len(), slot: slots + level, last: level + 1 == arity });
        }
        slots += arity;
        tries.push(Trie::new(table.tuples, arity, table.allowed));
    }
    (tries, uses, slots)
}

fn classes<const W: usize>(
    space: &DesignSpace,
    order: &[usize],
    canonical: &[Vec<u16>],
    attribute: &str,
    decisions: &[usize],
    limit: Limit,
) -> Classes<W> {
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut class = Vec::with_capacity(order.len());
    for (k, &d) in order.iter().enumerate() {
        let concerned = decisions.contains(&d);
        let mut row = Vec::with_capacity(canonical[k].len());
        for &o in &canonical[k] {
            let value = space.decisions[d].options[usize::from(o)].attributes.get(attribute);
            row.push(match value {
                Some(value) if concerned => {
                    let next = ids.len() as u32;
                    *ids.entry(class_key(value)).or_insert(next)
                }
                _ => NONE,
            });
        }
        class.push(row);
    }
    let mut members = Vec::with_capacity(order.len());
    let mut any = Vec::with_capacity(order.len());
    for row in &class {
        let mut by_class = vec![Bits::EMPTY; ids.len()];
        let mut all = Bits::EMPTY;
        for (o, &c) in row.iter().enumerate() {
            if c != NONE {
                by_class[c as usize].insert(o);
                all.insert(o);
            }
        }
        members.push(by_class);
        any.push(all);
    }
    let later = (0..order.len())
        .map(|k| any[k + 1..].iter().filter(|bits| !bits.is_empty()).count() as u32)
        .collect();
    Classes { class, members, any, later, count: ids.len(), limit }
}

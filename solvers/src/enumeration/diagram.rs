//! The feasible set as a layered decision diagram: exact counts far beyond what can be walked.
//!
//! A node of layer `k` stands for all choices at the depths before `k` that leave the same possibilities:
//! equal domains of later decisions, equal table states, slacks rounded down to what can still be spent,
//! class counters as far as they can still bind. A node of the last layer is the set of its feasible
//! options. Layers are built from the top, counted from the bottom; nodes without a design stay and count
//! 0. Rule: nothing is estimated; what does not fit the given memory is refused with what it reached.
//! Absent: threads. Start at [`Diagram::build`].

use super::EnumerationError;
use super::automata::{FREE, Machines, NO_CLASS, has, members};
use crate::space::{self, DesignSpace};
use std::collections::BTreeSet;

/// Moves between two looks at whether to go on: some 2 ms.
const LOOK_EVERY: u64 = 4096;

/// How large a diagram may become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub bytes_max: usize,
    /// Most moves that are tried.
    pub moves_max: u64,
}

/// Why there is no diagram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoDiagram {
    /// It would pass its bounds; in words, with what was reached.
    TooLarge(String),
    Stopped,
    Error(EnumerationError),
}

#[derive(Debug)]
struct Layer {
    /// First edge of every node, and the end.
    starts: Vec<u32>,
    options: Vec<u16>,
    children: Vec<u32>,
    counts: Vec<u128>,
}

#[derive(Debug)]
pub(super) struct Diagram {
    /// Decision at each depth.
    order: Vec<usize>,
    layers: Vec<Layer>,
    /// Most bytes in use while it was built.
    pub bytes: usize,
    pub nodes: u64,
    pub moves: u64,
}

/// Keys of one length, each once, numbered as they come.
struct Interner {
    words: usize,
    keys: Vec<u64>,
    slots: Vec<u32>,
    len: usize,
}

impl Interner {
    fn new(words: usize) -> Self {
        Interner { words, keys: Vec::new(), slots: vec![u32::MAX; 64], len: 0 }
    }

    fn key(&self, id: usize) -> &[u64] {
        &self.keys[id * self.words..(id + 1) * self.words]
    }

    fn slot(&self, key: &[u64]) -> usize {
        let hash = key.iter().fold(0x9E37_79B9_7F4A_7C15u64, |hash, &word| {
            let mixed = (hash ^ word).wrapping_mul(0xD6E8_FEB8_6659_FD93);
            mixed ^ mixed >> 32
        });
        hash as usize & (self.slots.len() - 1)
    }

    fn find(&self, key: &[u64]) -> (usize, Option<u32>) {
        let mut at = self.slot(key);
        loop {
            match self.slots[at] {
                u32::MAX => return (at, None),
                id if self.key(id as usize) == key => return (at, Some(id)),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    fn intern(&mut self, key: &[u64]) -> u32 {
        let (at, known) = self.find(key);
        if let Some(id) = known {
            return id;
        }
        let id = self.len as u32;
        self.slots[at] = id;
        self.keys.extend_from_slice(key);
        self.len += 1;
        if self.len * 2 > self.slots.len() {
            self.slots = vec![u32::MAX; self.slots.len() * 2];
            for id in 0..self.len {
                let (at, _) = self.find(self.key(id));
                self.slots[at] = id as u32;
            }
        }
        id
    }

    fn bytes(&self) -> usize {
        self.keys.capacity() * 8 + self.slots.capacity() * 4
    }
}

/// What is known after some choices, unpacked.
#[derive(Debug)]
struct Open {
    /// All domains one after the other, [`Machines::words`] each.
    domains: Vec<u64>,
    tables: Vec<u32>,
    slacks: Vec<i64>,
    /// Per `same` rule and class: how often it may still come.
    uses: Vec<Vec<u32>>,
    /// Per `distinct` rule: how many and which classes came; `None` when it can no longer fail.
    came: Vec<Option<(u32, Vec<u64>)>>,
}

impl Open {
    /// Makes this one equal to `from` in the memory it has.
    fn copy(&mut self, from: &Open) {
        self.domains.copy_from_slice(&from.domains);
        self.tables.copy_from_slice(&from.tables);
        self.slacks.copy_from_slice(&from.slacks);
        self.uses.iter_mut().zip(&from.uses).for_each(|(to, from)| to.copy_from_slice(from));
        self.came.clone_from(&from.came);
    }
}

/// Packs and unpacks states; the layout of a layer is the same for all its nodes.
struct Packer<'m> {
    machines: &'m Machines,
    /// Per layer, whether a pair table has narrowed the domain of each later depth.
    narrowed: Vec<Vec<bool>>,
    /// Per layer and `same` rule: bits of a counter.
    bits: Vec<Vec<u32>>,
}

impl<'m> Packer<'m> {
    fn new(machines: &'m Machines) -> Self {
        let n = machines.sizes.len();
        let mut narrowed = vec![vec![false; n]; n];
        for k in 0..n {
            for (j, _) in &machines.pairs[k] {
                narrowed.iter_mut().take(j + 1).skip(k + 1).for_each(|layer| layer[*j] = true);
            }
        }
        let width = |most: u32| [1u32, 2, 4, 8, 16].into_iter().find(|&b| most < 1 << b).unwrap_or(32);
        let bits = (0..n)
            .map(|k| {
                let most = |(counted, max): &(super::automata::Counted, u32)| {
                    width(counted.later[k].iter().copied().max().unwrap_or(0).min(*max))
                };
                machines.same.iter().map(most).collect()
            })
            .collect();
        Packer { machines, narrowed, bits }
    }

    fn domain<'o>(&self, open: &'o Open, j: usize) -> &'o [u64] {
        &open.domains[j * self.machines.words..][..self.machines.words]
    }

    fn root(&self) -> Open {
        let m = self.machines;
        Open {
            domains: m.domains.concat(),
            tables: m.tables.iter().map(|t| t.start).collect(),
            slacks: m.sums.iter().map(|s| s.slack).collect(),
            uses: m.same.iter().map(|(counted, max)| vec![*max; counted.classes]).collect(),
            came: m
                .distinct
                .iter()
                .map(|(counted, ..)| Some((0, vec![0; counted.classes.div_ceil(64)])))
                .collect(),
        }
    }

    /// Packs what matters from depth `k` on. False if nothing can follow.
    fn pack(&self, k: usize, open: &Open, out: &mut Vec<u64>) -> bool {
        let m = self.machines;
        out.clear();
        for j in k..m.sizes.len() {
            if self.narrowed[k][j] {
                out.extend_from_slice(self.domain(open, j));
            }
        }
        for (table, &state) in m.tables.iter().zip(&open.tables) {
            if table.live(k) {
                out.push(u64::from(state));
            }
        }
        for (sum, &slack) in m.sums.iter().zip(&open.slacks) {
            match sum.rounded(k, slack) {
                Some(slack) => out.push(slack as u64),
                None => return false,
            }
        }
        for (((counted, _), uses), &bits) in m.same.iter().zip(&open.uses).zip(&self.bits[k]) {
            let (mut word, mut filled) = (0u64, 0);
            for (&left, &later) in uses.iter().zip(&counted.later[k]) {
                if later == 0 {
                    continue;
                }
                word |= u64::from(left.min(later)) << filled;
                filled += bits;
                if filled == 64 {
                    out.push(word);
                    (word, filled) = (0, 0);
                }
            }
            if filled > 0 {
                out.push(word);
            }
        }
        for ((counted, min, max), came) in m.distinct.iter().zip(&open.came) {
            let words = counted.classes.div_ceil(64);
            let free = out.len() + 1 + words;
            if let Some((many, which)) = came {
                let fresh =
                    counted.later[k].iter().enumerate().filter(|(c, later)| **later > 0 && !has(which, *c));
                let fresh = (fresh.count() as u32).min(counted.any[k]);
                if many > max || many + fresh < *min {
                    return false;
                }
                if many + fresh > *max || many < min {
                    out.push(u64::from(*many));
                    out.extend_from_slice(which);
                    let of = out.len() - words;
                    for (c, &later) in counted.later[k].iter().enumerate() {
                        if later == 0 {
                            out[of + c / 64] &= !(1 << (c % 64));
                        }
                    }
                    continue;
                }
            }
            out.push(u64::MAX);
            out.resize(free, 0);
        }
        true
    }

    /// The reverse of [`Packer::pack`], as far as it matters.
    fn unpack(&self, k: usize, key: &[u64], open: &mut Open) {
        let m = self.machines;
        let mut rest = key.iter().copied();
        let mut next = || rest.next().unwrap_or(0);
        for j in k..m.sizes.len() {
            if self.narrowed[k][j] {
                open.domains[j * m.words..][..m.words].iter_mut().for_each(|word| *word = next());
            } else {
                open.domains[j * m.words..][..m.words].copy_from_slice(&m.domains[j]);
            }
        }
        for (table, state) in m.tables.iter().zip(&mut open.tables) {
            *state = if table.live(k) { next() as u32 } else { table.start };
        }
        open.slacks.iter_mut().for_each(|slack| *slack = next() as i64);
        for (((counted, _), uses), &bits) in m.same.iter().zip(&mut open.uses).zip(&self.bits[k]) {
            let (mut word, mut left_bits) = (0u64, 0);
            for (left, &later) in uses.iter_mut().zip(&counted.later[k]) {
                if later == 0 {
                    continue;
                }
                if left_bits == 0 {
                    (word, left_bits) = (next(), 64);
                }
                *left = (word & ((1u64 << bits) - 1)) as u32;
                word >>= bits;
                left_bits -= bits;
            }
        }
        for ((counted, ..), came) in m.distinct.iter().zip(&mut open.came) {
            let many = next();
            let which: Vec<u64> = (0..counted.classes.div_ceil(64)).map(|_| next()).collect();
            *came = (many != u64::MAX).then_some((many as u32, which));
        }
    }

    /// Whether no sum is overdrawn by `o` at depth `k`: most options that fail, fail here.
    fn affords(&self, k: usize, o: usize, open: &Open) -> bool {
        self.machines.sums.iter().zip(&open.slacks).all(|(sum, &slack)| sum.weights[k][o] <= slack)
    }

    /// Takes `o` that is afforded at depth `k`; false if another rule is broken or a later decision has nothing left.
    fn take(&self, k: usize, o: usize, open: &mut Open) -> bool {
        let m = self.machines;
        for (sum, slack) in m.sums.iter().zip(&mut open.slacks) {
            *slack -= sum.weights[k][o];
        }
        for (table, state) in m.tables.iter().zip(&mut open.tables) {
            if let Ok(level) = table.depths.binary_search(&k) {
                match table.step(*state, o, level + 1 == table.depths.len()) {
                    Some(next) => *state = next,
                    None => return false,
                }
            }
        }
        for ((counted, _), uses) in m.same.iter().zip(&mut open.uses) {
            let c = counted.class[k][o];
            if c != NO_CLASS {
                if uses[c] == 0 {
                    return false;
                }
                uses[c] -= 1;
            }
        }
        for ((counted, _, max), came) in m.distinct.iter().zip(&mut open.came) {
            let c = counted.class[k][o];
            if let Some((many, which)) = came
                && c != NO_CLASS
                && !has(which, c)
            {
                which[c / 64] |= 1 << (c % 64);
                *many += 1;
                if *many > *max {
                    return false;
                }
            }
        }
        for (j, left) in &m.pairs[k] {
            let mut any = 0;
            for (word, mask) in open.domains[j * m.words..][..m.words].iter_mut().zip(&left[o]) {
                *word &= mask;
                any |= *word;
            }
            if any == 0 {
                return false;
            }
        }
        true
    }

    /// Whether `o` at the last depth `k` completes a design.
    fn completes(&self, k: usize, o: usize, open: &Open) -> bool {
        let m = self.machines;
        self.affords(k, o, open)
            && m.tables.iter().zip(&open.tables).all(|(table, &state)| {
                table.depths.last() != Some(&k) || table.step(state, o, true).is_some()
            })
            && m.same.iter().zip(&open.uses).all(|((counted, _), uses)| {
                let c = counted.class[k][o];
                c == NO_CLASS || uses[c] > 0
            })
            && m.distinct.iter().zip(&open.came).all(|((counted, min, max), came)| {
                let Some((many, which)) = came else { return true };
                let c = counted.class[k][o];
                let many = many + u32::from(c != NO_CLASS && !has(which, c));
                *min <= many && many <= *max
            })
    }

    /// The feasible options of the last depth.
    fn last(&self, open: &Open, out: &mut Vec<u64>) -> bool {
        let k = self.machines.sizes.len() - 1;
        out.clear();
        out.resize(self.machines.words, 0);
        let mut any = false;
        for o in members(self.domain(open, k)) {
            if self.completes(k, o, open) {
                out[o / 64] |= 1 << (o % 64);
                any = true;
            }
        }
        any
    }
}

impl Diagram {
    /// Builds the diagram of `space` with decisions in `order`; `look` is asked now and then with the
    /// depth reached, and ends it by `false`.
    pub fn build(
        space: &DesignSpace,
        order: &[usize],
        bounds: Bounds,
        look: &mut dyn FnMut(usize) -> bool,
    ) -> Result<Self, NoDiagram> {
        let machines = Machines::new(space, order).map_err(NoDiagram::Error)?;
        let n = machines.sizes.len();
        let mut new = Diagram { order: order.to_vec(), layers: Vec::new(), bytes: 0, nodes: 0, moves: 0 };
        if machines.dead {
            return Ok(new);
        }
        let packer = Packer::new(&machines);
        let (mut open, mut after) = (packer.root(), packer.root());
        let mut key = Vec::new();
        let possible = if n == 1 { packer.last(&open, &mut key) } else { packer.pack(0, &open, &mut key) };
        if !possible {
            return Ok(new);
        }
        let mut nodes = Interner::new(key.len());
        nodes.intern(&key);
        let mut held = 0;
        for k in 0..n {
            let mut layer =
                Layer { starts: vec![0], options: Vec::new(), children: Vec::new(), counts: Vec::new() };
            let mut next: Option<Interner> = None;
            for id in 0..nodes.len {
                if k + 1 == n {
                    let from = layer.options.len();
                    layer.options.extend(members(nodes.key(id)).map(|o| o as u16));
                    layer.children.resize(layer.options.len(), 0);
                    new.moves += (layer.options.len() - from) as u64;
                } else {
                    packer.unpack(k, nodes.key(id), &mut open);
                    for o in members(packer.domain(&open, k)) {
                        new.moves += 1;
                        if new.moves.is_multiple_of(LOOK_EVERY) {
                            if !look(k) {
                                return Err(NoDiagram::Stopped);
                            }
                            let bytes = held
                                + layer.bytes()
                                + nodes.bytes()
                                + next.as_ref().map_or(0, Interner::bytes);
                            new.bytes = new.bytes.max(bytes);
                            // Twice: a vector that grows stands in memory beside its copy.
                            if bytes * 2 > bounds.bytes_max || new.moves > bounds.moves_max {
                                return Err(NoDiagram::TooLarge(too_large(&new, k, n, bounds)));
                            }
                        }
                        if !packer.affords(k, o, &open) {
                            continue;
                        }
                        after.copy(&open);
                        if !packer.take(k, o, &mut after) {
                            continue;
                        }
                        let possible = if k + 2 == n {
                            packer.last(&after, &mut key)
                        } else {
                            packer.pack(k + 1, &after, &mut key)
                        };
                        if possible {
                            let child = next.get_or_insert_with(|| Interner::new(key.len())).intern(&key);
                            layer.options.push(o as u16);
                            layer.children.push(child);
                        }
                    }
                }
                layer.starts.push(layer.options.len() as u32);
            }
            new.nodes += nodes.len as u64;
            held += layer.bytes();
            new.layers.push(layer);
            match next {
                Some(next) => nodes = next,
                None => break,
            }
        }
        new.count_up(n)?;
        new.bytes = new.bytes.max(new.layers.iter().map(Layer::bytes).sum());
        Ok(new)
    }

    fn count_up(&mut self, n: usize) -> Result<(), NoDiagram> {
        // The layers end early where nothing is feasible; then nothing counts.
        let whole = self.layers.len() == n;
        for k in (0..self.layers.len()).rev() {
            let (upper, lower) = self.layers.split_at_mut(k + 1);
            let layer = &mut upper[k];
            let below = lower.first().map(|l| l.counts.as_slice());
            let mut counts = Vec::with_capacity(layer.starts.len() - 1);
            for node in layer.starts.windows(2) {
                let mut sum = 0u128;
                for &child in &layer.children[node[0] as usize..node[1] as usize] {
                    let one = below.map_or(u128::from(whole), |counts| counts[child as usize]);
                    sum = sum.checked_add(one).ok_or_else(|| {
                        NoDiagram::TooLarge("there are more than 2^128 designs, beyond exact counting".into())
                    })?;
                }
                counts.push(sum);
            }
            layer.counts = counts;
        }
        Ok(())
    }

    /// How many designs there are.
    pub fn count(&self) -> u128 {
        self.layers.first().and_then(|l| l.counts.first()).copied().unwrap_or(0)
    }

    /// The options by depth of the design of `rank` in the order of the depths; below [`Diagram::count`].
    fn path(&self, mut rank: u128) -> Vec<u16> {
        let mut path = Vec::with_capacity(self.layers.len());
        let mut node = 0usize;
        for (k, layer) in self.layers.iter().enumerate() {
            let below = self.layers.get(k + 1);
            for edge in layer.starts[node] as usize..layer.starts[node + 1] as usize {
                let child = layer.children[edge] as usize;
                let count = below.map_or(1, |l| l.counts[child]);
                if rank < count {
                    path.push(layer.options[edge]);
                    node = child;
                    break;
                }
                rank -= count;
            }
        }
        path
    }

    /// The design of `rank`, by decision.
    pub fn design(&self, rank: u128) -> Vec<u16> {
        let mut design = vec![0; self.order.len()];
        self.order.iter().zip(self.path(rank)).for_each(|(&d, o)| design[d] = o);
        design
    }

    /// The first `depth` options of the design of `rank`, and how many designs begin with them.
    pub fn prefix(&self, rank: u128, depth: usize) -> (Vec<u16>, u128) {
        let path = self.path(rank);
        let prefix: Vec<u16> = path.into_iter().take(depth).collect();
        let mut node = 0usize;
        for (layer, &o) in self.layers.iter().zip(&prefix) {
            let edges = layer.starts[node] as usize..layer.starts[node + 1] as usize;
            let at = edges.start + layer.options[edges.clone()].partition_point(|&x| x < o);
            node = layer.children[at] as usize;
        }
        let count = self.layers.get(prefix.len()).map_or(1, |l| l.counts[node]);
        (prefix, count)
    }

    /// The `k` best: cost (negated when maximising) and design, best first, equal ones in the order of
    /// the depths. Only for a diagram in canonical order are those canonical.
    pub fn best(&self, space: &DesignSpace, k: usize) -> Result<Vec<(i64, Vec<u16>)>, EnumerationError> {
        let objective = space.objective.as_ref().ok_or(EnumerationError::NoObjective)?;
        let (form, _) = space::objective_form(space, objective)
            .map_err(|error| EnumerationError::Exact { constraint: "objective".to_string(), error })?;
        let sign = if objective.maximise { -1 } else { 1 };
        let cost = |k: usize, o: u16| sign * form.weights[self.order[k]][usize::from(o)];
        if self.count() == 0 || k == 0 {
            return Ok(Vec::new());
        }
        // Least cost still to come, per node; `None` where no design is.
        let mut least: Vec<Vec<Option<i64>>> = vec![vec![Some(0)]];
        for (k, layer) in self.layers.iter().enumerate().rev() {
            let below = least.last().map(Vec::as_slice).unwrap_or_default();
            let of = |node: &[u32]| {
                let edges = node[0] as usize..node[1] as usize;
                edges
                    .filter_map(|e| Some(below[layer.children[e] as usize]? + cost(k, layer.options[e])))
                    .min()
            };
            let here = layer.starts.windows(2).map(of).collect();
            least.push(here);
        }
        least.reverse();
        // A partial design with the least cost of its completions; the first in (cost, options) completes
        // to the first design, because the bound is exact. What cannot be among the best is dropped.
        let mut open: BTreeSet<(i64, Vec<u16>, i64, u32)> = BTreeSet::new();
        open.insert((least[0][0].unwrap_or(0), Vec::new(), 0, 0));
        let mut best = Vec::new();
        while let Some((bound, path, paid, node)) = open.pop_first() {
            let depth = path.len();
            let Some(layer) = self.layers.get(depth) else {
                let mut design = vec![0; self.order.len()];
                self.order.iter().zip(path).for_each(|(&d, o)| design[d] = o);
                best.push((bound, design));
                if best.len() == k {
                    break;
                }
                continue;
            };
            for edge in layer.starts[node as usize] as usize..layer.starts[node as usize + 1] as usize {
                let (o, child) = (layer.options[edge], layer.children[edge]);
                if let Some(to_come) = least[depth + 1][child as usize] {
                    let paid = paid + cost(depth, o);
                    let longer = path.iter().copied().chain([o]).collect();
                    open.insert((paid + to_come, longer, paid, child));
                }
            }
            while open.len() > k - best.len() {
                open.pop_last();
            }
        }
        Ok(best)
    }
}

impl Layer {
    fn bytes(&self) -> usize {
        self.starts.capacity() * 4
            + self.options.capacity() * 2
            + self.children.capacity() * 4
            // Counts come last; their room is reserved here.
            + self.starts.len() * 16
    }
}

fn too_large(at: &Diagram, k: usize, n: usize, bounds: Bounds) -> String {
    let bound = if at.moves > bounds.moves_max {
        format!("{} moves", bounds.moves_max)
    } else {
        format!("{} bytes", bounds.bytes_max)
    };
    format!(
        "a decision diagram passes its bound of {bound} at decision {} of {n}, after {} moves",
        k + 1,
        at.moves
    )
}

// A table state that is free fits the word it is packed into.
const _: () = assert!(FREE == u32::MAX);

//! What is known after some choices: unpacked to take one more, packed into the key of a node.
//!
//! Rule: two states get one key exactly if they leave the same possibilities. The layout of a layer is the same for
//! all its nodes.

use crate::enumeration::automata::{Counted, FREE, Machines, NO_CLASS, has, members};

/// What is known after some choices, unpacked.
#[derive(Debug)]
pub(super) struct Open {
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
    pub(super) fn copy(&mut self, from: &Open) {
        self.domains.copy_from_slice(&from.domains);
        self.tables.copy_from_slice(&from.tables);
        self.slacks.copy_from_slice(&from.slacks);
        self.uses.iter_mut().zip(&from.uses).for_each(|(to, from)| to.copy_from_slice(from));
        self.came.clone_from(&from.came);
    }
}

/// Packs and unpacks states; the layout of a layer is the same for all its nodes.
pub(super) struct Packer<'m> {
    machines: &'m Machines,
    /// Per layer, whether a pair table has narrowed the domain of each later depth.
    narrowed: Vec<Vec<bool>>,
    /// Per layer and `same` rule: bits of a counter.
    bits: Vec<Vec<u32>>,
}

impl<'m> Packer<'m> {
    pub(super) fn new(machines: &'m Machines) -> Self {
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
                let most = |(counted, max): &(Counted, u32)| {
                    width(counted.later[k].iter().copied().max().unwrap_or(0).min(*max))
                };
                machines.same.iter().map(most).collect()
            })
            .collect();
        Packer { machines, narrowed, bits }
    }

    pub(super) fn domain<'o>(&self, open: &'o Open, j: usize) -> &'o [u64] {
        &open.domains[j * self.machines.words..][..self.machines.words]
    }

    pub(super) fn root(&self) -> Open {
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
    pub(super) fn pack(&self, k: usize, open: &Open, out: &mut Vec<u64>) -> bool {
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
    pub(super) fn unpack(&self, k: usize, key: &[u64], open: &mut Open) {
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
    pub(super) fn affords(&self, k: usize, o: usize, open: &Open) -> bool {
        self.machines.sums.iter().zip(&open.slacks).all(|(sum, &slack)| sum.weights[k][o] <= slack)
    }

    /// Takes `o` that is afforded at depth `k`; false if another rule is broken or a later decision has nothing left.
    pub(super) fn take(&self, k: usize, o: usize, open: &mut Open) -> bool {
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
    pub(super) fn last(&self, open: &Open, out: &mut Vec<u64>) -> bool {
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

// A table state that is free fits the word it is packed into.
const _: () = assert!(FREE == u32::MAX);

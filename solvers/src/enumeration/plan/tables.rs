//! Rules as tables and sums by depth: made from a space, shrunk to what designs can have, renamed by cost.
//!
//! Rule: none of this changes which designs are feasible; it removes options that none has, or gives them new places.

use super::classes::class_key;
use crate::enumeration::bits::Bits;
use crate::space::{Attribute, EachTest};
use std::collections::BTreeMap;

/// One table with decisions as depths ascending and no decision twice.
pub(super) struct Table {
    pub depths: Vec<usize>,
    pub tuples: Vec<Vec<u16>>,
    pub allowed: bool,
}

/// Sum of weights by decision, at most `max`.
pub(super) struct AtMost {
    pub weights: Vec<Vec<i64>>,
    pub max: i64,
}

pub(super) fn table(decisions: &[usize], tuples: &[Vec<u16>], allowed: bool, depth_of: &[usize]) -> Table {
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

pub(super) fn each_holds(value: Option<&Attribute>, test: &EachTest, missing_ignored: bool) -> bool {
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

/// Removes options that no design can have: pair tables and sums until nothing changes.
pub(super) fn shrink<const W: usize>(
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
pub(super) struct Mover {
    place: Vec<Vec<usize>>,
}

impl Mover {
    pub(super) fn new(canonical: &[Vec<u16>]) -> Self {
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

    pub(super) fn apply<const W: usize>(
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

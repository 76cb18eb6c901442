//! Tables over three or more decisions, as tries in search order.

use super::NONE;
use super::tables::Table;
use crate::enumeration::bits::Bits;

/// Combinations of three or more decisions as a trie in search order.
#[derive(Debug)]
pub(in crate::enumeration) struct Trie<const W: usize> {
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
pub(in crate::enumeration) struct TrieUse {
    pub trie: usize,
    /// Slot of the node reached so far; the next one holds the node after this choice.
    pub slot: usize,
    pub last: bool,
}

pub(super) fn lay_tries<const W: usize>(
    n: usize,
    wide: Vec<Table>,
) -> (Vec<Trie<W>>, Vec<Vec<TrieUse>>, usize) {
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

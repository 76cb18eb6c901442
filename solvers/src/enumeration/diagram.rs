//! The feasible set as a layered decision diagram: exact counts far beyond what can be walked.
//!
//! A node of layer `k` stands for all choices at the depths before `k` that leave the same possibilities:
//! equal domains of later decisions, equal table states, slacks rounded down to what can still be spent,
//! class counters as far as they can still bind. A node of the last layer is the set of its feasible
//! options. Layers are built from the top, counted from the bottom; nodes without a design stay and count
//! 0. Rule: nothing is estimated; what does not fit the given memory is refused with what it reached.
//! Absent: threads. Start at [`Diagram::build`].

mod interner;
mod packer;
mod queries;

use super::EnumerationError;
use super::automata::{Machines, members};
use crate::space::DesignSpace;
use interner::Interner;
use packer::Packer;

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

//! What a diagram answers once it is built: counts, the design of a rank, the best.

use super::Diagram;
use crate::enumeration::EnumerationError;
use crate::space::{self, DesignSpace};
use std::collections::BTreeSet;

impl Diagram {
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

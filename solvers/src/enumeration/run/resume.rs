//! A run as its checkpoint, and back.
//!
//! Rule: a checkpoint stands at a unit boundary, and is taken up only by a search of the same space, mode and units.

use super::{Joined, Run};
use crate::enumeration::checkpoint::VERSION;
use crate::enumeration::{Checkpoint, DesignSet, EnumerationError, Mode};

impl<'a, const W: usize> Run<'a, W> {
    pub(super) fn resume(&self) -> Result<Joined, EnumerationError> {
        let Some(from) = &self.options.resume else {
            return Ok(Joined::default());
        };
        let wrong = |what: &str| EnumerationError::WrongCheckpoint { what: what.to_string() };
        if from.version != VERSION {
            return Err(wrong("it is of another version of this program"));
        }
        if from.space != self.digest {
            return Err(wrong("it belongs to another space"));
        }
        if from.mode != self.options.mode || from.limit != self.options.limit {
            return Err(wrong("it belongs to another mode or limit"));
        }
        let unit = usize::try_from(from.unit).unwrap_or(usize::MAX);
        if from.units != self.units.len() as u64 || unit > self.units.len() {
            return Err(wrong("its units are not those of this search"));
        }
        let set = DesignSet::from_rows(self.packing.clone(), from.rows.clone());
        let mut joined = Joined {
            unit,
            count: from.count,
            nodes: from.nodes,
            unit_counts: from.unit_counts.clone(),
            ..Joined::default()
        };
        match self.options.mode {
            Mode::Best { k } => {
                if from.costs.len() != set.len() {
                    return Err(wrong("its costs and designs differ in number"));
                }
                joined.best = from.costs.iter().copied().zip(set.iter()).collect();
                if joined.best.len() as u64 == k
                    && let Some((worst, _)) = joined.best.peek()
                {
                    self.threshold.lower(*worst);
                }
            }
            Mode::List => {
                if joined.count != set.len() as u128 {
                    return Err(wrong("its count and designs differ"));
                }
                if self.keys.narrow() {
                    joined.found.keys = set.iter().map(|d| self.key(&d)).collect();
                } else {
                    joined.found.rows = set.bytes().to_vec();
                }
            }
            Mode::Sample { .. } | Mode::Diverse { .. } => {
                if joined.unit_counts.len() != unit {
                    return Err(wrong("its counts per unit are not whole"));
                }
            }
            Mode::Count => {}
        }
        Ok(joined)
    }

    fn key(&self, design: &[u16]) -> u64 {
        design.iter().enumerate().fold(0, |key, (d, &o)| key | self.packing.key_bits(d, o))
    }

    pub(super) fn checkpoint(&self, joined: &Joined) -> Checkpoint {
        let mut rows = joined.found.rows.clone();
        for &key in &joined.found.keys {
            self.packing.push_key(key, &mut rows);
        }
        let mut best: Vec<&(i64, Vec<u16>)> = joined.best.iter().collect();
        best.sort();
        for (_, design) in &best {
            self.packing.push(design, &mut rows);
        }
        Checkpoint {
            version: VERSION,
            space: self.digest.clone(),
            mode: self.options.mode,
            limit: self.options.limit,
            unit: joined.unit as u64,
            units: self.units.len() as u64,
            count: joined.count,
            nodes: joined.nodes,
            costs: best.iter().map(|(cost, _)| *cost).collect(),
            unit_counts: joined.unit_counts.clone(),
            rows,
        }
    }
}

//! What a search ends with: designs in canonical order, the best with their objectives, how it was done.

use super::{Joined, Run};
use crate::enumeration::diverse;
use crate::enumeration::sinks::Found;
use crate::enumeration::{DesignSet, EnumerationError, LIST_DESIGNS_MAX, Mode, Outcome, Ranked, THREADS_MAX};
use crate::space::{self, Decimal};

impl<'a, const W: usize> Run<'a, W> {
    pub(in crate::enumeration) fn outcome(
        &self,
        mut joined: Joined,
        whole: bool,
    ) -> Result<Outcome, EnumerationError> {
        let mut complete = whole;
        let mut count = joined.count;
        let mut least_distance = None;
        let memory_bytes = self.memory_bytes(&joined);
        let mut best = Vec::new();
        let mut rows = Vec::new();
        let method = match self.options.mode {
            Mode::List => {
                let limit = self.options.limit.unwrap_or(LIST_DESIGNS_MAX);
                if joined.count > u128::from(limit.min(LIST_DESIGNS_MAX)) {
                    if self.options.limit.is_none_or(|l| l > LIST_DESIGNS_MAX) {
                        return Err(EnumerationError::TooManyDesigns { limit: LIST_DESIGNS_MAX });
                    }
                    complete = false;
                    count = u128::from(limit);
                }
                rows = self.sorted(std::mem::take(&mut joined.found));
                rows.truncate(
                    usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(self.packing.stride()),
                );
                "exact depth-first search, listed"
            }
            Mode::Count => "exact depth-first search, counted",
            Mode::Sample { .. } => {
                rows = self.sorted(std::mem::take(&mut joined.found));
                "exact count, uniform ranks without replacement"
            }
            Mode::Diverse { k, seed } => {
                rows = self.sorted(std::mem::take(&mut joined.found));
                if whole {
                    let pool = DesignSet::from_rows(self.packing.clone(), rows);
                    let (set, least) = diverse::choose(&self.packing, &pool, k, seed);
                    rows = set.bytes().to_vec();
                    least_distance = least;
                }
                if whole && joined.count <= u128::from(diverse::pool(k)) {
                    "exact count, greedy choice of far designs among all"
                } else {
                    "exact count, greedy choice of far designs among a uniform sample"
                }
            }
            Mode::Best { .. } => {
                best = self.ranked(joined.best.into_sorted_vec())?;
                count = best.len() as u128;
                "exact branch and bound"
            }
        };
        Ok(Outcome {
            count,
            designs: DesignSet::from_rows(self.packing.clone(), rows),
            complete,
            best,
            method: joined.method.map_or_else(|| method.to_string(), |by| format!("{method}; {by}")),
            confirmed_by: joined.confirmed_by,
            notes: joined.notes,
            memory_bytes,
            least_distance,
            nodes: joined.nodes,
        })
    }

    /// Most bytes in use: plan, a walk per thread, units, what was found and its sorted copy, diagram.
    fn memory_bytes(&self, joined: &Joined) -> u64 {
        let threads = self.options.threads.clamp(1, THREADS_MAX);
        let units: usize = self.units.iter().map(|u| u.capacity() * 2 + size_of::<Vec<u16>>()).sum();
        let kept = joined.found.keys.len() * (2 * 8 + self.packing.stride()) + joined.found.rows.len() * 4;
        let best = joined.best.len() * (size_of::<(i64, Vec<u16>)>() + self.plan.len() * 2);
        let walks = threads * self.plan.slots * W * 8;
        (self.plan.bytes() + units + kept + best * (1 + threads) + walks + joined.diagram_bytes) as u64
    }

    fn sorted(&self, mut found: Found) -> Vec<u8> {
        let mut rows = Vec::with_capacity(found.keys.len() * self.packing.stride() + found.rows.len());
        if !found.keys.is_empty() {
            if !found.keys.is_sorted() {
                found.keys.sort_unstable();
            }
            found.keys.iter().for_each(|&key| self.packing.push_key(key, &mut rows));
            return rows;
        }
        let mut all: Vec<&[u8]> = found.rows.chunks_exact(self.packing.stride()).collect();
        all.sort_unstable();
        all.iter().for_each(|row| rows.extend_from_slice(row));
        rows
    }

    pub(in crate::enumeration) fn ranked(
        &self,
        best: Vec<(i64, Vec<u16>)>,
    ) -> Result<Vec<Ranked>, EnumerationError> {
        let (Some(objective), Some(plan)) = (&self.space.objective, &self.plan.objective) else {
            return Err(EnumerationError::NoObjective);
        };
        let (_, scale) = space::objective_form(self.space, objective)
            .map_err(|error| EnumerationError::Exact { constraint: "objective".to_string(), error })?;
        let sign = if objective.maximise { -1 } else { 1 };
        let rank = |(cost, design): (i64, Vec<u16>)| {
            let mantissa = cost
                .checked_add(plan.least)
                .and_then(|n| n.checked_mul(sign))
                .ok_or(EnumerationError::ObjectiveOverflow)?;
            Ok(Ranked { objective: Decimal { mantissa, scale }.normalised(), design })
        };
        best.into_iter().map(rank).collect()
    }
}

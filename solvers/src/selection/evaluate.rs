//! Expectation, value at risk and CVaR of every design, range by range.

use super::SelectionError;
use crate::costs::{BoundModel, Columns, CostModel};
use crate::risk::{CvarLevel, Losses};
use crate::scenarios::ScenarioSet;
use crate::space::{Design, DesignSpace};
use serde::{Deserialize, Serialize};
use std::ops::{ControlFlow, Range};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Designs between two calls of the observer: about a millisecond at 1,000 scenarios.
const DESIGNS_PER_REPORT: usize = 64;

/// Most threads of one evaluation.
pub const THREADS_MAX: usize = 256;

/// `range` cut into at most `parts` pieces of nearly equal length, in order.
pub(super) fn shares(range: Range<usize>, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let step = range.len().div_ceil(parts.max(1)).max(1);
    let end = range.end;
    let ends_empty = range.is_empty().then_some(range.clone());
    range.step_by(step).map(move |start| start..(start + step).min(end)).chain(ends_empty)
}

/// Hears how far an evaluation is, and may stop it.
pub trait Observer {
    /// `done` of `total` designs of the range are evaluated. `Break` ends the evaluation.
    fn evaluated(&mut self, done: usize, total: usize) -> ControlFlow<()>;
}

impl<F: FnMut(usize, usize) -> ControlFlow<()>> Observer for F {
    fn evaluated(&mut self, done: usize, total: usize) -> ControlFlow<()> {
        self(done, total)
    }
}

/// Designs, scenarios and costs, checked against each other.
#[derive(Debug)]
pub struct Evaluator<'a> {
    pub(super) space: &'a DesignSpace,
    pub(super) designs: &'a [Design],
    pub(super) scenarios: &'a ScenarioSet,
    pub(super) model: BoundModel,
}

/// Figures of a range of designs: serialisable, so that a long evaluation can resume.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    pub levels: Vec<CvarLevel>,
    /// Canonical index of the first design covered.
    pub first: usize,
    /// Expectation by design.
    pub expected: Vec<f64>,
    /// By design, then by level.
    pub value_at_risk: Vec<f64>,
    /// By design, then by level.
    pub cvar: Vec<f64>,
}

impl Figures {
    /// Number of designs covered.
    pub fn len(&self) -> usize {
        self.expected.len()
    }

    pub fn is_empty(&self) -> bool {
        self.expected.is_empty()
    }

    /// Adds the figures of the range that follows directly. False, and unchanged, if they do not fit.
    pub fn append(&mut self, next: Figures) -> bool {
        if next.first != self.first + self.len() || next.levels != self.levels {
            return false;
        }
        self.expected.extend(next.expected);
        self.value_at_risk.extend(next.value_at_risk);
        self.cvar.extend(next.cvar);
        true
    }

    pub(super) fn level(&self, level: CvarLevel) -> Option<usize> {
        self.levels.iter().position(|l| *l == level)
    }
}

impl<'a> Evaluator<'a> {
    /// # Errors
    /// No design, a design that does not fit the space or stands out of order, a cost model that does
    /// not fit, probabilities that are none.
    pub fn new(
        space: &'a DesignSpace,
        designs: &'a [Design],
        scenarios: &'a ScenarioSet,
        model: &CostModel,
    ) -> Result<Self, SelectionError> {
        if designs.is_empty() {
            return Err(SelectionError::NoDesigns);
        }
        let fits = |design: &Design| {
            design.len() == space.decisions.len()
                && design
                    .iter()
                    .zip(&space.decisions)
                    .all(|(&option, decision)| usize::from(option) < decision.options.len())
        };
        let odd = (0..designs.len()).find(|&i| !fits(&designs[i]) || (i > 0 && designs[i - 1] >= designs[i]));
        if let Some(index) = odd {
            return Err(SelectionError::NotCanonical { index, decisions: space.decisions.len() });
        }
        // Refuses an empty list and probabilities that are none, once for all designs.
        Losses::new(&vec![0.0; scenarios.len()], &scenarios.probability)?;
        let model = model.bind(space, scenarios).map_err(SelectionError::Model)?;
        Ok(Evaluator { space, designs, scenarios, model })
    }

    pub fn designs(&self) -> &'a [Design] {
        self.designs
    }

    pub fn scenarios(&self) -> &'a ScenarioSet {
        self.scenarios
    }

    pub fn model(&self) -> &BoundModel {
        &self.model
    }

    /// Figures of the designs in `range` (cut to those there are) at every one of `levels`.
    ///
    /// # Errors
    /// A cost that cannot be computed, or [`SelectionError::Stopped`] by the observer.
    pub fn evaluate(
        &self,
        range: Range<usize>,
        levels: &[CvarLevel],
        observer: &mut dyn Observer,
    ) -> Result<Figures, SelectionError> {
        self.share(range, levels, 1, observer)
    }

    /// As [`Evaluator::evaluate`] by `threads` at once, a share of the range each, joined in order.
    ///
    /// The figures, and the error of the first design that has one, are the same for any number of
    /// threads. `observer` hears the designs done by all of them, from any thread. Memory: a few columns
    /// of scenarios per thread and what [`Columns`] keeps; never designs x scenarios.
    ///
    /// # Errors
    /// As [`Evaluator::evaluate`].
    pub fn evaluate_threads(
        &self,
        range: Range<usize>,
        levels: &[CvarLevel],
        threads: usize,
        observer: &(dyn Fn(usize, usize) -> ControlFlow<()> + Sync),
    ) -> Result<Figures, SelectionError> {
        let range = range.start.min(self.designs.len())..range.end.min(self.designs.len());
        let total = range.len();
        let threads = threads.clamp(1, THREADS_MAX).min(total.max(1));
        let done = AtomicUsize::new(0);
        let shares: Vec<Result<Figures, SelectionError>> = std::thread::scope(|scope| {
            let running: Vec<_> = shares(range, threads)
                .map(|share| {
                    let done = &done;
                    scope.spawn(move || {
                        let mut before = 0;
                        let mut watch = |now: usize, _: usize| {
                            let all = done.fetch_add(now - before, Ordering::Relaxed) + now - before;
                            before = now;
                            observer(all, total)
                        };
                        self.share(share, levels, threads, &mut watch)
                    })
                })
                .collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let mut whole: Option<Figures> = None;
        for share in shares {
            let share = share?;
            match &mut whole {
                None => whole = Some(share),
                Some(whole) => {
                    whole.append(share);
                }
            }
        }
        whole.ok_or(SelectionError::NoDesigns)
    }

    fn share(
        &self,
        range: Range<usize>,
        levels: &[CvarLevel],
        threads: usize,
        observer: &mut dyn Observer,
    ) -> Result<Figures, SelectionError> {
        let range = range.start.min(self.designs.len())..range.end.min(self.designs.len());
        let total_designs = range.len();
        let mut figures = Figures {
            levels: levels.to_vec(),
            first: range.start,
            expected: Vec::with_capacity(total_designs),
            value_at_risk: Vec::with_capacity(total_designs * levels.len()),
            cvar: Vec::with_capacity(total_designs * levels.len()),
        };
        let mut columns = Columns::shared(&self.model, threads);
        let mut losses = Losses::default();
        let mut total = vec![0.0; self.scenarios.len()];
        for (done, design) in self.designs[range].iter().enumerate() {
            if done % DESIGNS_PER_REPORT == 0 && observer.evaluated(done, total_designs).is_break() {
                return Err(SelectionError::Stopped { done });
            }
            columns.total(design, &mut total)?;
            losses.refill(&total, &self.scenarios.probability);
            figures.expected.push(losses.expectation());
            for &level in levels {
                let (value_at_risk, cvar) = losses.both(level);
                figures.value_at_risk.push(value_at_risk);
                figures.cvar.push(cvar);
            }
        }
        if observer.evaluated(total_designs, total_designs).is_break() {
            return Err(SelectionError::Stopped { done: total_designs });
        }
        Ok(figures)
    }

    /// Cost of one design in every scenario, for plots and checks.
    ///
    /// # Errors
    /// A cost that cannot be computed, or an index beyond the designs.
    pub fn costs(&self, index: usize) -> Result<Vec<f64>, SelectionError> {
        let design = self
            .designs
            .get(index)
            .ok_or(SelectionError::NotCanonical { index, decisions: self.space.decisions.len() })?;
        let mut total = vec![0.0; self.scenarios.len()];
        Columns::new(&self.model).total(design, &mut total)?;
        Ok(total)
    }
}

//! Runs a search: units to threads, results joined in the order of the units, checkpoints between.
//!
//! Rule: whatever a thread finds is used only in the order of the units, so results do not depend on
//! who was faster. Start at [`enumerate`].

mod any;
mod farm;
mod outcome;
mod resume;
mod sampling;

pub use any::{Any, any};
pub(super) use sampling::{below, draw};

use super::bits::Bits;
use super::diverse;
use super::estimate::Probes;
use super::plan::Plan;
use super::search::{Search, Sink, Threshold, units};
use super::set::Packing;
use super::sinks::{Best, Counter, Found, Keeper, Keys};
use super::{
    DIVERSE_MAX, EnumerationError, Flow, KEEP_MAX, LIST_DESIGNS_MAX, Mode, Observer, Options, Outcome,
    Progress, order,
};
use crate::space::{self, DesignSpace};
use farm::FarmEvent;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Units a search is cut into, at least where the space allows: fine enough for progress and for
/// checkpoints every second, coarse enough that joining them costs nothing.
pub(super) const UNITS_WANTED: usize = 1024;

/// Searches `space` as `options` say; `observer` sees progress and may stop it.
///
/// # Errors
/// [`EnumerationError`]: no objective for [`Mode::Best`], too many designs to keep, a checkpoint of
/// another search, numbers that do not fit.
pub fn enumerate(
    space: &DesignSpace,
    options: &Options,
    observer: &mut dyn Observer,
) -> Result<Outcome, EnumerationError> {
    let widest = searchable(space)?;
    let (asked, limit) = match options.mode {
        Mode::Best { k } | Mode::Sample { k, .. } => (k, KEEP_MAX),
        Mode::Diverse { k, .. } => (k, DIVERSE_MAX),
        Mode::List | Mode::Count => (0, KEEP_MAX),
    };
    if asked > limit {
        return Err(EnumerationError::TooManyAsked { asked, limit });
    }
    match widest {
        0..=64 => Run::<1>::go(space, options, observer),
        65..=128 => Run::<2>::go(space, options, observer),
        129..=256 => Run::<4>::go(space, options, observer),
        _ => Run::<16>::go(space, options, observer),
    }
}

/// Options of the widest decision, if the search can take the space at all.
pub(super) fn searchable(space: &DesignSpace) -> Result<usize, EnumerationError> {
    let mut widest = 0;
    for decision in &space.decisions {
        let options = decision.options.len();
        if options == 0 || options > space::OPTIONS_MAX {
            return Err(EnumerationError::OptionCount { decision: decision.name.clone(), options });
        }
        widest = widest.max(options);
    }
    if widest == 0 { Err(EnumerationError::NoDecisions) } else { Ok(widest) }
}

/// What one unit gave.
enum UnitResult {
    Count(u64),
    Found(u64, Found),
    Best(Vec<(i64, Vec<u16>)>),
    Rows(Vec<u8>),
}

struct Report {
    result: UnitResult,
    nodes: u64,
    /// The unit was walked to its end.
    whole: bool,
}

/// What has been joined so far.
#[derive(Default)]
pub(super) struct Joined {
    unit: usize,
    pub count: u128,
    pub nodes: u64,
    pub found: Found,
    best: BinaryHeap<(i64, Vec<u16>)>,
    unit_counts: Vec<u64>,
    total: Option<u128>,
    pub confirmed_by: Vec<String>,
    pub notes: Vec<String>,
    pub diagram_bytes: usize,
    pub method: Option<&'static str>,
}

pub(super) struct Run<'a, const W: usize> {
    pub space: &'a DesignSpace,
    pub options: &'a Options,
    pub plan: Plan<W>,
    pub packing: Packing,
    keys: Keys,
    units: Vec<Vec<u16>>,
    digest: String,
    threshold: Threshold,
    pub probes: Option<Probes>,
    /// Threads that search; the observer may change them.
    threads: AtomicUsize,
}

impl<'a, const W: usize> Run<'a, W> {
    fn go(
        space: &'a DesignSpace,
        options: &'a Options,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, EnumerationError> {
        let by_objective = matches!(options.mode, Mode::Best { .. });
        if by_objective && space.objective.is_none() {
            return Err(EnumerationError::NoObjective);
        }
        // A limited list must find the first designs of the canonical order first.
        let canonical = options.mode == Mode::List && options.limit.is_some();
        let order = if canonical { (0..space.decisions.len()).collect() } else { order::order(space) };
        let plan: Plan<W> = Plan::new(space, order, by_objective)?;
        let packing = Packing::new(space);
        let mut units = units(&plan, UNITS_WANTED);
        if by_objective {
            let never = AtomicBool::new(false);
            let mut search = Search::new(&plan, &never);
            units.sort_by_cached_key(|prefix| (search.bound(prefix), prefix.clone()));
        }
        // A best search prunes by what it finds, which no probe foresees.
        let probed = !by_objective && units.len() >= UNITS_WANTED;
        let probes = probed.then(|| Probes::new(&plan, &units));
        let run = Run {
            probes,
            space,
            options,
            keys: Keys::new(&plan, &packing),
            packing,
            plan,
            units,
            digest: space.digest().to_hex().to_string(),
            threshold: Threshold::new(),
            threads: AtomicUsize::new(options.threads),
        };
        let mut joined = run.resume()?;
        if let Some(outcome) = run.by_diagram(&mut joined, observer)? {
            return Ok(outcome);
        }
        match options.mode {
            Mode::Sample { k, seed } => run.sample(joined, k, seed, observer),
            Mode::Diverse { k, seed } => run.sample(joined, diverse::pool(k), seed, observer),
            _ => {
                let whole = run.pass(&mut joined, observer)?;
                run.confirm(&mut joined, whole, observer)?;
                run.outcome(joined, whole)
            }
        }
    }

    /// Most designs one unit may bring.
    fn most(&self) -> usize {
        let most = self.options.limit.map_or(LIST_DESIGNS_MAX, |l| l.min(LIST_DESIGNS_MAX));
        usize::try_from(most).unwrap_or(usize::MAX).saturating_add(1)
    }

    fn one_unit(&self, search: &mut Search<'_, W>, unit: usize, seen: &mut BinaryHeap<i64>) -> Report {
        let prefix = &self.units[unit];
        let before = search.nodes;
        let (result, whole) = match self.options.mode {
            Mode::Count | Mode::Sample { .. } | Mode::Diverse { .. } => {
                let mut sink = Counter::default();
                let whole = search.walk_unit(prefix, &mut sink);
                (UnitResult::Count(sink.count), whole)
            }
            Mode::List => {
                let most = self.most();
                let mut sink = Keeper {
                    keys: &self.keys,
                    packing: &self.packing,
                    most,
                    count: 0,
                    found: Found::default(),
                };
                let whole = search.walk_unit(prefix, &mut sink) || sink.count >= most as u64;
                (UnitResult::Found(sink.count, sink.found), whole)
            }
            Mode::Best { k } => {
                let mut sink = Best {
                    most: k as usize,
                    heap: BinaryHeap::new(),
                    shared: &self.threshold,
                    seen: std::mem::take(seen),
                };
                let worth = k > 0 && search.bound(prefix) <= <Best as Sink<W>>::threshold(&sink);
                let whole = !worth || search.walk_unit(prefix, &mut sink);
                *seen = sink.seen;
                (UnitResult::Best(sink.heap.into_vec()), whole)
            }
        };
        Report { result, nodes: search.nodes - before, whole }
    }

    /// Joins one unit; false when enough was found.
    fn join(&self, joined: &mut Joined, report: Report) -> bool {
        joined.nodes += report.nodes;
        match report.result {
            UnitResult::Count(count) => {
                joined.count += u128::from(count);
                if matches!(self.options.mode, Mode::Sample { .. } | Mode::Diverse { .. }) {
                    joined.unit_counts.push(count);
                }
            }
            UnitResult::Found(count, found) => {
                joined.count += u128::from(count);
                joined.found.keys.extend_from_slice(&found.keys);
                joined.found.rows.extend_from_slice(&found.rows);
            }
            UnitResult::Best(found) => {
                let Mode::Best { k } = self.options.mode else {
                    return true;
                };
                for one in found {
                    joined.best.push(one);
                    if joined.best.len() as u64 > k {
                        joined.best.pop();
                    }
                }
                if joined.best.len() as u64 == k
                    && let Some((worst, _)) = joined.best.peek()
                {
                    self.threshold.lower(*worst);
                }
            }
            UnitResult::Rows(rows) => joined.found.rows.extend_from_slice(&rows),
        }
        !(self.options.mode == Mode::List && joined.count >= self.most() as u128)
    }

    /// All units from `joined.unit` on. True when nothing was cut short.
    fn pass(&self, joined: &mut Joined, observer: &mut dyn Observer) -> Result<bool, EnumerationError> {
        let jobs: Vec<usize> = (joined.unit..self.units.len()).collect();
        let work = |search: &mut Search<'_, W>, unit: usize, seen: &mut BinaryHeap<i64>| {
            self.one_unit(search, unit, seen)
        };
        let mut enough = true;
        let stopped = self.farm(&jobs, &work, &mut |event| match event {
            FarmEvent::Look => self.look(observer, joined, 1),
            FarmEvent::Done(report, early) => {
                if early {
                    // The search is ending; what is still reported counts, but no longer as a prefix.
                    enough &= self.join(joined, report);
                    return Flow::Stop;
                }
                joined.unit += 1;
                enough &= self.join(joined, report);
                if !enough {
                    return Flow::Stop;
                }
                if observer.wants_checkpoint() {
                    observer.checkpoint(self.checkpoint(joined));
                }
                self.look(observer, joined, 1)
            }
        })?;
        Ok(!stopped && enough && joined.unit == self.units.len())
    }

    /// Shows the observer where the search is, and takes up its threads.
    fn look(&self, observer: &mut dyn Observer, joined: &Joined, pass: u8) -> Flow {
        if let Some(threads) = observer.threads() {
            self.threads.store(threads, Ordering::Relaxed);
        }
        observer.progress(&self.progress(joined, pass))
    }

    pub fn progress(&self, joined: &Joined, pass: u8) -> Progress {
        let found = match self.options.mode {
            Mode::Best { .. } => joined.best.len() as u128,
            _ => joined.count,
        };
        Progress {
            units_done: joined.unit as u64,
            units: self.units.len() as u64,
            found,
            pass,
            total: joined.total,
            estimate: self.probes.as_ref().map(|probes| probes.total),
            estimated_share: self.probes.as_ref().map(|probes| probes.share(joined.unit)),
        }
    }
}

// The widest plan keeps its domains on the heap; a walk frame stays small.
const _: () = assert!(size_of::<Bits<16>>() == 128);

//! Runs a search: units to threads, results joined in the order of the units, checkpoints between.
//!
//! Rule: whatever a thread finds is used only in the order of the units, so results do not depend on
//! who was faster. Start at [`enumerate`].

use super::bits::Bits;
use super::checkpoint::VERSION;
use super::diverse;
use super::estimate::Probes;
use super::plan::Plan;
use super::search::{Search, Sink, Threshold, units};
use super::set::Packing;
use super::sinks::{Best, Counter, First, Found, Keeper, Keys, Picker};
use super::{
    Checkpoint, DIVERSE_MAX, DesignSet, EnumerationError, Flow, KEEP_MAX, LIST_DESIGNS_MAX, Mode, Observer,
    Options, Outcome, Progress, Ranked, THREADS_MAX, order,
};
use crate::space::{self, Decimal, Design, DesignSpace};
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::ScopedJoinHandle;
use std::time::Duration;

/// Units a search is cut into, at least where the space allows: fine enough for progress and for
/// checkpoints every second, coarse enough that joining them costs nothing.
pub(super) const UNITS_WANTED: usize = 1024;

/// How often the observer is asked when nothing finishes.
const LOOK_EVERY: Duration = Duration::from_millis(20);

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

/// Whether a space has a design at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Any {
    Design(Design),
    None,
    /// The nodes were spent before either was certain.
    Unknown,
}

/// Looks for some feasible design with at most about `nodes_max` inner nodes.
///
/// # Errors
/// As [`enumerate`].
pub fn any(space: &DesignSpace, nodes_max: u64) -> Result<Any, EnumerationError> {
    match searchable(space)? {
        0..=64 => first::<1>(space, nodes_max),
        65..=128 => first::<2>(space, nodes_max),
        129..=256 => first::<4>(space, nodes_max),
        _ => first::<16>(space, nodes_max),
    }
}

fn first<const W: usize>(space: &DesignSpace, nodes_max: u64) -> Result<Any, EnumerationError> {
    let plan: Plan<W> = Plan::new(space, order::order(space), false)?;
    if plan.dead {
        return Ok(Any::None);
    }
    let stop = AtomicBool::new(false);
    let mut search = Search::new(&plan, &stop);
    search.nodes_max = nodes_max;
    let mut sink = First { design: None };
    let whole = search.walk(0, &mut sink);
    Ok(match (sink.design, whole) {
        (Some(design), _) => Any::Design(design),
        (None, true) => Any::None,
        (None, false) => Any::Unknown,
    })
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

    fn resume(&self) -> Result<Joined, EnumerationError> {
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

    fn checkpoint(&self, joined: &Joined) -> Checkpoint {
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

    /// Gives `jobs` to threads and hands their reports out in the order of the jobs. Once stopped, the
    /// rest of what was finished is handed out marked as early. True if it was stopped.
    fn farm(
        &self,
        jobs: &[usize],
        work: &(dyn Fn(&mut Search<'_, W>, usize, &mut BinaryHeap<i64>) -> Report + Sync),
        each: &mut dyn FnMut(FarmEvent) -> Flow,
    ) -> Result<bool, EnumerationError> {
        let (stop, next) = (AtomicBool::new(false), AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel::<(usize, Report)>();
        let wanted = || self.threads.load(Ordering::Relaxed).clamp(1, THREADS_MAX);
        let one = |place: usize, sender: mpsc::Sender<(usize, Report)>| {
            let mut search = Search::new(&self.plan, &stop);
            let mut seen = BinaryHeap::new();
            while !stop.load(Ordering::Relaxed) && place < wanted() {
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some(&unit) = jobs.get(at) else { break };
                let report = work(&mut search, unit, &mut seen);
                if sender.send((at, report)).is_err() {
                    break;
                }
            }
        };
        let one = &one;
        let mut stopped = false;
        let mut handed = 0;
        std::thread::scope(|scope| {
            let mut farmers: Vec<ScopedJoinHandle<'_, ()>> = Vec::new();
            // Kept for further threads; without it the channel ends with the last thread.
            let mut sender = Some(sender);
            let mut waiting: BTreeMap<usize, Report> = BTreeMap::new();
            loop {
                let open = jobs.len().saturating_sub(next.load(Ordering::Relaxed));
                match &sender {
                    Some(more) if open > 0 && !stopped => {
                        for place in 0..wanted().min(open.max(farmers.len())) {
                            match farmers.get_mut(place) {
                                // It left when fewer were wanted.
                                Some(farmer) if farmer.is_finished() => {
                                    let more = more.clone();
                                    *farmer = scope.spawn(move || one(place, more));
                                }
                                Some(_) => {}
                                None => {
                                    let more = more.clone();
                                    farmers.push(scope.spawn(move || one(place, more)));
                                }
                            }
                        }
                    }
                    _ => sender = None,
                }
                match receiver.recv_timeout(LOOK_EVERY) {
                    Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {
                        if !stopped && each(FarmEvent::Look) == Flow::Stop {
                            stopped = true;
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                    Ok((at, report)) => {
                        waiting.insert(at, report);
                        while !stopped {
                            let Some(report) = waiting.remove(&handed) else { break };
                            if !report.whole {
                                waiting.insert(handed, report);
                                break;
                            }
                            handed += 1;
                            if each(FarmEvent::Done(report, false)) == Flow::Stop {
                                stopped = true;
                                stop.store(true, Ordering::Relaxed);
                            }
                        }
                    }
                }
            }
            if stopped {
                for report in std::mem::take(&mut waiting).into_values() {
                    each(FarmEvent::Done(report, true));
                }
            }
        });
        if !stopped && handed != jobs.len() {
            return Err(EnumerationError::ThreadLost);
        }
        Ok(stopped)
    }

    /// Two passes: count every unit, then draw ranks and fetch their designs.
    pub fn sample(
        &self,
        mut joined: Joined,
        k: u64,
        seed: u64,
        observer: &mut dyn Observer,
    ) -> Result<Outcome, EnumerationError> {
        let whole = self.pass(&mut joined, observer)?;
        if !whole {
            // Without all counts no draw is uniform, so none is made.
            return self.outcome(joined, false);
        }
        joined.total = Some(joined.count);
        self.confirm(&mut joined, true, observer)?;
        let ranks = draw(joined.count, k, seed);
        let mut wanted: BTreeMap<usize, Vec<u64>> = BTreeMap::new();
        let mut rest = ranks.into_iter().peekable();
        let mut start = 0u128;
        for (unit, &count) in joined.unit_counts.iter().enumerate() {
            let end = start + u128::from(count);
            while let Some(rank) = rest.next_if(|r| *r < end) {
                wanted.entry(unit).or_default().push((rank - start) as u64);
            }
            start = end;
        }
        let jobs: Vec<usize> = wanted.keys().copied().collect();
        let work = |search: &mut Search<'_, W>, unit: usize, _: &mut BinaryHeap<i64>| {
            let mut ranks = wanted.get(&unit).cloned().unwrap_or_default();
            ranks.reverse();
            let before = search.nodes;
            let mut sink = Picker { packing: &self.packing, ranks, passed: 0, rows: Vec::new() };
            let walked = search.walk_unit(&self.units[unit], &mut sink);
            let whole = walked || sink.ranks.is_empty();
            Report { result: UnitResult::Rows(sink.rows), nodes: search.nodes - before, whole }
        };
        let stopped = self.farm(&jobs, &work, &mut |event| match event {
            FarmEvent::Look => self.look(observer, &joined, 2),
            FarmEvent::Done(report, early) => {
                self.join(&mut joined, report);
                if early { Flow::Stop } else { self.look(observer, &joined, 2) }
            }
        })?;
        self.outcome(joined, !stopped)
    }

    pub fn outcome(&self, mut joined: Joined, whole: bool) -> Result<Outcome, EnumerationError> {
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

    pub fn ranked(&self, best: Vec<(i64, Vec<u16>)>) -> Result<Vec<Ranked>, EnumerationError> {
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

enum FarmEvent {
    Look,
    /// A report, and whether it comes out of order because the search is ending.
    Done(Report, bool),
}

/// `k` different ranks below `count`, ascending; all of them if there are no more.
pub(super) fn draw(count: u128, k: u64, seed: u64) -> BTreeSet<u128> {
    if u128::from(k) >= count {
        return (0..count).collect();
    }
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut ranks = BTreeSet::new();
    // Floyd's method: every set of k ranks is equally likely, with exactly k draws.
    for top in count - u128::from(k)..count {
        let drawn = below(&mut random, top + 1);
        if !ranks.insert(drawn) {
            ranks.insert(top);
        }
    }
    ranks
}

/// Uniform in `0 .. bound`, by rejection.
pub(super) fn below(random: &mut ChaCha8Rng, bound: u128) -> u128 {
    let limit = u128::MAX - u128::MAX % bound;
    loop {
        let wide = u128::from(random.next_u64()) << 64 | u128::from(random.next_u64());
        if wide < limit {
            return wide % bound;
        }
    }
}

// The widest plan keeps its domains on the heap; a walk frame stays small.
const _: () = assert!(size_of::<Bits<16>>() == 128);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::space::{Decision, DesignOption};
    use std::collections::BTreeSet;
    use std::sync::{Condvar, Mutex};

    /// Three decisions of ten options, no rules.
    fn space() -> DesignSpace {
        let option = |o: usize| DesignOption { id: format!("o{o}"), attributes: BTreeMap::new() };
        let decision = |d: usize| Decision { name: format!("d{d}"), options: (0..10).map(option).collect() };
        let decisions = (0..3).map(decision).collect();
        DesignSpace { name: "open".into(), decisions, constraints: Vec::new(), objective: None }
    }

    fn with_run(threads: usize, test: impl FnOnce(&Run<'_, 1>)) {
        let space = space();
        let options = Options { threads, ..Options::new(Mode::Count) };
        let plan: Plan<1> = Plan::new(&space, order::order(&space), false).unwrap();
        let packing = Packing::new(&space);
        test(&Run {
            probes: None,
            space: &space,
            options: &options,
            keys: Keys::new(&plan, &packing),
            packing,
            units: units(&plan, UNITS_WANTED),
            plan,
            digest: String::new(),
            threshold: Threshold::new(),
            threads: AtomicUsize::new(threads),
        });
    }

    const NOTHING: Report = Report { result: UnitResult::Count(0), nodes: 0, whole: true };

    #[test]
    fn a_thread_that_is_added_works_beside_those_there_are() {
        with_run(1, |run| {
            let (met, news) = (Mutex::new(0), Condvar::new());
            let together = AtomicBool::new(false);
            // Jobs 1 and 2 wait for each other, which takes two threads.
            let work = |_: &mut Search<'_, 1>, unit: usize, _: &mut BinaryHeap<i64>| {
                if unit == 1 || unit == 2 {
                    let mut met = met.lock().unwrap();
                    *met += 1;
                    news.notify_all();
                    let long = Duration::from_secs(60);
                    let (met, _) = news.wait_timeout_while(met, long, |met| *met < 2).unwrap();
                    together.store(*met == 2, Ordering::Relaxed);
                }
                NOTHING
            };
            let jobs: Vec<usize> = (0..50).collect();
            let mut done = 0;
            let stopped = run.farm(&jobs, &work, &mut |event| {
                done += usize::from(matches!(event, FarmEvent::Done(..)));
                run.threads.store(2, Ordering::Relaxed);
                Flow::Continue
            });
            assert_eq!((stopped, done), (Ok(false), 50));
            assert!(together.into_inner(), "jobs 1 and 2 were never at work at the same time");
        });
    }

    #[test]
    fn threads_that_are_no_longer_wanted_leave_after_the_unit_they_are_at() {
        with_run(4, |run| {
            let lowered = AtomicBool::new(false);
            let after = Mutex::new(Vec::new());
            let work = |_: &mut Search<'_, 1>, _: usize, _: &mut BinaryHeap<i64>| {
                let late = lowered.load(Ordering::SeqCst);
                std::thread::sleep(Duration::from_micros(100));
                if late {
                    after.lock().unwrap().push(std::thread::current().id());
                }
                NOTHING
            };
            let jobs: Vec<usize> = (0..2_000).collect();
            let stopped = run.farm(&jobs, &work, &mut |_| {
                run.threads.store(1, Ordering::SeqCst);
                lowered.store(true, Ordering::SeqCst);
                Flow::Continue
            });
            assert_eq!(stopped, Ok(false));
            let after = after.into_inner().unwrap();
            let who: BTreeSet<String> = after.iter().map(|id| format!("{id:?}")).collect();
            let most =
                who.iter().map(|id| after.iter().filter(|one| format!("{one:?}") == *id).count()).max();
            // Each of the others may have been about to begin a unit.
            assert!(
                after.len() - most.unwrap() <= 3,
                "{} of {} by others",
                after.len() - most.unwrap(),
                after.len()
            );
        });
    }
}

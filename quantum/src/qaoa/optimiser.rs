//! The search for angles as a resumable machine: `new`, `step` until finished, `checkpoint` between steps.
//!
//! Layer by layer: the best of some seeded guesses begins, steps of the chosen method follow, then a layer is
//! added and the search goes on; at full depth the remaining steps go into fresh starts whenever a search has
//! converged. A warm start begins at full depth with its angles instead. Invariant: a machine resumed from any checkpoint takes the same steps
//! to the same bits as one that never stopped. Absent: time; the budget counts steps.

use super::costs::Levels;
use super::mixing::Mixing;
use super::outcome::{Draw, Outcome};
use super::random::{Purpose, Uniform};
use super::settings::{Method, QaoaError, Settings};
use super::start::{WarmStart, start};
use super::walk::Walk;
use crate::problem::{AMPLITUDE_BYTES, STATE_BYTES_MAX};
use crate::simulator::Angles;
use crate::state::{State, sum};
use crate::threads::Threads;
use serde::{Deserialize, Serialize};

/// Version of the checkpoint's form.
const CHECKPOINT_VERSION: u32 = 2;
/// Guesses a search begins from; only the best is followed. An evaluation costs a quarter of a step.
const GUESSES: u32 = 32;
/// Guessed cost angles lie within this many radians per standard deviation of cost, either way.
const COST_ANGLE_GUESS: f64 = 3.0;
/// Nothing is left to gain when the objective is this close to the least cost, in standard deviations.
const SOLVED: f64 = 1.0e-12;

/// Where a search stands after a step. Costs are in the unit of the costs given.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Steps done, and how many there will be at most.
    pub iteration: u32,
    pub iterations: u32,
    /// Layers of the circuit searched at present.
    pub layers: u32,
    /// Objective at the present angles: mean cost of the elite fraction.
    pub objective: f64,
    /// Lowest objective so far.
    pub best: f64,
    /// Mean cost and probability of the optimum at the best angles so far.
    pub expectation: f64,
    pub optimum_probability: f64,
    pub finished: bool,
}

/// The best angles so far; unused layers have angles 0, which change nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Best {
    value: f64,
    mean: f64,
    optimum_probability: f64,
    cost: Vec<f64>,
    mixer: Vec<f64>,
}

/// All that changes from step to step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Live {
    iteration: u32,
    /// Layers searched at present, and the step at which that began.
    depth: u32,
    depth_since: u32,
    search: Walk,
    best: Best,
    finished: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    version: u32,
    costs_digest: String,
    settings: Settings,
    live: Live,
}

/// Finds angles of QAOA over a set of designs.
#[derive(Debug, Clone)]
pub struct Optimiser {
    levels: Levels,
    mixing: Mixing,
    settings: Settings,
    costs_digest: String,
    live: Live,
}

impl Optimiser {
    /// Prepares a search over `costs`, one per design, in any unit. O(designs log designs).
    ///
    /// # Errors
    /// [`QaoaError`] for settings out of range, no or too many designs, or a cost that is not finite.
    ///
    /// ```
    /// # use quantum::qaoa::{Optimiser, Settings};
    /// let costs: Vec<f64> = (0..100).map(|i| f64::from(i * i % 37)).collect();
    /// let mut search = Optimiser::new(&costs, Settings::default())?;
    /// while !search.step().finished {}
    /// let samples = search.outcome().sample(1024, 0);
    /// assert_eq!(samples.best(&costs), Some((0, 0.0)));
    /// # Ok::<(), quantum::qaoa::QaoaError>(())
    /// ```
    pub fn new(costs: &[f64], settings: Settings) -> Result<Self, QaoaError> {
        Self::over(costs, Mixing::Grover, Threads::one(), settings)
    }

    /// As [`Optimiser::new`], with a mixer and threads of the caller's choice. Threads change no bit.
    ///
    /// # Errors
    /// As [`Optimiser::new`]; also if the mixer is for another number of costs, or the warm start for others.
    pub fn over(
        costs: &[f64],
        mixing: Mixing,
        threads: Threads,
        settings: Settings,
    ) -> Result<Self, QaoaError> {
        let (levels, costs_digest) = prepare(costs, &mixing, threads, &settings)?;
        let lens = Lens { levels: &levels, settings: &settings, mixing: &mixing };
        let (point, depth) = match lens.warm() {
            Some(point) => (point, settings.layers),
            None => (lens.best_guess(&[], 1, 0), 1),
        };
        let search = Walk::new(settings.method, point, &lens, 0);
        let best = lens.best(search.at().0, search.at().1);
        let mut live = Live { iteration: 0, depth, depth_since: 0, search, best, finished: false };
        live.finished = lens.solved(live.best.value);
        Ok(Self { levels, mixing, settings, costs_digest, live })
    }

    /// One step of the search; a finished one only reports.
    ///
    /// Usually two evaluations with gradient, at most some 60 when a new start is made.
    pub fn step(&mut self) -> Progress {
        if !self.live.finished {
            let lens = Lens { levels: &self.levels, settings: &self.settings, mixing: &self.mixing };
            let live = &mut self.live;
            let (method, budget) = (self.settings.method, self.settings.iterations);
            let spent = live.iteration - live.depth_since;
            if live.depth < self.settings.layers {
                // The last depth gets what the shallower ones leave, at least its equal share.
                if live.search.converged() || spent >= budget / self.settings.layers {
                    let point = lens.best_guess(live.search.at().1, live.depth + 1, live.iteration);
                    live.search = Walk::new(method, point, &lens, live.iteration);
                    live.depth += 1;
                    live.depth_since = live.iteration;
                }
            } else if live.search.converged() {
                let point = lens.best_guess(&[], live.depth, live.iteration);
                live.search = Walk::new(method, point, &lens, live.iteration);
            }
            let depths = if self.settings.warm_start == WarmStart::None { self.settings.layers } else { 1 };
            live.search.step(&lens, live.iteration, (budget / depths).max(1));
            live.iteration += 1;
            if live.search.at().0 < live.best.value {
                live.best = lens.best(live.search.at().0, live.search.at().1);
            }
            live.finished = live.iteration >= budget || lens.solved(live.best.value);
        }
        self.progress()
    }

    /// Where the search stands.
    pub fn progress(&self) -> Progress {
        let (live, standard) = (&self.live, self.levels.standard);
        Progress {
            iteration: live.iteration,
            iterations: self.settings.iterations,
            layers: live.depth,
            objective: standard.undo(live.search.at().0),
            best: standard.undo(live.best.value),
            expectation: standard.undo(live.best.mean),
            optimum_probability: live.best.optimum_probability,
            finished: live.finished,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The search as bytes, some kilobytes; the costs are not in it, only their digest.
    pub fn checkpoint(&self) -> Vec<u8> {
        let checkpoint = Checkpoint {
            version: CHECKPOINT_VERSION,
            costs_digest: self.costs_digest.clone(),
            settings: self.settings.clone(),
            live: self.live.clone(),
        };
        // Plain numbers and strings: writing them to memory has no way to fail.
        serde_json::to_vec(&checkpoint).unwrap_or_default()
    }

    /// Goes on from a checkpoint with the same costs and settings.
    ///
    /// # Errors
    /// As [`Optimiser::new`]; [`QaoaError::CheckpointUnreadable`] if the bytes are damaged or of another
    /// version, [`QaoaError::CheckpointMismatch`] if they belong to other costs or settings.
    pub fn resume(costs: &[f64], settings: Settings, bytes: &[u8]) -> Result<Self, QaoaError> {
        Self::resume_over(costs, Mixing::Grover, Threads::one(), settings, bytes)
    }

    /// Goes on from a checkpoint of [`Optimiser::over`], on any number of threads.
    ///
    /// # Errors
    /// As [`Optimiser::resume`]; another mixer counts as other costs.
    pub fn resume_over(
        costs: &[f64],
        mixing: Mixing,
        threads: Threads,
        settings: Settings,
        bytes: &[u8],
    ) -> Result<Self, QaoaError> {
        let unreadable = |reason: String| QaoaError::CheckpointUnreadable { reason };
        let (levels, costs_digest) = prepare(costs, &mixing, threads, &settings)?;
        let checkpoint: Checkpoint =
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if checkpoint.version != CHECKPOINT_VERSION {
            return Err(unreadable(format!("version {}, not {CHECKPOINT_VERSION}", checkpoint.version)));
        }
        if checkpoint.costs_digest != costs_digest {
            return Err(QaoaError::CheckpointMismatch { what: "costs" });
        }
        if !same_search(&checkpoint.settings, &settings) {
            return Err(QaoaError::CheckpointMismatch { what: "settings" });
        }
        let live = checkpoint.live;
        let layers = settings.layers as usize;
        let sound = (1..=settings.layers).contains(&live.depth)
            && live.depth_since <= live.iteration
            && live.iteration <= settings.iterations
            && live.search.method() == settings.method
            && live.search.dimensions() == Some(2 * live.depth as usize)
            && live.best.cost.len() == layers
            && live.best.mixer.len() == layers;
        if !sound {
            return Err(unreadable("its parts contradict each other".to_owned()));
        }
        Ok(Self { levels, mixing, settings, costs_digest, live })
    }

    /// This search as it would stand had it begun with `settings`; `None` if it would have gone another way, or
    /// that cannot be told.
    ///
    /// Shots count only where they train the angles. The number of steps sets how many each depth gets and
    /// how fast SPSA's steps shrink; where neither plays a part a search goes on under another number.
    pub fn under(&self, settings: &Settings) -> Option<Self> {
        let budget = Settings { iterations: settings.iterations, ..self.settings.clone() };
        if !same_search(&budget, settings) {
            return None;
        }
        if settings.iterations != self.settings.iterations {
            let one_depth = settings.layers == 1 || settings.warm_start != WarmStart::None;
            let has_room = self.live.iteration <= settings.iterations;
            if settings.method == Method::Spsa || !one_depth || !has_room {
                return None;
            }
        }
        let mut same = Self { settings: settings.clone(), ..self.clone() };
        let lens = Lens { levels: &same.levels, settings: &same.settings, mixing: &same.mixing };
        same.live.finished = self.live.iteration >= settings.iterations || lens.solved(self.live.best.value);
        Some(same)
    }

    /// The state at the best angles so far, ready to be sampled. One evaluation.
    pub fn outcome(&self) -> Outcome {
        let best = &self.live.best;
        let angles = Angles { cost: best.cost.clone(), mixer: best.mixer.clone() };
        Outcome::new(&self.levels, &self.mixing, angles, self.settings.elite_fraction, self.live.iteration)
    }
}

/// Whether searches with these settings take the same steps: shots count only where they train the angles.
fn same_search(one: &Settings, other: &Settings) -> bool {
    let shots = if other.method == Method::Spsa { one.shots } else { other.shots };
    Settings { shots, ..one.clone() } == *other
}

fn prepare(
    costs: &[f64],
    mixing: &Mixing,
    threads: Threads,
    settings: &Settings,
) -> Result<(Levels, String), QaoaError> {
    settings.check()?;
    let table = !matches!(settings.warm_start, WarmStart::None | WarmStart::Ramp);
    if table && mixing.scale().is_none() {
        return Err(QaoaError::SettingOutOfRange {
            name: "warm_start",
            given: "a table of angles with Grover's mixer".to_owned(),
            expected: "none or a ramp; tables are for the mixers x and one-hot".to_owned(),
        });
    }
    let most = STATE_BYTES_MAX / AMPLITUDE_BYTES;
    if costs.len() as u64 > most {
        return Err(QaoaError::SettingOutOfRange {
            name: "costs",
            given: format!("a list of {}", costs.len()),
            expected: format!("at most {most}, which fit STATE_BYTES_MAX"),
        });
    }
    let mut hasher = blake3::Hasher::new();
    for cost in costs {
        hasher.update(&cost.to_bits().to_le_bytes());
    }
    mixing.feed(&mut hasher);
    let mut levels = Levels::new(costs, mixing)?;
    levels.simulator = levels.simulator.with_threads(threads);
    Ok((levels, hasher.finalize().to_hex().to_string()))
}

/// The objective as a function of a point: cost angles, then mixer angles.
pub(super) struct Lens<'a> {
    levels: &'a Levels,
    settings: &'a Settings,
    mixing: &'a Mixing,
}

impl Lens<'_> {
    fn angles(&self, point: &[f64]) -> Angles {
        let (cost, mixer) = point.split_at(point.len() / 2);
        Angles { cost: cost.to_vec(), mixer: mixer.to_vec() }
    }

    pub fn seed(&self) -> u64 {
        self.settings.seed
    }

    /// Exact values may end a search at the optimum; sampled ones may only look like it.
    fn solved(&self, value: f64) -> bool {
        self.settings.method != Method::Spsa && value - self.levels.least() <= SOLVED
    }

    fn warm(&self) -> Option<Vec<f64>> {
        let (groups, gap) = self.mixing.scale().unwrap_or((1, 1.0));
        let angles = start(self.settings.warm_start, self.settings.layers as usize, groups, gap)?;
        Some([angles.cost, angles.mixer].concat())
    }

    /// The objective as `shots` noisy shots show it: the mean of the cheapest share of them.
    ///
    /// Shots outside the set are left out; if all are, the value is the greatest cost.
    pub fn sampled(&self, point: &[f64], iteration: u32, call: u32) -> f64 {
        let state = self.levels.simulator.run(&self.angles(point));
        let draw = Draw {
            seed: self.settings.seed,
            purpose: Purpose::Training,
            counter: u64::from(iteration) << 8 | u64::from(call),
            noise: self.settings.noise,
            layers: (point.len() / 2) as u32,
        };
        let probabilities = self.levels.probabilities(&state);
        let samples = draw.samples(&probabilities, self.settings.shots, self.mixing);
        let value = |design: u32| self.levels.values()[self.levels.level(design as usize)];
        let mut seen: Vec<(f64, u32)> = samples.counts.iter().map(|&(d, count)| (value(d), count)).collect();
        seen.sort_by(|a, b| a.0.total_cmp(&b.0));
        let inside = samples.shots - samples.outside;
        if inside == 0 {
            return self.levels.greatest();
        }
        let wanted = self.settings.elite_fraction * f64::from(inside);
        let (mut left, mut total) = (wanted, 0.0);
        for (value, count) in seen {
            let share = f64::from(count).min(left);
            total += share * value;
            left -= share;
        }
        total / wanted
    }

    pub fn value(&self, point: &[f64]) -> f64 {
        let state = self.levels.simulator.run(&self.angles(point));
        elite(self.levels, &state, self.settings.elite_fraction).value
    }

    pub fn value_and_gradient(&self, point: &[f64]) -> (f64, Vec<f64>) {
        let angles = self.angles(point);
        let state = self.levels.simulator.run(&angles);
        let elite = elite(self.levels, &state, self.settings.elite_fraction);
        let gradient = match &elite.observable {
            Some(observable) => self.levels.simulator.gradient_from(state, &angles, observable),
            None => self.levels.simulator.gradient_from(state, &angles, self.levels.values()),
        };
        (elite.value, [gradient.cost, gradient.mixer].concat())
    }

    fn best(&self, value: f64, point: &[f64]) -> Best {
        let mut angles = self.angles(point);
        let simulator = &self.levels.simulator;
        let state = simulator.run(&angles);
        angles.cost.resize(self.settings.layers as usize, 0.0);
        angles.mixer.resize(self.settings.layers as usize, 0.0);
        Best {
            value,
            mean: simulator.expectation(&state, self.levels.values()),
            optimum_probability: simulator.probability_at_most(&state, self.levels.least()),
            cost: angles.cost,
            mixer: angles.mixer,
        }
    }

    /// The best of [`GUESSES`] guessed continuations of `point` to `depth` layers.
    ///
    /// A new layer of angles 0 would change nothing and be stationary, so it must be guessed.
    fn best_guess(&self, point: &[f64], depth: u32, iteration: u32) -> Vec<f64> {
        let mut uniform = Uniform::new(self.settings.seed, Purpose::Angles, u64::from(iteration));
        let known = self.angles(point);
        let mut best: Option<(f64, Vec<f64>)> = None;
        for guess in 0..GUESSES {
            let Angles { mut cost, mut mixer } = known.clone();
            while cost.len() < depth as usize {
                let drawn = (
                    uniform.between(-COST_ANGLE_GUESS, COST_ANGLE_GUESS),
                    uniform.between(0.0, std::f64::consts::TAU),
                );
                // The first guess repeats the last layer: neighbouring layers are often alike.
                let layer = match (guess, known.cost.last(), known.mixer.last()) {
                    (0, Some(&cost), Some(&mixer)) => (cost, mixer),
                    _ => drawn,
                };
                cost.push(layer.0);
                mixer.push(layer.1);
            }
            let candidate = [cost, mixer].concat();
            let value = match self.settings.method {
                Method::Spsa => self.sampled(&candidate, iteration, 128 + guess),
                _ => self.value(&candidate),
            };
            if best.as_ref().is_none_or(|(least, _)| value < *least) {
                best = Some((value, candidate));
            }
        }
        best.map_or_else(|| vec![0.0; 2 * depth as usize], |(_, candidate)| candidate)
    }
}

/// The mean cost of the best share of the outcomes, and the observable with the same gradient.
pub(super) struct Elite {
    pub value: f64,
    /// `None`: the costs themselves.
    observable: Option<Vec<f64>>,
}

/// The best share is a prefix of the amplitudes by cost; the one at its edge counts by the share of it inside.
///
/// The mean is edge - E[max(edge - cost, 0)] / fraction, and as the edge is where that is stationary, the
/// gradient may treat the edge as fixed (Rockafellar and Uryasev 2000, for the lower tail).
pub(super) fn elite(levels: &Levels, state: &State, fraction: f64) -> Elite {
    let values = levels.values();
    if fraction >= 1.0 {
        return Elite { value: levels.simulator.expectation(state, values), observable: None };
    }
    let mut inside = 0.0;
    let mut edge = levels.greatest();
    for level in levels.ascending.iter().map(|level| *level as usize) {
        inside += levels.designs_of(level) * state.probability(level);
        if inside >= fraction {
            edge = values[level];
            break;
        }
    }
    let observable: Vec<f64> = values.iter().map(|value| -(edge - value).max(0.0) / fraction).collect();
    let gained = sum(values.len(), |i| levels.designs_of(i) * state.probability(i) * observable[i]);
    Elite { value: edge + gained, observable: Some(observable) }
}

#[cfg(test)]
mod tests {
    use super::{Lens, Levels, Mixing, Settings, elite};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_elite_gradient_is_the_slope_of_the_elite_mean(
            costs in prop::collection::vec(-5.0f64..5.0, 3..20),
            angles in prop::collection::vec(-2.0f64..2.0, 6),
            fraction in 0.05f64..1.0,
        ) {
            let levels = Levels::new(&costs, &Mixing::Grover).unwrap();
            let settings = Settings { elite_fraction: fraction, ..Settings::default() };
            let lens = Lens { levels: &levels, settings: &settings, mixing: &Mixing::Grover };
            let (value, gradient) = lens.value_and_gradient(&angles);
            prop_assert_eq!(value, lens.value(&angles));
            for k in 0..angles.len() {
                let at = |step: f64| {
                    let mut moved = angles.clone();
                    moved[k] += step;
                    lens.value(&moved)
                };
                let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
                // The edge may change its level within the step, where the slope has a kink.
                let kink = (at(1e-5) - 2.0 * value + at(-1e-5)).abs() / 1e-5;
                prop_assert!((slope - gradient[k]).abs() < 1e-6 + kink, "{slope} {}", gradient[k]);
            }
        }
    }

    #[test]
    fn the_elite_mean_splits_the_level_at_its_edge() {
        // Four equally likely costs: the best 3/8 are all of the first and half of the second.
        let levels = Levels::new(&[10.0, 1.0, 4.0, 7.0], &Mixing::Grover).unwrap();
        let state = levels.simulator.run(&Default::default());
        let mean = |fraction| levels.standard.undo(elite(&levels, &state, fraction).value);
        assert!((mean(0.375) - (1.0 + 4.0 / 2.0) / 1.5).abs() < 1e-12);
        assert!((mean(0.25) - 1.0).abs() < 1e-12);
        assert!((mean(1.0) - 5.5).abs() < 1e-12);
        assert!((mean(1.0 - 1e-12) - 5.5).abs() < 1e-9);
    }
}

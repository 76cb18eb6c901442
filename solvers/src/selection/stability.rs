//! How far the scenarios carry the choice: the choice again, for scenarios drawn again (bootstrap).
//!
//! Each replicate draws as many scenarios as there are, with replacement and by their probabilities, and
//! chooses anew (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 13). Rule: a
//! replicate's draws depend on the seed and its number alone, so the result is the same for any number of
//! threads, and more replicates leave the first ones as they are. Scenarios of a Latin hypercube or a
//! Sobol sequence are more even than the independent ones that the bootstrap supposes, so it overstates
//! their scatter. Absent: other scenario files and seeds. Start at [`stability`].

use super::evaluate::shares;
use super::{Evaluator, Figures, Question, SelectionError, THREADS_MAX, TIE_TOLERANCE, names};
use crate::costs::Columns;
use crate::scenarios::{open_unit, stream};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;

/// Replicates unless stated: a share of 95 % is then known to about 4 points.
pub const REPLICATES: usize = 100;
/// Most replicates. More than thousands change no digit that a person would use.
pub const REPLICATES_MAX: usize = 100_000;
/// Candidates unless stated.
pub const CANDIDATES: usize = 10_000;
/// Most replicates times scenarios: their counts take 4 bytes each, 200 MB.
const COUNTS_MAX: usize = 50_000_000;
/// Candidates times replicates times scenarios unless stated: about a second on one core.
const WORK_USUAL: usize = 1_000_000_000;
/// Two-sided 95 % of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;
/// Share of the replicates outside the interval of the gap, on each side.
const TAIL: f64 = 0.025;

/// What is drawn again, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resampling {
    /// 1 to [`REPLICATES_MAX`].
    pub replicates: usize,
    pub seed: u64,
    /// How many designs may win a replicate: the best ones by the scenarios as they are. At least 2.
    pub candidates: usize,
    pub threads: usize,
}

impl Resampling {
    /// The usual number of replicates and candidates on one thread.
    pub fn new(seed: u64) -> Self {
        Resampling { replicates: REPLICATES, seed, candidates: CANDIDATES, threads: 1 }
    }

    /// As [`Resampling::new`], with fewer candidates (and replicates) where there are so many `scenarios`
    /// that it would take longer than seconds.
    pub fn usual(seed: u64, scenarios: usize) -> Self {
        let replicates = REPLICATES.min(replicates_max(scenarios)).max(1);
        let candidates = WORK_USUAL / (scenarios.max(1) * replicates);
        Resampling { replicates, seed, candidates: candidates.clamp(2, CANDIDATES), threads: 1 }
    }
}

/// Most replicates that [`stability`] takes with so many scenarios.
pub fn replicates_max(scenarios: usize) -> usize {
    REPLICATES_MAX.min(COUNTS_MAX / scenarios.max(1))
}

/// A design that was the choice of at least one replicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Win {
    pub design: BTreeMap<String, String>,
    pub index: usize,
    /// Replicates that it won.
    pub wins: usize,
    /// The same as a share, and its 95 % interval (Wilson's).
    pub share: f64,
    pub low: f64,
    pub high: f64,
}

/// How much the nearest other design costs more than the chosen one, in the objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gap {
    /// Canonical index of the runner-up.
    pub other: usize,
    /// With the scenarios as they are.
    pub nominal: f64,
    /// Over the replicates: mean, and the 95 % interval by percentiles.
    pub mean: f64,
    pub low: f64,
    pub high: f64,
    /// Share of the replicates in which the chosen design is no dearer.
    pub share_not_negative: f64,
}

/// What the replicates say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stability {
    pub replicates: usize,
    pub seed: u64,
    /// Designs that could win, of how many; `complete` if all could.
    pub candidates: usize,
    pub designs: usize,
    pub complete: bool,
    /// Share of the replicates whose choice is the design chosen by the scenarios as they are.
    pub share_same_choice: f64,
    /// Every winner, most wins first; of equal ones the lowest index first.
    pub wins: Vec<Win>,
    /// Absent where there is one design only.
    pub gap: Option<Gap>,
    /// What the chosen design costs more than each replicate's choice: mean and greatest.
    pub regret_mean: f64,
    pub regret_max: f64,
    pub words: String,
}

/// Times that each scenario is drawn: scenario by scenario, then replicate by replicate.
struct Counts {
    by_scenario: Vec<f32>,
    replicates: usize,
}

fn draw(probability: &[f64], resampling: &Resampling) -> Counts {
    let scenarios = probability.len();
    let replicates = resampling.replicates;
    let mut cumulated = Vec::with_capacity(scenarios);
    let mut total = 0.0;
    for p in probability {
        total += p;
        cumulated.push(total);
    }
    let mut by_scenario = vec![0.0f32; scenarios * replicates];
    for replicate in 0..replicates {
        let mut rng = stream(resampling.seed, &["selection", "bootstrap", &replicate.to_string()]);
        for _ in 0..scenarios {
            let at = open_unit(&mut rng) * total;
            let scenario = cumulated.partition_point(|&c| c <= at).min(scenarios - 1);
            by_scenario[scenario * replicates + replicate] += 1.0;
        }
    }
    Counts { by_scenario, replicates }
}

impl Counts {
    fn of(&self, scenario: usize) -> &[f32] {
        &self.by_scenario[scenario * self.replicates..(scenario + 1) * self.replicates]
    }
}

/// Working space for the objective of one design in every replicate.
struct Bench {
    order: Vec<(f64, usize)>,
    mean: Vec<f64>,
    tail: Vec<f64>,
    left: Vec<f64>,
}

impl Bench {
    fn new(replicates: usize) -> Self {
        let row = || vec![0.0; replicates];
        Bench { order: Vec::new(), mean: row(), tail: row(), left: row() }
    }

    /// Objective by replicate, into `out`. The tail is filled from the dearest scenario down, the last one
    /// with what is left of it.
    fn objectives(&mut self, costs: &[f64], counts: &Counts, level: f64, weight: f64, out: &mut [f64]) {
        let scenarios = costs.len() as f64;
        let need = (1.0 - level) * scenarios;
        self.order.clear();
        self.order.extend(costs.iter().copied().zip(0..));
        self.order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.mean.fill(0.0);
        self.tail.fill(0.0);
        self.left.fill(need);
        for (scenario, &cost) in costs.iter().enumerate() {
            for (sum, &count) in self.mean.iter_mut().zip(counts.of(scenario)) {
                *sum += f64::from(count) * cost;
            }
        }
        if weight != 0.0 {
            for (position, &(cost, scenario)) in self.order.iter().enumerate() {
                for ((sum, left), &count) in
                    self.tail.iter_mut().zip(self.left.iter_mut()).zip(counts.of(scenario))
                {
                    let taken = f64::from(count).min(*left);
                    *sum += taken * cost;
                    *left -= taken;
                }
                if position % 16 == 15 && self.left.iter().all(|&left| left <= 0.0) {
                    break;
                }
            }
        }
        for ((out, mean), tail) in out.iter_mut().zip(&self.mean).zip(&self.tail) {
            *out = mean / scenarios + weight * (tail / need);
        }
    }
}

/// The least so far in one replicate, with every earlier design that may still be taken for a tie.
#[derive(Debug, Clone, Default)]
struct Leader {
    /// Rising index, falling objective.
    list: Vec<(f64, usize)>,
}

impl Leader {
    /// Designs come in ascending index.
    fn see(&mut self, objective: f64, index: usize) {
        match self.list.last() {
            Some(&(least, _)) if objective >= least => {}
            _ => {
                self.list.push((objective, index));
                let reach = objective + objective.abs() * TIE_TOLERANCE;
                self.list.retain(|(other, _)| *other <= reach);
            }
        }
    }

    fn winner(&self) -> Option<(f64, usize)> {
        self.list.first().copied()
    }

    fn least(&self) -> f64 {
        self.list.last().map_or(f64::NAN, |(least, _)| *least)
    }
}

/// Chooses anew in every replicate among the best candidates.
///
/// `figures` are those of all designs at the question's level. Cost: candidates x replicates x (scenarios
/// and those in the tail); 10,000 candidates, 100 replicates, 1,000 scenarios take about a quarter of a
/// second on one core. `observer` hears the candidates done, from any thread.
///
/// # Errors
/// Numbers out of range, figures that do not cover everything, a cost that cannot be computed, a stop.
pub fn stability(
    evaluator: &Evaluator,
    figures: &Figures,
    question: &Question,
    resampling: &Resampling,
    observer: &(dyn Fn(usize, usize) -> ControlFlow<()> + Sync),
) -> Result<Stability, SelectionError> {
    let designs = evaluator.designs().len();
    let probability = &evaluator.scenarios.probability;
    let most = replicates_max(probability.len());
    if !(1..=most).contains(&resampling.replicates) {
        return Err(SelectionError::Resampling {
            what: "the number of bootstrap replicates",
            given: resampling.replicates as u64,
            expected: format!("1 to {most} with {} scenarios", probability.len()),
        });
    }
    if resampling.candidates < 2 {
        return Err(SelectionError::Resampling {
            what: "the number of bootstrap candidates",
            given: resampling.candidates as u64,
            expected: "at least 2".into(),
        });
    }
    let incomplete = || SelectionError::Incomplete { covered: figures.len(), designs };
    let at = figures.level(question.cvar_level).ok_or_else(incomplete)?;
    if figures.first != 0 || figures.len() != designs {
        return Err(incomplete());
    }
    let (level, weight) = (question.cvar_level.get(), question.risk_weight.get());
    let objective =
        |index: usize| figures.expected[index] + weight * figures.cvar[index * figures.levels.len() + at];
    let by_objective = |a: &usize, b: &usize| objective(*a).total_cmp(&objective(*b)).then(a.cmp(b));
    let mut candidates: Vec<usize> = (0..designs).collect();
    if resampling.candidates < designs {
        candidates.select_nth_unstable_by(resampling.candidates - 1, by_objective);
        candidates.truncate(resampling.candidates);
    }
    let mut nominal = Leader::default();
    candidates.sort_unstable();
    for &index in &candidates {
        nominal.see(objective(index), index);
    }
    let (_, chosen) = nominal.winner().ok_or(SelectionError::NoDesigns)?;
    let other = candidates.iter().copied().filter(|&i| i != chosen).min_by(by_objective);

    let counts = draw(probability, resampling);
    let threads = resampling.threads.clamp(1, THREADS_MAX);
    let done = std::sync::atomic::AtomicUsize::new(0);
    let seen = std::thread::scope(|scope| {
        let running: Vec<_> = shares(0..candidates.len(), threads)
            .map(|share| {
                let (candidates, counts, done) = (&candidates, &counts, &done);
                scope.spawn(move || -> Result<Seen, SelectionError> {
                    let mut seen = Seen {
                        leaders: vec![Leader::default(); counts.replicates],
                        chosen: None,
                        other: None,
                    };
                    let mut columns = Columns::shared(&evaluator.model, threads);
                    let mut bench = Bench::new(counts.replicates);
                    let mut costs = vec![0.0; probability.len()];
                    let mut objectives = vec![0.0; counts.replicates];
                    for &index in &candidates[share] {
                        let now = done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        if observer(now, candidates.len()).is_break() {
                            return Err(SelectionError::Stopped { done: now });
                        }
                        columns.total(&evaluator.designs()[index], &mut costs)?;
                        bench.objectives(&costs, counts, level, weight, &mut objectives);
                        for (leader, &value) in seen.leaders.iter_mut().zip(&objectives) {
                            leader.see(value, index);
                        }
                        if index == chosen {
                            seen.chosen = Some(objectives.clone());
                        }
                        if Some(index) == other {
                            seen.other = Some(objectives.clone());
                        }
                    }
                    Ok(seen)
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect::<Result<Vec<Seen>, SelectionError>>()
    })?;
    let mut leaders = vec![Leader::default(); resampling.replicates];
    let (mut of_chosen, mut of_other) = (None, None);
    for part in seen {
        // Shares are in ascending order, and so are the lists within them.
        for (leader, part) in leaders.iter_mut().zip(part.leaders) {
            part.list.into_iter().for_each(|(value, index)| leader.see(value, index));
        }
        of_chosen = of_chosen.or(part.chosen);
        of_other = of_other.or(part.other);
    }
    let of_chosen = of_chosen.unwrap_or_default();
    let gap = other.zip(of_other).map(|(other, of_other)| {
        let gaps = of_other.iter().zip(&of_chosen).map(|(o, c)| o - c).collect();
        gap(other, objective(other) - objective(chosen), gaps)
    });
    Ok(told(evaluator, resampling, candidates.len(), chosen, &leaders, &of_chosen, gap))
}

/// What one thread saw.
struct Seen {
    leaders: Vec<Leader>,
    chosen: Option<Vec<f64>>,
    other: Option<Vec<f64>>,
}

fn gap(other: usize, nominal: f64, mut gaps: Vec<f64>) -> Gap {
    let count = gaps.len();
    let not_negative = gaps.iter().filter(|&&gap| gap >= 0.0).count();
    let mean = crate::risk::sum(gaps.iter().copied()) / count as f64;
    gaps.sort_unstable_by(f64::total_cmp);
    // Nearest rank: the least value that at least a share of them does not exceed.
    let rank = |share: f64| gaps[((share * count as f64).ceil() as usize).clamp(1, count) - 1];
    Gap {
        other,
        nominal,
        mean,
        low: rank(TAIL),
        high: rank(1.0 - TAIL),
        share_not_negative: not_negative as f64 / count as f64,
    }
}

/// Wilson's 95 % interval of a share.
fn wilson(wins: usize, of: usize) -> (f64, f64) {
    let n = of as f64;
    let share = wins as f64 / n;
    let middle = share + Z * Z / (2.0 * n);
    let reach = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((middle - reach) / scale).max(0.0), ((middle + reach) / scale).min(1.0))
}

fn told(
    evaluator: &Evaluator,
    resampling: &Resampling,
    candidates: usize,
    chosen: usize,
    leaders: &[Leader],
    of_chosen: &[f64],
    gap: Option<Gap>,
) -> Stability {
    let replicates = resampling.replicates;
    let mut wins: BTreeMap<usize, usize> = BTreeMap::new();
    let (mut regret_sum, mut regret_max) = (0.0, 0.0f64);
    for (leader, &mine) in leaders.iter().zip(of_chosen) {
        if let Some((_, index)) = leader.winner() {
            *wins.entry(index).or_insert(0) += 1;
        }
        let regret = mine - leader.least();
        regret_sum += regret;
        regret_max = regret_max.max(regret);
    }
    let same = wins.get(&chosen).copied().unwrap_or(0);
    let (low, high) = wilson(same, replicates);
    let mut wins: Vec<Win> = wins
        .into_iter()
        .map(|(index, wins)| {
            let (low, high) = wilson(wins, replicates);
            Win {
                design: names(evaluator.space, &evaluator.designs()[index]),
                index,
                wins,
                share: wins as f64 / replicates as f64,
                low,
                high,
            }
        })
        .collect();
    wins.sort_by(|a, b| b.wins.cmp(&a.wins).then(a.index.cmp(&b.index)));
    let designs = evaluator.designs().len();
    let complete = candidates == designs;
    let mut words = format!(
        "With the scenarios drawn again {replicates} times, the chosen design is the choice {same} times \
         ({:.0} to {:.0} % with 95 % confidence); {} design{} won at least once.",
        100.0 * low,
        100.0 * high,
        wins.len(),
        if wins.len() == 1 { "" } else { "s" },
    );
    if !complete {
        words.push_str(&format!(" Only the {candidates} best of {designs} designs took part."));
    }
    Stability {
        replicates,
        seed: resampling.seed,
        candidates,
        designs,
        complete,
        share_same_choice: same as f64 / replicates as f64,
        wins,
        gap,
        regret_mean: regret_sum / replicates as f64,
        regret_max,
        words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::risk::{CvarLevel, Losses};

    #[test]
    fn the_objective_of_a_replicate_is_that_of_its_scenarios_counted_out() {
        let costs: Vec<f64> = (0..40).map(|s| f64::from((s * 37) % 23) - 4.0).collect();
        let probability: Vec<f64> = (0..40).map(|s| f64::from(s % 4 + 1) / 100.0).collect();
        let resampling = Resampling { replicates: 25, ..Resampling::new(3) };
        let counts = draw(&probability, &resampling);
        let mut bench = Bench::new(25);
        for (level, weight) in [(0.0, 1.0), (0.8, 0.5), (0.93, 2.0), (0.99, 0.0)] {
            let mut got = vec![0.0; 25];
            bench.objectives(&costs, &counts, level, weight, &mut got);
            for (replicate, got) in got.iter().enumerate() {
                let drawn: Vec<f64> = (0..40)
                    .flat_map(|s| {
                        let times = counts.of(s)[replicate] as usize;
                        std::iter::repeat_n(costs[s], times)
                    })
                    .collect();
                assert_eq!(drawn.len(), 40);
                let losses = Losses::equally_likely(&drawn).unwrap();
                let expected = losses.expectation() + weight * losses.cvar(CvarLevel::new(level).unwrap());
                assert!((got - expected).abs() < 1e-12, "{level} {weight}: {got} {expected}");
            }
        }
    }

    #[test]
    fn scenarios_are_drawn_by_their_probability() {
        let resampling = Resampling { replicates: 4000, ..Resampling::new(11) };
        let counts = draw(&[0.5, 0.0, 0.3, 0.2], &resampling);
        let mean = |s: usize| counts.of(s).iter().map(|&c| f64::from(c)).sum::<f64>() / 4000.0;
        for (scenario, expected) in [2.0, 0.0, 1.2, 0.8].into_iter().enumerate() {
            assert!((mean(scenario) - expected).abs() < 0.06, "{scenario}: {}", mean(scenario));
        }
        assert_eq!(mean(1), 0.0);
    }

    #[test]
    fn wilsons_interval_has_the_published_values() {
        // Newcombe, Statistics in Medicine 17, 1998, table I: 81 of 263, 15 of 148, 0 of 20.
        for (wins, of, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
        {
            let (l, h) = wilson(wins, of);
            assert!((l - low).abs() < 5e-5 && (h - high).abs() < 5e-5, "{wins}/{of}: {l} {h}");
        }
    }

    #[test]
    fn of_equal_designs_the_earlier_wins_and_a_lower_one_takes_over() {
        let mut leader = Leader::default();
        for (value, index) in [(5.0, 0), (5.0 - 1e-13, 1), (7.0, 2), (4.0, 3), (4.0 - 1e-13, 4), (4.0, 5)] {
            leader.see(value, index);
        }
        assert_eq!(leader.winner(), Some((4.0, 3)));
        assert_eq!(leader.least(), 4.0 - 1e-13);
    }

    #[test]
    fn the_interval_of_the_gap_leaves_out_a_fortieth_on_each_side() {
        let gap = gap(1, 2.0, (1..=200).rev().map(f64::from).collect());
        assert_eq!((gap.low, gap.high, gap.mean), (5.0, 195.0, 100.5));
    }
}

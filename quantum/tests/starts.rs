//! Published angles against the iterations that define them, and searches that begin from them.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use quantum::ising::Ising;
use quantum::noise::{Noise, trajectories};
use quantum::qaoa::start::{cubic_max_cut, ramp, sherrington_kirkpatrick};
use quantum::qaoa::{Method, Mixing, Optimiser, Settings, WarmStart};
use quantum::simulator::{Angles, Simulator};
use quantum::threads::Threads;

type C = (f64, f64);

fn mul(a: C, b: C) -> C {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn add(a: C, b: C) -> C {
    (a.0 + b.0, a.1 + b.1)
}

/// Positions 1, .., p, 0, -p, .., -1 of a path of 2p + 1 spins, and f(a) of Basso et al., equation (2.10): half
/// the product of the mixers' matrix elements along it.
struct Paths {
    p: usize,
    /// The cost angle with its sign at each position; 0 in the middle.
    turns: Vec<f64>,
    f: Vec<C>,
}

impl Paths {
    fn new(cost: &[f64], mixer: &[f64]) -> Self {
        let p = cost.len();
        let turns =
            cost.iter().copied().chain([0.0]).chain(cost.iter().rev().map(|g| -g)).collect::<Vec<f64>>();
        let f = (0..1usize << (2 * p + 1))
            .map(|a| {
                let mut value = (0.5, 0.0);
                for k in 0..2 * p {
                    let same = (a >> k & 1) == (a >> (k + 1) & 1);
                    let angle = if k < p { mixer[k] } else { -mixer[2 * p - 1 - k] };
                    // <s| exp(i angle X) |t>
                    value = mul(value, if same { (angle.cos(), 0.0) } else { (0.0, angle.sin()) });
                }
                value
            })
            .collect();
        Self { p, turns, f }
    }

    fn spin(a: usize, k: usize) -> f64 {
        1.0 - 2.0 * (a >> k & 1) as f64
    }

    /// Energy per spin of the Sherrington-Kirkpatrick model of infinite size.
    fn sherrington_kirkpatrick(&self) -> f64 {
        let n = 2 * self.p + 1;
        let correlations = |weight: &dyn Fn(usize) -> C| -> Vec<C> {
            let mut g = vec![(0.0, 0.0); n * n];
            for a in 0..self.f.len() {
                let term = mul(self.f[a], weight(a));
                for j in 0..n {
                    for k in 0..n {
                        let s = Self::spin(a, j) * Self::spin(a, k);
                        g[j * n + k] = add(g[j * n + k], (s * term.0, s * term.1));
                    }
                }
            }
            g
        };
        let mut g = correlations(&|_| (1.0, 0.0));
        for _ in 0..self.p {
            let last = g.clone();
            g = correlations(&|a| {
                let mut exponent = (0.0, 0.0);
                for j in 0..n {
                    for k in 0..n {
                        let s = self.turns[j] * self.turns[k] * Self::spin(a, j) * Self::spin(a, k);
                        let g: C = last[j * n + k];
                        exponent = add(exponent, (-0.5 * s * g.0, -0.5 * s * g.1));
                    }
                }
                let size = exponent.0.exp();
                (size * exponent.1.cos(), size * exponent.1.sin())
            });
        }
        let sum = (0..n).fold((0.0, 0.0), |sum, j| {
            let square = mul(g[self.p * n + j], g[self.p * n + j]);
            add(sum, (self.turns[j] * square.0, self.turns[j] * square.1))
        });
        // i / 2 times the sum.
        assert!(sum.0.abs() < 1e-9, "the energy is real");
        -0.5 * sum.1
    }

    /// Cut per edge of a regular graph of `degree` without short cycles.
    fn regular_cut(&self, degree: u32) -> f64 {
        let d = f64::from(degree - 1);
        let turn = |a: usize| -> f64 {
            (0..2 * self.p + 1).map(|k| self.turns[k] * Self::spin(a, k)).sum::<f64>() / d.sqrt()
        };
        let mut h = vec![(1.0, 0.0); self.f.len()];
        for _ in 0..self.p {
            h = (0..h.len())
                .map(|a| {
                    let sum = (0..h.len()).fold((0.0, 0.0), |sum, b| {
                        let c = turn(a ^ b).cos();
                        let term = mul(self.f[b], h[b]);
                        add(sum, (c * term.0, c * term.1))
                    });
                    (1..degree - 1).fold(sum, |power, _| mul(power, sum))
                })
                .collect();
        }
        let mut total = (0.0, 0.0);
        for a in 0..h.len() {
            for b in 0..h.len() {
                let s = turn(a ^ b).sin() * Self::spin(a, self.p) * Self::spin(b, self.p);
                let term = mul(mul(self.f[a], h[a]), mul(self.f[b], h[b]));
                total = add(total, (s * term.0, s * term.1));
            }
        }
        // nu = i sqrt(d) / 2 times the sum; the cut is half plus nu over sqrt(d).
        0.5 - 0.5 * total.1
    }
}

#[test]
fn the_sherrington_kirkpatrick_table_reaches_its_known_energies() {
    for (p, wanted) in [(1, 0.3032653), (2, 0.4075450), (3, 0.4726189), (4, 0.5156788)] {
        let table = sherrington_kirkpatrick(p);
        let cost: Vec<f64> = table.cost.iter().map(|g| -g).collect();
        let energy = |cost: &[f64], mixer: &[f64]| Paths::new(cost, mixer).sherrington_kirkpatrick();
        let found = energy(&cost, &table.mixer);
        assert!((found - wanted).abs() < 1e-6, "p = {p}: {found}");
        // And it is an optimum: no angle has a slope.
        for k in 0..p {
            for which in 0..2 {
                let at = |step: f64| {
                    let (mut cost, mut mixer) = (cost.clone(), table.mixer.clone());
                    [&mut cost, &mut mixer][which][k] += step;
                    energy(&cost, &mixer)
                };
                let slope = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!(slope.abs() < 1e-3, "p = {p}: slope {slope} in angle {k} of {which}");
            }
        }
    }
}

#[test]
fn the_cubic_table_reaches_its_guaranteed_cuts() {
    for (p, wanted) in [(1, 0.6924500897), (2, 0.7559062918), (3, 0.7923980073), (4, 0.8168758698)] {
        let table = cubic_max_cut(p);
        // exp(-i g cut) against exp(-i g' (-zz / sqrt(d))): g' = g sqrt(d) / 2.
        let cost: Vec<f64> = table.cost.iter().map(|g| -g * 2f64.sqrt() / 2.0).collect();
        let found = Paths::new(&cost, &table.mixer).regular_cut(3);
        assert!((found - wanted).abs() < 1e-6, "p = {p}: {found}");
    }
}

/// The Heawood graph: cubic, without cycles shorter than six.
fn heawood() -> Ising {
    let chord = |i: u32| (i, (i + if i.is_multiple_of(2) { 5 } else { 9 }) % 14);
    let edges: Vec<(u32, u32)> =
        (0..14).map(|i| (i, (i + 1) % 14)).chain((0..14).step_by(2).map(chord)).collect();
    Ising::max_cut(14, &edges).unwrap()
}

#[test]
fn the_simulator_agrees_with_the_tree_on_a_graph_without_short_cycles() {
    let ising = heawood();
    let simulator = Simulator::x(ising.diagonal(), 14).unwrap();
    for (p, wanted) in [(1, 0.6924500897), (2, 0.7559062918)] {
        let state = simulator.run(&cubic_max_cut(p));
        let cut = -simulator.expectation(&state, simulator.values()) / 21.0;
        assert!((cut - wanted).abs() < 1e-6, "p = {p}: {cut}");
    }
}

#[test]
fn a_warm_start_begins_better_than_a_guess_and_at_full_depth() {
    let costs = heawood().diagonal();
    let begin = |warm_start| {
        let settings = Settings { layers: 4, warm_start, method: Method::Lbfgs, ..Settings::default() };
        let search = Optimiser::over(&costs, Mixing::X { qubits: 14 }, Threads::one(), settings).unwrap();
        (search.progress().layers, search.progress().expectation)
    };
    let guess = begin(WarmStart::None);
    assert_eq!(guess.0, 1);
    // The table's own unit is a cut edge; the scaling to deviations must bring exactly that back.
    let simulator = Simulator::x(costs.clone(), 14).unwrap();
    let direct = simulator.expectation(&simulator.run(&cubic_max_cut(4)), &costs);
    let table = begin(WarmStart::CubicMaxCut);
    assert_eq!(table.0, 4);
    assert!((table.1 - direct).abs() < 1e-9, "{table:?} {direct}");
    let (infinite, ramp) = (begin(WarmStart::SherringtonKirkpatrick), begin(WarmStart::Ramp));
    assert!(table.1 < guess.1 && infinite.1 < guess.1, "{table:?} {infinite:?} {guess:?}");
    assert!(table.1 < ramp.1 && infinite.1 < ramp.1, "{table:?} {infinite:?} {ramp:?}");
    assert!(ramp.1 < -21.0 / 2.0 - 2.0, "better than uniform guesses by far: {ramp:?}");
}

#[test]
fn a_ramp_turns_from_mixing_to_costs() {
    let ramp = ramp(4);
    assert!(ramp.cost.windows(2).all(|w| w[1] < w[0]) && ramp.cost[0] < 0.0);
    assert!(ramp.mixer.windows(2).all(|w| w[1] < w[0]) && ramp.mixer[3] > 0.0);
}

/// The density matrix after the circuit with its channels, by definition.
fn density(values: &[f64], angles: &Angles, noise: Noise) -> Vec<f64> {
    let n = values.len();
    let mut rho = vec![(1.0 / n as f64, 0.0); n * n];
    for k in 0..angles.layers() {
        for (z, w) in (0..n * n).map(|i| (i / n, i % n)) {
            let phase = -angles.cost[k] * (values[z] - values[w]);
            rho[z * n + w] = mul(rho[z * n + w], (phase.cos(), phase.sin()));
        }
        let (s, c) = angles.mixer[k].sin_cos();
        let mut bit = 1;
        while bit < n {
            let old = rho.clone();
            for (z, w) in (0..n * n).map(|i| (i / n, i % n)) {
                let at = |z: usize, w: usize| old[z * n + w];
                // (c - i s X) rho (c + i s X)
                let left = add(at(z, w), (0.0, 0.0));
                let mut new = (c * c * left.0, c * c * left.1);
                new = add(new, mul((0.0, -s * c), at(z ^ bit, w)));
                new = add(new, mul((0.0, s * c), at(z, w ^ bit)));
                new = add(new, mul((s * s, 0.0), at(z ^ bit, w ^ bit)));
                rho[z * n + w] = new;
            }
            bit *= 2;
        }
        let mut bit = 1;
        while bit < n {
            let old = rho.clone();
            for (z, w) in (0..n * n).map(|i| (i / n, i % n)) {
                let p = noise.depolarising;
                let kept = old[z * n + w];
                let mixed = if z & bit == w & bit {
                    let sum = add(kept, old[(z ^ bit) * n + (w ^ bit)]);
                    (sum.0 / 2.0, sum.1 / 2.0)
                } else {
                    (0.0, 0.0)
                };
                rho[z * n + w] = ((1.0 - p) * kept.0 + p * mixed.0, (1.0 - p) * kept.1 + p * mixed.1);
            }
            bit *= 2;
        }
    }
    let mut read: Vec<f64> = (0..n).map(|z| rho[z * n + z].0).collect();
    let mut bit = 1;
    while bit < n {
        let old = read.clone();
        (0..n).for_each(|z| read[z] = (1.0 - noise.readout) * old[z] + noise.readout * old[z ^ bit]);
        bit *= 2;
    }
    read
}

fn chi_square(counts: impl Fn(usize) -> u32, wanted: &[f64], shots: u32) -> f64 {
    let cell = |(z, p): (usize, &f64)| {
        let expected = p * f64::from(shots);
        (f64::from(counts(z)) - expected).powi(2) / expected
    };
    wanted.iter().enumerate().map(cell).sum()
}

#[test]
fn noisy_shots_are_samples_of_the_exact_density_matrix() {
    let ising = Ising::max_cut(3, &[(0, 1), (1, 2)]).unwrap();
    let mut values = ising.diagonal();
    values.iter_mut().enumerate().for_each(|(z, v)| *v += 0.3 * f64::from((z & 1) as u8));
    let angles = Angles::new(vec![0.8, 1.1], vec![0.5, 0.35]).unwrap();
    let simulator = Simulator::x(values.clone(), 3).unwrap();
    let shots = 60_000;
    let sample = |noise, threads| {
        let simulator = simulator.clone().with_threads(Threads::new(threads).unwrap());
        trajectories(&simulator, &angles, noise, shots, 3).unwrap().unwrap()
    };
    for noise in [
        Noise { depolarising: 0.15, readout: 0.0 },
        Noise { depolarising: 0.0, readout: 0.07 },
        Noise { depolarising: 0.1, readout: 0.05 },
    ] {
        let counts = sample(noise, 1);
        let wanted = density(&values, &angles, noise);
        assert!((wanted.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let off = chi_square(|z| counts.get(&(z as u32)).copied().unwrap_or(0), &wanted, shots);
        // Seven degrees of freedom: above 30 once in ten thousand seeds; this seed is fixed.
        assert!(off < 30.0, "{noise:?}: {off}");
        let quiet = density(&values, &angles, Noise::NONE);
        let far = chi_square(|z| counts.get(&(z as u32)).copied().unwrap_or(0), &quiet, shots);
        assert!(far > 300.0, "the noise shows: {far}");
        assert_eq!(counts, sample(noise, 2));
        assert_eq!(counts, sample(noise, 3));
    }
}

#[test]
fn noise_over_designs_is_the_exact_channel() {
    let costs: Vec<f64> = (0..12).map(|i| f64::from(i * 7 % 12)).collect();
    let settings = Settings { layers: 3, iterations: 20, ..Settings::default() };
    let mut search = Optimiser::new(&costs, settings).unwrap();
    while !search.step().finished {}
    let outcome = search.outcome();
    let (noise, shots) = (Noise { depolarising: 0.2, readout: 0.1 }, 100_000);
    let samples = outcome.sample_noisy(shots, 5, noise);
    let survives = 0.8f64.powi(3);
    let wanted: Vec<f64> = outcome
        .probabilities()
        .iter()
        .map(|p| {
            let gate = survives * p + (1.0 - survives) / 12.0;
            0.9 * gate + 0.1 * (1.0 - gate) / 11.0
        })
        .collect();
    let count = |z: usize| samples.counts.iter().find(|c| c.0 == z as u32).map_or(0, |c| c.1);
    let off = chi_square(count, &wanted, shots);
    assert!(off < 40.0, "{off}");
    assert_eq!(samples.outside, 0, "one symbol cannot leave the set");
    assert_eq!(outcome.sample_noisy(shots, 5, Noise::NONE), outcome.sample(shots, 5));
}

#[test]
fn a_probability_outside_its_range_is_refused_by_name() {
    for (noise, name) in [
        (Noise { depolarising: 1.5, readout: 0.0 }, "noise.depolarising"),
        (Noise { depolarising: 0.0, readout: -0.1 }, "noise.readout"),
        (Noise { depolarising: f64::NAN, readout: 0.0 }, "noise.depolarising"),
    ] {
        let error = Optimiser::new(&[1.0, 2.0], Settings { noise, ..Settings::default() }).unwrap_err();
        assert!(error.to_string().contains(name) && error.code() == "EX-0470", "{error}");
    }
    let settings = Settings { warm_start: WarmStart::CubicMaxCut, ..Settings::default() };
    assert!(Optimiser::new(&[1.0, 2.0], settings).unwrap_err().to_string().contains("warm_start"));
}

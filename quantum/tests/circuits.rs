//! Circuits mean what the simulator computes, and their text says what the circuits hold.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::circuit::{Circuit, Gate};
use quantum::index_encoding::{IndexEncoding, QUBITS_MAX};
use quantum::ising::{Ising, Term};
use quantum::openqasm::{Dialect, program, program_in};
use quantum::qaoa::{Mixing, Optimiser, Settings};
use quantum::simulator::one_hot::Groups;
use quantum::simulator::{Angles, Simulator};
use quantum::threads::Threads;
use std::sync::Arc;

type Amplitude = (f64, f64);

fn times(a: Amplitude, b: Amplitude) -> Amplitude {
    (a.0 * b.0 - a.1 * b.1, a.0 * b.1 + a.1 * b.0)
}

fn plus(a: Amplitude, b: Amplitude) -> Amplitude {
    (a.0 + b.0, a.1 + b.1)
}

fn unit(phase: f64) -> Amplitude {
    (phase.cos(), phase.sin())
}

/// A 2 x 2 matrix on one qubit, where all `controls` are 1.
fn one(state: &mut [Amplitude], controls: usize, qubit: usize, m: [Amplitude; 4]) {
    for z in (0..state.len()).filter(|z| z >> qubit & 1 == 0 && z & controls == controls) {
        let (a, b) = (state[z], state[z | 1 << qubit]);
        state[z] = plus(times(m[0], a), times(m[1], b));
        state[z | 1 << qubit] = plus(times(m[2], a), times(m[3], b));
    }
}

/// U(theta, phi, lambda) of OpenQASM 3; `old` has the global phase of the language's first version.
fn u(theta: f64, phi: f64, lambda: f64, old: bool) -> [Amplitude; 4] {
    let (s, c) = (theta / 2.0).sin_cos();
    let minus_s = times((-s, 0.0), unit(lambda));
    let m = [(c, 0.0), minus_s, times((s, 0.0), unit(phi)), times((c, 0.0), unit(phi + lambda))];
    if old { m.map(|x| times(x, unit(theta / 2.0))) } else { m }
}

/// Runs the text itself: a reader of exactly the subset that `program` promises.
fn run_text(text: &str, inputs: &[(String, f64)], old: bool) -> Vec<Amplitude> {
    let mut gates = std::collections::BTreeMap::new();
    let mut state = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("gate ") {
            let (head, body) = rest.split_once('{').unwrap();
            let name = head.split([' ', '(']).next().unwrap().to_owned();
            let parameter = head.split_once('(').map(|(_, p)| p.split(')').next().unwrap().to_owned());
            let arguments = head.rsplit(')').next().unwrap().replace(&format!("{name} "), " ");
            let arguments: Vec<String> = arguments.split(',').map(|a| a.trim().to_owned()).collect();
            gates.insert(name, (parameter, arguments, body.trim_end_matches('}').to_owned()));
        } else if let Some(rest) = line.strip_prefix("qubit[") {
            let n: usize = rest.split(']').next().unwrap().parse().unwrap();
            state = vec![(0.0, 0.0); 1 << n];
            state[0] = (1.0, 0.0);
        } else if ["OPENQASM 3.0;", "c = measure q;"].contains(&line) || line.starts_with("bit[") {
        } else if let Some(rest) = line.strip_prefix("input float[64] ") {
            assert!(inputs.iter().any(|(name, _)| rest == format!("{name};")));
        } else {
            call(
                &mut state,
                &gates,
                line.trim_end_matches(';'),
                inputs,
                &|q| q.strip_prefix("q[").unwrap().trim_end_matches(']').parse().unwrap(),
                0,
                old,
            );
        }
    }
    state
}

type Gates = std::collections::BTreeMap<String, (Option<String>, Vec<String>, String)>;

fn call(
    state: &mut [Amplitude],
    gates: &Gates,
    statement: &str,
    values: &[(String, f64)],
    qubit: &dyn Fn(&str) -> usize,
    controls: usize,
    old: bool,
) {
    let statement = statement.trim();
    if let Some(rest) = statement.strip_prefix("ctrl @ ") {
        let (head, arguments) = rest.rsplit_once(") ").unwrap();
        let (control, rest) = arguments.split_once(',').unwrap();
        return call(
            state,
            gates,
            &format!("{head}) {rest}"),
            values,
            qubit,
            controls | 1 << qubit(control.trim()),
            old,
        );
    }
    let (head, arguments) = match statement.rsplit_once(')') {
        Some((head, arguments)) => (head, arguments),
        None => statement.split_once(' ').unwrap(),
    };
    let (name, parameters) = head.split_once('(').unwrap_or((head, ""));
    let parameters: Vec<f64> =
        parameters.split(',').filter(|p| !p.trim().is_empty()).map(|p| number(p, values)).collect();
    let arguments: Vec<usize> =
        arguments.split(',').filter(|a| !a.trim().is_empty()).map(|a| qubit(a.trim())).collect();
    match name.trim() {
        "U" => one(state, controls, arguments[0], u(parameters[0], parameters[1], parameters[2], old)),
        "gphase" => state.iter_mut().for_each(|a| *a = times(*a, unit(parameters[0]))),
        name => {
            let (parameter, names, body) = &gates[name];
            let inner: Vec<(String, f64)> = parameter.iter().cloned().zip(parameters).collect();
            let place = |q: &str| arguments[names.iter().position(|n| n == q).unwrap()];
            for statement in body.split(';').filter(|s| !s.trim().is_empty()) {
                call(state, gates, statement, &inner, &place, controls, old);
            }
        }
    }
}

fn number(text: &str, values: &[(String, f64)]) -> f64 {
    let text = text.trim();
    if let Some((a, b)) = text.split_once('*') {
        return number(a, values) * number(b, values);
    }
    if let Some((a, b)) = text.split_once('/') {
        return number(a, values) / number(b, values);
    }
    if let Ok(number) = text.parse() {
        return number;
    }
    match text.strip_prefix('-') {
        Some(rest) => -number(rest, values),
        None => values.iter().find(|(name, _)| name == text).unwrap().1,
    }
}

fn some_terms() -> impl Strategy<Value = Vec<Term>> {
    let one = (prop::collection::btree_set(0u32..4, 0..=4), -1.0f64..1.0)
        .prop_map(|(z, coefficient)| Term { z: z.into_iter().collect(), coefficient });
    prop::collection::vec(one, 1..7)
}

proptest! {
    #[test]
    fn the_text_of_a_circuit_computes_the_simulators_state(
        terms in some_terms(),
        angles in prop::collection::vec(-1.5f64..1.5, 4),
        old in any::<bool>(),
    ) {
        let ising = Ising::new(4, terms).unwrap();
        let circuit = Circuit::qaoa(&ising, 2);
        let inputs: Vec<(String, f64)> =
            circuit.inputs().iter().cloned().zip([angles[0], angles[2], angles[1], angles[3]]).collect();
        let state = run_text(&program(&circuit), &inputs, old);
        let simulator = Simulator::x(ising.diagonal(), 4).unwrap();
        let wanted = simulator.run(&Angles::new(angles[..2].to_vec(), angles[2..].to_vec()).unwrap());
        // In the language's first version U has another global phase: compare up to one common factor.
        let overlap = (0..16).fold((0.0, 0.0), |sum, z| plus(sum, times((wanted.re[z], -wanted.im[z]), state[z])));
        prop_assert!((overlap.0.hypot(overlap.1) - 1.0).abs() < 1e-12, "overlap {overlap:?}");
        if !old {
            prop_assert!((overlap.0 - 1.0).abs() < 1e-12, "the global phase is kept: {overlap:?}");
        }
    }
}

#[test]
fn resources_of_a_square_are_counted_by_hand() {
    let ising = Ising::max_cut(4, &[(0, 1), (2, 3), (1, 2), (3, 0)]).unwrap();
    let resources = Circuit::qaoa(&ising, 3).resources();
    assert_eq!((resources.qubits, resources.one_qubit_gates, resources.two_qubit_gates), (4, 4 + 3 * 4, 12));
    // Hadamard, then per layer two rounds of pairs and one rotation.
    assert_eq!((resources.depth, resources.two_qubit_depth), (1 + 3 * 3, 3 * 2));
}

#[test]
fn a_term_of_three_spins_costs_four_pair_gates() {
    let ising = Ising::new(3, vec![Term { z: vec![0, 1, 2], coefficient: 0.5 }]).unwrap();
    let circuit = Circuit::qaoa(&ising, 1);
    assert_eq!(circuit.resources().two_qubit_gates, 4);
    assert!(matches!(
        circuit.gates()[3..8],
        [Gate::Cx(0, 1), Gate::Cx(1, 2), Gate::Rz(2, _), Gate::Cx(1, 2), Gate::Cx(0, 1)]
    ));
}

#[test]
fn the_text_of_one_qubit_is_exactly_this() {
    let ising = Ising::new(1, vec![Term { z: vec![0], coefficient: -0.25 }]).unwrap();
    let text = program(&Circuit::qaoa(&ising, 1));
    let body = text.split("qubit[1] q;").nth(1).unwrap();
    assert_eq!(
        body,
        "\nbit[1] c;\nh q[0];\nrz(-0.5*cost_angle_0) q[0];\nrx(2.0*mixer_angle_0) q[0];\nc = measure q;\n"
    );
    assert!(
        text.starts_with(
            "OPENQASM 3.0;\ninput float[64] cost_angle_0;\ninput float[64] mixer_angle_0;\ngate h"
        )
    );
}

#[test]
fn the_braket_dialect_differs_in_gate_names_and_definitions_only() {
    let term = |z: &[u32]| Term { z: z.to_vec(), coefficient: 0.5 };
    let circuit = Circuit::qaoa(&Ising::new(3, vec![term(&[0, 1]), term(&[0, 1, 2])]).unwrap(), 1);
    let portable = program(&circuit);
    let renamed: Vec<String> = portable
        .lines()
        .filter(|line| !line.starts_with("gate "))
        .map(|line| line.replace("rzz(", "zz(").replace("cx q", "cnot q"))
        .collect();
    let braket = program_in(&circuit, Dialect::Braket);
    assert_eq!(braket.lines().collect::<Vec<_>>(), renamed);
    assert!(braket.contains("zz(1.0*cost_angle_0) q[0], q[1];") && braket.contains("cnot q[1], q[2];"));
    assert!(!braket.contains("ctrl"));
}

/// One-hot index of every combination of choices, group 0 fastest.
fn one_hot_index(sizes: &[u32], mut combination: u32) -> usize {
    let (mut state, mut first) = (0, 0);
    for size in sizes {
        state |= 1usize << (first + combination % size);
        combination /= size;
        first += size;
    }
    state
}

#[test]
fn the_text_of_a_one_hot_circuit_computes_the_one_hot_simulators_state() {
    let term = |z: &[u32], coefficient| Term { z: z.to_vec(), coefficient };
    for sizes in [vec![3u32, 2], vec![1, 4], vec![2, 2, 2], vec![5]] {
        let qubits: u32 = sizes.iter().sum();
        let mut terms: Vec<Term> =
            (0..qubits).map(|q| term(&[q], 0.3 * f64::from(q * q % 7) - 0.5)).collect();
        terms.push(term(&[0, qubits - 1], 0.45));
        terms.push(term(&[], 0.7));
        let ising = Ising::new(qubits, terms).unwrap();
        let diagonal = ising.diagonal();
        let count: u32 = sizes.iter().product();
        let values: Vec<f64> = (0..count).map(|c| diagonal[one_hot_index(&sizes, c)]).collect();
        let groups = Arc::new(Groups::product(&sizes).unwrap());
        let simulator = Simulator::one_hot(values, groups).unwrap();
        let wanted = simulator.run(&Angles::new(vec![0.4, -0.9], vec![0.7, 1.3]).unwrap());
        let circuit = Circuit::one_hot(&ising, &sizes, 2).unwrap();
        for (circuit, old) in [(circuit.clone(), false), (circuit.decomposed(), false), (circuit, true)] {
            let inputs: Vec<(String, f64)> =
                circuit.inputs().iter().cloned().zip([0.4, 0.7, -0.9, 1.3]).collect();
            let state = run_text(&program(&circuit), &inputs, old);
            let overlap = (0..count).fold((0.0, 0.0), |sum, c| {
                let z = one_hot_index(&sizes, c);
                plus(sum, times((wanted.re[c as usize], -wanted.im[c as usize]), state[z]))
            });
            // Overlap 1 also says that nothing has left the one-hot states.
            assert!((overlap.0.hypot(overlap.1) - 1.0).abs() < 1e-12, "{sizes:?}: {overlap:?}");
            assert!(
                old || (overlap.0 - 1.0).abs() < 1e-12,
                "{sizes:?}: the global phase is kept: {overlap:?}"
            );
        }
    }
}

#[test]
fn one_hot_resources_are_counted_by_hand_and_wrong_sizes_are_refused() {
    let ising = Ising::new(5, vec![Term { z: vec![0, 4], coefficient: 1.0 }]).unwrap();
    let circuit = Circuit::one_hot(&ising, &[3, 2], 2).unwrap();
    // Three neighbouring pairs are spread once at the start and twice in each layer, four CX each.
    assert_eq!(circuit.resources().two_qubit_gates, 3 * 4 * (1 + 2 * 2) + 2);
    assert_eq!(circuit.decomposed().resources().two_qubit_gates, 3 * 4 * (1 + 2 * 2) + 2 * 2);
    assert_eq!(circuit.decomposed().resources().one_qubit_gates, 2 + 3 * 2 * 5 + 2 * (1 + 2));
    assert!(Circuit::one_hot(&ising, &[3, 3], 1).is_none() && Circuit::one_hot(&ising, &[5, 0], 1).is_none());
}

#[test]
fn the_text_of_the_index_encoding_gives_the_probabilities_that_its_search_found() {
    for designs in [2usize, 3, 6, 8, 11] {
        let costs: Vec<f64> = (0..designs).map(|k| 1e6 + 37.0 * ((k * k * 7 + 3) % 13) as f64).collect();
        let encoding = IndexEncoding::new(&costs).unwrap();
        let settings = Settings { layers: 2, iterations: 20, ..Settings::default() };
        let mixing = Mixing::X { qubits: encoding.qubits() };
        let mut search = Optimiser::over(encoding.costs(), mixing, Threads::one(), settings).unwrap();
        while !search.step().finished {}
        let outcome = search.outcome();
        let circuit = encoding.circuit(&outcome).unwrap();
        let states = 1usize << encoding.qubits();
        assert!(states >= designs && (designs == 2 || states < 2 * designs));
        // A CX between any two rotations of a layer, and no more.
        assert_eq!(circuit.resources().two_qubit_gates, 2 * (states as u64 - 2), "{designs} designs");
        let state = run_text(&program(&circuit), &[], false);
        for (z, (amplitude, wanted)) in state.iter().zip(outcome.probabilities()).enumerate() {
            let given = amplitude.0 * amplitude.0 + amplitude.1 * amplitude.1;
            assert!((given - wanted).abs() < 1e-9, "{designs} designs, state {z}: {given}, not {wanted}");
        }
        let worst = costs.iter().copied().fold(f64::MIN, f64::max);
        assert!(encoding.costs()[designs..].iter().all(|cost| *cost == worst + encoding.penalty()));
    }
}

#[test]
fn a_set_that_the_index_encoding_cannot_hold_is_refused_with_its_size() {
    let most = vec![1.0; 1 << QUBITS_MAX];
    assert_eq!(IndexEncoding::new(&most).unwrap().qubits(), QUBITS_MAX);
    let error = IndexEncoding::new(&[most, vec![2.0]].concat()).unwrap_err().to_string();
    assert!(error.contains("1025 designs") && error.contains("11 qubits"), "{error}");
    assert!(IndexEncoding::new(&[]).is_err() && IndexEncoding::new(&[1.0, f64::NAN]).is_err());
    // One design alone, and designs that cost the same, are still told from the padding.
    assert_eq!(IndexEncoding::new(&[7.0]).unwrap().costs(), [7.0, 14.0]);
    assert_eq!(Circuit::diagonal(&[0.0; 3], &[0.1], &[0.1]), None);
    assert_eq!(Circuit::diagonal(&[0.0; 4], &[0.1], &[]), None);
}

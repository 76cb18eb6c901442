//! Scenario files: what is drawn, and every way in which a file can be wrong.

// A test may panic; its helpers too.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use solvers::problem::Problem;
use solvers::risk::{CvarLevel, Losses, sum, tail_weights};
use solvers::scenarios::{CODES, ScenarioSet, read};

fn set(text: &str) -> ScenarioSet {
    match read("s.yaml", text, &|_| None) {
        Ok(model) => model.set(None),
        Err(problems) => panic!("{problems:#?}"),
    }
}

fn problems(text: &str) -> Vec<Problem> {
    read("s.yaml", text, &|_| None).unwrap_err()
}

fn mean(column: &[f64]) -> f64 {
    sum(column.iter().copied()) / column.len() as f64
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let (ma, mb) = (mean(a), mean(b));
    let product =
        |x: &[f64], mx: f64, y: &[f64], my: f64| sum(x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)));
    product(a, ma, b, mb) / (product(a, ma, a, ma) * product(b, mb, b, mb)).sqrt()
}

const EXAMPLE: &str = "
scenarios: 1
variables:
  h2_price:  {unit: USD/kg, uniform: [3.0, 8.0]}
  fleet:     {unit: aircraft, uniform_integer: [30, 80]}
  demand:    {normal: {mean: 1.0, sd: 0.1}, min: 0.5}
correlations: [[h2_price, demand, -0.4]]
count: 4000
sampling: latin-hypercube
seed: 7
";

#[test]
fn the_example_of_the_format_is_read_and_drawn() {
    let set = set(EXAMPLE);
    assert_eq!(set.len(), 4000);
    assert_eq!(set.variables[0].unit.as_deref(), Some("USD/kg"));
    assert!(set.column(0).iter().all(|x| (3.0..=8.0).contains(x)));
    assert!(set.column(1).iter().all(|x| (30.0..=80.0).contains(x) && x.fract() == 0.0));
    assert!(set.column(2).iter().all(|x| *x >= 0.5));
    assert!((mean(set.column(0)) - 5.5).abs() < 0.001);
    assert!((mean(set.column(1)) - 55.0).abs() < 0.05);
    assert!((mean(set.column(2)) - 1.0).abs() < 0.001);
    assert!((sum(set.probability.iter().copied()) - 1.0).abs() < 1e-12);
}

#[test]
fn json_and_yaml_give_the_same_scenarios() {
    let json = r#"{"scenarios": 1, "variables": {"a": {"uniform": [0, 1]}}, "count": 10, "seed": 3}"#;
    let yaml = "scenarios: 1\nvariables:\n  a: {uniform: [0, 1]}\ncount: 10\nseed: 3\n";
    assert_eq!(set(json).digest(), set(yaml).digest());
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    for sampling in ["random", "latin-hypercube", "sobol"] {
        let text = EXAMPLE.replace("latin-hypercube", sampling);
        let model = read("s.yaml", &text, &|_| None).unwrap();
        assert_eq!(model.set(None).digest(), model.set(Some(7)).digest(), "{sampling}");
        assert_ne!(model.set(None).digest(), model.set(Some(8)).digest(), "{sampling}");
    }
}

#[test]
fn a_further_variable_leaves_the_others_as_they_are() {
    for sampling in ["random", "latin-hypercube"] {
        let text = |more: &str| {
            format!(
                "scenarios: 1\nvariables:\n{more}  b: {{uniform: [0, 1]}}\ncount: 50\nsampling: {sampling}\n"
            )
        };
        let (alone, beside) = (set(&text("")), set(&text("  a: {lognormal: {mean: 0, sd: 1}}\n")));
        assert_eq!(alone.column(0), beside.column(1), "{sampling}");
    }
}

#[test]
fn a_latin_hypercube_puts_one_scenario_into_every_slice_even_under_correlation() {
    let set = set(EXAMPLE);
    let mut slices = vec![0; set.len()];
    for x in set.column(0) {
        slices[((x - 3.0) / 5.0 * set.len() as f64) as usize] += 1;
    }
    assert!(slices.iter().all(|&n| n == 1));
    let random = self::set(&EXAMPLE.replace("latin-hypercube", "random"));
    let mut slices = vec![0; random.len()];
    for x in random.column(0) {
        slices[((x - 3.0) / 5.0 * random.len() as f64) as usize] += 1;
    }
    assert!(slices.contains(&0), "random sampling would not pass this check");
}

#[test]
fn the_copula_has_the_correlation_asked_for() {
    for sampling in ["random", "latin-hypercube", "sobol"] {
        for asked in [-0.9, -0.4, 0.0, 0.7] {
            let text = format!(
                "scenarios: 1\nvariables:\n  a: {{uniform: [0, 1]}}\n  b: {{normal: {{mean: 5, sd: 2}}}}\n  \
                 c: {{normal: {{mean: 0, sd: 1}}}}\ncorrelations: [[b, c, {asked}], [a, c, 0.3]]\n\
                 count: 20000\nsampling: {sampling}\nseed: 5\n"
            );
            let set = set(&text);
            let got = correlation(set.column(1), set.column(2));
            assert!((got - asked).abs() < 0.03, "{sampling} {asked}: {got}");
            // A uniform and a normal margin: Pearson = copula correlation x sqrt(3 / pi).
            let got = correlation(set.column(0), set.column(2));
            let expected = 0.3 * (3.0 / std::f64::consts::PI).sqrt();
            assert!((got - expected).abs() < 0.03, "{sampling}: {got}");
            assert!(correlation(set.column(0), set.column(1)).abs() < 0.03);
        }
    }
}

#[test]
fn sobol_points_cover_evenly() {
    let text = "scenarios: 1\nvariables:\n  a: {uniform: [0, 1]}\n  b: {uniform: [0, 1]}\ncount: 256\nsampling: sobol\n";
    let set = set(text);
    // A (0, 8, 2)-net: each of the 16 x 16 boxes holds exactly one of the 256 points.
    let mut boxes = vec![0; 256];
    for s in 0..256 {
        let (x, y) = (set.column(0)[s], set.column(1)[s]);
        boxes[(x * 16.0) as usize * 16 + (y * 16.0) as usize] += 1;
    }
    assert!(boxes.iter().all(|&n| n == 1), "{boxes:?}");
}

const TABLE: &str = "scenarios: 1\ntable: t.csv\nunits: {price: USD/kg}\n";

fn table(csv: &str) -> Result<ScenarioSet, Vec<Problem>> {
    let resolve = |name: &str| (name == "t.csv").then(|| csv.to_string());
    read("s.yaml", TABLE, &resolve).map(|m| m.set(Some(99)))
}

#[test]
fn a_table_is_read_with_and_without_probabilities() {
    let set = table("price,probability,fleet\n3,0.25,10\n4,0.75,20\n").unwrap();
    assert_eq!(set.column(0), [3.0, 4.0]);
    assert_eq!(set.column(1), [10.0, 20.0]);
    assert_eq!(set.probability, [0.25, 0.75]);
    assert_eq!(set.variables[0].unit.as_deref(), Some("USD/kg"));
    let even = table("price\n1\n2\n3\n4\n").unwrap();
    assert_eq!(even.probability, [0.25; 4]);
    let under = "scenarios: 1\nvariables: {table: t.csv}\n";
    let resolve = |_: &str| Some("price\n1\n".to_string());
    assert_eq!(read("s.yaml", under, &resolve).unwrap().set(None).len(), 1);
    let plain = read("t.CSV", "a,b\n1,2\n", &|_| None).unwrap().set(None);
    assert_eq!(plain.column(1), [2.0]);
}

#[test]
fn a_set_written_as_csv_reads_back_as_itself() {
    let set = set(EXAMPLE);
    let back = read("t.csv", &set.to_csv(), &|_| None).unwrap().set(None);
    assert_eq!(back.values, set.values);
    assert_eq!(back.probability, set.probability);
}

#[test]
fn every_defect_of_a_table_has_its_code_and_line() {
    for (csv, code, line) in [
        ("price\n", "EX-0357", 1),
        ("probability\n1\n", "EX-0357", 1),
        ("price,probability\n1,0.5\n2,0.4\n", "EX-0359", 1),
        ("price,probability\n1,0.5\n2,0.500000002\n", "EX-0359", 1),
        ("price,probability\n1,1.5\n2,-0.5\n", "EX-0358", 2),
        ("price,probability\n1,1.5\n2,-0.5\n", "EX-0358", 3),
        ("price,probability\n1,nan\n2,1\n", "EX-0355", 2),
        ("price\n1\ninf\n", "EX-0355", 3),
        ("price\n1\nmuch\n", "EX-0351", 3),
        ("price,price\n1,2\n", "EX-0354", 1),
        ("price,a b\n1,2\n", "EX-0370", 1),
        ("price,fleet\n1,2\n3\n", "EX-0369", 3),
    ] {
        let problems = table(csv).unwrap_err();
        assert!(
            problems.iter().any(|p| p.code == code && p.line == line && p.file == "t.csv"),
            "{csv:?}: {problems:#?}"
        );
    }
    assert!(table("price,probability\n1,0.5\n2,0.5000000005\n").is_ok());
    assert_eq!(problems(TABLE)[0].code, "EX-0367");
}

#[test]
fn every_defect_of_a_file_has_its_code_and_line() {
    let base = "scenarios: 1\nvariables:\n  a: {uniform: [0, 1]}\n  b: {uniform: [0, 1]}\ncount: 10\n";
    for (from, to, code, line) in [
        ("scenarios: 1", "scenarios: 2", "EX-0356", 1),
        ("scenarios: 1", "scenarios: one", "EX-0351", 1),
        ("scenarios: 1\n", "seed: 1\n", "EX-0353", 1),
        ("count: 10", "count: 0", "EX-0357", 5),
        ("count: 10", "count: -3", "EX-0351", 5),
        ("count: 10", "count: 99999999", "EX-0366", 5),
        ("count: 10", "sampling: sobol\ncount: 70000", "EX-0366", 6),
        ("count: 10", "count: 10\nsampling: halton", "EX-0365", 6),
        ("count: 10", "count: 10\ncolour: red", "EX-0352", 6),
        ("count: 10", "count: 10\ncount: 11", "EX-0354", 6),
        ("count: 10", "count: 10\ntable: t.csv", "EX-0368", 5),
        ("count: 10", "count: [", "EX-0350", 5),
        ("count: 10\n", "", "EX-0353", 1),
        ("a: {uniform: [0, 1]}", "a: {uniform: [1, 0]}", "EX-0360", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0, .nan]}", "EX-0355", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0, .inf]}", "EX-0355", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0]}", "EX-0351", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0, x]}", "EX-0351", 3),
        ("a: {uniform: [0, 1]}", "a: {unifrom: [0, 1]}", "EX-0352", 3),
        ("a: {uniform: [0, 1]}", "a: {unit: kg}", "EX-0361", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0, 1], min: 0}", "EX-0352", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform: [0, 1], lognormal: {mean: 0, sd: 1}}", "EX-0361", 3),
        ("a: {uniform: [0, 1]}", "a: {uniform_integer: [0, 1.5]}", "EX-0351", 3),
        ("a: {uniform: [0, 1]}", "a: {normal: {mean: 0, sd: 0}}", "EX-0360", 3),
        ("a: {uniform: [0, 1]}", "a: {normal: {mean: 0, sd: 1}, min: 9}", "EX-0360", 3),
        ("a: {uniform: [0, 1]}", "a: {normal: {mean: 0}}", "EX-0353", 3),
        ("a: {uniform: [0, 1]}", "a: {triangular: [0, 2, 1]}", "EX-0360", 3),
        ("a: {uniform: [0, 1]}", "a: {lognormal: {mean: 700, sd: 1}}", "EX-0360", 3),
        ("a: {uniform: [0, 1]}", "a: 3", "EX-0351", 3),
        ("  a: {uniform: [0, 1]}", "  2a: {uniform: [0, 1]}", "EX-0370", 3),
        ("  a: {uniform: [0, 1]}", "  probability: {uniform: [0, 1]}", "EX-0370", 3),
        ("count: 10", "count: 10\ncorrelations: [[a, c, 0.1]]", "EX-0362", 6),
        ("count: 10", "count: 10\ncorrelations: [[a, a, 0.1]]", "EX-0362", 6),
        ("count: 10", "count: 10\ncorrelations: [[a, b, 0.1], [b, a, 0.2]]", "EX-0362", 6),
        ("count: 10", "count: 10\ncorrelations: [[a, b, 1.1]]", "EX-0363", 6),
        ("count: 10", "count: 10\ncorrelations: [[a, b]]", "EX-0351", 6),
    ] {
        let text = base.replacen(from, to, 1);
        assert_ne!(text, base, "{from}");
        let problems = problems(&text);
        assert!(problems.iter().any(|p| p.code == code && p.line == line), "{to}: {problems:#?}");
        assert!(problems.iter().all(|p| CODES.iter().any(|(known, _)| *known == p.code)));
    }
    assert_eq!(problems("scenarios: 1\nvariables: {}\ncount: 3\n")[0].code, "EX-0357");
    assert_eq!(problems("scenarios: 1\ncount: 3\n")[0].code, "EX-0353");
}

#[test]
fn correlations_that_contradict_each_other_are_refused() {
    let text = "scenarios: 1\nvariables:\n  a: {uniform: [0, 1]}\n  b: {uniform: [0, 1]}\n  c: {uniform: [0, 1]}\n\
                count: 10\ncorrelations: [[a, b, 0.9], [b, c, 0.9], [a, c, -0.9]]\n";
    assert_eq!(problems(text)[0].code, "EX-0364");
    let torn =
        text.replace("[[a, b, 0.9], [b, c, 0.9], [a, c, -0.9]]", "[[a, b, 1], [b, c, 0.5], [a, c, -0.5]]");
    assert_eq!(problems(&torn)[0].code, "EX-0364");
}

#[test]
fn a_correlation_of_one_makes_two_variables_move_as_one() {
    for (asked, order) in [(1, [0, 1]), (-1, [1, 0])] {
        for sampling in ["random", "latin-hypercube", "sobol"] {
            let text = format!(
                "scenarios: 1\nvariables:\n  a: {{uniform: [0, 1]}}\n  b: {{uniform: [2, 4]}}\ncount: 500\n\
                 correlations: [[a, b, {asked}]]\nsampling: {sampling}\n"
            );
            let set = set(&text);
            let got = correlation(set.column(0), set.column(1));
            assert!((got - f64::from(asked)).abs() < 1e-4, "{sampling} {asked}: {got}");
            let lowest = |column: &[f64]| (0..500).min_by(|&i, &j| column[i].total_cmp(&column[j])).unwrap();
            let highest = |column: &[f64]| (0..500).max_by(|&i, &j| column[i].total_cmp(&column[j])).unwrap();
            let at = [lowest(set.column(1)), highest(set.column(1))];
            assert_eq!([at[order[0]], at[order[1]]], [lowest(set.column(0)), highest(set.column(0))]);
        }
    }
}

#[test]
fn all_problems_come_at_once_in_the_order_of_the_lines() {
    let text =
        "scenarios: 3\nvariables:\n  a: {uniform: [1, 0]}\n  b: {uniform: [0, .nan]}\ncount: 0\nseed: x\n";
    let found: Vec<(u32, String)> = problems(text).into_iter().map(|p| (p.line, p.code)).collect();
    let expected = [(1, "EX-0356"), (3, "EX-0360"), (4, "EX-0355"), (5, "EX-0357"), (6, "EX-0351")];
    assert_eq!(found, expected.map(|(line, code)| (line, code.to_string())));
}

proptest! {
    #[test]
    fn cvar_is_the_minimum_of_rockafellar_and_uryasev(
        pairs in prop::collection::vec((-1e3..1e3f64, 1u32..100), 1..60),
        level in 0.0..0.999f64,
    ) {
        let total: u32 = pairs.iter().map(|p| p.1).sum();
        let costs: Vec<f64> = pairs.iter().map(|p| p.0).collect();
        let probability: Vec<f64> = pairs.iter().map(|p| f64::from(p.1) / f64::from(total)).collect();
        let losses = Losses::new(&costs, &probability).unwrap();
        let level = CvarLevel::new(level).unwrap();
        let objective = |z: f64| {
            let over: f64 = costs.iter().zip(&probability).map(|(c, p)| p * (c - z).max(0.0)).sum();
            z + over / (1.0 - level.get())
        };
        let least = costs.iter().map(|&z| objective(z)).fold(f64::INFINITY, f64::min);
        let cvar = losses.cvar(level);
        prop_assert!((cvar - least).abs() < 1e-9, "{} {}", cvar, least);
        // The value at risk attains the minimum.
        prop_assert!((objective(losses.value_at_risk(level)) - least).abs() < 1e-9);
        prop_assert!(cvar >= losses.expectation() - 1e-9);
        let weights = tail_weights(&costs, &probability, level).unwrap();
        prop_assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-9);
        let by_weights: f64 = weights.iter().zip(&costs).map(|(w, c)| w * c).sum();
        prop_assert!((by_weights - cvar).abs() < 1e-8);
    }

    #[test]
    fn a_weight_is_worth_as_many_copies(
        pairs in prop::collection::vec((-50i32..50, 1usize..6), 1..20),
        level in 0.0..0.99f64,
    ) {
        let copies: Vec<f64> = pairs
            .iter()
            .flat_map(|&(cost, times)| std::iter::repeat_n(f64::from(cost), times))
            .collect();
        let costs: Vec<f64> = pairs.iter().map(|p| f64::from(p.0)).collect();
        let probability: Vec<f64> = pairs.iter().map(|p| p.1 as f64 / copies.len() as f64).collect();
        let level = CvarLevel::new(level).unwrap();
        let (weighted, replicated) = (
            Losses::new(&costs, &probability).unwrap(),
            Losses::equally_likely(&copies).unwrap(),
        );
        prop_assert!((weighted.cvar(level) - replicated.cvar(level)).abs() < 1e-10);
        prop_assert!((weighted.expectation() - replicated.expectation()).abs() < 1e-10);
        prop_assert_eq!(weighted.value_at_risk(level), replicated.value_at_risk(level));
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9:\\[\\]{}, \n.&*-]{0,60}") {
        let _ = read("s.yaml", &format!("scenarios: 1\nvariables:\n  {text}"), &|_| None);
        let _ = read("s.csv", &text, &|_| None);
    }
}

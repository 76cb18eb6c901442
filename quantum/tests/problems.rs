//! Problem files: the agreed numbers, and one clear error for each kind of bad file.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use quantum::CODES;
use quantum::ising::{Ising, Term};
use quantum::problem::{Mixer, Problem, ProblemError, evaluate};
use quantum::simulator::{Angles, Simulator};
use std::path::{Path, PathBuf};

/// Files `NAME.json` beside an `expected.json` that several independent simulators agreed on.
fn check_folder(folder: &Path) -> usize {
    let expected = std::fs::read_to_string(folder.join("expected.json")).unwrap();
    let expected: serde_json::Value = serde_json::from_str(&expected).unwrap();
    let expected = expected.as_object().unwrap();
    for (name, numbers) in expected {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let found = evaluate(&Problem::read(&text).unwrap());
        for (key, value) in
            [("expectation", found.expectation), ("optimum_probability", found.optimum_probability)]
        {
            if let Some(wanted) = numbers.get(key).and_then(serde_json::Value::as_f64) {
                assert!((value - wanted).abs() <= 1e-10, "{name}: {key} is {value}, not {wanted}");
            }
        }
    }
    expected.len()
}

#[test]
fn agreed_numbers_are_reproduced() {
    assert_eq!(check_folder(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data")), 5);
}

#[test]
fn agreed_numbers_of_the_shared_bench_are_reproduced() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/bench/quantum");
    if !folder.join("expected.json").exists() {
        println!("skipped: no shared bench beside the workspace");
        return;
    }
    assert!(check_folder(&folder) > 0);
}

/// Text with the parts of a problem, each replaceable.
fn file(qubits: &str, cost: &str, mixer: &str, cost_angles: &str, mixer_angles: &str) -> String {
    format!(
        "{{\"qaoa_problem\":1,{qubits}\n\"cost\":{cost},\n\"mixer\":{mixer},\n\
         \"cost_angles\":{cost_angles},\n\"mixer_angles\":{mixer_angles}}}"
    )
}

#[test]
fn each_bad_file_has_its_own_code_and_names_the_place() {
    let two = r#"{"ising":[{"z":[0,1],"coefficient":1}]}"#;
    let values = r#"{"values":[1,2,3]}"#;
    let many = format!("[{}0.1]", "0.1,".repeat(4096));
    let cases: Vec<(String, &str, &str)> = vec![
        ("{\"qaoa_problem\":1,".into(), "EX-0450", "1:"),
        ("".into(), "EX-0450", "1:0"),
        ("PK\u{3}\u{4}".into(), "EX-0450", "1:1"),
        (file("", r#"{"values":[1,NaN]}"#, "\"grover\"", "[]", "[]"), "EX-0451", "NaN"),
        (file("", r#"{"values":[1,-Infinity]}"#, "\"grover\"", "[]", "[]"), "EX-0451", "NaN"),
        (file("", values, "\"grover\"", "[NaN]", "[1]"), "EX-0451", "4:"),
        (file("", values, "\"grover\"", "[1e999]", "[1]"), "EX-0451", "4:"),
        (
            file(
                "\"qubits\":2,",
                r#"{"ising":[{"z":[0],"coefficient":1e308},{"z":[1],"coefficient":1e308}]}"#,
                "\"x\"",
                "[]",
                "[]",
            ),
            "EX-0451",
            "ising[1]",
        ),
        (file("\"qbits\":2,", two, "\"x\"", "[]", "[]"), "EX-0452", "qbits"),
        (
            file("\"qubits\":2,", r#"{"ising":[{"z":[0],"coefficient":1,"w":2}]}"#, "\"x\"", "[]", "[]"),
            "EX-0452",
            "`w`",
        ),
        (file("\"qubits\":2,\"qubits\":2,", two, "\"x\"", "[]", "[]"), "EX-0453", "duplicate"),
        (file("\"qubits\":-2,", two, "\"x\"", "[]", "[]"), "EX-0453", "1:"),
        (file("", values, "\"y\"", "[]", "[]"), "EX-0453", "`x` or `grover`"),
        (file("", values, "\"grover\"", "[\"1\"]", "[]"), "EX-0453", "4:"),
        ("{\"qaoa_problem\":1,\"mixer\":\"x\"}".into(), "EX-0453", "missing"),
        ("{\"cost\":1}".into(), "EX-0453", "qaoa_problem"),
        ("{\"qaoa_problem\":2,\"new\":1}".into(), "EX-0454", "2"),
        ("{\"qaoa_problem\":\"1\"}".into(), "EX-0454", "\"1\""),
        (file("", values, "\"grover\"", "[1,2]", "[1]"), "EX-0455", "2 cost angles and 1"),
        (file("", "{}", "\"grover\"", "[]", "[]"), "EX-0456", "neither"),
        (file("", r#"{"ising":[],"values":[]}"#, "\"grover\"", "[]", "[]"), "EX-0456", "both"),
        (file("\"qubits\":1,", two, "\"x\"", "[]", "[]"), "EX-0457", "qubit 1"),
        (
            file("\"qubits\":2,", r#"{"ising":[{"z":[1,1],"coefficient":1}]}"#, "\"x\"", "[]", "[]"),
            "EX-0458",
            "twice",
        ),
        (file("", two, "\"x\"", "[]", "[]"), "EX-0459", "ising"),
        (file("", values, "\"x\"", "[]", "[]"), "EX-0459", "mixer"),
        (file("\"qubits\":28,", two, "\"x\"", "[]", "[]"), "EX-0460", "STATE_BYTES_MAX"),
        (file("\"qubits\":18446744073709551615,", two, "\"x\"", "[]", "[]"), "EX-0460", "STATE_BYTES_MAX"),
        (file("\"qubits\":0,", two, "\"x\"", "[]", "[]"), "EX-0460", "2^0"),
        (file("", r#"{"values":[]}"#, "\"grover\"", "[]", "[]"), "EX-0461", "empty"),
        (file("\"qubits\":2,", values, "\"x\"", "[]", "[]"), "EX-0462", "3 entries"),
        (file("", values, "\"grover\"", &many, &many), "EX-0463", "4097"),
        (file("", r#"{"values":[1,-1e200]}"#, "\"grover\"", "[0.1,5]", "[1,1]"), "EX-0464", "cost angle 0"),
    ];
    for (text, code, words) in &cases {
        let error = Problem::read(text).expect_err(text);
        assert_eq!(error.code(), *code, "{error}\n{}", &text[..text.len().min(300)]);
        assert!(error.to_string().contains(words), "{error}");
        assert!(CODES.iter().any(|(known, _)| known == code));
    }
    // Every problem-file code of the table is reached above.
    for (code, _) in CODES.iter().filter(|(code, _)| *code < "EX-0470") {
        assert!(cases.iter().any(|(_, reached, _)| reached == code), "{code} is never given");
    }
}

#[test]
fn no_layers_at_all_is_the_uniform_mean() {
    let text = file("", r#"{"values":[1,2,6,1]}"#, "\"grover\"", "[]", "[]");
    let found = evaluate(&Problem::read(&text).unwrap());
    assert!((found.expectation - 2.5).abs() < 1e-14);
    assert!((found.optimum_probability - 0.5).abs() < 1e-14);
}

#[test]
fn an_ising_cost_and_its_listed_values_evaluate_alike() {
    let term = |z: &[u32], coefficient| Term { z: z.to_vec(), coefficient };
    let terms = vec![term(&[0, 1, 2], 0.7), term(&[1], -0.3), term(&[], 2.0), term(&[0, 2], 0.4)];
    let ising = Ising::new(3, terms).unwrap();
    let angles = Angles::new(vec![0.3, 0.9], vec![0.8, -0.2]).unwrap();
    for mixer in [Mixer::X, Mixer::Grover] {
        let listed = Problem::values(ising.diagonal(), mixer, angles.clone(), Some(3)).unwrap();
        let polynomial = Problem::ising(ising.clone(), mixer, angles.clone()).unwrap();
        assert_eq!(evaluate(&listed), evaluate(&polynomial));
    }
}

#[test]
fn ties_by_rounding_count_as_optimal() {
    // A frustrated triangle: either weak edge may be left unsatisfied, and 0.1 + 0.2 is 0.3 but for rounding.
    let term = |z: &[u32], coefficient| Term { z: z.to_vec(), coefficient };
    let terms = |third: f64| vec![term(&[0, 2], 0.31), term(&[0, 1], 0.1 + 0.2), term(&[1, 2], third)];
    let optimum_probability = |third: f64| {
        let ising = Ising::new(3, terms(third)).unwrap();
        evaluate(&Problem::ising(ising, Mixer::X, Angles::default()).unwrap()).optimum_probability
    };
    assert!((optimum_probability(0.3) - 4.0 / 8.0).abs() < 1e-15);
    assert!((optimum_probability(0.3 - 1e-9) - 2.0 / 8.0).abs() < 1e-15);
}

#[test]
fn building_a_problem_in_code_is_checked_as_reading_is() {
    let angles = |a: f64| Angles { cost: vec![a], mixer: vec![1.0] };
    let error = Problem::values(vec![1.0, f64::NAN], Mixer::Grover, angles(1.0), None).unwrap_err();
    assert_eq!(error, ProblemError::NotFinite { place: "`cost.values[1]`".into() });
    let error = Problem::values(vec![1.0], Mixer::Grover, angles(f64::INFINITY), None).unwrap_err();
    assert_eq!(error, ProblemError::NotFinite { place: "`cost_angles[0]`".into() });
    assert!(Simulator::x(vec![0.0; 3], 2).is_none());
    assert!(Simulator::grover_grouped(vec![0.0; 2], vec![1.0, f64::NAN]).is_none());
}

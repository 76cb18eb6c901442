//! Every kind of defect is found, with its code and its place, and none hides another.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod definition_support;
use definition_support::*;
use engine::{codes, definition, predicate};

/// The problems of `text` as `code line:column`, one after the other.
fn check(text: &str, expected: &[&str]) {
    check_in(text, None, expected);
}

fn check_in(text: &str, workflow: Option<&str>, expected: &[&str]) {
    let problems = load(text, workflow).unwrap_err();
    let found: Vec<_> =
        problems.iter().map(|one| format!("{} {}:{}", one.code, one.line, one.column)).collect();
    assert_eq!(found, expected, "{problems:#?}");
    assert!(problems.iter().all(|one| codes::lookup(&one.code).is_some()), "{problems:#?}");
}

fn message(text: &str) -> (String, String) {
    let problem = load(text, None).unwrap_err().remove(0);
    (problem.message, problem.help)
}

#[test]
fn an_unknown_stage_kind_is_named_with_what_was_meant() {
    let text = "workflow: w\nstages:\n  - milp-solvng\n  - {name: x, kind: feasible-set}\n";
    check(text, &["EX-0111 3:5", "EX-0111 4:21"]);
    let (message, help) = message(text);
    assert_eq!(message, "`milp-solvng` is neither a stage kind nor a workflow");
    assert_eq!(help, "did you mean `milp-solving`?");
}

#[test]
fn a_circle_is_named_once_and_stages_behind_it_are_not_blamed() {
    let text = "workflow: w\nstages:\n  - {name: a, kind: approval, needs: [c]}\n  - {name: b, kind: approval, needs: [a]}\n  - {name: c, kind: approval, needs: [b]}\n  - {name: d, kind: approval, needs: [c]}\n  - {name: e, kind: approval, needs: [e]}\n";
    check(text, &["EX-0115 3:39", "EX-0115 7:39"]);
    assert_eq!(message(text).0, "stages need each other in a circle: a -> c -> b -> a");
}

#[test]
fn a_stage_name_may_stand_once() {
    check("workflow: w\nstages:\n  - validation\n  - name: validation\n", &["EX-0112 4:11"]);
}

#[test]
fn a_dependency_must_be_a_stage_of_the_workflow() {
    let text = "workflow: w\nstages:\n  - validation\n  - name: deployment\n    needs: [validaton, nothing-like-it]\n";
    check(text, &["EX-0114 5:13", "EX-0114 5:24"]);
    assert_eq!(message(text).1, "did you mean `validation`?");
}

#[test]
fn wrong_types_are_told_with_what_came() {
    let text = "workflow: w\nstages:\n  - name: validation\n    tasks: check\n    retry: {attempts: three}\n    idempotent: maybe\n    resources: 4\n    name2: 1\n  - [a]\n";
    check(
        text,
        &["EX-0102 4:12", "EX-0102 5:23", "EX-0102 6:17", "EX-0102 7:16", "EX-0103 8:5", "EX-0102 9:5"],
    );
    assert_eq!(message(text).0, "`tasks` must be a list, not the text \"check\"");
}

#[test]
fn an_unknown_key_is_no_comment() {
    let text = "workflow: w\nstags: []\nstages: [validation]\nresources: {cpus: 1}\n";
    check(text, &["EX-0103 2:1", "EX-0103 4:13"]);
    assert_eq!(message(text).1, "did you mean `stages`?");
}

#[test]
fn missing_fields_are_missed() {
    check("stages: [validation]\n", &["EX-0104 1:1"]);
    check("workflow: w\n", &["EX-0104 1:11"]);
    check("workflow: w\nstages:\n  - kind: validation\n", &["EX-0104 3:5"]);
    check("workflow: w\nstages:\n  - exec\n", &["EX-0104 3:5"]);
    check("workflow: w\nstages:\n  - {name: exec, command: []}\n", &["EX-0104 3:12", "EX-0104 3:27"]);
}

#[test]
fn durations_must_be_durations() {
    let text = "workflow: w\nstages:\n  - name: validation\n    timeout: {start_to_close: 5 parsecs, heartbeat: 0s, schedule_to_start: 400d}\n    retry: {backoff: -1}\n";
    check(text, &["EX-0122 4:31", "EX-0122 4:53", "EX-0122 4:76", "EX-0122 5:22"]);
}

#[test]
fn numbers_must_be_in_range() {
    let text = "workflow: w\nparams: {seed: -1, cvar_level: 1.0, risk_weight: heavy}\nutcs_phase: 12\npriority: urgent\nstages:\n  - name: validation\n    retry: {attempts: 0, jitter: 1.5}\n    gate: {approvals: 0}\n    resources: {cpu: 0, memory: 8}\n";
    check(
        text,
        &[
            "EX-0123 2:16",
            "EX-0123 2:32",
            "EX-0123 2:50",
            "EX-0123 3:13",
            "EX-0125 4:11",
            "EX-0123 7:23",
            "EX-0123 7:34",
            "EX-0123 8:23",
            "EX-0123 9:22",
            "EX-0123 9:33",
        ],
    );
}

#[test]
fn a_task_nothing_does_is_an_error_and_so_is_one_of_another_kind() {
    let text = "workflow: w\nstages:\n  - name: enumeration\n    tasks: [run_milp_solvr, fly_to_the_moon]\n  - name: solve\n    kind: milp-solving\n    tasks: [run_milp_solver, create_audit_trail]\n";
    check(text, &["EX-0119 4:13", "EX-0119 4:29", "EX-0119 7:30"]);
    assert_eq!(message(text).1, "did you mean `run_milp_solver`?");
}

#[test]
fn an_output_must_be_one_that_the_stage_can_make() {
    let text = "workflow: w\nstages:\n  - name: milp-solving\n    outputs: [milp_report.json, feasible_set.json]\n  - name: qaoa-optimization\n    tasks: [prepare_qaoa_circuit]\n    outputs: [deployment_manifest.json]\n  - {name: exec, command: [ls], outputs: [../x]}\n";
    check(text, &["EX-0120 4:33", "EX-0120 7:15", "EX-0113 8:43"]);
}

#[test]
fn which_workflow_is_meant_must_be_clear() {
    let text = "workflow: one\nstages: [validation]\n---\nworkflow: two\nstages: [validaton]\n";
    check(text, &["EX-0107 0:0", "EX-0111 5:10"]);
    check_in(text, Some("tow"), &["EX-0108 0:0", "EX-0111 5:10"]);
    assert!(load(text, Some("one")).is_ok());
    check_in(
        "workflow: one\nstages: [validation]\n---\none: {stages: [deployment]}\n",
        Some("one"),
        &["EX-0109 4:1"],
    );
    check("", &["EX-0106 0:0"]);
    check("# nothing\n---\n", &["EX-0106 0:0"]);
}

#[test]
fn a_workflow_needs_stages() {
    check("workflow: w\nstages: []\n", &["EX-0110 2:9"]);
    check("workflow: w\nstages:\n", &["EX-0110 2:7"]);
}

#[test]
fn a_workflow_may_not_contain_itself() {
    let text = "workflow: one\nstages: [two]\n---\nworkflow: two\nstages: [one]\n";
    check_in(text, Some("one"), &["EX-0116 5:10"]);
    assert_eq!(
        load(text, Some("one")).unwrap_err()[0].message,
        "a workflow contains itself: one -> two -> one"
    );
}

#[test]
fn nesting_ends_at_its_limit() {
    let nested = |depth: usize| {
        let mut text = String::new();
        for level in 1..depth {
            text += &format!("workflow: w{level}\nstages: [w{}]\n---\n", level + 1);
        }
        text + &format!("workflow: w{depth}\nstages: [validation]\n")
    };
    let deepest = definition::NESTING_MAX;
    assert_eq!(
        load(&nested(deepest), Some("w1")).unwrap().definition.stages[0].path.split('/').count(),
        deepest
    );
    check_in(&nested(deepest + 1), Some("w1"), &[&format!("EX-0117 {}:10", 3 * deepest - 1)]);
}

#[test]
fn workflows_that_multiply_are_stopped_early() {
    let mut text = String::new();
    for level in 1..=6 {
        text += &format!("w{level}:\n  stages:\n");
        for copy in 0..100 {
            // Each copy is a workflow of its own, so that the names differ.
            text += &format!("    - {{name: w{}x{copy}}}\n", level + 1);
        }
        for copy in 0..100 {
            text += &format!("w{}x{copy}:\n  stages: [w{}]\n", level + 1, level + 1);
        }
    }
    text += "w7: {stages: [validation]}\n";
    let problems = load(&text, Some("w1")).unwrap_err();
    assert!(problems.iter().any(|one| one.code == "EX-0100" || one.code == "EX-0117"), "{problems:#?}");
}

#[test]
fn predicates_must_be_cel() {
    let text = "workflow: w\nsuccess_criteria:\n  - feasible_configurations_found: \">= \"\n  - a &&\n  - validation_passed\nstages:\n  - {name: validation, when: \"1 +\"}\n";
    check(text, &["EX-0124 3:36", "EX-0124 4:5", "EX-0124 7:30"]);
}

#[test]
fn too_large_is_refused_before_it_hurts() {
    check(&" ".repeat(definition::yaml::TEXT_BYTES_MAX + 1), &["EX-0100 0:0"]);
    let deep =
        format!("workflow: w\nparams: {{a: {}1{}}}\nstages: [validation]\n", "[".repeat(70), "]".repeat(70));
    check(&deep, &["EX-0100 2:75"]);
    let mut bomb = String::from("workflow: w\nparams:\n  a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n");
    for level in 1..9 {
        let previous = format!("*a{}", level - 1);
        bomb += &format!("  a{level}: &a{level} [{}]\n", vec![previous; 10].join(", "));
    }
    check(&(bomb + "stages: [validation]\n"), &["EX-0100 8:12"]);
    let many = format!("workflow: w\nstages:\n{}", "  - validation\n".repeat(definition::STAGES_MAX + 1));
    check(&many, &["EX-0100 3:3"]);
}

#[test]
fn what_is_not_yaml_is_said_so() {
    check("workflow: w\nstages: [validation\n", &["EX-0101 2:9"]);
    check("workflow: w\nstages: [validation]\nstages: [deployment]\n", &["EX-0105 3:1"]);
    check("workflow: !secret w\nstages: [validation]\n", &["EX-0102 1:19"]);
}

#[test]
fn names_are_plain() {
    check("workflow: a/b\nstages:\n  - ../etc\n", &["EX-0113 1:11", "EX-0113 3:5"]);
    check(&format!("workflow: w\nstages: [{}]\n", "x".repeat(65)), &["EX-0113 2:10"]);
}

#[test]
fn fields_of_exec_stand_on_exec_stages_only() {
    let text = "workflow: w\nstages:\n  - name: validation\n    command: [ls]\n    undo: [ls]\n    idempotent: true\n";
    check(text, &["EX-0126 4:14", "EX-0126 5:11", "EX-0126 6:17"]);
}

#[test]
fn two_names_of_one_field_do_not_fight() {
    let text = "workflow: w\nresources: {cpu: 1, cpu_cores: 2, memory: 1GiB, memory_gb: 1}\nstages:\n  - {name: validation, needs: [], dependencies: [], timeout: 5s, timeout_minutes: 1}\n";
    check(text, &["EX-0105 2:32", "EX-0105 2:60", "EX-0105 4:49", "EX-0105 4:83"]);
}

#[test]
fn a_gate_needs_one_stage_to_stand_before() {
    let text = "workflow: w\nstages: [{name: inner, gate: true}]\n---\nworkflow: inner\nstages:\n  - {name: validation, needs: []}\n  - approval\n";
    check_in(text, Some("w"), &["EX-0132 2:30"]);
}

#[test]
fn parameters_from_outside_must_find_their_place() {
    let text = "workflow: w\nstages:\n  - {name: x, kind: approval}\n  - {name: one}\n  - {name: two}\n---\none: {stages: [validation]}\n---\ntwo: {stages: [validation]}\n";
    let find = |name: &str, value: serde_json::Value| {
        load_with(text, Some("w"), &params(&[(name, value)])).map(|_| ()).map_err(|problems| {
            problems.into_iter().map(|one| (one.file, one.code, one.help)).next().unwrap()
        })
    };
    let error = |code: &str, help: &str| Err(("--set".to_owned(), code.to_owned(), help.to_owned()));
    assert_eq!(find("one/validation.checkpoint_ms", 1.into()), Ok(()));
    assert_eq!(find("validation.checkpoint_ms", 1.into()), error("EX-0128", "write the whole path"));
    assert_eq!(find("validatoin.a", 1.into()), error("EX-0127", "did you mean `validation`?"));
    assert_eq!(find("x.", 1.into()), error("EX-0127", "write `stage.parameter=value`"));
    assert_eq!(find("seed", 1.5.into()), error("EX-0123", ""));
}

#[test]
fn problems_of_different_kinds_are_told_together_in_the_order_of_the_text() {
    let text = "workflow: w\npriority: asap\nstages:\n  - nonsense-kind\n  - name: validation\n    needs: [nobody]\n    retry: {attempts: 1000}\n    wat: 1\n  - name: deployment\n    timeout: soon\n";
    check(
        text,
        &["EX-0125 2:11", "EX-0111 4:5", "EX-0114 6:13", "EX-0123 7:23", "EX-0103 8:5", "EX-0122 10:14"],
    );
}

#[test]
fn an_input_that_no_earlier_stage_makes_is_a_warning() {
    let text = "workflow: w\ninputs: {space: space.yaml}\nstages:\n  - milp-solving\n  - {name: validation, inputs: [milp_report.json, space, optimal_config.json]}\n";
    let warnings = load(text, None).unwrap().warnings;
    let found: Vec<_> =
        warnings.iter().map(|one| format!("{} {}:{}", one.code, one.line, one.column)).collect();
    assert_eq!(found, ["EX-0121 5:58"]);
}

#[test]
fn codes_ascend_and_are_told_apart() {
    for pair in codes::CODES.windows(2) {
        assert!(pair[0].code < pair[1].code, "{} before {}", pair[0].code, pair[1].code);
    }
    assert_eq!(codes::lookup("EX-0501").unwrap().title, "worker crashed");
    assert_eq!(codes::lookup("EX-9999"), None);
}

#[test]
fn predicates_have_three_answers() {
    use predicate::Verdict::{False, True};
    let facts = serde_json::json!({
        "found": 6, "exact": 6.0, "huge": u64::MAX, "ok": true, "none": null, "open": "not-evaluated",
        "name": "wing", "costs": [1, 2.5], "cert": {"a": true, "b": "not-evaluated"},
    });
    let facts = facts.as_object().unwrap();
    let answer = |expression: &str| predicate::evaluate(expression, facts);
    for expression in [
        "found >= 1",
        "exact >= 1",
        "found >= 0.5",
        "found == 6.0",
        "exact == 6",
        "huge > 1",
        "ok",
        "ok == true",
        "name == \"wing\"",
        "costs.all(c, c > 0.5)",
        "cert.a",
        "size(costs) == 2 && found > 5",
    ] {
        assert_eq!(answer(expression), True, "{expression}");
        assert!(answer(expression).passes());
    }
    for expression in ["found >= 7", "exact < 6", "!ok", "name != \"wing\""] {
        assert_eq!(answer(expression), False, "{expression}");
    }
    for expression in [
        "missing >= 1",
        "ok || missing",
        "none",
        "open == true",
        "open != false",
        "cert.b",
        "cert.b != false",
        "found",
        "found >",
        "name > 3",
        "unknown_function(found)",
    ] {
        assert!(matches!(answer(expression), predicate::Verdict::NotEvaluated { .. }), "{expression}");
    }
    let predicate::Verdict::NotEvaluated { why } = answer("ok || missing") else { panic!() };
    assert_eq!(why, "the fact `missing` is missing");
    assert_eq!(
        predicate::facts_read("costs.all(c, c > limit)").into_iter().collect::<Vec<_>>(),
        ["costs", "limit"]
    );
}

#[test]
fn predicates_that_would_exhaust_the_parser_are_refused() {
    assert!(predicate::compile_check(&"(".repeat(4096)).is_err());
    assert!(predicate::compile_check(&format!("a{}", " && a".repeat(1000))).is_err());
    let long = format!("a{}", " && a".repeat(700));
    let facts = serde_json::json!({"a": true});
    assert!(predicate::evaluate(&long, facts.as_object().unwrap()).passes());
}

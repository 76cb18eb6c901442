//! Both forms of a workflow file load, and come to the stages they should.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod definition_support;
use definition_support::*;
use engine::definition::{self, Definition, StageKind, table};
use std::collections::BTreeSet;

const PROGRAMME: &str = include_str!("data/workflow-definitions.yaml");

fn outline(definition: &Definition) -> Vec<String> {
    definition
        .stages
        .iter()
        .map(|stage| {
            let needs: Vec<_> =
                stage.needs.iter().map(|need| definition.stages[need.0 as usize].path.as_str()).collect();
            format!("{} = {} after [{}]", stage.path, stage.kind.name(), needs.join(", "))
        })
        .collect()
}

#[test]
fn the_short_form_runs_in_written_order_with_its_sub_workflows_flattened() {
    let text = "workflow: full-optimization\nstages:\n  - initialization\n  - feasible-enumeration\n  - risk-aware-selection\n  - result-integration\n  - validation\n  - deployment\n";
    let loaded = load(text, None).unwrap();
    assert_eq!(
        outline(&loaded.definition),
        [
            "initialization = initialization after []",
            "feasible-enumeration/constraint-validation = constraint-validation after [initialization]",
            "feasible-enumeration/milp-solving = milp-solving after [feasible-enumeration/constraint-validation]",
            "feasible-enumeration/feasible-set-generation = feasible-set-generation after [feasible-enumeration/milp-solving]",
            "feasible-enumeration/result-validation = result-validation after [feasible-enumeration/feasible-set-generation]",
            "risk-aware-selection/quantum-backend-setup = quantum-backend-setup after [feasible-enumeration/result-validation]",
            "risk-aware-selection/qaoa-optimization = qaoa-optimization after [risk-aware-selection/quantum-backend-setup]",
            "risk-aware-selection/cvar-calculation = cvar-calculation after [risk-aware-selection/qaoa-optimization]",
            "risk-aware-selection/result-analysis = result-analysis after [risk-aware-selection/cvar-calculation]",
            "result-integration = result-integration after [risk-aware-selection/result-analysis]",
            "validation = validation after [result-integration]",
            "deployment = deployment after [validation]",
        ]
    );
    assert_eq!(loaded.warnings, vec![]);
    assert_eq!(
        loaded.definition.success_criteria.len(),
        1,
        "the sub-workflow's criterion holds for the whole"
    );
}

#[test]
fn every_workflow_of_the_programmes_file_loads_unchanged() {
    let names = definition::workflows_in(PROGRAMME, "file.yaml").unwrap();
    assert_eq!(
        names,
        [
            "full-optimization",
            "feasible-enumeration",
            "risk-aware-selection",
            "validation-only",
            "emergency-rollback"
        ]
    );
    for name in names {
        let loaded = load(PROGRAMME, Some(&name)).unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        assert!(definition::topological_order(&loaded.definition).is_some());
        assert!(loaded.warnings.iter().all(|warning| warning.code == "EX-0130"), "{:#?}", loaded.warnings);
    }
}

#[test]
fn the_long_form_full_optimization_comes_to_these_stages() {
    let definition = load(PROGRAMME, Some("full-optimization")).unwrap().definition;
    assert_eq!(
        outline(&definition),
        [
            "initialization = initialization after []",
            "feasible-enumeration/initialization/initialization = initialization after [initialization]",
            "feasible-enumeration/initialization/constraint-validation = constraint-validation after [feasible-enumeration/initialization/initialization]",
            "feasible-enumeration/constraint-loading = constraint-validation after [feasible-enumeration/initialization/constraint-validation]",
            "feasible-enumeration/enumeration/milp-solving = milp-solving after [feasible-enumeration/constraint-loading]",
            "feasible-enumeration/enumeration/feasible-set-generation = feasible-set-generation after [feasible-enumeration/enumeration/milp-solving]",
            "feasible-enumeration/enumeration/result-validation = result-validation after [feasible-enumeration/enumeration/feasible-set-generation]",
            "risk-aware-selection/initialization/initialization = initialization after [feasible-enumeration/enumeration/result-validation]",
            "risk-aware-selection/initialization/result-validation = result-validation after [risk-aware-selection/initialization/initialization]",
            "risk-aware-selection/initialization/quantum-backend-setup = quantum-backend-setup after [risk-aware-selection/initialization/result-validation]",
            "risk-aware-selection/qaoa-optimization = qaoa-optimization after [risk-aware-selection/initialization/quantum-backend-setup]",
            "risk-aware-selection/cvar-calculation/cvar-calculation = cvar-calculation after [risk-aware-selection/qaoa-optimization]",
            "risk-aware-selection/cvar-calculation/result-analysis = result-analysis after [risk-aware-selection/cvar-calculation/cvar-calculation]",
            "validation = validation after [risk-aware-selection/cvar-calculation/result-analysis]",
            "deployment = deployment after [validation]",
        ]
    );
    let stage = |path: &str| definition.stages.iter().find(|stage| stage.path == path).unwrap();
    let selection = stage("risk-aware-selection/cvar-calculation/cvar-calculation");
    assert_eq!(
        selection.tasks,
        [
            "calculate_scenario_costs",
            "compute_cvar_metrics",
            "select_risk_optimal_configuration",
            "calculate_cvar_metrics",
            "select_optimal_configuration"
        ]
    );
    assert_eq!(selection.outputs, ["optimal_config.json", "cvar_metrics.json"]);
    let analysis = stage("risk-aware-selection/cvar-calculation/result-analysis");
    assert_eq!(analysis.outputs, ["risk_analysis.json", "optimization_metrics.json"]);
    assert_eq!(
        analysis.timeout.start_to_close_ms,
        Some(600_000),
        "10 minutes of its own, below the caller's 45"
    );
    let criteria: Vec<_> = definition.success_criteria.iter().map(|one| one.expression.as_str()).collect();
    assert_eq!(
        criteria,
        [
            "feasible_configurations_found >= 1",
            "optimization_score >= 0.7",
            "validation_passed == true",
            "certification_compliant == true"
        ]
    );
    assert_eq!(definition.success_criteria[1].written, "optimization_score: \">= 0.7\"");
    let ceilings = &definition.ceilings;
    assert_eq!(
        (ceilings.cpu_cores, ceilings.memory_mib, ceilings.shots, ceilings.storage_mib),
        (6, 12_288, 2048, 5120)
    );
}

#[test]
fn validation_only_and_emergency_rollback_do_what_their_tasks_say() {
    let kinds = |name: &str| -> Vec<_> {
        let definition = load(PROGRAMME, Some(name)).unwrap().definition;
        definition.stages.into_iter().map(|stage| (stage.path, stage.kind)).collect()
    };
    assert_eq!(
        kinds("validation-only"),
        [
            ("initialization".into(), StageKind::Initialization),
            ("constraint-validation".into(), StageKind::Validation),
            ("certification-validation".into(), StageKind::Validation),
        ]
    );
    assert_eq!(
        kinds("emergency-rollback"),
        [
            ("assessment".into(), StageKind::ReleaseAssessment),
            ("rollback-execution".into(), StageKind::ReleaseRollback),
        ]
    );
    let rollback = load(PROGRAMME, Some("emergency-rollback")).unwrap().definition;
    assert_eq!(rollback.priority, 3);
    assert_eq!(load(PROGRAMME, Some("validation-only")).unwrap().definition.priority, 1);
}

#[test]
fn tasks_of_a_sub_workflow_stage_that_nothing_inside_does_add_their_kind_in_pipeline_order() {
    let text = "workflow: short\nstages:\n  - name: feasible-enumeration\n    tasks: [initialize_resource_allocation, check_hard_constraints]\n    outputs: [optimization_metrics.json]\n";
    let definition = load(text, None).unwrap().definition;
    let outline = outline(&definition);
    assert_eq!(outline[0], "feasible-enumeration/initialization = initialization after []");
    assert_eq!(
        outline[1],
        "feasible-enumeration/constraint-validation = constraint-validation after [feasible-enumeration/initialization]"
    );
    assert!(
        outline[5].starts_with("feasible-enumeration/result-analysis = result-analysis after"),
        "{outline:#?}"
    );
    assert!(outline[6].starts_with("feasible-enumeration/validation = validation after"), "{outline:#?}");
    assert_eq!(outline.len(), 7);
}

#[test]
fn every_task_of_the_programmes_file_stands_in_the_table_and_no_other() {
    let listed: BTreeSet<_> = PROGRAMME
        .lines()
        .filter_map(|line| line.strip_prefix("        - "))
        .map(str::trim)
        .filter(|item| !item.contains('.'))
        .collect();
    assert_eq!(listed.len(), 53);
    let known: BTreeSet<_> = table::TASKS.iter().map(|row| row.name).collect();
    assert_eq!(listed, known);
    assert_eq!(known.len(), table::TASKS.len(), "no task stands twice");
}

#[test]
fn the_kind_table_has_its_rows_in_the_order_of_the_kinds() {
    for kind in StageKind::ALL {
        assert_eq!(table::kind(kind).kind, kind);
    }
}

#[test]
fn the_published_table_is_the_one_that_is_used() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/workflow-table.md");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(path, table::render()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap();
    assert!(published == table::render(), "run UPDATE_TABLE=1 cargo test -p engine --test definition_forms");
}

#[test]
fn the_built_in_workflows_load_without_a_warning() {
    let expected = [
        ("emergency-rollback", 2),
        ("feasible-enumeration", 4),
        ("full-optimization", 12),
        ("risk-aware-selection", 4),
        ("validation-only", 2),
    ];
    let library = library();
    assert_eq!(library.names().collect::<Vec<_>>(), expected.map(|(name, _)| name));
    for (name, stages) in expected {
        let loaded = definition::load_builtin(name, &library, &Default::default()).unwrap();
        assert_eq!(loaded.definition.stages.len(), stages, "{name}");
        assert_eq!(loaded.definition.workflow, name);
        assert_eq!(loaded.warnings, vec![]);
    }
    let problems = definition::load_builtin("full-optimisation", &library, &Default::default()).unwrap_err();
    assert_eq!(problems[0].code, "EX-0108");
    assert_eq!(problems[0].help, "did you mean `full-optimization`?");
}

#[test]
fn needs_turn_off_the_written_order_for_the_whole_workflow() {
    let text = "workflow: diamond\nstages:\n  - initialization\n  - {name: left, kind: milp-solving, needs: [initialization]}\n  - {name: right, kind: constraint-validation, dependencies: [initialization]}\n  - {name: free, kind: approval}\n";
    let definition = load(text, None).unwrap().definition;
    let needs: Vec<Vec<u32>> =
        definition.stages.iter().map(|stage| stage.needs.iter().map(|need| need.0).collect()).collect();
    assert_eq!(needs, [vec![], vec![0], vec![0], vec![]]);
    assert_eq!(definition.stages[3].gate.as_ref().unwrap().approvals, 1);
}

#[test]
fn a_workflow_of_the_file_goes_before_a_built_in_one_and_a_kind_before_both() {
    let text = "workflow: outer\nstages: [feasible-enumeration, validation]\n---\nworkflow: feasible-enumeration\nstages: [milp-solving]\n---\nworkflow: validation\nstages: [approval]\n";
    let definition = load(text, Some("outer")).unwrap().definition;
    let paths: Vec<_> = definition.stages.iter().map(|stage| stage.path.as_str()).collect();
    assert_eq!(paths, ["feasible-enumeration/milp-solving", "validation"]);
}

#[test]
fn our_own_fields_all_arrive() {
    let text = r#"
workflow: fields
defaults: {retry: {attempts: 7}}
stages:
  - name: run
    kind: exec
    command: [echo, "1"]
    undo: [rm, x]
    idempotent: true
    retry: {attempts: 5, backoff: 500ms, jitter: 0.5}
    timeout: {start_to_close: 1h30m, heartbeat: 2, schedule_to_start: 5m}
    resources: {cpu: 2, memory: 8GiB, shots: 100, backend: simulator}
    gate: {approvals: 2, deadline: 1d}
    when: feasible_configurations_found >= 1
    utcs_phase: 02-Design
    params: {seed: 3, note: "7"}
    outputs: [report.txt]
  - name: plain
    kind: milp-solving
"#;
    let definition = load(text, None).unwrap().definition;
    let stage = &definition.stages[0];
    assert_eq!(stage.params, r#"{"command":["echo","1"],"note":"7","seed":3,"undo":["rm","x"]}"#);
    assert!(stage.has_undo && stage.idempotent);
    assert_eq!((stage.retry.attempts, stage.retry.backoff_ms, stage.retry.jitter_permille), (5, 500, 500));
    assert_eq!(stage.timeout.start_to_close_ms, Some(5_400_000));
    assert_eq!((stage.timeout.heartbeat_ms, stage.timeout.schedule_to_start_ms), (2000, Some(300_000)));
    assert_eq!((stage.demand.cpu_cores, stage.demand.memory_mib, stage.demand.shots), (2, 8192, 100));
    assert_eq!(stage.demand.backend.as_deref(), Some("simulator"));
    let gate = stage.gate.as_ref().unwrap();
    assert_eq!((gate.approvals, gate.deadline_ms), (2, Some(86_400_000)));
    assert_eq!(stage.when.as_ref().unwrap().expression, "feasible_configurations_found >= 1");
    assert_eq!((stage.utcs_phase, stage.outputs.as_slice()), (Some(2), ["report.txt".to_owned()].as_slice()));
    let plain = &definition.stages[1];
    assert_eq!((plain.retry.attempts, plain.retry.backoff_ms, plain.retry.backoff_ms_max), (7, 1000, 60_000));
    assert_eq!((plain.timeout.start_to_close_ms, plain.timeout.heartbeat_ms), (Some(7_200_000), 5000));
    assert!(!plain.has_undo && plain.idempotent);
    assert_eq!(definition.kind_versions.keys().collect::<Vec<_>>(), ["exec", "milp-solving"]);
}

#[test]
fn parameters_from_outside_win_and_find_their_stage() {
    let text = "workflow: w\nparams: {seed: 1, cvar_level: 0.5}\nstages:\n  - feasible-enumeration\n  - risk-aware-selection\n";
    let given = params(&[
        ("seed", 9.into()),
        ("qaoa-optimization.layers", 4.into()),
        ("feasible-enumeration.checkpoint_ms", 5.into()),
        ("feasible-enumeration/milp-solving.solve_seconds_max", 0.5.into()),
    ]);
    let definition = load_with(text, None, &given).unwrap().definition;
    assert_eq!(definition.params, r#"{"cvar_level":0.5,"seed":9}"#);
    let of = |path: &str| definition.stages.iter().find(|stage| stage.path == path).unwrap().params.as_str();
    assert_eq!(of("risk-aware-selection/qaoa-optimization"), r#"{"layers":4}"#);
    assert_eq!(of("feasible-enumeration/milp-solving"), r#"{"checkpoint_ms":5,"solve_seconds_max":0.5}"#);
    assert_eq!(of("risk-aware-selection/cvar-calculation"), "{}");
}

#[test]
fn a_sub_workflows_parameters_give_way_to_the_callers_and_to_set() {
    let text = "workflow: outer\nparams: {a: outer}\nstages:\n  - {name: inner, params: {d: call}}\n---\nworkflow: inner\nparams: {a: inner, waivers: inner, c: inner, d: inner}\nstages:\n  - {name: validation, params: {c: stage}}\n";
    let definition =
        load_with(text, Some("outer"), &params(&[("waivers", "set".into())])).unwrap().definition;
    assert_eq!(definition.params, r#"{"a":"outer","waivers":"set"}"#);
    assert_eq!(definition.stages[0].params, r#"{"c":"stage","d":"call"}"#);
}

#[test]
fn a_definition_survives_its_canonical_form_and_the_digest_tells_two_apart() {
    let first = load(PROGRAMME, Some("full-optimization")).unwrap().definition;
    let bytes = definition::canonical_json(&first);
    assert_eq!(definition::from_canonical(&bytes).unwrap(), first);
    assert_eq!(definition::digest(&first), format!("b3:{}", blake3::hash(&bytes).to_hex()));
    let mut second = first.clone();
    second.stages[0].retry.attempts += 1;
    assert_ne!(definition::digest(&first), definition::digest(&second));
    second.stages[0].needs.push(definition::StageIndex(0));
    let damaged = definition::canonical_json(&second);
    assert_eq!(definition::from_canonical(&damaged).unwrap_err().code, "EX-0134");
    assert_eq!(definition::from_canonical(b"{}").unwrap_err().code, "EX-0134");
}

#[test]
fn the_published_page_of_parameters_is_the_one_in_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/parameters.md");
    if std::env::var_os("UPDATE_TABLE").is_some() {
        std::fs::write(path, engine::definition::parameters::render()).unwrap();
    }
    let published = std::fs::read_to_string(path).unwrap_or_default();
    let current = engine::definition::parameters::render();
    assert!(published == current, "run UPDATE_TABLE=1 cargo test -p engine --test definition_forms");
}

//! Single stories of a run, told step by step: what people and operators rely on.

#![allow(clippy::unwrap_used)]

use engine::definition::*;
use engine::run::*;
use std::collections::BTreeMap;

fn stage(path: &str, needs: &[u32]) -> StageSpec {
    StageSpec {
        path: path.into(),
        kind: StageKind::MilpSolving,
        needs: needs.iter().copied().map(StageIndex).collect(),
        params: "{}".into(),
        tasks: Vec::new(),
        retry: Retry { attempts: 3, backoff_ms: 100, backoff_ms_max: 1_000, jitter_permille: 0 },
        timeout: Timeouts { start_to_close_ms: None, heartbeat_ms: 1_000, schedule_to_start_ms: None },
        demand: Demand::default(),
        has_undo: false,
        idempotent: true,
        gate: None,
        when: None,
        utcs_phase: None,
        outputs: Vec::new(),
        control: StageControl::default(),
    }
}

/// A run and the caller's duties: journal (a list), apply, and the newest commands.
struct Told {
    run: Run,
    journal: Vec<(u64, u64, Event)>,
    now_ms: u64,
    commands: Vec<Command>,
}

impl Told {
    fn definition(stages: Vec<StageSpec>, criteria: &[&str]) -> Definition {
        let criterion = |text: &&str| Criterion { written: (*text).into(), expression: (*text).into() };
        Definition {
            workflow: "story".into(),
            stages,
            inputs: BTreeMap::new(),
            params: r#"{"risk_weight":1.0,"seed":7}"#.into(),
            success_criteria: criteria.iter().map(criterion).collect(),
            ceilings: Demand::default(),
            priority: 2,
            kind_versions: BTreeMap::new(),
            control: RunControl::default(),
        }
    }

    fn with(stages: Vec<StageSpec>, criteria: &[&str]) -> Self {
        Self::of(&Self::definition(stages, criteria))
    }

    fn of(definition: &Definition) -> Self {
        let event = Event::RunSubmitted {
            run: "run-1".into(),
            workflow: "story".into(),
            definition: serde_json::to_vec(definition).unwrap(),
            inputs: Vec::new(),
            key: Some("key".into()),
            submitted_by: "submitter".into(),
            seed: 7,
        };
        let run = Run::submitted(10, 1_000, &event).unwrap();
        let mut told = Self { run, journal: vec![(10, 1_000, event)], now_ms: 1_000, commands: Vec::new() };
        told.hear(Input::Woke).unwrap();
        told
    }

    fn hear(&mut self, input: Input) -> Result<Vec<Event>, Refusal> {
        let decision = self.run.decide(self.now_ms, 5, input)?;
        Ok(self.take(decision.events, decision.commands))
    }

    fn take(&mut self, events: Vec<Event>, commands: Vec<Command>) -> Vec<Event> {
        for event in &events {
            let position = self.journal.last().unwrap().0 + 1;
            self.run.apply(position, self.now_ms, event);
            self.journal.push((position, self.now_ms, event.clone()));
        }
        self.commands = commands;
        events
    }

    fn restart(&mut self) -> Vec<Event> {
        let (events, commands) = self.run.recover(self.now_ms);
        self.take(events, commands)
    }

    fn place(&mut self, stage: u32, attempt: u32) -> Fence {
        let placed_on = "node-1".into();
        self.hear(Input::Placed { stage: StageIndex(stage), attempt: Attempt(attempt), placed_on }).unwrap();
        self.run.fence(StageIndex(stage)).unwrap()
    }

    fn succeed(&mut self, stage: u32, facts: &str) -> Vec<Event> {
        let fence = self.place(stage, self.run.attempts(StageIndex(stage)) + 1);
        let outputs = vec![ArtefactRef { name: "out.json".into(), digest: format!("b3:{stage}"), bytes: 2 }];
        self.hear(Input::Succeeded { stage: StageIndex(stage), fence, outputs, facts: facts.into() }).unwrap()
    }

    fn fail(&mut self, stage: u32, class: ErrorClass) -> Vec<Event> {
        let fence = self.place(stage, self.run.attempts(StageIndex(stage)) + 1);
        self.hear(Input::Failed { stage: StageIndex(stage), fence, error: error(class) }).unwrap()
    }

    fn decide(&mut self, by: &str, approved: bool) -> Result<Vec<Event>, Refusal> {
        self.hear(Input::Decide {
            stage: StageIndex(0),
            by: by.into(),
            role: "operator".into(),
            approved,
            reason: "seen".into(),
        })
    }
}

fn error(class: ErrorClass) -> StageError {
    StageError { code: "EX-0501".into(), message: "the worker said so".into(), class }
}

fn names(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(Event::name).collect()
}

const S0: StageIndex = StageIndex(0);

#[test]
fn two_stages_in_order_succeed_and_say_so() {
    let mut told = Told::with(vec![stage("a", &[]), stage("b", &[0])], &[]);
    assert_eq!((told.run.phase(), told.run.stage(S0).name()), (Phase::Pending, "ready"));
    assert_eq!(told.run.waits(1_000)[1], (StageIndex(1), Wait::Dependency(vec!["a".into()])));
    assert_eq!(names(&told.succeed(0, "{}")), ["StageSucceeded", "StageReady"]);
    assert_eq!(names(&told.succeed(1, "{}")), ["StageSucceeded", "RunSucceeded"]);
    assert_eq!(told.commands, [Command::ReleaseLease { stage: StageIndex(1) }, Command::Ended]);
    assert_eq!(told.run.artefacts()["out.json"].1, StageIndex(1));
}

#[test]
fn parameters_of_a_stage_overlay_the_workflows_and_tuning_overlays_both() {
    let mut first = stage("a", &[]);
    first.params = r#"{"risk_weight":2,"solve_seconds_max":20}"#.into();
    let mut told = Told::with(vec![first], &[]);
    assert_eq!(told.run.params_of(S0), r#"{"risk_weight":2,"seed":7,"solve_seconds_max":20}"#);
    let tune = |value: &str| Input::Tune {
        stage: S0,
        parameter: "solve_seconds_max".into(),
        value: value.into(),
        by: "operator".into(),
    };
    let events = told.hear(tune("50")).unwrap();
    assert!(matches!(&events[0], Event::ParameterTuned { old, value, .. } if old == "20" && value == "50"));
    assert_eq!(told.run.params_of(S0), r#"{"risk_weight":2,"seed":7,"solve_seconds_max":50}"#);
    assert!(matches!(told.hear(tune("half")), Err(Refusal::Malformed { .. })));
}

#[test]
fn a_checkpoint_counts_again_once_the_attempt_has_taken_every_value_it_was_offered() {
    let begun = || {
        let spec = StageSpec { kind: StageKind::QaoaOptimization, ..stage("a", &[]) };
        let mut told = Told::with(vec![spec], &[]);
        let fence = told.place(0, 1);
        (told, fence)
    };
    let (mut told, fence) = begun();
    let tune = |parameter: &str, value: &str| Input::Tune {
        stage: S0,
        parameter: parameter.into(),
        value: value.into(),
        by: "operator".into(),
    };
    let kept = |told: &mut Told| {
        let checkpoint = ArtefactRef { name: "c".into(), digest: "b3:0".into(), bytes: 1 };
        told.hear(Input::Checkpointed { stage: S0, fence, checkpoint }).is_ok()
    };
    let said = |parameter: &str, value: &str, taken: bool| Input::TuningAnswered {
        stage: S0,
        fence,
        parameter: parameter.into(),
        value: value.into(),
        taken,
        why: String::new(),
    };
    assert!(kept(&mut told));
    told.hear(tune("shots", "5")).unwrap();
    let steer =
        |value: &str| Command::Steer { stage: S0, fence, parameter: "shots".into(), value: value.into() };
    assert_eq!(told.commands, [steer("5")], "the attempt at work is offered it");
    told.hear(tune("layers", "4")).unwrap();
    assert_eq!(told.commands, [], "what can never be taken at work is not offered");
    assert!(!kept(&mut told));
    told.hear(said("shots", "5", true)).unwrap();
    assert!(!kept(&mut told), "the checkpoint is still one of the old layers");
    assert!(told.hear(said("shots", "6", true)).is_err(), "nobody tuned it to that");

    let (mut told, same) = begun();
    assert_eq!(same, fence, "the same story has the same positions");
    told.hear(tune("shots", "5")).unwrap();
    told.hear(said("shots", "5", false)).unwrap();
    assert!(!kept(&mut told), "it was not taken");
    told.hear(tune("shots", "6")).unwrap();
    told.hear(said("shots", "6", true)).unwrap();
    assert!(kept(&mut told));
}

#[test]
fn no_table_of_classes_repeats_what_must_not_be_repeated() {
    let story = |idempotent: bool, raised: ErrorClass, table: ErrorClass| {
        let mut spec = StageSpec { kind: StageKind::Exec, idempotent, ..stage("a", &[]) };
        spec.retry.attempts = 2;
        let mut definition = Told::definition(vec![spec], &[]);
        definition.control.error_classes.insert(error(raised).code, table);
        let mut told = Told::of(&definition);
        let events = told.fail(0, raised);
        events[0].name().to_owned()
    };
    use ErrorClass::{Ambiguous, Permanent, Transient};
    for (raised, table, repeatable, other) in [
        (Permanent, Transient, "StageRetryPlanned", "StageFailed"),
        (Ambiguous, Transient, "StageRetryPlanned", "StageInDoubt"),
        (Permanent, Ambiguous, "StageRetryPlanned", "StageInDoubt"),
        (Transient, Ambiguous, "StageRetryPlanned", "StageInDoubt"),
        (Ambiguous, Permanent, "StageFailed", "StageFailed"),
        (Transient, Permanent, "StageFailed", "StageFailed"),
    ] {
        assert_eq!(story(true, raised, table), repeatable, "{raised:?} as {table:?}");
        assert_eq!(story(false, raised, table), other, "{raised:?} as {table:?}, not to be repeated");
    }
}

#[test]
fn a_class_that_a_stage_is_not_to_be_repeated_on_fails_it() {
    let on = |transient, ambiguous| {
        let rule = RetryRule { retry_on: Some(RetryOn { transient, ambiguous }), ..RetryRule::default() };
        let mut spec = stage("a", &[]);
        spec.control.retry = Some(rule);
        Told::with(vec![spec], &[])
    };
    use ErrorClass::{Ambiguous, Transient};
    assert_eq!(on(true, false).fail(0, Transient)[0].name(), "StageRetryPlanned");
    assert_eq!(on(true, false).fail(0, Ambiguous)[0].name(), "StageFailed");
    assert_eq!(on(false, true).fail(0, Ambiguous)[0].name(), "StageRetryPlanned");
    assert_eq!(on(false, true).fail(0, Transient)[0].name(), "StageFailed");
}

#[test]
fn a_false_criterion_rolls_back_and_an_unknown_one_does_unless_waived() {
    for (facts, phase, code) in [
        (r#"{"certified":true}"#, Phase::Succeeded, None),
        (r#"{"certified":false}"#, Phase::RolledBack, Some("EX-0516")),
        (r#"{"certified":false,"waivers":["certified"]}"#, Phase::RolledBack, Some("EX-0516")),
        ("{}", Phase::RolledBack, Some("EX-0517")),
        (r#"{"waivers":["other"]}"#, Phase::RolledBack, Some("EX-0517")),
        (r#"{"waivers":["certified"]}"#, Phase::RolledBack, Some("EX-0517")),
        (
            r#"{"waivers":[{"criterion":"certified","reason":"","expires":"2999-12-31"}]}"#,
            Phase::RolledBack,
            Some("EX-0517"),
        ),
        (
            r#"{"waivers":[{"criterion":"certified","reason":"ground test","expires":"1969-12-31"}]}"#,
            Phase::RolledBack,
            Some("EX-0517"),
        ),
        (
            r#"{"waivers":[{"criterion":"certified","reason":"ground test","expires":"2999-12-31"}]}"#,
            Phase::Succeeded,
            None,
        ),
    ] {
        let mut told = Told::with(vec![stage("a", &[])], &["certified"]);
        told.succeed(0, facts);
        let found = (told.run.phase(), told.run.error().map(|error| error.code.as_str()));
        assert_eq!(found, (phase, code), "{facts}");
    }
}

#[test]
fn a_restart_costs_no_attempt_and_no_backoff_and_resumes_from_the_checkpoint() {
    let mut told = Told::with(vec![stage("a", &[])], &[]);
    let fence = told.place(0, 1);
    let checkpoint = ArtefactRef { name: "prefix".into(), digest: "b3:c".into(), bytes: 9 };
    told.hear(Input::Checkpointed { stage: S0, fence, checkpoint: checkpoint.clone() }).unwrap();
    assert_eq!(names(&told.restart()), ["StageInterrupted", "StageReady"]);
    assert!(matches!(
        told.commands[..],
        [Command::ReleaseLease { .. }, Command::RequestPlacement { attempt: Attempt(1), priority: 2, .. }]
    ));
    let again = told.place(0, 1);
    assert_eq!(
        told.commands[0],
        Command::Dispatch { stage: S0, attempt: Attempt(1), resume_from: Some(checkpoint) }
    );
    assert_ne!(fence, again);
    let late = Input::Failed { stage: S0, fence, error: error(ErrorClass::Permanent) };
    assert_eq!(told.hear(late), Err(Refusal::Stale));
}

#[test]
fn what_must_not_be_repeated_is_in_doubt_after_a_restart_until_a_person_says_so() {
    let program = StageSpec { kind: StageKind::Exec, idempotent: false, ..stage("a", &[]) };
    let mut told = Told::with(vec![program], &[]);
    told.place(0, 1);
    assert_eq!(names(&told.restart()), ["StageInDoubt"]);
    assert!(matches!(told.run.waits(1_000)[..], [(S0, Wait::InDoubt(_))]));
    told.hear(Input::Retry { by: "operator".into(), from: None }).unwrap();
    told.succeed(0, "{}");
    assert_eq!(told.run.phase(), Phase::Succeeded);
}

#[test]
fn a_gate_takes_two_persons_and_never_the_submitter() {
    let gated = StageSpec { gate: Some(Gate { approvals: 2, deadline_ms: None }), ..stage("a", &[]) };
    let mut told = Told::with(vec![gated], &[]);
    assert!(matches!(told.decide("submitter", true), Err(Refusal::NotAllowed { .. })));
    assert_eq!(names(&told.decide("approver-1", true).unwrap()), ["ApprovalRecorded"]);
    assert!(matches!(told.decide("approver-1", true), Err(Refusal::NotAllowed { .. })));
    assert_eq!(told.run.waits(1_000), [(S0, Wait::Gate { missing: 1, deadline_ms: None })]);
    assert_eq!(names(&told.decide("approver-2", true).unwrap()), ["ApprovalRecorded", "StageReady"]);
}

#[test]
fn a_gate_that_is_rejected_or_unanswered_fails_its_stage_for_good() {
    let gate = Some(Gate { approvals: 1, deadline_ms: Some(500) });
    let mut told = Told::with(vec![StageSpec { gate: gate.clone(), ..stage("a", &[]) }], &[]);
    told.decide("approver-1", false).unwrap();
    assert_eq!((told.run.phase(), told.run.error().unwrap().code.as_str()), (Phase::RolledBack, "EX-0540"));

    let mut told = Told::with(vec![StageSpec { gate, ..stage("a", &[]) }], &[]);
    assert_eq!(told.commands, [Command::WakeAt { at_ms: 1_500 }]);
    told.now_ms = 1_500;
    assert!(matches!(told.decide("approver-1", true), Err(Refusal::NotNow { .. })), "past the deadline");
    told.hear(Input::Woke).unwrap();
    assert_eq!((told.run.phase(), told.run.error().unwrap().code.as_str()), (Phase::RolledBack, "EX-0541"));
}

#[test]
fn an_approval_stage_succeeds_by_the_approval_alone() {
    let mut told = Told::with(vec![StageSpec { kind: StageKind::Approval, ..stage("a", &[]) }], &[]);
    let events = told.decide("approver-1", true).unwrap();
    assert_eq!(names(&events), ["ApprovalRecorded", "StageSucceeded", "RunSucceeded"]);
}

#[test]
fn an_approval_binds_everything_its_stage_builds_on_and_nothing_else() {
    let gated = StageSpec { gate: Some(Gate { approvals: 1, deadline_ms: None }), ..stage("d", &[1]) };
    let mut told = Told::with(vec![stage("a", &[]), stage("b", &[0]), stage("c", &[]), gated], &[]);
    told.succeed(2, "{}");
    told.succeed(0, "{}");
    told.succeed(1, "{}");
    let digests: Vec<&str> =
        told.run.gate_subjects(StageIndex(3)).iter().map(|a| a.digest.as_str()).collect();
    assert_eq!(digests, ["b3:0", "b3:1"]);
}

#[test]
fn attempts_back_off_and_are_bounded_and_the_failing_stage_is_undone_too() {
    let mut told = Told::with(vec![StageSpec { has_undo: true, ..stage("a", &[]) }], &[]);
    for (attempt, wait_ms) in [(1, 100), (2, 200)] {
        assert_eq!(names(&told.fail(0, ErrorClass::Transient)), ["StageRetryPlanned"], "attempt {attempt}");
        assert_eq!(told.run.waits(told.now_ms), [(S0, Wait::Backoff(told.now_ms + wait_ms))]);
        told.now_ms += wait_ms - 1;
        assert!(told.hear(Input::Woke).unwrap().is_empty());
        told.now_ms += 1;
        assert_eq!(names(&told.hear(Input::Woke).unwrap()), ["StageReady"]);
    }
    let events = told.fail(0, ErrorClass::Transient);
    assert_eq!(names(&events), ["StageFailed", "UnwindingStarted", "CompensationStarted"]);
    let fence = told.run.fence(S0).unwrap();
    let events = told.hear(Input::Compensated { stage: S0, fence }).unwrap();
    assert_eq!(names(&events), ["CompensationSucceeded", "RunRolledBack"]);
    assert_eq!(told.hear(Input::Compensated { stage: S0, fence }), Err(Refusal::Stale), "a second answer");
}

#[test]
fn a_retried_run_keeps_earlier_results_and_repeats_what_was_undone() {
    let undone = StageSpec { has_undo: true, ..stage("b", &[]) };
    let mut told = Told::with(vec![stage("a", &[]), undone, stage("c", &[0, 1])], &[]);
    told.succeed(0, "{}");
    told.succeed(1, "{}");
    told.fail(2, ErrorClass::Permanent);
    let fence = told.run.fence(StageIndex(1)).unwrap();
    told.hear(Input::Compensated { stage: StageIndex(1), fence }).unwrap();
    assert_eq!(told.run.phase(), Phase::RolledBack);
    let events = told.hear(Input::Retry { by: "operator".into(), from: None }).unwrap();
    assert!(matches!(events[0], Event::RunRetried { from: StageIndex(2), .. }));
    let states: Vec<&str> = (0..3).map(|at| told.run.stage(StageIndex(at)).name()).collect();
    assert_eq!(states, ["succeeded", "ready", "waiting"]);
}

#[test]
fn a_pause_lets_running_work_finish_and_starts_nothing() {
    let mut told = Told::with(vec![stage("a", &[]), stage("b", &[0]), stage("c", &[])], &[]);
    let fence = told.place(0, 1);
    told.hear(Input::Pause { by: "operator".into() }).unwrap();
    assert_eq!(told.commands, [Command::WithdrawPlacement { stage: StageIndex(2) }]);
    let done = Input::Succeeded { stage: S0, fence, outputs: Vec::new(), facts: "{}".into() };
    assert_eq!(names(&told.hear(done).unwrap()), ["StageSucceeded"]);
    assert_eq!(told.run.waits(1_000), [(StageIndex(1), Wait::Paused), (StageIndex(2), Wait::Paused)]);
    assert_eq!(told.run.phase_name(), "paused");
    let events = told.hear(Input::Resume { by: "operator".into() }).unwrap();
    assert_eq!(names(&events), ["RunResumed", "StageReady", "StageReady"]);
}

#[test]
fn an_emergency_stop_takes_everything_away_at_once_even_an_undo() {
    let mut told = Told::with(vec![StageSpec { has_undo: true, ..stage("a", &[]) }], &[]);
    let fence = told.place(0, 1);
    assert_eq!(names(&told.hear(Input::EmergencyStop).unwrap()), ["StageInterrupted", "RunPaused"]);
    assert_eq!(told.commands[0], Command::Abandon { stage: S0, fence });
    told.hear(Input::Cancel { by: "operator".into() }).unwrap();
    let undo = told.run.fence(S0).unwrap();
    assert_eq!(names(&told.hear(Input::EmergencyStop).unwrap()), ["StageInterrupted", "RunPaused"]);
    assert_eq!(told.commands, [Command::Abandon { stage: S0, fence: undo }, Command::WakeAt { at_ms: 0 }]);
    assert_eq!(told.hear(Input::Compensated { stage: S0, fence: undo }), Err(Refusal::Stale));
    let events = told.hear(Input::Resume { by: "operator".into() }).unwrap();
    assert_eq!(names(&events), ["RunResumed", "CompensationStarted"]);
    assert!(matches!(events[1], Event::CompensationStarted { attempt: Attempt(1), .. }));
}

#[test]
fn an_attempt_past_start_to_close_is_abandoned_and_counted() {
    let mut limited = stage("a", &[]);
    limited.timeout.start_to_close_ms = Some(50);
    let mut told = Told::with(vec![limited], &[]);
    let fence = told.place(0, 1);
    assert_eq!(told.commands[1], Command::WakeAt { at_ms: 1_050 });
    told.now_ms = 1_050;
    let events = told.hear(Input::Woke).unwrap();
    assert!(matches!(&events[0], Event::StageRetryPlanned { error, .. } if error.code == "EX-0505"));
    assert_eq!(told.commands[0], Command::Abandon { stage: S0, fence });
}

#[test]
fn a_slow_disk_takes_nothing_from_the_time_of_an_attempt_or_of_an_undo() {
    let mut limited = StageSpec { has_undo: true, ..stage("a", &[]) };
    limited.timeout.start_to_close_ms = Some(50);
    let mut told = Told::with(vec![limited], &[]);
    let fence = told.place(0, 1);
    // The record took 40 ms to be durable.
    assert_eq!(told.run.handed_out(S0, fence, 1_040), Some(1_090));
    told.now_ms = 1_089;
    assert_eq!(told.hear(Input::Woke), Ok(Vec::new()));
    // What is said of another attempt changes nothing.
    assert_eq!(told.run.handed_out(S0, Fence(fence.0 + 1), 1_080), None);
    told.now_ms = 1_090;
    let events = told.hear(Input::Woke).unwrap();
    assert!(matches!(&events[0], Event::StageRetryPlanned { error, .. } if error.code == "EX-0505"));
    told.hear(Input::Cancel { by: "operator".into() }).unwrap();
    let undo = told.run.fence(S0).unwrap();
    assert_eq!(told.run.handed_out(S0, undo, 1_110), Some(1_160));
    told.now_ms = 1_159;
    assert_eq!(told.hear(Input::Woke), Ok(Vec::new()));
    told.now_ms = 1_160;
    assert_eq!(names(&told.hear(Input::Woke).unwrap()), ["CompensationRetryPlanned"]);
}

#[test]
fn a_restart_makes_a_request_for_room_no_younger_but_a_failed_attempt_and_a_pause_do() {
    let mut told = Told::with(vec![stage("a", &[])], &[]);
    assert_eq!(told.run.asked_ms(S0), Some(1_000));
    told.now_ms = 1_500;
    told.place(0, 1);
    for now_ms in [2_000, 3_000] {
        told.now_ms = now_ms;
        let events = told.restart();
        let expected = [&["StageInterrupted", "StageReady"][..], &[]];
        assert_eq!(names(&events), expected[usize::from(now_ms == 3_000)]);
        assert_eq!(told.run.asked_ms(S0), Some(1_000));
    }
    let fence = told.place(0, 1);
    let failed = Input::Failed { stage: S0, fence, error: error(ErrorClass::Transient) };
    told.hear(failed).unwrap();
    told.now_ms = 4_000;
    told.hear(Input::Woke).unwrap();
    assert_eq!(told.run.asked_ms(S0), Some(4_000));
    told.hear(Input::Pause { by: "operator".into() }).unwrap();
    told.now_ms = 5_000;
    told.hear(Input::Resume { by: "operator".into() }).unwrap();
    assert_eq!(told.run.asked_ms(S0), Some(5_000));
}

#[test]
fn a_program_stopped_for_taking_too_long_is_not_repeated_unasked() {
    let mut limited = StageSpec { kind: StageKind::Exec, idempotent: false, ..stage("a", &[]) };
    limited.timeout.start_to_close_ms = Some(50);
    let mut told = Told::with(vec![limited], &[]);
    told.place(0, 1);
    told.now_ms += 51;
    let events = told.hear(Input::Woke).unwrap();
    assert!(matches!(&events[..], [Event::StageInDoubt { error, .. }] if error.code == "EX-0505"));
}

#[test]
fn a_clock_behind_the_last_record_counts_as_its_time() {
    let mut told = Told::with(vec![stage("a", &[])], &[]);
    let fence = told.place(0, 1);
    let failed = Input::Failed { stage: S0, fence, error: error(ErrorClass::Transient) };
    let decision = told.run.decide(3, 0, failed).unwrap();
    assert!(matches!(decision.events[0], Event::StageRetryPlanned { at_ms: 1_100, .. }));
}

#[test]
fn a_result_whose_facts_are_no_object_costs_an_attempt() {
    let mut told = Told::with(vec![stage("a", &[])], &[]);
    let events = told.succeed(0, "[1]");
    assert!(matches!(&events[0], Event::StageRetryPlanned { error, .. } if error.code == "EX-0503"));
}

#[test]
fn a_checkpointed_run_equals_the_run_it_was_taken_of() {
    let mut told = Told::with(vec![stage("a", &[]), stage("b", &[0])], &[]);
    told.succeed(0, r#"{"x":1}"#);
    let stored = bincode::serialize(&told.run).unwrap();
    assert_eq!(bincode::deserialize::<Run>(&stored).unwrap(), told.run);
}

#[test]
fn a_journal_that_does_not_begin_a_run_is_refused() {
    let begun = Run::submitted(3, 0, &Event::RunSucceeded);
    assert_eq!(begun.unwrap_err(), SubmitError::NotFirst { position: 3, event: "RunSucceeded" });
}

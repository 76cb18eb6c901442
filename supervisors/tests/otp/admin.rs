//! OTP's group admin: children managed at run time, and specs that are refused.

use std::time::Duration;

use supervisors::{
    AutoShutdown, Backoff, ChildData, ChildError, ChildState, Exit, Intensity, Pulse, Refusal, Restart,
    ShutdownData, StartError, Strategy, SupervisorData, SupervisorSpec, Watchdog, launch, start,
    supervisor_child, task_child,
};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{counts, patient, refused};

#[test]
fn child_adm() {
    in_virtual_time(async {
        let stage = Stage::default();
        let a = || "a".to_owned();
        let (top, _end) = patient(Strategy::OneForOne, stage.puppets(&["a"])).await;
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);
        assert_eq!(top.start_child(stage.puppet("a")).await, refused(Refusal::AlreadyRunning(a())));
        assert_eq!(top.restart_child("a").await, refused(Refusal::Running(a())));
        assert_eq!(top.delete_child("a").await, refused(Refusal::Running(a())));
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);

        top.terminate_child("a").await.unwrap();
        assert_eq!(counts(&top).await, [1, 0, 0, 1]);
        // As often as one likes.
        top.terminate_child("a").await.unwrap();
        assert_eq!(top.start_child(stage.puppet("a")).await, refused(Refusal::AlreadyPresent(a())));
        top.restart_child("a").await.unwrap();
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);
        assert_eq!(top.which_child("a").await.unwrap().generation, 1);

        top.terminate_child("a").await.unwrap();
        top.delete_child("a").await.unwrap();
        assert_eq!(counts(&top).await, [0, 0, 0, 0]);
        for answer in
            [top.terminate_child("a").await, top.restart_child("a").await, top.delete_child("a").await]
        {
            assert_eq!(answer, refused(Refusal::NotFound(a())));
        }
        top.start_child(stage.puppet("a")).await.unwrap();
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);

        top.shutdown().await;
        let gone = Err(ChildError::SupervisorGone("top".into()));
        assert_eq!(top.terminate_child("a").await, gone);
        assert_eq!(top.start_child(stage.puppet("b")).await, gone);
    });
}

#[test]
fn child_adm_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        let (other, _other_end) = patient(Strategy::OneForOne, stage.puppets(&["foreign"])).await;
        top.start_child(stage.puppet("a")).await.unwrap();
        top.start_child(stage.puppet("b")).await.unwrap();
        for id in ["a", "unknown"] {
            let simple = Refusal::Dynamic(id.to_owned());
            assert_eq!(top.restart_child(id).await, refused(simple.clone()));
            assert_eq!(top.delete_child(id).await, refused(simple.clone()));
            assert!(simple.to_string().contains("dynamic supervisor"));
        }
        top.terminate_child("a").await.unwrap();
        assert_eq!(states(&top).await, "b:up");
        let foreign = "foreign".to_owned();
        assert_eq!(top.terminate_child("foreign").await, refused(Refusal::NotFound(foreign)));
        assert_eq!(states(&other).await, "foreign:up");
        assert_eq!(counts(&top).await, [1, 1, 0, 1]);
    });
}

/// The handle that comes with a spec is good as soon as the start is answered.
#[test]
fn extra_return() {
    struct Echo;
    impl actix::Actor for Echo {
        type Context = actix::Context<Self>;
    }
    impl actix::Supervised for Echo {}
    struct Say(u32);
    impl actix::Message for Say {
        type Result = u32;
    }
    impl actix::Handler<Say> for Echo {
        type Result = u32;
        fn handle(&mut self, say: Say, _: &mut actix::Context<Self>) -> u32 {
            say.0
        }
    }
    in_virtual_time(async {
        for strategy in [Strategy::OneForOne, Strategy::Dynamic] {
            let (top, _end) = patient(strategy, vec![]).await;
            let (echo, child) = supervisors::actor_child("echo", 1, || Echo);
            top.start_child(child).await.unwrap();
            assert_eq!(echo.ask(Say(7), Duration::from_secs(1)).await, Ok(7));
        }
    });
}

fn paths(errors: &supervisors::SpecErrors) -> Vec<&str> {
    errors.faults.iter().map(|fault| fault.path.as_str()).collect()
}

#[test]
fn child_specs() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut children = stage.puppets(&["", "b", "b", "d", "e"]);
        children[1].backoff =
            Backoff { first: Duration::from_secs(2), factor: 0, max: Duration::from_secs(1), jitter: 1.5 };
        children[3].significant = true;
        children[4].watchdog = Some(Watchdog { pulse: Pulse::new(), patience: Duration::ZERO });
        children.push(supervisor_child(supervisor(Strategy::OneForOne, 1, stage.puppets(&["x", "x"]))).1);
        let mut spec = supervisor(Strategy::OneForOne, 1, children);
        spec.intensity.period = Duration::ZERO;
        let StartError::BadSpec(errors) = launch(spec).await.unwrap_err() else { panic!() };
        assert_eq!(
            paths(&errors),
            [
                "period",
                "children[0].id",
                "children[1].backoff.jitter",
                "children[1].backoff.factor",
                "children[1].backoff.max",
                "children[2].id",
                "children[3].significant",
                "children[3].significant",
                "children[4].watchdog",
                "children[5].children[1].id",
            ]
        );
        let text = errors.to_string();
        assert!(text.contains("children[2].id: expected an id of its own, got `b`, the id of children[1]"));
        settle().await;
        assert_eq!(stage.happened(), "");

        let (top, _end) = patient(Strategy::OneForOne, vec![]).await;
        let Err(ChildError::BadSpec(errors)) = top.start_child(stage.puppet("")).await else { panic!() };
        assert_eq!(paths(&errors), ["child.id"]);
        assert_eq!(counts(&top).await, [0, 0, 0, 0]);
    });
}

#[test]
fn child_specs_map() {
    let child = |id: &str| ChildData { id: id.into(), start: "p".into(), ..ChildData::default() };
    let mut data = SupervisorData { id: "top".into(), ..SupervisorData::default() };
    data.children = ["a", "", "c", "a", "e", "f", "g"].map(child).to_vec();
    data.children[2].restart = "always".into();
    data.children[2].shutdown = Some(ShutdownData::Milliseconds(-1));
    data.children[4].start = String::new();
    data.children[4].shutdown = Some(ShutdownData::Word("soon".into()));
    data.children[5].significant = true;
    data.children[6].backoff =
        Some(supervisors::BackoffData { first_ms: -1, factor: 0, max_ms: -5, jitter: f64::NAN });
    let errors = data.check().unwrap_err();
    assert_eq!(
        paths(&errors),
        [
            "children[1].id",
            "children[2].restart",
            "children[2].shutdown",
            "children[3].id",
            "children[4].shutdown",
            "children[4].start",
            "children[5].significant",
            "children[5].significant",
            "children[6].backoff.first_ms",
            "children[6].backoff.max_ms",
            "children[6].backoff.factor",
            "children[6].backoff.jitter",
        ]
    );
    assert_eq!(
        errors.faults[1].to_string(),
        "children[2].restart: expected one of permanent, transient, temporary, got `always`; choose one of them"
    );
    let inner = SupervisorData { period_ms: 0, children: vec![child("")], ..SupervisorData::default() };
    let nested = ChildData { id: "inner".into(), supervisor: Some(inner), ..ChildData::default() };
    let outer = SupervisorData { id: "top".into(), children: vec![nested], ..SupervisorData::default() };
    let errors = outer.check().unwrap_err();
    let expected = ["children[0].supervisor.period_ms", "children[0].supervisor.children[0].id"];
    assert_eq!(paths(&errors), expected);
}

#[test]
fn sup_flags() {
    let flags = SupervisorData {
        id: String::new(),
        strategy: "none_for_one".into(),
        intensity: -1,
        period_ms: 0,
        auto_shutdown: "sometimes".into(),
        boot: "maybe".into(),
        children: Vec::new(),
    };
    let errors = flags.check().unwrap_err();
    let expected = ["id", "strategy", "auto_shutdown", "boot", "intensity", "period_ms"];
    assert_eq!(paths(&errors), expected);
    assert_eq!(
        errors.faults[4].to_string(),
        "intensity: expected a number of at least 0, got -1; correct the number"
    );
    let huge = SupervisorData { id: "top".into(), intensity: i64::MAX, ..SupervisorData::default() };
    assert_eq!(paths(&huge.check().unwrap_err()), ["intensity"]);

    in_virtual_time(async {
        let stage = Stage::default();
        let intensity = Intensity { restarts: 1, period: Duration::ZERO };
        let spec = SupervisorSpec::new("top", Strategy::OneForOne, intensity, stage.puppets(&["a"]));
        let (top, end) = start(spec);
        let Exit::Error(text) = end.await.unwrap() else { panic!() };
        assert!(text.contains("period: expected a time longer than 0, got 0"), "{text}");
        assert_eq!(stage.happened(), "");
        assert!(matches!(top.which_children().await, Err(ChildError::SupervisorGone(_))));
    });
}

#[test]
fn which_children() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::OneForOne, stage.puppets(&["a", "b"])).await;
        top.start_child(stage.puppet("c")).await.unwrap();
        top.terminate_child("b").await.unwrap();
        // In start order; OTP lists the newest first.
        assert_eq!(states(&top).await, "a:up b:down c:up");
        let b = top.which_child("b").await.unwrap();
        assert_eq!(
            (b.state, b.last_exit, b.is_supervisor),
            (ChildState::Undefined, Some(Exit::Shutdown), false)
        );
        assert!(matches!(
            top.which_child("z").await,
            Err(ChildError::Refused(Refusal::NotFound(id))) if id == "z"
        ));
    });
}

#[test]
fn which_children_simple_one_for_one() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = patient(Strategy::Dynamic, vec![]).await;
        for id in ["b", "a"] {
            top.start_child(stage.puppet(id)).await.unwrap();
        }
        assert_eq!(states(&top).await, "b:up a:up");
        stage.exit("b", Exit::Killed).await;
        assert_eq!(states(&top).await, "b:up a:up");
        assert_eq!(top.which_child("b").await.unwrap().generation, 1);
    });
}

/// A name that is taken outside: the start fails and says so, the holder is left alone.
#[test]
fn already_started_outside_supervisor() {
    in_virtual_time(async {
        let outside = std::rc::Rc::new(());
        let holder = outside.clone();
        let child = task_child("named", move |_stop| {
            let _other = holder.clone();
            std::panic::resume_unwind(Box::new("the name is taken"))
        });
        let (top, end) = patient(Strategy::OneForOne, vec![]).await;
        let answer = top.start_child(child.restart(Restart::Transient)).await;
        let exit = Exit::Panicked("the name is taken".into());
        assert_eq!(answer, Err(ChildError::StartFailed { id: "named".into(), exit }));
        assert_eq!(states(&top).await, "");
        assert!(!end.is_finished());
        assert_eq!(std::rc::Rc::strong_count(&outside), 1);
    });
}

/// OTP changes these by a code upgrade.
#[test]
fn settings_are_changed_while_the_supervisor_runs_and_refused_when_wrong() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = patient(Strategy::OneForOne, stage.puppets(&["a", "b"])).await;
        let before = top.settings().await.unwrap();
        let mut settings = before;
        settings.strategy = Strategy::Dynamic;
        let fixed = Refusal::StrategyFixed { from: Strategy::OneForOne, to: Strategy::Dynamic };
        assert_eq!(top.reconfigure(settings).await, refused(fixed));
        settings = before;
        settings.intensity.period = Duration::ZERO;
        assert!(matches!(top.reconfigure(settings).await, Err(ChildError::BadSpec(_))));
        assert_eq!(top.settings().await.unwrap(), before);

        settings = before;
        settings.strategy = Strategy::OneForAll;
        settings.intensity.restarts = 1;
        settings.auto_shutdown = AutoShutdown::AnySignificant;
        top.reconfigure(settings).await.unwrap();
        stage.happened();
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "-a +a +b");
        stage.exit("b", Exit::Killed).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
    });
}

//! OTP's group significant: auto_shutdown, as EEP 56.

use supervisors::{
    AutoShutdown, ChildError, ChildSpec, Exit, Restart, Shutdown, StartError, Strategy, SupervisorRef,
    launch, supervisor_child,
};
use tokio::task::JoinHandle;

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};
use crate::{error, ms, up};

const STATIC: [Strategy; 3] = [Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne];

async fn auto(
    strategy: Strategy,
    auto: AutoShutdown,
    children: Vec<ChildSpec>,
) -> (SupervisorRef, JoinHandle<Exit>) {
    up(supervisor(strategy, 100, children).auto_shutdown(auto)).await
}

fn puppets(stage: &Stage, restart: Restart, significant: bool, ids: &[&str]) -> Vec<ChildSpec> {
    let child = |child: ChildSpec| child.restart(restart).significant(significant);
    stage.puppets(ids).into_iter().map(child).collect()
}

fn every_exit() -> [Exit; 5] {
    [Exit::Normal, Exit::Shutdown, Exit::ShutdownBecause("x".into()), error("x"), Exit::Killed]
}

/// No end of theirs ends the supervisor, not even that of the last.
async fn never_triggers(restart: Restart) {
    for mode in [AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
        for exit in every_exit() {
            let stage = Stage::default();
            let children = puppets(&stage, restart, false, &["a", "b"]);
            let (_top, end) = auto(Strategy::OneForOne, mode, children).await;
            stage.exit("a", exit.clone()).await;
            stage.exit("b", exit).await;
            assert!(!end.is_finished());
        }
    }
}

#[test]
fn nonsignificant_temporary() {
    in_virtual_time(never_triggers(Restart::Temporary));
}

#[test]
fn nonsignificant_transient() {
    in_virtual_time(never_triggers(Restart::Transient));
}

#[test]
fn significant_temporary() {
    in_virtual_time(async {
        for exit in every_exit() {
            let stage = Stage::default();
            let children = puppets(&stage, Restart::Temporary, true, &["a", "b"]);
            let (_top, end) = auto(Strategy::OneForOne, AutoShutdown::AnySignificant, children).await;
            stage.exit("a", exit.clone()).await;
            assert_eq!(end.await.unwrap(), Exit::Shutdown);
            assert_eq!(stage.happened(), "+a +b -b");

            let stage = Stage::default();
            let mut children = puppets(&stage, Restart::Temporary, true, &["a", "b"]);
            children.push(stage.puppet("c"));
            let (_top, end) = auto(Strategy::OneForOne, AutoShutdown::AllSignificant, children).await;
            stage.exit("a", exit.clone()).await;
            assert!(!end.is_finished());
            stage.exit("b", exit).await;
            assert_eq!(end.await.unwrap(), Exit::Shutdown);
            assert_eq!(stage.happened(), "+a +b +c -c");
        }
        // What is terminated by request does not trigger; but it is gone when the others are counted.
        let stage = Stage::default();
        let children = puppets(&stage, Restart::Temporary, true, &["a", "b"]);
        let (top, end) = auto(Strategy::OneForOne, AutoShutdown::AnySignificant, children).await;
        top.terminate_child("a").await.unwrap();
        settle().await;
        assert_eq!((states(&top).await.as_str(), end.is_finished()), ("b:up", false));

        let stage = Stage::default();
        let children = puppets(&stage, Restart::Temporary, true, &["a", "b"]);
        let (top, end) = auto(Strategy::OneForOne, AutoShutdown::AllSignificant, children).await;
        top.terminate_child("a").await.unwrap();
        stage.exit("b", Exit::Normal).await;
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
    });
}

#[test]
fn significant_transient() {
    in_virtual_time(async {
        for exit in every_exit() {
            for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
                let stage = Stage::default();
                let children = puppets(&stage, Restart::Transient, true, &["a", "b"]);
                let (top, end) = auto(Strategy::OneForOne, mode, children).await;
                stage.exit("a", exit.clone()).await;
                if !exit.is_normal() {
                    assert_eq!(states(&top).await, "a:up b:up");
                    continue;
                }
                assert_eq!(end.is_finished(), mode == AutoShutdown::AnySignificant);
                if mode == AutoShutdown::AllSignificant {
                    assert_eq!(states(&top).await, "a:down b:up");
                    stage.exit("b", exit.clone()).await;
                }
                assert_eq!(end.await.unwrap(), Exit::Shutdown);
            }
        }
    });
}

/// What may not be significant, and that dynamic children may.
#[test]
fn significant_simple() {
    in_virtual_time(async {
        let stage = Stage::default();
        for (restart, mode, faults) in [
            (Restart::Permanent, AutoShutdown::AnySignificant, 1),
            (Restart::Permanent, AutoShutdown::Never, 2),
            (Restart::Transient, AutoShutdown::Never, 1),
            (Restart::Temporary, AutoShutdown::Never, 1),
        ] {
            for strategy in STATIC {
                let children = puppets(&stage, restart, true, &["a"]);
                let spec = supervisor(strategy, 1, children).auto_shutdown(mode);
                let StartError::BadSpec(errors) = launch(spec).await.unwrap_err() else { panic!() };
                let paths: Vec<_> = errors.faults.iter().map(|fault| fault.path.as_str()).collect();
                assert_eq!(paths, vec!["children[0].significant"; faults]);
            }
            let (top, _end) = auto(Strategy::Dynamic, mode, vec![]).await;
            let answer = top.start_child(puppets(&stage, restart, true, &["a"]).remove(0)).await;
            assert!(matches!(answer, Err(ChildError::BadSpec(_))));
        }
        assert_eq!(stage.happened(), "");
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            let (top, end) = auto(Strategy::Dynamic, mode, vec![]).await;
            for child in puppets(&stage, Restart::Transient, true, &["a", "b"]) {
                top.start_child(child).await.unwrap();
            }
            stage.exit("a", Exit::Normal).await;
            assert_eq!(end.is_finished(), mode == AutoShutdown::AnySignificant);
            if mode == AutoShutdown::AllSignificant {
                stage.exit("b", Exit::Normal).await;
            }
            assert_eq!(end.await.unwrap(), Exit::Shutdown);
        }
    });
}

/// Siblings that go down because another child is restarted trigger nothing.
#[test]
fn significant_bystander() {
    for strategy in STATIC {
        for mode in [AutoShutdown::AnySignificant, AutoShutdown::AllSignificant] {
            in_virtual_time(async {
                let stage = Stage::default();
                let mut children = vec![stage.puppet("a")];
                children.extend(puppets(&stage, Restart::Temporary, true, &["b"]));
                children.extend(puppets(&stage, Restart::Transient, true, &["c"]));
                let (top, end) = auto(strategy, mode, children).await;
                stage.exit("a", Exit::Killed).await;
                assert!(!end.is_finished());
                let expected = match strategy {
                    Strategy::OneForOne => "a:up b:up c:up",
                    _ => "a:up c:up",
                };
                assert_eq!(states(&top).await, expected);
            });
        }
    }
}

/// An inner supervisor that shuts itself down takes the outer one along only if it is significant.
#[test]
fn significant_escalation() {
    for significant in [false, true] {
        in_virtual_time(async {
            let stage = Stage::default();
            let children = puppets(&stage, Restart::Transient, true, &["a", "b"]);
            let mut inner =
                supervisor(Strategy::OneForOne, 1, children).auto_shutdown(AutoShutdown::AnySignificant);
            inner.id = "inner".to_owned();
            let (_, inner) = supervisor_child(inner);
            let children =
                vec![inner.restart(Restart::Transient).significant(significant), stage.puppet("c")];
            let (top, end) = auto(Strategy::OneForOne, AutoShutdown::AnySignificant, children).await;
            stage.happened();
            stage.exit("a", Exit::Normal).await;
            assert_eq!(end.is_finished(), significant);
            if significant {
                assert_eq!(stage.happened(), "-b -c");
            } else {
                assert_eq!(stage.happened(), "-b");
                assert_eq!(states(&top).await, "inner:down c:up");
            }
        });
    }
}

/// OTP changes the mode by a code upgrade, we by `reconfigure`.
async fn upgrade(from: AutoShutdown, to: AutoShutdown) {
    let stage = Stage::default();
    let significant = from != AutoShutdown::Never && to != AutoShutdown::Never;
    let children = puppets(&stage, Restart::Transient, significant, &["a", "b"]);
    let (top, end) = auto(Strategy::OneForOne, from, children).await;
    let mut settings = top.settings().await.unwrap();
    settings.auto_shutdown = to;
    top.reconfigure(settings).await.unwrap();
    if to == AutoShutdown::Never {
        stage.exit("a", Exit::Normal).await;
        stage.exit("b", Exit::Normal).await;
        assert!(!end.is_finished());
        return;
    }
    if !significant {
        for child in puppets(&stage, Restart::Transient, true, &["c", "d"]) {
            top.start_child(child).await.unwrap();
        }
    }
    let [first, second] = if significant { ["a", "b"] } else { ["c", "d"] };
    stage.exit(first, Exit::Normal).await;
    assert_eq!(end.is_finished(), to == AutoShutdown::AnySignificant);
    if to == AutoShutdown::AllSignificant {
        stage.exit(second, Exit::Normal).await;
    }
    assert_eq!(end.await.unwrap(), Exit::Shutdown);
}

#[test]
fn significant_upgrade_never_any() {
    in_virtual_time(upgrade(AutoShutdown::Never, AutoShutdown::AnySignificant));
}

#[test]
fn significant_upgrade_any_never() {
    in_virtual_time(upgrade(AutoShutdown::AnySignificant, AutoShutdown::Never));
}

#[test]
fn significant_upgrade_never_all() {
    in_virtual_time(upgrade(AutoShutdown::Never, AutoShutdown::AllSignificant));
}

#[test]
fn significant_upgrade_all_never() {
    in_virtual_time(upgrade(AutoShutdown::AllSignificant, AutoShutdown::Never));
}

#[test]
fn significant_upgrade_any_all() {
    in_virtual_time(upgrade(AutoShutdown::AnySignificant, AutoShutdown::AllSignificant));
}

#[test]
fn significant_upgrade_all_any() {
    in_virtual_time(upgrade(AutoShutdown::AllSignificant, AutoShutdown::AnySignificant));
}

/// Settings that do not fit the children there are, are refused by the child's name.
#[test]
fn significant_upgrade_child() {
    in_virtual_time(async {
        let stage = Stage::default();
        let children = puppets(&stage, Restart::Transient, true, &["a"]);
        let (top, _end) = auto(Strategy::OneForOne, AutoShutdown::AnySignificant, children).await;
        let mut settings = top.settings().await.unwrap();
        settings.auto_shutdown = AutoShutdown::Never;
        let Err(ChildError::BadSpec(errors)) = top.reconfigure(settings).await else { panic!() };
        assert_eq!(errors.faults[0].path, "child `a`.significant");
        // With another child in its place it fits.
        top.terminate_child("a").await.unwrap();
        top.delete_child("a").await.unwrap();
        top.start_child(stage.puppet("a").shutdown(Shutdown::Deadline(ms(1)))).await.unwrap();
        top.reconfigure(settings).await.unwrap();
        assert_eq!(top.settings().await.unwrap(), settings);
    });
}

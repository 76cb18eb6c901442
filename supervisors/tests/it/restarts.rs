//! Which exits lead to a restart, per restart type.

use supervisors::{Exit, Restart, Strategy, start};

use crate::support::{Stage, alone, in_virtual_time, settle, states, supervisor};

/// What is seen after a single exit: the log since boot and the states.
fn after(restart: Restart, exit: Exit) -> (String, String) {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(alone(&stage, restart));
        settle().await;
        assert_eq!(stage.happened(), "+a");
        stage.exit("a", exit).await;
        (stage.happened(), states(&top).await)
    })
}

fn abnormal_exits() -> Vec<Exit> {
    vec![Exit::Error("e".into()), Exit::Panicked("p".into()), Exit::Killed, Exit::Escalated(vec![])]
}

fn restarted() -> (String, String) {
    ("+a".into(), "a:up".into())
}

#[test]
fn a_permanent_child_is_restarted_after_every_exit() {
    for exit in [vec![Exit::Normal, Exit::Shutdown], abnormal_exits()].concat() {
        assert_eq!(after(Restart::Permanent, exit), restarted());
    }
}

#[test]
fn a_transient_child_is_restarted_after_an_abnormal_exit_only() {
    for exit in abnormal_exits() {
        assert_eq!(after(Restart::Transient, exit), restarted());
    }
    for exit in [Exit::Normal, Exit::Shutdown] {
        assert_eq!(after(Restart::Transient, exit), (String::new(), "a:down".into()));
    }
}

#[test]
fn a_temporary_child_is_never_restarted_and_its_spec_is_forgotten() {
    for exit in [vec![Exit::Normal, Exit::Shutdown], abnormal_exits()].concat() {
        assert_eq!(after(Restart::Temporary, exit), (String::new(), String::new()));
    }
}

#[test]
fn a_restart_is_counted_and_the_last_exit_is_kept() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(alone(&stage, Restart::Permanent));
        settle().await;
        stage.exit("a", Exit::Error("first".into())).await;
        stage.exit("a", Exit::Error("second".into())).await;
        let child = top.which_children().await.unwrap().remove(0);
        assert_eq!((child.restarts, child.last_exit), (2, Some(Exit::Error("second".into()))));
    });
}

#[test]
fn a_child_that_chooses_not_to_run_is_down_and_nothing_is_wrong() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.choose_not_to_run("b");
        stage.choose_not_to_run("c");
        let mut children = stage.puppets(&["a", "b", "c", "d"]);
        children[2].restart = Restart::Temporary;
        let (top, _end) = start(supervisor(Strategy::OneForOne, 0, children));
        settle().await;
        assert_eq!(states(&top).await, "a:up b:down d:up");
        let counts = top.count_children().await.unwrap();
        assert_eq!((counts.specs, counts.active, counts.supervisors, counts.workers), (3, 2, 0, 3));
    });
}

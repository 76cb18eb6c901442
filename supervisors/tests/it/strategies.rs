//! Who goes down and comes up with whom, and in which order.

use supervisors::{Exit, Restart, Strategy, start};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};

fn log_after_b_dies(strategy: Strategy) -> String {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_top, _end) = start(supervisor(strategy, 10, stage.puppets(&["a", "b", "c", "d"])));
        settle().await;
        assert_eq!(stage.happened(), "+a +b +c +d");
        stage.exit("b", Exit::Killed).await;
        stage.happened()
    })
}

#[test]
fn one_for_one_restarts_the_child_alone() {
    assert_eq!(log_after_b_dies(Strategy::OneForOne), "+b");
}

#[test]
fn one_for_all_stops_in_reverse_and_starts_in_order() {
    assert_eq!(log_after_b_dies(Strategy::OneForAll), "-d -c -a +a +b +c +d");
}

#[test]
fn rest_for_one_leaves_the_older_children_alone() {
    assert_eq!(log_after_b_dies(Strategy::RestForOne), "-d -c +b +c +d");
}

#[test]
fn a_dynamic_supervisor_restarts_the_child_alone() {
    assert_eq!(log_after_b_dies(Strategy::Dynamic), "+b");
}

#[test]
fn in_one_for_all_a_child_that_fails_to_restart_takes_the_restarted_ones_down_again() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = start(supervisor(Strategy::OneForAll, 10, stage.puppets(&["a", "b", "c"])));
        settle().await;
        stage.happened();
        stage.fail_next_starts("b", 1);
        stage.exit("c", Exit::Killed).await;
        assert_eq!(stage.happened(), "-b -a +a !b -a +a +b +c");
        assert_eq!(states(&top).await, "a:up b:up c:up");
    });
}

#[test]
fn in_rest_for_one_a_child_that_fails_to_restart_leaves_the_restarted_older_one_up() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_top, _end) = start(supervisor(Strategy::RestForOne, 10, stage.puppets(&["a", "b", "c"])));
        settle().await;
        stage.happened();
        stage.fail_next_starts("b", 1);
        stage.exit("a", Exit::Killed).await;
        assert_eq!(stage.happened(), "-c -b +a !b +b +c");
    });
}

#[test]
fn a_temporary_bystander_of_a_group_restart_goes_down_for_good_and_counts_nothing() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut children = stage.puppets(&["a", "b"]);
        children[0].restart = Restart::Temporary;
        let (top, _end) = start(supervisor(Strategy::OneForAll, 1, children));
        settle().await;
        stage.happened();
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "-a +b");
        assert_eq!(states(&top).await, "b:up");
    });
}

#[test]
fn a_sibling_that_dies_by_itself_while_the_group_is_stopped_is_neither_lost_nor_counted() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.ignore_stops("c");
        // One restart is tolerated: counting the bystander's death would end the supervisor.
        let (top, _end) = start(supervisor(Strategy::OneForAll, 1, stage.puppets(&["a", "b", "c"])));
        settle().await;
        stage.happened();
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "-c");
        stage.exit("a", Exit::Panicked("meanwhile".into())).await;
        assert_eq!(stage.happened(), "");
        stage.exit("c", Exit::Normal).await;
        assert_eq!(stage.happened(), "+a +b +c");
        assert_eq!(states(&top).await, "a:up b:up c:up");
    });
}

#[test]
fn a_normal_exit_of_a_transient_child_restarts_no_group() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut children = stage.puppets(&["a", "b"]);
        children[1].restart = Restart::Transient;
        let (top, _end) = start(supervisor(Strategy::OneForAll, 1, children));
        settle().await;
        stage.happened();
        stage.exit("b", Exit::Normal).await;
        assert_eq!((stage.happened().as_str(), states(&top).await.as_str()), ("", "a:up b:down"));
    });
}

#[test]
fn the_boot_waits_in_order_for_a_child_that_does_not_come_up() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.hang_in_start("b");
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, stage.puppets(&["a", "b", "c"])));
        settle().await;
        assert_eq!(stage.happened(), "+a ?b");
        // It still answers, and a shutdown does not hang on the start.
        assert_eq!(states(&top).await, "a:up b:restarting c:restarting");
        top.shutdown().await;
        assert_eq!(stage.happened(), "-a");
    });
}

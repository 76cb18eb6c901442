//! When a supervisor gives up, and what it says then.

use std::time::Duration;

use supervisors::{Boot, Exit, Intensity, Restart, Strategy, SupervisorSpec, start, supervisor_child};

use crate::support::{Stage, alone, in_virtual_time, settle, supervisor};

#[test]
fn one_restart_more_than_tolerated_stops_the_siblings_in_order_and_escalates() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_top, end) = start(supervisor(Strategy::OneForOne, 2, stage.puppets(&["a", "b", "c"])));
        settle().await;
        stage.happened();
        for _ in 0..3 {
            stage.exit("b", Exit::Panicked("boom".into())).await;
        }
        assert_eq!(stage.happened(), "+b +b -c -a");
        assert_eq!(end.await.unwrap(), Exit::Escalated(vec!["child `b` ended: panicked: boom".into()]));
    });
}

#[test]
fn the_window_slides_so_rare_failures_never_add_up() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut spec = alone(&stage, Restart::Permanent);
        spec.intensity = Intensity { restarts: 1, period: Duration::from_secs(1) };
        let (top, end) = start(spec);
        settle().await;
        for _ in 0..50 {
            stage.exit("a", Exit::Killed).await;
            tokio::time::sleep(Duration::from_millis(1100)).await;
        }
        assert!(!end.is_finished());
        assert_eq!(top.which_children().await.unwrap()[0].restarts, 50);
        stage.exit("a", Exit::Killed).await;
        stage.exit("a", Exit::Killed).await;
        assert!(end.is_finished());
    });
}

#[test]
fn a_start_that_always_fails_is_tried_one_time_more_than_tolerated() {
    in_virtual_time(async {
        let stage = Stage::default();
        stage.fail_next_starts("a", u32::MAX);
        let mut spec = alone(&stage, Restart::Permanent);
        spec.intensity.restarts = 5;
        spec.boot = Boot::Retry;
        let (_top, end) = start(spec);
        let exit = end.await.unwrap();
        assert_eq!(exit, Exit::Escalated(vec!["child `a` ended: error: told to fail".into()]));
        assert_eq!(stage.happened(), "!a !a !a !a !a !a");
    });
}

#[test]
fn an_inner_supervisor_that_keeps_giving_up_brings_the_top_down_with_the_whole_chain_of_causes() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_, inner) = supervisor_child(SupervisorSpec::new(
            "inner",
            Strategy::OneForOne,
            Intensity { restarts: 3, period: Duration::from_secs(5) },
            stage.puppets(&["a"]),
        ));
        let (_top, end) = start(supervisor(Strategy::OneForOne, 2, vec![inner]));
        settle().await;
        // The inner one gives up at every fourth death, the top one at the third giving up.
        for _ in 0..12 {
            assert!(!end.is_finished());
            stage.exit("a", Exit::Panicked("boom".into())).await;
        }
        let chain = vec!["child `inner` gave up".into(), "child `a` ended: panicked: boom".into()];
        assert_eq!(end.await.unwrap(), Exit::Escalated(chain));
        assert_eq!(stage.happened(), "+a ".repeat(12).trim_end());
    });
}

//! OTP's groups one_for_one, one_for_all and rest_for_one.

use std::time::Duration;

use supervisors::{Exit, Intensity, Strategy, SupervisorRef};

use crate::support::{Stage, in_virtual_time, states, supervisor};
use crate::{error, ms, up};

async fn generations(top: &SupervisorRef) -> Vec<u64> {
    top.which_children().await.unwrap().iter().map(|child| child.generation).collect()
}

#[test]
fn multiple_restarts() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut spec = supervisor(Strategy::OneForOne, 1, stage.puppets(&["a"]));
        spec.intensity = Intensity { restarts: 1, period: Duration::from_secs(1) };
        let (_top, end) = up(spec).await;
        for _ in 0..4 {
            stage.exit("a", Exit::Killed).await;
            tokio::time::sleep(ms(2_100)).await;
            assert!(!end.is_finished());
        }
        assert_eq!(stage.happened(), "+a +a +a +a +a");
    });
}

#[test]
fn one_for_one() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = up(supervisor(Strategy::OneForOne, 2, stage.puppets(&["a", "b"]))).await;
        stage.exit("a", Exit::Killed).await;
        assert_eq!(generations(&top).await, [1, 0]);
        stage.exit("a", Exit::Killed).await;
        assert_eq!(generations(&top).await, [2, 0]);
        stage.exit("a", Exit::Killed).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
        assert_eq!(stage.happened(), "+a +b +a +a -b");
    });
}

/// The child fails again when it is restarted, more often than is tolerated.
async fn escalation(strategy: Strategy, expected: &str) {
    let stage = Stage::default();
    let (top, end) = up(supervisor(strategy, 4, stage.puppets(&["a", "b"]))).await;
    let watch = top.watch_child("b").await.unwrap();
    stage.happened();
    stage.fail_next_starts("a", 100);
    stage.exit("a", error("boom")).await;
    assert_eq!(end.await.unwrap(), Exit::Escalated(vec!["child `a` ended: error: told to fail".to_owned()]));
    assert_eq!(stage.happened(), expected);
    assert_eq!(watch.await, Exit::Shutdown);
}

#[test]
fn one_for_one_escalation() {
    in_virtual_time(escalation(Strategy::OneForOne, "!a !a !a !a -b"));
}

#[test]
fn one_for_all() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = up(supervisor(Strategy::OneForAll, 2, stage.puppets(&["a", "b"]))).await;
        stage.happened();
        stage.exit("a", Exit::Killed).await;
        assert_eq!((stage.happened().as_str(), generations(&top).await), ("-b +a +b", vec![1, 1]));
        stage.exit("b", Exit::Killed).await;
        assert_eq!((stage.happened().as_str(), generations(&top).await), ("-a +a +b", vec![2, 2]));
        stage.exit("a", Exit::Killed).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
        assert_eq!(stage.happened(), "-b");
    });
}

#[test]
fn one_for_all_escalation() {
    in_virtual_time(escalation(Strategy::OneForAll, "-b !a !a !a !a"));
}

#[test]
fn one_for_all_other_child_fails_restart() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = up(supervisor(Strategy::OneForAll, 3, stage.puppets(&["a", "b"]))).await;
        stage.happened();
        stage.fail_next_starts("b", 1);
        stage.exit("a", Exit::Killed).await;
        // a comes up, b does not: a goes down again, and both are tried again.
        assert_eq!(stage.happened(), "-b +a !b -a +a +b");
        assert_eq!(states(&top).await, "a:up b:up");
    });
}

#[test]
fn rest_for_one() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, end) = up(supervisor(Strategy::RestForOne, 2, stage.puppets(&["a", "b", "c"]))).await;
        stage.happened();
        stage.exit("b", Exit::Killed).await;
        assert_eq!((stage.happened().as_str(), generations(&top).await), ("-c +b +c", vec![0, 1, 1]));
        stage.exit("c", Exit::Killed).await;
        assert_eq!((stage.happened().as_str(), generations(&top).await), ("+c", vec![0, 1, 2]));
        stage.exit("b", Exit::Killed).await;
        assert!(matches!(end.await.unwrap(), Exit::Escalated(_)));
        assert_eq!(stage.happened(), "-c -a");
    });
}

#[test]
fn rest_for_one_escalation() {
    in_virtual_time(escalation(Strategy::RestForOne, "-b !a !a !a !a"));
}

#[test]
fn rest_for_one_other_child_fails_restart() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (top, _end) = up(supervisor(Strategy::RestForOne, 3, stage.puppets(&["a", "b", "c"]))).await;
        stage.happened();
        stage.fail_next_starts("b", 1);
        stage.exit("a", Exit::Killed).await;
        // a is up again before b fails, and is left alone when b is tried again.
        assert_eq!(stage.happened(), "-c -b +a !b +b +c");
        assert_eq!(generations(&top).await, [1, 2, 1]);
    });
}

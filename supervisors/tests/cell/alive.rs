//! The cell answers the watchdog's questions, not the actor.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use supervisors::{ActorSpec, Pulse};

use crate::actor::{Later, Puppet, act, hold, in_virtual_time, settle, under};

const PATIENCE: Duration = Duration::from_secs(5);

/// A watched actor; its supervisor does not know of the watchdog, the test asks in its place.
fn watched() -> (supervisors::ActorRef<Puppet>, Pulse, supervisors::SupervisorRef) {
    let (actor, mut child) = ActorSpec::new("puppet", 8).watchdog(PATIENCE).child(Puppet::default);
    let watchdog = child.watchdog.take().unwrap();
    assert_eq!(watchdog.patience, PATIENCE);
    let (top, _end) = under(3, child);
    (actor, watchdog.pulse, top)
}

#[test]
fn an_idle_actor_answers_and_so_does_one_in_a_wait_and_one_with_a_long_future() {
    in_virtual_time(async {
        let (actor, pulse, _top) = watched();
        settle().await;
        for busy in ["idle", "with a future", "in a wait"] {
            match busy {
                "with a future" => drop(actor.ask(Later(Duration::from_secs(3600)), PATIENCE)),
                "in a wait" => actor.tell(hold(Duration::from_secs(3600))).unwrap(),
                _ => {}
            }
            settle().await;
            for _ in 0..3 {
                let before = pulse.beats();
                pulse.ask();
                settle().await;
                assert_eq!(pulse.beats(), before + 1, "{busy}");
            }
        }
    });
}

#[test]
fn an_actor_in_a_handler_does_not_answer_and_then_does() {
    in_virtual_time(async {
        let (actor, pulse, _top) = watched();
        settle().await;
        let during = Arc::new(Mutex::new(None));
        let (asked, seen) = (pulse.clone(), during.clone());
        actor
            .tell(act(move |_, _| {
                let before = asked.beats();
                asked.ask();
                *seen.lock().unwrap() = Some((before, asked.beats()));
            }))
            .unwrap();
        settle().await;
        let (before, inside) = during.lock().unwrap().take().unwrap();
        assert_eq!(inside, before, "a blocked thread answered");
        assert_eq!(pulse.beats(), before + 1);
    });
}

#[test]
fn a_later_incarnation_answers_too() {
    in_virtual_time(async {
        let (actor, pulse, _top) = watched();
        actor.tell(act(|_, _| panic!("boom"))).unwrap();
        settle().await;
        let before = pulse.beats();
        pulse.ask();
        settle().await;
        assert_eq!((pulse.beats(), actor.restarts()), (before + 1, 1));
    });
}

#[test]
fn without_a_watchdog_nobody_is_asked() {
    let (_actor, child) = ActorSpec::new("puppet", 8).child(Puppet::default);
    assert!(child.watchdog.is_none());
}

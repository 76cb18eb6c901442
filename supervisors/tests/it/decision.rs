//! Random histories against the pure decision core, watched by a checker that sees only actions.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::Strategy as _;
use supervisors::decision::{Action, Decision, Event, Key, Policy, Refusal, Status};
use supervisors::{Backoff, Exit, Intensity, Restart, Shutdown, Strategy};

#[derive(Debug, Clone)]
enum Step {
    /// The n-th start in progress ends: 0 up, 1 ignored, else failed.
    StartEnds(usize, u8),
    /// The n-th running child ends.
    ChildEnds(usize, bool),
    Time(u64),
    Add(u8),
    Terminate(u8),
    Restart(u8),
    Delete(u8),
    /// A report of a generation long gone.
    Stale(usize),
}

fn steps() -> impl proptest::strategy::Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..4_usize, prop_oneof![8 => Just(0_u8), 1 => Just(1), 1 => Just(2)])
            .prop_map(|(n, how)| Step::StartEnds(n, how)),
        5 => (0..5_usize, any::<bool>()).prop_map(|(n, normal)| Step::ChildEnds(n, normal)),
        4 => (0..3_000_u64).prop_map(Step::Time),
        1 => (0..6_u8).prop_map(Step::Add),
        1 => (0..6_u8).prop_map(Step::Terminate),
        1 => (0..6_u8).prop_map(Step::Restart),
        1 => (0..6_u8).prop_map(Step::Delete),
        1 => (0..5_usize).prop_map(Step::Stale),
    ];
    prop::collection::vec(step, 0..120)
}

fn policy(id: u8, choice: u32) -> Policy {
    Policy {
        id: format!("c{id}"),
        restart: [Restart::Permanent, Restart::Transient, Restart::Temporary][choice as usize % 3],
        shutdown: [Shutdown::Deadline(Duration::from_millis(500)), Shutdown::Brutal, Shutdown::Infinity]
            [choice as usize / 3 % 3],
        backoff: if choice < 9 {
            Backoff::NONE
        } else {
            Backoff { first: Duration::from_millis(100), factor: 2, max: Duration::from_secs(1), jitter: 0.3 }
        },
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Live {
    Starting,
    Running,
    /// Asked to stop, or killed.
    Going,
}

/// The outside world, and the checker: at most one incarnation per child, order, no work after the end.
struct World {
    decision: Decision,
    strategy: Strategy,
    now: Duration,
    live: BTreeMap<Key, (u64, Live)>,
    launches: BTreeMap<Key, u64>,
    next_key: u64,
    finished: Option<Exit>,
    restarts: Vec<Duration>,
    intensity: Intensity,
}

impl World {
    fn send(&mut self, event: Event) -> Result<(), Refusal> {
        let before = self.decision.children().len();
        let refused_state = format!("{:?}", self.decision.children());
        match self.decision.handle(event.clone(), self.now, 0.5) {
            Ok(actions) => {
                assert!(self.finished.is_none() || actions.is_empty(), "work after the end: {actions:?}");
                for action in actions {
                    self.check(action);
                }
                assert!(self.decision.children().len() <= before + 1);
                Ok(())
            }
            Err(refusal) => {
                let asked = matches!(
                    event,
                    Event::Add { .. }
                        | Event::Terminate { .. }
                        | Event::Restart { .. }
                        | Event::Delete { .. }
                );
                assert!(asked, "a report was refused: {event:?}");
                assert_eq!(refused_state, format!("{:?}", self.decision.children()));
                Err(refusal)
            }
        }
    }

    fn position(&self, key: Key) -> usize {
        self.decision.children().iter().position(|child| child.key == key).unwrap()
    }

    fn check(&mut self, action: Action) {
        let in_order = self.strategy != Strategy::Dynamic;
        let in_group = matches!(self.strategy, Strategy::OneForAll | Strategy::RestForOne);
        match action {
            Action::Start { key, generation } => {
                assert!(self.decision.ending().is_none(), "a start on the way down");
                assert!(!self.live.contains_key(&key), "two incarnations of {key:?}");
                assert!(!in_group || !self.any_going(), "a start before the group was down");
                let launches = self.launches.entry(key).or_default();
                assert_eq!(generation, *launches);
                *launches += 1;
                let at = self.position(key);
                for earlier in &self.decision.children()[..at] {
                    let coming = matches!(earlier.status, Status::Pending { .. } | Status::Starting { .. });
                    assert!(!in_group || !coming, "a start before an earlier sibling is up");
                }
                self.live.insert(key, (generation, Live::Starting));
            }
            Action::Stop { key } | Action::Kill { key } => {
                let others = self.live.iter().any(|(&other, &(_, at))| other != key && at == Live::Going);
                assert!(!in_order || !others, "two stops at once");
                let (_, at) = self.live.get_mut(&key).expect("a stop of a child that is not there");
                if *at != Live::Going {
                    *at = Live::Going;
                    self.check_reverse(key);
                }
            }
            Action::Abandon { key } => {
                assert_eq!(self.live.remove(&key).unwrap().1, Live::Going);
            }
            Action::Down { key, .. } => assert!(!self.live.contains_key(&key), "down but alive"),
            Action::Finish(exit) => {
                assert!(self.live.is_empty(), "the end before the children's end");
                assert!(self.finished.replace(exit).is_none(), "two ends");
            }
            Action::Up { .. } | Action::Refused { .. } | Action::Retire { .. } | Action::Forget { .. } => {}
        }
    }

    /// On the way down nothing that started later may still be up when a child is stopped.
    fn check_reverse(&self, key: Key) {
        if self.decision.ending().is_none() || self.strategy == Strategy::Dynamic {
            return;
        }
        let at = self.position(key);
        for later in &self.decision.children()[at + 1..] {
            assert!(!self.live.contains_key(&later.key), "stopped before a later sibling");
        }
    }

    fn any_going(&self) -> bool {
        self.live.values().any(|&(_, at)| at == Live::Going)
    }

    fn pick(&self, n: usize, wanted: &[Live]) -> Option<(Key, u64)> {
        let found: Vec<_> = self.live.iter().filter(|(_, (_, at))| wanted.contains(at)).collect();
        (!found.is_empty()).then(|| {
            let (&key, &(generation, _)) = found[n % found.len()];
            (key, generation)
        })
    }

    /// An end that nobody asked for, of a child that is restarted, counts.
    fn count_restart(&mut self, key: Key, exit: &Exit) {
        let child = &self.decision.children()[self.position(key)];
        let unasked = matches!(
            child.status,
            Status::Running { fate: None, .. }
                | Status::Starting {
                    fate: None,
                    cause: supervisors::decision::Cause::Boot | supervisors::decision::Cause::Restart
                }
        );
        let again = match child.policy.restart {
            Restart::Permanent => true,
            Restart::Transient => !exit.is_normal(),
            Restart::Temporary => false,
        };
        if unasked && again && self.decision.ending().is_none() {
            self.restarts.push(self.now);
        }
    }

    fn ends(&mut self, key: Key, generation: u64, exit: Exit) {
        self.count_restart(key, &exit);
        self.live.remove(&key);
        self.send(Event::Exited { key, generation, exit }).unwrap();
    }

    fn perform(&mut self, step: Step, choice: u32) {
        let id = |n: u8| format!("c{n}");
        match step {
            Step::StartEnds(n, how) => {
                let Some((key, generation)) = self.pick(n, &[Live::Starting]) else { return };
                match how {
                    0 => {
                        self.live.insert(key, (generation, Live::Running));
                        self.send(Event::Started { key, generation }).unwrap();
                    }
                    1 => {
                        self.live.remove(&key);
                        self.send(Event::Ignored { key, generation }).unwrap();
                    }
                    _ => {
                        let error = Exit::Error("no".into());
                        self.count_restart(key, &error);
                        self.live.remove(&key);
                        self.send(Event::StartFailed { key, generation, error }).unwrap();
                    }
                }
            }
            Step::ChildEnds(n, normal) => {
                if let Some((key, generation)) = self.pick(n, &[Live::Running, Live::Going]) {
                    self.ends(key, generation, if normal { Exit::Normal } else { Exit::Killed });
                }
            }
            Step::Time(millis) => {
                self.now += Duration::from_millis(millis);
                self.send(Event::Tick).unwrap();
            }
            Step::Add(n) => {
                let key = Key(self.next_key);
                self.next_key += 1;
                let _ = self.send(Event::Add { key, policy: policy(n, choice) });
            }
            Step::Terminate(n) => drop(self.send(Event::Terminate { id: id(n) })),
            Step::Restart(n) => drop(self.send(Event::Restart { id: id(n) })),
            Step::Delete(n) => drop(self.send(Event::Delete { id: id(n) })),
            Step::Stale(n) => {
                if let Some((key, generation)) = self.pick(n, &[Live::Running])
                    && let Some(generation) = generation.checked_sub(1)
                {
                    let before = format!("{:?}", self.decision.children());
                    self.send(Event::Exited { key, generation, exit: Exit::Killed }).unwrap();
                    self.send(Event::StartFailed { key, generation, error: Exit::Killed }).unwrap();
                    assert_eq!(before, format!("{:?}", self.decision.children()));
                }
            }
        }
    }

    /// More restarts than tolerated in any window that ends now?
    fn too_many(&self) -> bool {
        let Some(&last) = self.restarts.last() else { return false };
        let recent = self.restarts.iter().filter(|&&at| last - at <= self.intensity.period).count();
        recent > self.intensity.restarts as usize
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn whatever_happens_order_holds_no_child_runs_twice_and_a_shutdown_ends(
        strategy in prop::sample::select(vec![
            Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::Dynamic,
        ]),
        restarts in 0..6_u32,
        choices in prop::collection::vec(0..18_u32, 1..5),
        steps in steps(),
    ) {
        let intensity = Intensity { restarts, period: Duration::from_secs(2) };
        let children = (0..).zip(&choices).map(|(n, &choice)| (Key(u64::from(n)), policy(n, choice)));
        let mut world = World {
            decision: Decision::new(strategy, intensity, children.collect()),
            strategy,
            now: Duration::ZERO,
            live: BTreeMap::new(),
            launches: BTreeMap::new(),
            next_key: choices.len() as u64,
            finished: None,
            restarts: Vec::new(),
            intensity,
        };
        world.send(Event::Boot).unwrap();
        for (step, choice) in steps.into_iter().zip(choices.iter().cycle()) {
            world.perform(step, *choice);
            // The supervisor gives up exactly when the checker's own count says so.
            prop_assert_eq!(world.decision.ending().is_some(), world.too_many());
        }
        world.send(Event::Shutdown).unwrap();
        // Some hear the stop, some must be killed, some not even that; it ends all the same.
        for round in 0..200_usize {
            if world.finished.is_some() {
                break;
            }
            if round % 3 == 0 && let Some((key, generation)) = world.pick(round, &[Live::Going]) {
                world.ends(key, generation, Exit::Shutdown);
            } else if let Some(wake) = world.decision.next_wake(world.now) {
                world.now = wake;
                world.send(Event::Tick).unwrap();
            }
        }
        prop_assert!(world.finished.is_some(), "no end: {:?}", world.decision.children());
        let escalated = matches!(world.finished, Some(Exit::Escalated(_)));
        prop_assert_eq!(escalated, world.too_many());
    }
}

#[test]
fn a_start_that_wins_the_race_against_its_cancellation_is_asked_to_stop_again() {
    let key = Key(0);
    for (choice, again) in [(0, Action::Stop { key }), (3, Action::Kill { key })] {
        let intensity = Intensity::default();
        let mut decision = Decision::new(Strategy::OneForOne, intensity, vec![(key, policy(0, choice))]);
        let mut send = |event| decision.handle(event, Duration::ZERO, 0.0).unwrap();
        send(Event::Boot);
        let first = send(Event::Shutdown);
        assert_eq!(first, [again]);
        assert_eq!(send(Event::Started { key, generation: 0 }), first);
        let last = send(Event::Exited { key, generation: 0, exit: Exit::Killed });
        assert_eq!(last.last(), Some(&Action::Finish(Exit::Shutdown)));
    }
}

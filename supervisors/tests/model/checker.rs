//! What a supervisor must do, read off the stream of events and actions alone.
//!
//! The checker keeps its own small picture of the children and shares no rule with the decision core:
//! it looks at no state of it, only at what goes in and what comes out.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use supervisors::decision::{Action, Event, Key, Policy, Refusal};
use supervisors::{AutoShutdown, Boot, Exit, Intensity, Restart, Shutdown, Strategy};

/// From a kill to the farewell; the constant of the crate is not used on purpose.
const FAREWELL: Duration = Duration::from_millis(200);

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Place {
    Down,
    Starting,
    Up,
    Going { killed: bool, at: Duration, was_starting: bool },
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Why {
    Boot,
    Restart,
    New,
    Again,
}

/// What becomes of a child once it is down.
#[derive(Debug, Clone, Copy, PartialEq)]
enum After {
    Idle,
    /// Started again between these times.
    Again(Duration, Duration),
    Forgotten,
    Hung,
}

#[derive(Debug, Clone)]
pub struct Seen {
    pub policy: Policy,
    pub place: Place,
    pub generation: Option<u64>,
    /// It is to be started, not before and not after these times.
    wanted: Option<(Why, Duration, Duration)>,
    why: Why,
    condemned: Option<After>,
    up_once: bool,
    up_since: Duration,
    failures: u32,
    beats: Option<u64>,
    misses: u32,
    look_at: Option<Duration>,
}

impl Seen {
    fn new(policy: Policy) -> Self {
        Seen {
            policy,
            place: Place::Down,
            generation: None,
            wanted: None,
            why: Why::Boot,
            condemned: None,
            up_once: false,
            up_since: Duration::ZERO,
            failures: 0,
            beats: None,
            misses: 0,
            look_at: None,
        }
    }

    fn idle(&self) -> bool {
        self.place == Place::Down && self.wanted.is_none()
    }

    fn coming(&self) -> bool {
        self.wanted.is_some() || (self.place == Place::Starting)
    }

    fn going(&self) -> bool {
        matches!(self.place, Place::Going { .. })
    }

    /// Must be stopped and is not being stopped yet.
    fn to_stop(&self) -> bool {
        self.condemned.is_some() && matches!(self.place, Place::Up | Place::Starting)
    }
}

pub struct Checker {
    pub strategy: Strategy,
    pub boot: Boot,
    pub auto: AutoShutdown,
    pub intensity: Intensity,
    pub children: BTreeMap<Key, Seen>,
    pub ending: Option<Exit>,
    pub finished: bool,
    restarts: Vec<Duration>,
    /// Children of the first hour that were not up yet; `None` when all were.
    boot_left: Option<BTreeSet<Key>>,
    now: Duration,
    /// Reports that must come out of the event at hand.
    expected_down: Vec<Key>,
    expected_up: Option<Key>,
    expected_refusal: Option<Key>,
    forgotten: Vec<Key>,
    expected_look: Option<Key>,
    expected_kill: Option<Key>,
}

impl Checker {
    pub fn new(
        strategy: Strategy,
        boot: Boot,
        auto: AutoShutdown,
        intensity: Intensity,
        children: &[(Key, Policy)],
    ) -> Self {
        Checker {
            strategy,
            boot,
            auto,
            intensity,
            children: children.iter().map(|(key, policy)| (*key, Seen::new(policy.clone()))).collect(),
            ending: None,
            finished: false,
            restarts: Vec::new(),
            boot_left: Some(children.iter().map(|(key, _)| *key).collect()),
            now: Duration::ZERO,
            expected_down: Vec::new(),
            expected_up: None,
            expected_refusal: None,
            forgotten: Vec::new(),
            expected_look: None,
            expected_kill: None,
        }
    }

    fn find(&self, id: &str) -> Option<Key> {
        self.children.iter().find(|(_, seen)| &*seen.policy.id == id).map(|(&key, _)| key)
    }

    /// What a request must be answered; `None`: it is accepted.
    pub fn refusal(&self, event: &Event) -> Option<Refusal> {
        let dynamic = self.strategy == Strategy::Dynamic;
        let down = |id: &String| {
            if dynamic {
                return Some(Refusal::Dynamic(id.clone()));
            }
            let Some(key) = self.find(id) else { return Some(Refusal::NotFound(id.clone())) };
            let seen = &self.children[&key];
            match seen.place {
                Place::Down if seen.wanted.is_none() => None,
                Place::Down | Place::Starting => Some(Refusal::Restarting(id.clone())),
                Place::Up | Place::Going { .. } => Some(Refusal::Running(id.clone())),
            }
        };
        let over = || self.finished.then_some(Refusal::ShuttingDown);
        let closed = || self.ending.is_some().then_some(Refusal::ShuttingDown);
        match event {
            Event::Add { policy, .. } => closed().or_else(|| {
                let seen = &self.children[&self.find(&policy.id)?];
                Some(match seen.place {
                    Place::Up | Place::Going { .. } => Refusal::AlreadyRunning(policy.id.to_string()),
                    Place::Down | Place::Starting => Refusal::AlreadyPresent(policy.id.to_string()),
                })
            }),
            Event::Terminate { id } => {
                over().or_else(|| self.find(id).is_none().then(|| Refusal::NotFound(id.clone())))
            }
            Event::Restart { id } => closed().or_else(|| down(id)),
            Event::Delete { id } => over().or_else(|| down(id)),
            Event::Reconfigure(settings) => closed().or_else(|| {
                let (from, to) = (self.strategy, settings.strategy);
                let fixed = (from == Strategy::Dynamic) != (to == Strategy::Dynamic);
                fixed.then_some(Refusal::StrategyFixed { from, to })
            }),
            _ => None,
        }
    }

    /// The event was accepted and these are the actions.
    pub fn check(&mut self, event: &Event, now: Duration, actions: &[Action], next_wake: Option<Duration>) {
        assert!(!self.finished || actions.is_empty(), "work after the end: {actions:?}");
        self.now = now;
        self.apply(event);
        for action in actions {
            self.see(action);
        }
        assert!(self.expected_down.is_empty(), "not reported down: {:?}", self.expected_down);
        assert!(self.forgotten.is_empty(), "not forgotten: {:?}", self.forgotten);
        for (what, left) in [
            ("up", self.expected_up),
            ("refused", self.expected_refusal),
            ("looked at", self.expected_look),
            ("killed", self.expected_kill),
        ] {
            assert_eq!(left, None, "not {what}");
        }
        if !self.finished {
            self.nothing_is_left_undone(next_wake);
        }
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Boot => {
                for seen in self.children.values_mut() {
                    seen.wanted = Some((Why::Boot, self.now, self.now));
                }
            }
            Event::Started { key, generation } if self.is_current(*key, *generation) => {
                let seen = self.children.get_mut(key).unwrap();
                if let Place::Going { killed, at, .. } = seen.place {
                    // The race: it must hear the stop or the kill once more.
                    seen.place = Place::Going { killed, at, was_starting: false };
                    self.expected_kill = Some(*key);
                } else {
                    seen.place = Place::Up;
                    seen.up_once = true;
                    seen.up_since = self.now;
                    (seen.beats, seen.misses, seen.look_at) = (None, 0, None);
                    self.expected_look = seen.policy.watchdog.map(|_| *key);
                    self.expected_up = Some(*key);
                    self.boot_is_over_for(*key);
                }
            }
            Event::Ignored { key, generation } if self.is_current(*key, *generation) => {
                self.expected_up = Some(*key);
                self.ends_as(*key, self.children[key].condemned);
            }
            Event::StartFailed { key, generation, .. } if self.is_current(*key, *generation) => {
                self.start_failed(*key);
            }
            Event::Exited { key, generation, exit } if self.is_current(*key, *generation) => {
                self.exited(*key, exit);
            }
            Event::Pulse { key, generation, beats } if self.is_current(*key, *generation) => {
                self.felt(*key, *beats);
            }
            Event::Add { key, policy } => {
                let mut seen = Seen::new(Policy::clone(policy));
                seen.wanted = Some((Why::New, self.now, self.now));
                assert!(self.children.insert(*key, seen).is_none());
            }
            Event::Terminate { id } => self.terminate(id),
            Event::Restart { id } => {
                let key = self.find(id).unwrap();
                self.children.get_mut(&key).unwrap().wanted = Some((Why::Again, self.now, self.now));
            }
            Event::Delete { id } => {
                let key = self.find(id).unwrap();
                self.forgotten.push(key);
            }
            Event::Reconfigure(settings) => {
                self.strategy = settings.strategy;
                self.auto = settings.auto_shutdown;
                self.intensity = settings.intensity;
            }
            Event::Shutdown => self.end(Exit::Shutdown),
            _ => {}
        }
    }

    fn is_current(&self, key: Key, generation: u64) -> bool {
        let Some(seen) = self.children.get(&key) else { return false };
        seen.generation == Some(generation) && seen.place != Place::Down
    }

    fn terminate(&mut self, id: &str) {
        let key = self.find(id).unwrap();
        let dynamic = self.strategy == Strategy::Dynamic;
        let seen = self.children.get_mut(&key).unwrap();
        let never_up = match seen.place {
            Place::Down => seen.wanted.is_some_and(|(why, ..)| why == Why::New),
            Place::Starting => seen.why == Why::New,
            _ => false,
        };
        let for_good = never_up || dynamic || seen.policy.restart == Restart::Temporary;
        let after = if for_good { After::Forgotten } else { After::Idle };
        if seen.place == Place::Down {
            self.expected_down.push(key);
            if seen.wanted.take().is_some() && for_good {
                self.forgotten.push(key);
            }
            self.boot_is_over_for(key);
        } else {
            seen.condemned = Some(after);
        }
    }

    fn start_failed(&mut self, key: Key) {
        let seen = &self.children[&key];
        let temporary = seen.policy.restart == Restart::Temporary;
        if seen.going() || seen.condemned.is_some() {
            self.exited(key, &Exit::Error("start".into()));
        } else if matches!(seen.why, Why::New | Why::Again) {
            let after = if seen.why == Why::New { After::Forgotten } else { After::Idle };
            self.expected_refusal = Some(key);
            self.ends_as(key, Some(after));
        } else if seen.why == Why::Boot && self.boot == Boot::Fail {
            let child = seen.policy.id.to_string();
            self.ends_as(key, Some(After::Idle));
            self.end(Exit::StartFailed { child, cause: Box::new(Exit::Killed) });
        } else {
            self.failed(key, !temporary, Duration::ZERO);
        }
    }

    fn exited(&mut self, key: Key, exit: &Exit) {
        let seen = &self.children[&key];
        if seen.condemned == Some(After::Hung) {
            let again = seen.policy.restart != Restart::Temporary;
            self.failed(key, again, Duration::ZERO);
        } else if seen.going() || seen.condemned.is_some() {
            self.ends_as(key, seen.condemned);
        } else {
            let normal = matches!(exit, Exit::Normal | Exit::Shutdown | Exit::ShutdownBecause(_));
            let again = match seen.policy.restart {
                Restart::Permanent => true,
                Restart::Transient => !normal,
                Restart::Temporary => false,
            };
            let was_up = self.now - seen.up_since;
            self.failed(key, again, was_up);
        }
    }

    fn failed(&mut self, key: Key, again: bool, was_up: Duration) {
        if !again {
            let significant = self.children[&key].policy.significant;
            self.ends_as(key, None);
            let others = self.children.iter().any(|(other, seen)| {
                seen.policy.significant && !seen.idle() && !self.forgotten.contains(other)
            });
            match self.auto {
                AutoShutdown::AnySignificant if significant => self.end(Exit::Shutdown),
                AutoShutdown::AllSignificant if significant && !others => self.end(Exit::Shutdown),
                _ => {}
            }
            return;
        }
        self.restarts.push(self.now);
        let period = self.intensity.period;
        let recent = self.restarts.iter().filter(|&&at| self.now - at <= period).count();
        if recent > self.intensity.restarts as usize {
            self.ends_as(key, Some(After::Idle));
            self.end(Exit::Escalated(Vec::new()));
            return;
        }
        let (earliest, latest) = self.rest(key, was_up);
        self.ends_as(key, Some(After::Again(earliest, latest)));
        for (&other, seen) in &mut self.children {
            let in_group = match self.strategy {
                Strategy::OneForAll => other != key,
                Strategy::RestForOne => other > key,
                Strategy::OneForOne | Strategy::Dynamic => false,
            };
            if !in_group {
                continue;
            }
            match seen.place {
                Place::Down => {
                    let why = seen.wanted.map_or(Why::Restart, |(why, ..)| why);
                    seen.wanted = Some((why, earliest, latest));
                }
                _ if seen.policy.restart == Restart::Temporary => seen.condemned = Some(After::Forgotten),
                _ => seen.condemned = Some(After::Again(earliest, latest)),
            }
        }
    }

    /// Bounds of the next start after one failure more.
    fn rest(&mut self, key: Key, was_up: Duration) -> (Duration, Duration) {
        let seen = self.children.get_mut(&key).unwrap();
        let backoff = seen.policy.backoff;
        if was_up > backoff.max {
            seen.failures = 0;
        }
        seen.failures += 1;
        let mut plain = backoff.first.as_secs_f64();
        for _ in 1..seen.failures.min(100) {
            plain = (plain * f64::from(backoff.factor)).min(backoff.max.as_secs_f64());
        }
        plain = plain.min(backoff.max.as_secs_f64());
        let slack = 1e-6;
        let least = (plain * (1.0 - backoff.jitter) - slack).max(0.0);
        let most = (plain * (1.0 + backoff.jitter)).min(backoff.max.as_secs_f64()) + slack;
        (self.now + Duration::from_secs_f64(least), self.now + Duration::from_secs_f64(most))
    }

    fn felt(&mut self, key: Key, beats: u64) {
        let now = self.now;
        let seen = self.children.get_mut(&key).unwrap();
        let (Some(patience), Place::Up, None) = (seen.policy.watchdog, seen.place, seen.condemned) else {
            return;
        };
        seen.misses = if seen.beats == Some(beats) { seen.misses + 1 } else { 0 };
        seen.beats = Some(beats);
        seen.look_at = Some(now + patience / 2);
        if seen.misses == 2 {
            // What it was up before its silence began may forgive its failures.
            let alive = (now - seen.up_since).saturating_sub(patience + patience / 2);
            if alive > seen.policy.backoff.max {
                seen.failures = 0;
            }
            seen.condemned = Some(After::Hung);
            self.expected_kill = Some(key);
        }
    }

    /// The child is down now.
    fn ends_as(&mut self, key: Key, after: Option<After>) {
        let dynamic = self.strategy == Strategy::Dynamic;
        let seen = self.children.get_mut(&key).unwrap();
        let for_good = dynamic || seen.policy.restart == Restart::Temporary;
        let after = after.unwrap_or(if for_good { After::Forgotten } else { After::Idle });
        seen.place = Place::Down;
        seen.condemned = None;
        self.expected_down.push(key);
        match after {
            After::Again(earliest, latest) => seen.wanted = Some((Why::Restart, earliest, latest)),
            After::Idle => self.boot_is_over_for(key),
            After::Forgotten => {
                self.forgotten.push(key);
                self.boot_is_over_for(key);
            }
            After::Hung => unreachable!("a hang is a failure"),
        }
    }

    fn boot_is_over_for(&mut self, key: Key) {
        if let Some(left) = &mut self.boot_left {
            left.remove(&key);
        }
    }

    fn end(&mut self, exit: Exit) {
        if self.ending.is_some() {
            return;
        }
        self.ending = Some(exit);
        self.boot_left = None;
        for seen in self.children.values_mut() {
            seen.wanted = None;
            if seen.place != Place::Down {
                seen.condemned = Some(After::Idle);
            }
        }
    }

    fn see(&mut self, action: &Action) {
        match action {
            Action::Start { key, generation } => self.see_start(*key, *generation),
            Action::Stop { key } => {
                if self.expected_kill == Some(*key) {
                    self.expected_kill = None;
                    let place = self.children[key].place;
                    assert!(matches!(place, Place::Going { killed: false, .. }), "stopped instead of killed");
                } else {
                    assert_ne!(
                        self.children[key].policy.shutdown,
                        Shutdown::Brutal,
                        "asked instead of killed"
                    );
                    self.see_stop(*key, false);
                }
            }
            Action::Kill { key } => self.see_kill(*key),
            Action::Abandon { key } => {
                let Place::Going { killed: true, at, .. } = self.children[key].place else {
                    panic!("{key:?} is given up without a kill")
                };
                assert!(self.now >= at + FAREWELL, "given up too early");
                self.exited(*key, &Exit::Unkillable);
            }
            Action::Look { key, generation } => {
                let now = self.now;
                let seen = self.children.get_mut(key).unwrap();
                assert_eq!((seen.place, seen.generation), (Place::Up, Some(*generation)));
                if self.expected_look.take() != Some(*key) {
                    assert!(seen.look_at.is_some_and(|at| at <= now), "a look too early");
                }
                seen.look_at = None;
            }
            Action::Up { key } => assert_eq!(self.expected_up.take(), Some(*key)),
            Action::Refused { key, .. } => assert_eq!(self.expected_refusal.take(), Some(*key)),
            Action::Down { key, .. } => {
                let at = self.expected_down.iter().position(|expected| expected == key);
                self.expected_down.remove(at.unwrap_or_else(|| panic!("{key:?} is said to be down")));
            }
            Action::Retire { key } => {
                assert!(self.children[key].idle() || self.forgotten.contains(key), "retired but needed");
            }
            Action::Forget { key } => {
                let at = self.forgotten.iter().position(|expected| expected == key);
                self.forgotten.remove(at.unwrap_or_else(|| panic!("{key:?} is forgotten")));
                assert_eq!(self.children.remove(key).unwrap().place, Place::Down, "forgotten but alive");
            }
            Action::Booted => {
                assert_eq!(self.boot_left.take(), Some(BTreeSet::new()), "booted twice or too early");
            }
            Action::Finish(exit) => {
                for (key, seen) in &self.children {
                    assert!(seen.idle(), "an orphan: {key:?} {seen:?}");
                }
                let same = match (exit, self.ending.as_ref().expect("ended without a reason")) {
                    (Exit::Escalated(_), Exit::Escalated(_)) => true,
                    (Exit::StartFailed { child, .. }, Exit::StartFailed { child: expected, .. }) => {
                        child == expected
                    }
                    (exit, expected) => exit == expected,
                };
                assert!(same, "{exit:?} instead of {:?}", self.ending);
                assert!(!std::mem::replace(&mut self.finished, true), "two ends");
            }
        }
    }

    fn see_start(&mut self, key: Key, generation: u64) {
        assert!(self.ending.is_none(), "a start on the way down");
        let seen = &self.children[&key];
        assert_eq!(seen.place, Place::Down, "two incarnations of {key:?}");
        let Some((why, earliest, _)) = seen.wanted else { panic!("nobody wants {key:?}") };
        assert!(self.now >= earliest, "{key:?} starts {:?} too early", earliest - self.now);
        assert_eq!(generation, seen.generation.map_or(0, |before| before + 1));
        for (&other, earlier) in self.children.range(..key) {
            match self.strategy {
                Strategy::Dynamic => {}
                Strategy::OneForOne => {
                    assert!(earlier.up_once || !earlier.coming(), "{key:?} overtakes {other:?}");
                }
                Strategy::OneForAll | Strategy::RestForOne => {
                    assert!(!earlier.coming(), "{key:?} overtakes {other:?}");
                }
            }
        }
        if matches!(self.strategy, Strategy::OneForAll | Strategy::RestForOne) {
            let stopping = self.children.values().any(|other| other.going() || other.to_stop());
            assert!(!stopping, "a start while the group is being stopped");
        }
        let seen = self.children.get_mut(&key).unwrap();
        seen.place = Place::Starting;
        seen.generation = Some(generation);
        seen.why = why;
        seen.wanted = None;
    }

    fn see_stop(&mut self, key: Key, killed: bool) {
        assert!(self.children[&key].to_stop(), "a stop that nobody wants, or the second: {key:?}");
        if self.strategy != Strategy::Dynamic {
            assert!(!self.children.values().any(Seen::going), "two stops at once");
            let mut later = self.children.range(key..).skip(1);
            assert!(!later.any(|(_, seen)| seen.to_stop()), "stopped before a later sibling");
        }
        let now = self.now;
        let seen = self.children.get_mut(&key).unwrap();
        let was_starting = seen.place == Place::Starting;
        seen.place = Place::Going { killed, at: now, was_starting };
    }

    fn see_kill(&mut self, key: Key) {
        let (now, seen) = (self.now, self.children.get_mut(&key).unwrap());
        let again = self.expected_kill == Some(key);
        match seen.place {
            Place::Going { killed: true, .. } if again => self.expected_kill = None,
            Place::Up if again && seen.condemned == Some(After::Hung) => {
                self.expected_kill = None;
                seen.place = Place::Going { killed: true, at: now, was_starting: false };
            }
            Place::Going { killed: false, at, was_starting } => {
                let Shutdown::Deadline(patience) = seen.policy.shutdown else { panic!("no deadline") };
                assert!(now >= at + patience, "killed too early");
                seen.place = Place::Going { killed: true, at: now, was_starting };
            }
            _ => {
                assert_eq!(seen.policy.shutdown, Shutdown::Brutal, "killed without being asked");
                self.see_stop(key, true);
            }
        }
    }

    fn nothing_is_left_undone(&self, next_wake: Option<Duration>) {
        let (now, all) = (self.now, || self.children.values());
        assert!(self.ending.is_none() || all().any(|seen| !seen.idle()), "all are down and no end");
        assert!(self.boot_left.as_ref().is_none_or(|left| !left.is_empty()), "up and not booted");
        let to_stop = all().any(Seen::to_stop);
        let going = all().any(Seen::going);
        assert!(!to_stop || (going && self.strategy != Strategy::Dynamic), "a stop does not begin");
        let mut wakes = Vec::new();
        for (key, seen) in &self.children {
            let due = match (seen.place, seen.policy.shutdown) {
                (Place::Going { killed: true, at, .. }, _) => Some(at + FAREWELL),
                (Place::Going { at, .. }, Shutdown::Deadline(patience)) => Some(at + patience),
                (Place::Up, _) if seen.condemned.is_none() => seen.look_at,
                _ => None,
            };
            assert!(due.is_none_or(|at| at > now), "{key:?} is overdue: {seen:?}");
            wakes.extend(due);
            if let Some((_, earliest, latest)) = seen.wanted {
                // Between the two it may be due already and wait for its turn.
                wakes.extend((earliest > now).then_some(latest));
                assert!(latest > now || !self.is_its_turn(*key), "{key:?} does not start: {seen:?}");
            }
        }
        if let Some(first) = wakes.into_iter().min() {
            assert!(next_wake.is_some_and(|at| at > now && at <= first), "sleeps too long: {next_wake:?}");
        }
    }

    fn is_its_turn(&self, key: Key) -> bool {
        let mut earlier = self.children.range(..key).map(|(_, seen)| seen);
        match self.strategy {
            Strategy::Dynamic => true,
            Strategy::OneForOne => !earlier.any(|seen| seen.coming() && !seen.up_once),
            Strategy::OneForAll | Strategy::RestForOne => {
                let stopping = self.children.values().any(|seen| seen.going() || seen.to_stop());
                !stopping && !earlier.any(Seen::coming)
            }
        }
    }
}

//! Specs as plain data, as they stand in settings files: names as text, numbers as `i64`.
//!
//! Nothing is refused while reading, so that [`SupervisorData::check`] can report everything at once.
//! Fields that are not known are ignored, as OTP does. Start at [`SupervisorData::build`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::child::ChildSpec;
use crate::decision::{AutoShutdown, Backoff, Boot, Intensity, Restart, Shutdown, Strategy};
use crate::spec::{Place, SpecErrors, SpecFault, beneath, duplicate_fault, significance_faults};
use crate::supervisor::{SupervisorSpec, supervisor_child};

/// A supervisor. Defaults are OTP's: one_for_one, 1 restart in 5 s, never, fail.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct SupervisorData {
    /// Name in logs and in the tree; must be given.
    pub id: String,
    /// `one_for_one`, `one_for_all`, `rest_for_one` or `dynamic` (also `simple_one_for_one`).
    pub strategy: String,
    /// Restarts tolerated within the period; at least 0.
    pub intensity: i64,
    /// Milliseconds; at least 1.
    pub period_ms: i64,
    /// `never`, `any_significant` or `all_significant`.
    pub auto_shutdown: String,
    /// `fail` or `retry`.
    pub boot: String,
    /// In start order.
    pub children: Vec<ChildData>,
}

impl Default for SupervisorData {
    fn default() -> Self {
        SupervisorData {
            id: String::new(),
            strategy: "one_for_one".to_owned(),
            intensity: 1,
            period_ms: 5_000,
            auto_shutdown: "never".to_owned(),
            boot: "fail".to_owned(),
            children: Vec::new(),
        }
    }
}

/// A child. Defaults are OTP's: permanent, 5000 ms to stop (a supervisor: infinity).
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct ChildData {
    /// Unique among its siblings; must be given.
    pub id: String,
    /// What to run: a name that the program knows. Must be given unless `supervisor` is.
    pub start: String,
    /// `permanent`, `transient` or `temporary`.
    pub restart: String,
    /// `brutal_kill`, `infinity`, or milliseconds as text or number; at least 0.
    pub shutdown: Option<ShutdownData>,
    /// No backoff if absent.
    pub backoff: Option<BackoffData>,
    /// Whether its end can end the supervisor.
    pub significant: bool,
    /// A supervisor as the child, instead of `start`; its `id` may be left out.
    pub supervisor: Option<SupervisorData>,
}

impl Default for ChildData {
    fn default() -> Self {
        ChildData {
            id: String::new(),
            start: String::new(),
            restart: "permanent".to_owned(),
            shutdown: None,
            backoff: None,
            significant: false,
            supervisor: None,
        }
    }
}

/// How a child is stopped.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
pub enum ShutdownData {
    /// Milliseconds.
    Milliseconds(i64),
    /// `brutal_kill` or `infinity`.
    Word(String),
}

/// How long a child rests before a restart.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default)]
pub struct BackoffData {
    /// Milliseconds; at least 0.
    pub first_ms: i64,
    /// At least 1.
    pub factor: i64,
    /// Milliseconds; at least the first wait.
    pub max_ms: i64,
    /// In 0..=1.
    pub jitter: f64,
}

impl Default for BackoffData {
    fn default() -> Self {
        BackoffData { first_ms: 0, factor: 1, max_ms: 0, jitter: 0.0 }
    }
}

impl SupervisorData {
    /// Looks for everything that is wrong, here and in the supervisors below; needs no starters.
    ///
    /// # Errors
    /// [`SpecErrors`] with every fault.
    pub fn check(&self) -> Result<(), SpecErrors> {
        let mut faults = Vec::new();
        self.read(&mut faults, &mut |_| None);
        SpecErrors::unless_empty(&self.id, faults)
    }

    /// Makes a spec of it. `child` gives what to run for a child's `start`, or `None` if it knows no
    /// such name; everything else of the child is set from the data.
    ///
    /// # Errors
    /// [`SpecErrors`] with every fault, the unknown names included; nothing is started then.
    pub fn build(
        &self,
        mut child: impl FnMut(&ChildData) -> Option<ChildSpec>,
    ) -> Result<SupervisorSpec, SpecErrors> {
        let mut faults = Vec::new();
        let mut unknown = Vec::new();
        let spec = self.read(&mut faults, &mut |data| {
            let made = child(data);
            if made.is_none() && !data.start.is_empty() {
                unknown.push((data.id.clone(), data.start.clone()));
            }
            made
        });
        for (id, start) in unknown {
            faults.push(SpecFault {
                path: format!("child `{id}`.start"),
                expected: "a name that this program knows".to_owned(),
                given: format!("`{start}`"),
                remedy: "correct the name".to_owned(),
            });
        }
        SpecErrors::unless_empty(&self.id, faults)?;
        Ok(spec)
    }

    fn read(
        &self,
        faults: &mut Vec<SpecFault>,
        make: &mut dyn FnMut(&ChildData) -> Option<ChildSpec>,
    ) -> SupervisorSpec {
        let mut place = Place { path: "", faults };
        if self.id.is_empty() {
            place.fault("id", "a name", "nothing", "name the supervisor");
        }
        let strategy = one_of(
            &mut place,
            "strategy",
            &self.strategy,
            &[
                ("one_for_one", Strategy::OneForOne),
                ("one_for_all", Strategy::OneForAll),
                ("rest_for_one", Strategy::RestForOne),
                ("dynamic", Strategy::Dynamic),
                ("simple_one_for_one", Strategy::Dynamic),
            ],
        );
        let auto_shutdown = one_of(
            &mut place,
            "auto_shutdown",
            &self.auto_shutdown,
            &[
                ("never", AutoShutdown::Never),
                ("any_significant", AutoShutdown::AnySignificant),
                ("all_significant", AutoShutdown::AllSignificant),
            ],
        );
        let boot = one_of(&mut place, "boot", &self.boot, &[("fail", Boot::Fail), ("retry", Boot::Retry)]);
        let restarts = at_least(&mut place, "intensity", self.intensity, 0, i64::from(u32::MAX));
        let period = at_least(&mut place, "period_ms", self.period_ms, 1, i64::MAX);
        let mut seen = BTreeMap::new();
        let mut children = Vec::new();
        for (index, child) in self.children.iter().enumerate() {
            let path = format!("children[{index}]");
            // With an unknown auto_shutdown nothing can be said about significance and it.
            let auto = auto_shutdown.unwrap_or(AutoShutdown::AnySignificant);
            children.extend(child.read(&path, auto, faults, make));
            duplicate_fault(&path, &child.id, index, &mut seen, faults);
        }
        let intensity = Intensity {
            restarts: u32::try_from(restarts).unwrap_or(0),
            period: Duration::from_millis(period),
        };
        SupervisorSpec::new(&self.id, strategy.unwrap_or(Strategy::OneForOne), intensity, children)
            .boot(boot.unwrap_or_default())
            .auto_shutdown(auto_shutdown.unwrap_or_default())
    }
}

impl ChildData {
    fn read(
        &self,
        path: &str,
        auto: AutoShutdown,
        faults: &mut Vec<SpecFault>,
        make: &mut dyn FnMut(&ChildData) -> Option<ChildSpec>,
    ) -> Option<ChildSpec> {
        let mut place = Place { path, faults };
        if self.id.is_empty() {
            place.fault("id", "a name", "nothing", "name the child, unlike its siblings");
        }
        let restart = one_of(
            &mut place,
            "restart",
            &self.restart,
            &[
                ("permanent", Restart::Permanent),
                ("transient", Restart::Transient),
                ("temporary", Restart::Temporary),
            ],
        );
        let shutdown = match &self.shutdown {
            None => None,
            Some(ShutdownData::Milliseconds(ms)) => {
                let ms = at_least(&mut place, "shutdown", *ms, 0, i64::MAX);
                Some(Shutdown::Deadline(Duration::from_millis(ms)))
            }
            Some(ShutdownData::Word(word)) => one_of(
                &mut place,
                "shutdown",
                word,
                &[("brutal_kill", Shutdown::Brutal), ("infinity", Shutdown::Infinity)],
            ),
        };
        if self.supervisor.is_some() && !self.start.is_empty() {
            let remedy = "leave one of the two out";
            place.fault("start", "either start or supervisor", "both", remedy);
        } else if self.supervisor.is_none() && self.start.is_empty() {
            place.fault("start", "the name of what to run", "nothing", "say what the child runs");
        }
        let made = match &self.supervisor {
            Some(data) => {
                let mut below = Vec::new();
                let mut data = data.clone();
                data.id.clone_from(&self.id);
                let spec = data.read(&mut below, make);
                // An empty id is the child's fault already.
                let below = below.iter().filter(|fault| fault.path != "id");
                faults.extend(below.map(|fault| beneath(&format!("{path}.supervisor"), fault)));
                Some(supervisor_child(spec).1)
            }
            None => make(self),
        };
        let backoff = match &self.backoff {
            Some(data) => data.read(&format!("{path}.backoff"), faults),
            None => Backoff::NONE,
        };
        let mut policy = crate::decision::Policy::new(self.id.as_str());
        policy.significant = self.significant;
        // An unknown restart type is a fault of its own, and says nothing about significance.
        policy.restart = restart.unwrap_or(Restart::Transient);
        significance_faults(path, &policy, auto, faults);
        let mut spec = made?;
        spec.id = self.id.as_str().into();
        spec.restart = policy.restart;
        spec.shutdown = shutdown.unwrap_or(spec.shutdown);
        spec.backoff = backoff;
        spec.significant = self.significant;
        Some(spec)
    }
}

impl BackoffData {
    fn read(&self, path: &str, faults: &mut Vec<SpecFault>) -> Backoff {
        let mut place = Place { path, faults };
        let first = at_least(&mut place, "first_ms", self.first_ms, 0, i64::MAX);
        let max = at_least(&mut place, "max_ms", self.max_ms, self.first_ms.max(0), i64::MAX);
        let factor = at_least(&mut place, "factor", self.factor, 1, i64::from(u32::MAX));
        if !(0.0..=1.0).contains(&self.jitter) {
            place.fault("jitter", "a share in 0..=1", self.jitter, "0.2 spreads waits by 20 %");
        }
        Backoff {
            first: Duration::from_millis(first),
            max: Duration::from_millis(max),
            factor: u32::try_from(factor).unwrap_or(1),
            jitter: self.jitter,
        }
    }
}

fn one_of<T: Copy>(place: &mut Place<'_>, field: &str, given: &str, known: &[(&str, T)]) -> Option<T> {
    let found = known.iter().find(|(word, _)| *word == given).map(|&(_, value)| value);
    if found.is_none() {
        let words: Vec<&str> = known.iter().map(|&(word, _)| word).collect();
        let given = if given.is_empty() { "nothing".to_owned() } else { format!("`{given}`") };
        place.fault(field, &format!("one of {}", words.join(", ")), given, "choose one of them");
    }
    found
}

fn at_least(place: &mut Place<'_>, field: &str, given: i64, least: i64, most: i64) -> u64 {
    if (least..=most).contains(&given) {
        given.unsigned_abs()
    } else {
        let expected = if given < least {
            format!("a number of at least {least}")
        } else {
            format!("a number of at most {most}")
        };
        place.fault(field, &expected, given, "correct the number");
        least.unsigned_abs()
    }
}

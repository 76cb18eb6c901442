//! What can be wrong with a spec, found before anything starts: every fault at once, each with its
//! place, what was expected, what came and what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use crate::child::Held;
use crate::decision::{AutoShutdown, Backoff, Policy, Restart, Settings};

/// One thing that is wrong with a spec.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecFault {
    /// Where, for example `children[2].restart`.
    pub path: String,
    /// What is allowed there.
    pub expected: String,
    /// What is there.
    pub given: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for SpecFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SpecFault { path, expected, given, remedy } = self;
        write!(f, "{path}: expected {expected}, got {given}; {remedy}")
    }
}

/// Everything that is wrong with the spec of a supervisor (or of one new child of it).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecErrors {
    /// The supervisor.
    pub supervisor: String,
    /// Never empty.
    pub faults: Vec<SpecFault>,
}

impl SpecErrors {
    pub(crate) fn unless_empty(supervisor: &str, faults: Vec<SpecFault>) -> Result<(), SpecErrors> {
        if faults.is_empty() { Ok(()) } else { Err(SpecErrors { supervisor: supervisor.to_owned(), faults }) }
    }
}

impl fmt::Display for SpecErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "supervisor `{}` is not specified correctly; nothing was started", self.supervisor)?;
        self.faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl std::error::Error for SpecErrors {}

/// Collects faults below one path.
pub(crate) struct Place<'a> {
    pub(crate) path: &'a str,
    pub(crate) faults: &'a mut Vec<SpecFault>,
}

impl Place<'_> {
    pub(crate) fn fault(&mut self, field: &str, expected: &str, given: impl fmt::Display, remedy: &str) {
        let path = if self.path.is_empty() { field.to_owned() } else { format!("{}.{field}", self.path) };
        self.faults.push(SpecFault {
            path,
            expected: expected.to_owned(),
            given: given.to_string(),
            remedy: remedy.to_owned(),
        });
    }
}

pub(crate) fn supervisor_faults<'a>(
    id: &str,
    settings: &Settings,
    children: impl Iterator<Item = (Rc<Policy>, &'a [SpecFault])>,
) -> Vec<SpecFault> {
    let mut faults = Vec::new();
    if id.is_empty() {
        Place { path: "", faults: &mut faults }.fault("id", "a name", "nothing", "name the supervisor");
    }
    settings_faults(settings, &mut faults);
    let mut seen = BTreeMap::new();
    for (index, (policy, below)) in children.enumerate() {
        let path = format!("children[{index}]");
        policy_faults(&path, &policy, settings.auto_shutdown, &mut faults);
        faults.extend(below.iter().map(|fault| beneath(&path, fault)));
        duplicate_fault(&path, &policy.id, index, &mut seen, &mut faults);
    }
    faults
}

/// The fault of a supervisor that is itself a child at `path`.
pub(crate) fn beneath(path: &str, fault: &SpecFault) -> SpecFault {
    SpecFault { path: format!("{path}.{}", fault.path), ..fault.clone() }
}

pub(crate) fn duplicate_fault(
    path: &str,
    id: &str,
    index: usize,
    seen: &mut BTreeMap<String, usize>,
    faults: &mut Vec<SpecFault>,
) {
    if id.is_empty() {
        return;
    }
    if let Some(first) = seen.get(id) {
        let given = format!("`{id}`, the id of children[{first}]");
        Place { path, faults }.fault("id", "an id of its own", given, "rename one of the two");
    } else {
        seen.insert(id.to_owned(), index);
    }
}

pub(crate) fn settings_faults(settings: &Settings, faults: &mut Vec<SpecFault>) {
    if settings.intensity.period.is_zero() {
        Place { path: "", faults }.fault(
            "period",
            "a time longer than 0",
            "0",
            "say in how long a time the restarts are counted, for example 5 s",
        );
    }
}

/// What is wrong with a child that is to be added to a running supervisor.
pub(crate) fn child_faults(path: &str, held: &Held, auto: AutoShutdown, faults: &mut Vec<SpecFault>) {
    policy_faults(path, &held.policy, auto, faults);
    faults.extend(held.below().iter().map(|fault| beneath(path, fault)));
}

fn policy_faults(path: &str, policy: &Policy, auto: AutoShutdown, faults: &mut Vec<SpecFault>) {
    let mut place = Place { path, faults };
    if policy.id.is_empty() {
        place.fault("id", "a name", "nothing", "name the child, unlike its siblings");
    }
    if policy.watchdog.is_some_and(|patience| patience.is_zero()) {
        place.fault("watchdog", "a patience longer than 0", "0", "say how long the pulse may stand still");
    }
    backoff_faults(path, &policy.backoff, faults);
    significance_faults(path, policy, auto, faults);
}

fn backoff_faults(path: &str, backoff: &Backoff, faults: &mut Vec<SpecFault>) {
    let path = format!("{path}.backoff");
    let mut place = Place { path: &path, faults };
    if !(0.0..=1.0).contains(&backoff.jitter) {
        place.fault("jitter", "a share in 0..=1", backoff.jitter, "0.2 spreads waits by 20 %");
    }
    if backoff.factor == 0 {
        place.fault("factor", "at least 1", "0", "1 keeps the wait constant, 2 doubles it");
    }
    if backoff.first > backoff.max && backoff.max > Duration::ZERO {
        let given = format!("{:?}, less than the first wait of {:?}", backoff.max, backoff.first);
        place.fault("max", "at least the first wait", given, "raise max or lower first");
    }
}

pub(crate) fn significance_faults(
    path: &str,
    policy: &Policy,
    auto: AutoShutdown,
    faults: &mut Vec<SpecFault>,
) {
    if !policy.significant {
        return;
    }
    let mut place = Place { path, faults };
    if policy.restart == Restart::Permanent {
        let remedy = "a permanent child is always restarted: make it transient or temporary";
        place.fault("significant", "false for a permanent child", "true", remedy);
    }
    if auto == AutoShutdown::Never {
        let remedy = "set auto_shutdown of the supervisor to any_significant or all_significant";
        place.fault("significant", "false, as auto_shutdown is never", "true", remedy);
    }
}

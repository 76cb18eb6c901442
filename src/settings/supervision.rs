//! What an operator may change about the supervision tree: strategy, intensity and period per group.
//!
//! Checked by the same code that checks any supervisor's spec, every fault at once, before anything is
//! started. Absent: the children themselves (src/tree.rs).

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use supervisors::{ChildSpec, Intensity, Strategy, SupervisorData, SupervisorSpec};

/// Restarts of one supervisor's children that are bad luck; one more within the period is a fault that
/// restarting does not mend.
const RESTARTS: i64 = 20;
/// A run whose actor keeps panicking must not take the other runs along, so runs have a budget of their
/// own that grows with how many there can be.
const RUNS_RESTARTS: i64 = 200;
const PERIOD_MS: i64 = 60_000;

/// A group of the tree as settings name it; what is not given stays as it is built in.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// `one_for_one`, `one_for_all` or `rest_for_one`; `dynamic` for `runs` and for nothing else.
    pub strategy: Option<String>,
    /// Restarts tolerated within the period.
    pub intensity: Option<i64>,
    /// Length of the sliding window in ms.
    pub period_ms: Option<i64>,
}

/// The groups by name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Supervision(BTreeMap<String, Group>);

/// The supervisors of the tree, as built in.
const GROUPS: [(&str, &str, i64); 4] = [
    ("executing", "one_for_one", RESTARTS),
    ("workers", "one_for_one", RESTARTS),
    ("backends", "one_for_one", RESTARTS),
    ("runs", "dynamic", RUNS_RESTARTS),
];

impl Supervision {
    fn data(&self, name: &str) -> SupervisorData {
        let (_, strategy, restarts) =
            GROUPS.iter().find(|group| group.0 == name).copied().unwrap_or(("", "one_for_one", RESTARTS));
        let given = self.0.get(name).cloned().unwrap_or_default();
        SupervisorData {
            id: name.to_owned(),
            strategy: given.strategy.unwrap_or_else(|| strategy.to_owned()),
            intensity: given.intensity.unwrap_or(restarts),
            period_ms: given.period_ms.unwrap_or(PERIOD_MS),
            // A child that fails to start at boot is tried again: a full disk or a busy port may pass.
            boot: "retry".to_owned(),
            ..SupervisorData::default()
        }
    }

    /// Every fault, each with its place; empty if there is none.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, group) in &self.0 {
            if !GROUPS.iter().any(|(known, ..)| known == name) {
                let known: Vec<&str> = GROUPS.iter().map(|(known, ..)| *known).collect();
                faults.push(format!("supervision.{name}: expected one of {}", known.join(", ")));
                continue;
            }
            if let Err(errors) = self.data(name).check() {
                faults.extend(errors.faults.iter().map(|fault| format!("supervision.{name}.{fault}")));
            }
            let is_dynamic = matches!(group.strategy.as_deref(), Some("dynamic" | "simple_one_for_one"));
            if group.strategy.is_some() && is_dynamic != (name == "runs") {
                let expected = if name == "runs" { "dynamic" } else { "a strategy with a fixed order" };
                faults.push(format!("supervision.{name}.strategy: expected {expected}; leave it out"));
            }
        }
        faults
    }

    /// The spec of a group with these children.
    pub fn spec(&self, name: &str, children: Vec<ChildSpec>) -> SupervisorSpec {
        // Settings with faults are refused before a tree is made; this way nothing can panic here.
        let mut spec = self.data(name).build(|_| None).unwrap_or_else(|_| {
            SupervisorSpec::new(name, Strategy::OneForOne, Intensity::default(), Vec::new())
        });
        spec.children = children;
        spec
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_wrong_field_of_a_group_is_named_at_once() {
        let text = "workers: {strategy: one_for_most, intensity: -1, period_ms: 0}\nrun: {}\nruns: {strategy: one_for_all}\nbackends: {strategy: dynamic}";
        let read: Supervision = serde_saphyr::from_str(text).unwrap();
        let faults = read.faults().join("\n");
        for place in [
            "supervision.workers.strategy: expected one of one_for_one",
            "supervision.workers.intensity: expected a number of at least 0, got -1",
            "supervision.workers.period_ms: expected a number of at least 1, got 0",
            "supervision.run: expected one of executing, workers",
            "supervision.runs.strategy: expected dynamic",
            "supervision.backends.strategy: expected a strategy with a fixed order",
        ] {
            assert!(faults.contains(place), "no {place} in:\n{faults}");
        }
    }

    #[test]
    fn what_is_not_given_stays_as_built_in() {
        let read: Supervision = serde_saphyr::from_str("runs: {intensity: 7}").unwrap();
        let spec = read.spec("runs", Vec::new());
        assert_eq!((spec.strategy, spec.intensity.restarts), (Strategy::Dynamic, 7));
        assert_eq!(spec.intensity.period, std::time::Duration::from_secs(60));
        assert_eq!(read.spec("workers", Vec::new()).intensity.restarts, 20);
    }
}

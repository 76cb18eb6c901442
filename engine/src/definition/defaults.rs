//! What the daemon's settings say for stages that do not say it themselves.
//!
//! Rule: whatever a workflow file or `--set` states wins; a default is written into the definition when a
//! run is submitted, so a run keeps its terms when the settings change. Among defaults the one for the
//! nearest name wins: stage, its kind, then the sub-workflows around it, then the workflow, then the rest.

use super::expand::Draft;
use super::retries::{RetryDefaults, Source, Sources};
use super::spec::{Demand, StageKind};
use crate::run::ErrorClass;
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// Defaults of the operator; empty means those that are built in.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Defaults {
    /// Attempts in all, at least 1.
    pub attempts: Option<u32>,
    /// Pause before the first repeat.
    pub backoff_ms: Option<u64>,
    /// Longest attempt.
    pub start_to_close_ms: Option<u64>,
    /// Shots of a quantum stage.
    pub shots: Option<u64>,
    /// By name of the workflow that is submitted.
    pub workflows: BTreeMap<String, WorkflowDefaults>,
    /// By name of a stage, a stage kind or a workflow.
    pub stages: BTreeMap<String, StageDefaults>,
    /// How failed attempts are repeated, by kind; nearer than `attempts` and `backoff_ms`.
    pub retries: BTreeMap<StageKind, RetryDefaults>,
    /// Codes of errors to the class that they count as.
    pub error_classes: BTreeMap<String, ErrorClass>,
    /// Parameters of the workflow level, given to workflows that have a stage of one of these kinds.
    pub params: BTreeMap<String, (Vec<StageKind>, Json)>,
}

/// What a workflow may have in all, and how it is ranked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct WorkflowDefaults {
    /// Ceilings; a workflow may state less, never more. Zero is no ceiling.
    pub ceilings: Demand,
    pub priority: Option<u8>,
    /// Shots of its quantum stages.
    pub shots: Option<u64>,
}

/// What holds for the stages of one name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StageDefaults {
    pub start_to_close_ms: Option<u64>,
    /// Parameters, each for the kinds that know it.
    pub params: BTreeMap<String, (Vec<StageKind>, Json)>,
}

impl Defaults {
    /// Those for the names that a stage goes by, nearest first.
    fn of<'a>(&'a self, workflow: &'a str, draft: &'a Draft) -> impl Iterator<Item = &'a StageDefaults> {
        let mut names: Vec<&str> = draft.path.split('/').rev().collect();
        names.insert(1, draft.kind.name());
        names.push(workflow);
        names.into_iter().filter_map(|name| self.stages.get(name))
    }

    /// Lays the defaults under what a stage states. `stated` are the parameters of the workflow level.
    pub(super) fn lay_under(&self, workflow: &str, stated: &Map<String, Json>, draft: &mut Draft) {
        let limit = self.of(workflow, draft).find_map(|defaults| defaults.start_to_close_ms);
        let limit = limit.or(self.start_to_close_ms);
        let mut params: BTreeMap<String, Json> = BTreeMap::new();
        for defaults in self.of(workflow, draft) {
            for (name, (kinds, value)) in &defaults.params {
                if kinds.contains(&draft.kind) {
                    params.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
        }
        let tuning = &mut draft.tuning;
        let of_kind = self.retries.get(&draft.kind).copied().unwrap_or_default();
        let of_all = RetryDefaults {
            attempts: self.attempts,
            backoff_ms: self.backoff_ms,
            ..RetryDefaults::default()
        };
        for (said, source) in [(of_kind, Source::Kind), (of_all, Source::Settings)] {
            let stated = Sources {
                attempts: said.attempts.map(|_| source),
                backoff: said.backoff_ms.map(|_| source),
                backoff_max: said.backoff_ms_max.map(|_| source),
                factor: said.factor_permille.map(|_| source),
                retry_on: said.retry_on.map(|_| source),
            };
            tuning.sources = tuning.sources.or(stated);
            tuning.attempts = tuning.attempts.or(said.attempts);
            tuning.backoff_ms = tuning.backoff_ms.or(said.backoff_ms);
            tuning.backoff_ms_max = tuning.backoff_ms_max.or(said.backoff_ms_max);
            tuning.factor_permille = tuning.factor_permille.or(said.factor_permille);
            tuning.retry_on = tuning.retry_on.or(said.retry_on);
        }
        tuning.start_to_close_ms = tuning.start_to_close_ms.or(limit.map(Some));
        if draft.kind == StageKind::QaoaOptimization {
            let of_stage = Some(draft.demand.shots).filter(|shots| *shots > 0);
            let of_workflow = self.workflows.get(workflow).and_then(|defaults| defaults.shots);
            if let Some(shots) = of_stage.or(of_workflow).or(self.shots) {
                params.insert("shots".to_owned(), shots.into());
            }
        }
        for (name, value) in params {
            if !stated.contains_key(&name) {
                draft.params.entry(name).or_insert(value);
            }
        }
    }

    /// Parameters of the workflow level that are not stated and that a stage of it would use.
    pub(super) fn workflow_params(&self, drafts: &[Draft], stated: &mut Map<String, Json>) {
        for (name, (kinds, value)) in &self.params {
            if drafts.iter().any(|draft| kinds.contains(&draft.kind)) && !stated.contains_key(name) {
                stated.insert(name.clone(), value.clone());
            }
        }
    }

    /// The smaller of both ceilings in each part.
    pub(super) fn ceilings(&self, workflow: &str, stated: &Demand) -> Demand {
        let Some(WorkflowDefaults { ceilings, .. }) = self.workflows.get(workflow) else {
            return stated.clone();
        };
        let lower = |a: u64, b: u64| if a == 0 || b == 0 { a.max(b) } else { a.min(b) };
        let cores = lower(u64::from(stated.cpu_cores), u64::from(ceilings.cpu_cores));
        Demand {
            cpu_cores: u32::try_from(cores).unwrap_or(u32::MAX),
            memory_mib: lower(stated.memory_mib, ceilings.memory_mib),
            shots: lower(stated.shots, ceilings.shots),
            ..stated.clone()
        }
    }

    pub(super) fn priority(&self, workflow: &str) -> Option<u8> {
        self.workflows.get(workflow).and_then(|defaults| defaults.priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::definition::{Definition, Library, LoadRequest, load_with};

    fn read(text: &str, defaults: &Defaults, params: &BTreeMap<String, Json>) -> Definition {
        let library = Library::default();
        let request = LoadRequest { text, file: "w.yaml", workflow: None, library: &library, params };
        load_with(request, defaults).unwrap().definition
    }

    fn defaults() -> Defaults {
        let risk = vec![StageKind::CvarCalculation];
        let stage = |ms, best: u64| StageDefaults {
            start_to_close_ms: Some(ms),
            params: [("best".to_owned(), (vec![StageKind::FeasibleSetGeneration], best.into()))].into(),
        };
        Defaults {
            attempts: Some(7),
            backoff_ms: Some(60_000),
            start_to_close_ms: Some(1_000),
            shots: Some(11),
            workflows: [(
                "w".to_owned(),
                WorkflowDefaults {
                    ceilings: Demand { cpu_cores: 4, memory_mib: 100, ..Demand::default() },
                    priority: Some(2),
                    shots: Some(22),
                },
            )]
            .into(),
            stages: [
                ("w".to_owned(), stage(2_000, 1)),
                ("feasible-set-generation".to_owned(), stage(3_000, 2)),
            ]
            .into(),
            params: [("cvar_level".to_owned(), (risk, Json::from(0.5)))].into(),
            ..Defaults::default()
        }
    }

    #[test]
    fn a_stages_own_retry_wins_over_its_workflows_that_over_the_kinds_and_that_over_the_rest() {
        use super::super::retries::RetryOn;
        let only_ambiguous = RetryOn { transient: false, ambiguous: true };
        let of_kind = RetryDefaults {
            attempts: Some(5),
            backoff_ms: Some(50),
            backoff_ms_max: Some(500),
            factor_permille: Some(3_000),
            retry_on: Some(only_ambiguous),
        };
        let mut defaults = Defaults { attempts: Some(7), backoff_ms: Some(70), ..Defaults::default() };
        defaults.retries.insert(StageKind::CvarCalculation, of_kind);
        defaults.error_classes.insert("EX-0514".to_owned(), ErrorClass::Permanent);
        let text = "workflow: w\ndefaults: {retry: {attempts: 3, factor: 1}}\nstages:\n  - {name: cvar-calculation, retry: {attempts: 2}}\n  - name: result-analysis\n";
        let both = read(text, &defaults, &BTreeMap::new());
        assert_eq!(both.control.error_classes, defaults.error_classes);
        let policy = both.stages[0].retry_policy();
        assert_eq!((policy.attempts, policy.backoff_ms, policy.backoff_ms_max), (2, 50, 500));
        assert_eq!((policy.factor_permille, policy.retry_on), (1_000, only_ambiguous));
        let from = |policy: &super::super::RetryPolicy| policy.from.values().cloned().collect::<Vec<_>>();
        // attempts, backoff, backoff_max, factor, retry_on
        let kind = "settings of the kind";
        assert_eq!(from(&policy), ["stage", kind, kind, "workflow", kind]);
        let policy = both.stages[1].retry_policy();
        assert_eq!((policy.attempts, policy.backoff_ms), (3, 70));
        assert_eq!(from(&policy), ["workflow", "settings", "built in", "workflow", "built in"]);
        // Without settings a definition holds no more than it always did.
        let text = "workflow: w\nstages:\n  - {name: cvar-calculation, retry: {attempts: 2}}\n";
        let bare = read(text, &Defaults::default(), &BTreeMap::new());
        assert_eq!(bare.stages[0].control.retry, None);
        let policy = bare.stages[0].retry_policy();
        assert_eq!(from(&policy), ["workflow file", "built in", "built in", "built in", "built in"]);
        assert_eq!((policy.factor_permille, policy.retry_on), (2_000, RetryOn::BOTH));
    }

    #[test]
    fn a_factor_or_class_out_of_its_range_in_a_workflow_is_named() {
        for (retry, expected) in [
            ("{factor: 0.9}", "factor"),
            ("{factor: 11}", "factor"),
            ("{retry_on: [often]}", "transient, ambiguous"),
            ("{retry_on: [permanent]}", "never repeated"),
            ("{retry_on: []}", "at least one"),
            ("{attempts: 0}", "attempts"),
            ("{attempts: 101}", "attempts"),
        ] {
            let text = format!("workflow: w\nstages:\n  - {{name: cvar-calculation, retry: {retry}}}\n");
            let library = Library::default();
            let params = BTreeMap::new();
            let request = LoadRequest {
                text: &text,
                file: "w.yaml",
                workflow: None,
                library: &library,
                params: &params,
            };
            let problems = load_with(request, &Defaults::default()).unwrap_err();
            assert!(format!("{problems:?}").contains(expected), "{retry}: {problems:?}");
        }
    }

    #[test]
    fn what_nobody_states_is_taken_from_the_nearest_default() {
        let text = "workflow: w\nstages: [feasible-set-generation, qaoa-optimization, cvar-calculation]\n";
        let read = read(text, &defaults(), &BTreeMap::new());
        let [feasible, qaoa, cvar] = &read.stages[..] else { panic!("{read:?}") };
        assert_eq!((feasible.retry.attempts, feasible.retry.backoff_ms), (7, 60_000));
        assert_eq!(feasible.timeout.start_to_close_ms, Some(3_000));
        assert_eq!(cvar.timeout.start_to_close_ms, Some(2_000));
        assert_eq!(feasible.params, r#"{"best":2}"#);
        assert_eq!((qaoa.params.as_str(), cvar.params.as_str()), (r#"{"shots":22}"#, "{}"));
        assert_eq!((read.params.as_str(), read.priority), (r#"{"cvar_level":0.5}"#, 2));
        assert_eq!((read.ceilings.cpu_cores, read.ceilings.memory_mib), (4, 100));
    }

    #[test]
    fn whatever_is_stated_wins_over_a_default() {
        let text = "workflow: w\npriority: low\nresources: {cpu: 2, memory: 200MiB}\ndefaults: {retry: {attempts: 1}}\nstages:\n  - name: feasible-set-generation\n    timeout: none\n    params: {best: 9}\n  - name: qaoa-optimization\n    resources: {shots: 33}\n  - name: cvar-calculation\n    retry: {attempts: 2, backoff: 5s}\n    timeout: 9s\n";
        let params = [("cvar_level".to_owned(), Json::from(0.1))].into();
        let read = read(text, &defaults(), &params);
        let [feasible, qaoa, cvar] = &read.stages[..] else { panic!("{read:?}") };
        assert_eq!((feasible.retry.attempts, feasible.timeout.start_to_close_ms), (1, None));
        assert_eq!(feasible.params, r#"{"best":9}"#);
        assert_eq!(qaoa.params, r#"{"shots":33}"#);
        assert_eq!((cvar.retry.attempts, cvar.retry.backoff_ms), (2, 5_000));
        assert_eq!(cvar.timeout.start_to_close_ms, Some(9_000));
        assert_eq!((read.params.as_str(), read.priority), (r#"{"cvar_level":0.1}"#, 0));
        // A ceiling may be lowered by the workflow, not raised.
        assert_eq!((read.ceilings.cpu_cores, read.ceilings.memory_mib), (2, 100));
    }

    #[test]
    fn a_workflow_parameter_wins_over_the_default_of_a_stage() {
        let text = "workflow: w\nparams: {shots: 5}\nstages: [qaoa-optimization]\n";
        let read = read(text, &defaults(), &BTreeMap::new());
        assert_eq!((read.stages[0].params.as_str(), read.params.as_str()), ("{}", r#"{"shots":5}"#));
    }
}

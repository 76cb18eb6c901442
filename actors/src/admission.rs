//! What the daemon's settings say about runs before they run: limits, defaults, prices; and what a stage
//! asks for.
//!
//! Rule: a submission that could never be placed is refused here, with the limit, before it is journaled;
//! what a stage asks for is worked out here alone, so that what was admitted is what is asked for later.
//! Absent: placement itself (`engine::placement`). Start at [`Scheduling::admit`].

use crate::stages;
use engine::definition::{Defaults, Definition, StageIndex, StageKind, StageSpec};
use engine::placement::{Ask, Capacity, Ledger, NeverFits, Owner, Policy};
use engine::run::{Run, StageState};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Shots of a quantum stage that nobody states, as its proxy and its worker have it.
const SHOTS_DEFAULT: u64 = 1_024;

/// After a `busy`, when to try again, where nothing better is known.
pub const TRY_AGAIN: Duration = Duration::from_secs(10);

/// What a task and a shot cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    pub micro_usd_per_task: u64,
    pub micro_usd_per_shot: u64,
}

/// Set once at start from the settings.
#[derive(Debug, Clone)]
pub struct Scheduling {
    pub policy: Policy,
    /// An empty ledger over the machine's capacity: what can ever fit is asked of it.
    pub empty: Ledger,
    pub defaults: Defaults,
    pub prices: BTreeMap<String, Price>,
    pub runs_open_max: usize,
    pub runs_open_max_per_user: Option<usize>,
    /// Between two looks of the health monitor.
    pub health_every: Duration,
    /// Some budget, quota or price counts shots: an attempt takes no more than were set aside for it.
    pub shots_limited: bool,
}

impl Scheduling {
    pub fn new(capacity: Capacity, policy: Policy) -> Self {
        Self {
            empty: Ledger::with_policy(capacity, policy.clone()),
            policy,
            defaults: Defaults::default(),
            prices: BTreeMap::new(),
            runs_open_max: engine::limits::RUNS_OPEN_MAX,
            runs_open_max_per_user: None,
            health_every: Duration::from_secs(1),
            shots_limited: false,
        }
    }
}

/// Why a run is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAdmitted {
    /// Stage by stage.
    #[error("no resource will ever fit: {}", .0.join("; "))]
    Never(Vec<String>),
    #[error("above the ceilings of the workflow: {}", .0.join("; "))]
    AboveCeiling(Vec<String>),
    #[error("{what}: {now}, and {limit} may; try again in {} s", TRY_AGAIN.as_secs())]
    Full { what: String, now: usize, limit: usize },
}

/// What one stage is asked for besides its own words.
#[derive(Debug, Clone)]
pub struct Asking<'a> {
    pub run: &'a str,
    pub stage: StageIndex,
    pub user: &'a str,
    /// As the worker gets them: workflow, stage and tuned parameters overlaid.
    pub params: &'a str,
    pub worker_memory_mib: u64,
    pub priority: u8,
    pub asked_ms: u64,
}

/// Memory of a stage's process: as stated, else `usual`, which nobody stated and so bends to what the workflow
/// may have.
pub fn memory_of(definition: &Definition, spec: &StageSpec, usual: u64) -> u64 {
    match (spec.demand.memory_mib, definition.ceilings.memory_mib) {
        (0, 0) => usual,
        (0, ceiling) => usual.min(ceiling),
        (stated, _) => stated,
    }
}

/// Shots that are set aside for a stage with these parameters.
pub(crate) fn shots_of(spec: &StageSpec, params: &str) -> u64 {
    if spec.kind != StageKind::QaoaOptimization {
        return spec.demand.shots;
    }
    let params: Value = serde_json::from_str(params).unwrap_or_default();
    let stated = match params.get("shots") {
        Some(Value::String(text)) => text.trim().parse().ok(),
        Some(value) => value.as_u64(),
        None => None,
    };
    stated.unwrap_or(SHOTS_DEFAULT)
}

impl Scheduling {
    /// What the stage asks of the ledger.
    pub fn ask(&self, definition: &Definition, asking: &Asking<'_>) -> Ask {
        let spec = &definition.stages[asking.stage.0 as usize];
        let mut demand = spec.demand.clone();
        demand.backend = stages::backend(spec, asking.params);
        demand.shots = shots_of(spec, asking.params);
        let ceiling = definition.ceilings.clone();
        if stages::uses_worker_process(spec.kind) {
            demand.memory_mib = memory_of(definition, spec, asking.worker_memory_mib);
        }
        let money = self.cost(spec, asking.params, demand.shots);
        Ask {
            key: (asking.run.to_owned(), asking.stage.0),
            owner: Owner { user: asking.user.to_owned(), workflow: definition.workflow.clone() },
            demand,
            slot: stages::slot(spec.kind),
            money_micro_usd: money,
            ceiling,
            priority: asking.priority,
            asked_ms: asking.asked_ms,
        }
    }

    /// What `shots` of this stage cost, in millionths of a US dollar.
    pub fn cost(&self, spec: &StageSpec, params: &str, shots: u64) -> u64 {
        let price = stages::backend(spec, params).and_then(|backend| self.prices.get(&backend).copied());
        let price = price.filter(|_| shots > 0).unwrap_or_default();
        shots.saturating_mul(price.micro_usd_per_shot).saturating_add(price.micro_usd_per_task)
    }

    /// Whether every stage could be placed on an idle machine; answers warnings.
    ///
    /// # Errors
    /// [`NotAdmitted::Never`] or [`NotAdmitted::AboveCeiling`], with every stage that could not.
    pub fn admit(
        &self,
        definition: &Definition,
        user: &str,
        worker_memory_mib: u64,
    ) -> Result<Vec<String>, NotAdmitted> {
        let (mut never, mut above) = (Vec::new(), Vec::new());
        let mut workflow: Option<serde_json::Map<String, Value>> = None;
        for (index, spec) in (0..).map(StageIndex).zip(&definition.stages) {
            if spec.kind.is_immediate() || spec.kind == StageKind::Approval {
                continue;
            }
            let of_workflow = || serde_json::from_str(&definition.params).unwrap_or_default();
            let mut params = workflow.get_or_insert_with(of_workflow).clone();
            params.extend(
                serde_json::from_str::<serde_json::Map<String, Value>>(&spec.params).unwrap_or_default(),
            );
            let asking = Asking {
                run: "",
                stage: index,
                user,
                params: &Value::Object(params).to_string(),
                worker_memory_mib,
                priority: definition.priority,
                asked_ms: 0,
            };
            match self.empty.may_ever_fit(&self.ask(definition, &asking)) {
                Ok(()) => {}
                Err(why @ NeverFits::Ceiling { .. }) => above.push(format!("stage {} {why}", spec.path)),
                Err(why) => never.push(format!("stage {} {why}", spec.path)),
            }
        }
        if !never.is_empty() {
            return Err(NotAdmitted::Never(never));
        }
        if !above.is_empty() {
            return Err(NotAdmitted::AboveCeiling(above));
        }
        Ok(self.warnings(definition))
    }

    /// A ceiling above the machine is no mistake of whoever wrote it for a larger one.
    fn warnings(&self, definition: &Definition) -> Vec<String> {
        let (ceilings, capacity) = (&definition.ceilings, self.empty.capacity());
        let parts = [
            ("CPU cores", u64::from(ceilings.cpu_cores), u64::from(capacity.cpu_cores)),
            ("MiB of memory", ceilings.memory_mib, capacity.memory_mib),
        ];
        let beyond = parts.into_iter().filter(|(_, ceiling, there_is)| ceiling > there_is);
        beyond
            .map(|(what, ceiling, there_is)| {
                format!("resources: the workflow may have {ceiling} {what}, this machine has {there_is}")
            })
            .collect()
    }

    /// Whether one more run of `user` may be taken beside the `count` that are open, which `open` gives if they
    /// must be looked at. `arriving` are those of the same user and of all that are not on the board yet.
    ///
    /// # Errors
    /// [`NotAdmitted::Full`].
    pub fn room_for_one_more(
        &self,
        user: &str,
        count: usize,
        open: impl FnOnce() -> Vec<std::sync::Arc<Run>>,
        arriving: (usize, usize),
    ) -> Result<(), NotAdmitted> {
        let full = |what: String, now: usize, limit: usize| Err(NotAdmitted::Full { what, now, limit });
        let (own_arriving, all_arriving) = arriving;
        let all = count + all_arriving;
        if all >= self.runs_open_max {
            return full("runs are open".to_owned(), all, self.runs_open_max);
        }
        let policy = &self.policy;
        let counts_stages = policy.queue_max.is_some() || policy.queue_max_per_user.is_some();
        if self.runs_open_max_per_user.is_none() && !counts_stages {
            return Ok(());
        }
        let open = open();
        let own_runs = || open.iter().filter(|run| run.submitted_by() == user);
        if let Some(limit) = self.runs_open_max_per_user {
            let own = own_runs().count() + own_arriving;
            if own >= limit {
                return full(format!("runs of {user} are open"), own, limit);
            }
        }
        if !counts_stages {
            return Ok(());
        }
        let waiting = open.iter().map(|run| waiting_stages(run)).sum::<usize>() + all_arriving;
        let own = own_runs().map(|run| waiting_stages(run)).sum::<usize>() + own_arriving;
        if let Some(limit) = policy.queue_max.filter(|limit| waiting >= *limit) {
            return full("stages wait for room".to_owned(), waiting, limit);
        }
        if let Some(limit) = policy.queue_max_per_user.filter(|limit| own >= *limit) {
            return full(format!("stages of {user} wait for room"), own, limit);
        }
        Ok(())
    }
}

/// Stages that have asked for room; a run that has just come counts as one.
fn waiting_stages(run: &Run) -> usize {
    let stages = (0..run.definition().stages.len() as u32).map(|i| run.stage(StageIndex(i)));
    let ready = stages.filter(|stage| matches!(stage, StageState::Ready { .. })).count();
    let fresh = usize::from(run.phase_name() == "pending");
    ready.max(fresh)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::definition::{Library, LoadRequest, load};
    use engine::placement::SlotKind;

    fn scheduling() -> Scheduling {
        let capacity = Capacity {
            cpu_cores: 4,
            memory_mib: 4_096,
            slots: [("worker-1".to_owned(), SlotKind::Worker)].into(),
            backends: [("simulator".to_owned(), 2)].into(),
        };
        let mut scheduling = Scheduling::new(capacity, Policy::default());
        let price = Price { micro_usd_per_task: 300_000, micro_usd_per_shot: 10 };
        scheduling.prices.insert("simulator".to_owned(), price);
        scheduling
    }

    fn definition(text: &str) -> Definition {
        let library = Library::default();
        let params = BTreeMap::new();
        load(LoadRequest { text, file: "w", workflow: None, library: &library, params: &params })
            .unwrap()
            .definition
    }

    fn ask(definition: &Definition, stage: u32, params: &str) -> Ask {
        let stage = StageIndex(stage);
        let asking = Asking {
            run: "run-1",
            stage,
            user: "ada",
            params,
            worker_memory_mib: 1_024,
            priority: 1,
            asked_ms: 5,
        };
        scheduling().ask(definition, &asking)
    }

    #[test]
    fn a_quantum_stage_asks_for_its_shots_and_what_they_cost() {
        let definition = definition("workflow: w\nstages: [quantum-backend-setup, qaoa-optimization]\n");
        let of = |params| {
            let ask = ask(&definition, 1, params);
            (ask.demand.shots, ask.money_micro_usd)
        };
        assert_eq!(of("{}"), (1_024, 310_240));
        assert_eq!(of(r#"{"shots": 10}"#), (10, 300_100));
        assert_eq!(of(r#"{"shots": "20"}"#), (20, 300_200));
        // To set a backend up takes no shot and so costs nothing.
        let setup = ask(&definition, 0, "{}");
        assert_eq!((setup.demand.shots, setup.money_micro_usd), (0, 0));
    }

    #[test]
    fn memory_that_nobody_stated_bends_to_the_ceiling() {
        let text = "workflow: w\nresources: {memory: 512MiB}\nstages: [milp-solving]\n";
        assert_eq!(ask(&definition(text), 0, "{}").demand.memory_mib, 512);
        assert_eq!(scheduling().admit(&definition(text), "ada", 1_024), Ok(Vec::new()));
    }

    #[test]
    fn what_can_never_be_placed_is_refused_with_every_stage_and_its_limit() {
        let text = "workflow: w\nstages:\n  - {name: a, kind: milp-solving, resources: {cpu: 5}}\n  - {name: b, kind: exec, params: {command: [x]}, resources: {memory: 5GiB}}\n";
        let refused = scheduling().admit(&definition(text), "ada", 1_024).unwrap_err().to_string();
        assert!(refused.contains("stage a asks for 5 CPU cores, the capacity is 4"), "{refused}");
        assert!(refused.contains("stage b asks for 5120 MiB of memory, the capacity is 4096"), "{refused}");
    }

    #[test]
    fn a_demand_above_its_own_ceiling_is_refused_and_a_ceiling_above_the_machine_is_a_warning() {
        let text = "workflow: w\nresources: {cpu: 2}\nstages:\n  - {name: a, kind: milp-solving, resources: {cpu: 3}}\n";
        let refused = scheduling().admit(&definition(text), "ada", 1_024).unwrap_err();
        let expected = "stage a asks for 3 CPU cores, the ceiling of its workflow is 2".to_owned();
        assert_eq!(refused, NotAdmitted::AboveCeiling(vec![expected]));
        let text = "workflow: w\nresources: {cpu: 64}\nstages: [milp-solving]\n";
        let warnings = scheduling().admit(&definition(text), "ada", 1_024).unwrap();
        assert_eq!(warnings, ["resources: the workflow may have 64 CPU cores, this machine has 4"]);
    }
}

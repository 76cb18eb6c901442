//! Definitions drawn from a seed: chains, diamonds, random graphs, sub-workflow paths, gates, undo,
//! programs that must not be repeated, quantum stages, deployments.

use crate::random::Random;
use engine::definition::{
    Awaited, Criterion, Definition, Demand, Gate, Retry, RunControl, StageControl, StageIndex, StageKind,
    StageSpec, Timeouts,
};
use std::collections::BTreeMap;

/// Name of the one backend of this world.
pub const BACKEND: &str = "vendor";

/// Name of the one signal of this world.
pub const SIGNAL: &str = "wind";

/// How rich a world's workflows are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Small,
    Medium,
    Large,
}

/// `releases`: most stages deploy, so that activations meet each other and emergency stops.
pub fn definition(random: &mut Random, size: Size, releases: bool) -> Definition {
    let most = match size {
        Size::Small => 3,
        Size::Medium => 5,
        Size::Large => 9,
    };
    let count = random.between(1, most) as u32;
    let shape = random.below(3);
    let predicates = size != Size::Small || random.percent(5);
    let stages = (0..count)
        .map(|at| {
            let needs: Vec<StageIndex> = match shape {
                // A chain; a diamond (all on the first, the last on all); anything.
                0 => at.checked_sub(1).into_iter().map(StageIndex).collect(),
                1 if at + 1 == count => (0..at).map(StageIndex).collect(),
                1 => (at > 0).then_some(StageIndex(0)).into_iter().collect(),
                _ => (0..at).filter(|_| random.percent(40)).map(StageIndex).collect(),
            };
            stage(random, at, needs, predicates, releases)
        })
        .collect();
    let success_criteria = (predicates && random.percent(20))
        .then(|| flag(random.below(u64::from(count)) as u32))
        .into_iter()
        .collect();
    Definition {
        workflow: "simulated".to_owned(),
        stages,
        inputs: BTreeMap::new(),
        params: r#"{"p":0}"#.to_owned(),
        success_criteria,
        ceilings: Demand::default(),
        priority: random.below(4) as u8,
        kind_versions: BTreeMap::new(),
        control: RunControl {
            deadline_ms: random.percent(8).then(|| random.between(1_000, 60_000)),
            ..RunControl::default()
        },
    }
}

fn flag(stage: u32) -> Criterion {
    let expression = format!("flag_{stage}");
    Criterion { written: expression.clone(), expression }
}

fn stage(
    random: &mut Random,
    at: u32,
    needs: Vec<StageIndex>,
    predicates: bool,
    releases: bool,
) -> StageSpec {
    let kind = match random.below(100) {
        0..=69 if releases => StageKind::Deployment,
        0..=3 => StageKind::Approval,
        4..=7 => StageKind::Signal,
        8..=27 => StageKind::Exec,
        28..=45 => StageKind::QaoaOptimization,
        46..=57 => StageKind::Deployment,
        _ => StageKind::MilpSolving,
    };
    let when = match needs.first() {
        Some(need) if predicates && random.percent(15) => Some(flag(need.0)),
        _ => None,
    };
    let gate = random.percent(7).then(|| Gate {
        approvals: random.between(1, 2) as u32,
        deadline_ms: random.percent(20).then(|| random.between(500, 5_000)),
    });
    let backoff_ms = random.pick(&[0, 10, 100]);
    let demand = Demand {
        cpu_cores: random.between(0, 2) as u32,
        memory_mib: random.pick(&[0, 100, 300]),
        ..Demand::default()
    };
    let path = if at % 2 == 1 { format!("part/s{at}") } else { format!("s{at}") };
    StageSpec {
        path,
        kind,
        needs,
        params: "{}".to_owned(),
        tasks: Vec::new(),
        retry: Retry {
            attempts: random.between(1, 4) as u32,
            backoff_ms,
            backoff_ms_max: backoff_ms * random.between(1, 4),
            jitter_permille: random.pick(&[0, 200]),
        },
        timeout: Timeouts {
            start_to_close_ms: random.percent(25).then(|| random.between(60, 3_000)),
            heartbeat_ms: 100,
            schedule_to_start_ms: random.percent(8).then(|| random.between(100, 5_000)),
        },
        demand,
        has_undo: kind == StageKind::Deployment
            || (!matches!(kind, StageKind::Approval | StageKind::Signal) && random.percent(40)),
        idempotent: random.percent(50),
        gate,
        when,
        utcs_phase: None,
        outputs: Vec::new(),
        control: StageControl {
            roles: random.percent(30).then(|| "approver".to_owned()).into_iter().collect(),
            signal: (kind == StageKind::Signal).then(|| Awaited {
                name: SIGNAL.to_owned(),
                deadline_ms: random.percent(20).then(|| random.between(500, 5_000)),
            }),
            retry: None,
        },
    }
}

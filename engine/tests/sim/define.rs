//! Random definitions: graphs of up to eight stages with retries, undo, gates, conditions, timeouts.

use super::random::Random;
use engine::definition::*;
use engine::run::{ArtefactRef, Event};
use std::collections::BTreeMap;

pub const SUBMITTER: &str = "submitter";
/// The one signal of this world.
pub const SIGNAL: &str = "wind";

pub fn submission(random: &mut Random) -> Event {
    let definition = definition(random);
    Event::RunSubmitted {
        run: "run-1".into(),
        workflow: definition.workflow.clone(),
        definition: serde_json::to_vec(&definition).expect("a definition is JSON"),
        inputs: vec![ArtefactRef { name: "space".into(), digest: "b3:00".into(), bytes: 1 }],
        key: None,
        submitted_by: SUBMITTER.into(),
        seed: random.word(),
    }
}

fn definition(random: &mut Random) -> Definition {
    let count = random.between(1, 8) as u32;
    // Needs may point forwards in written order: sometimes the graph is written backwards.
    let backwards = random.percent(25);
    let written = |logical: u32| StageIndex(if backwards { count - 1 - logical } else { logical });
    let density = random.pick(&[15, 35, 70]);
    let mut stages: Vec<StageSpec> = (0..count)
        .map(|logical| {
            let needs = (0..logical).filter(|_| random.percent(density)).map(written).collect();
            stage(random, written(logical), needs)
        })
        .collect();
    if backwards {
        stages.reverse();
    }
    let criteria = if random.percent(30) { 1 } else { 0 };
    Definition {
        workflow: "simulated".into(),
        success_criteria: (0..criteria).map(|_| criterion(random, count)).collect(),
        stages,
        inputs: BTreeMap::new(),
        params: r#"{"p":0,"seed":7}"#.into(),
        ceilings: Demand::default(),
        priority: 1,
        kind_versions: BTreeMap::new(),
        control: RunControl {
            deadline_ms: random.percent(20).then(|| random.between(500, 6_000)),
            ..RunControl::default()
        },
    }
}

fn criterion(random: &mut Random, stages: u32) -> Criterion {
    let flag = format!("flag_{}", random.below(u64::from(stages)));
    let expression = random.pick(&[flag.clone(), flag, "true".into(), "false".into()]);
    Criterion { written: expression.clone(), expression }
}

fn stage(random: &mut Random, index: StageIndex, needs: Vec<StageIndex>) -> StageSpec {
    let kind = match random.below(100) {
        0..=7 => StageKind::Approval,
        8..=11 => StageKind::Check,
        12..=15 => StageKind::Signal,
        16..=40 => StageKind::Exec,
        _ => StageKind::MilpSolving,
    };
    let when = random.percent(15).then(|| match needs.first() {
        Some(need) if random.percent(70) => {
            let expression = format!("flag_{}", need.0);
            Criterion { written: expression.clone(), expression }
        }
        _ => criterion(random, 8),
    });
    let gate = random.percent(12).then(|| Gate {
        approvals: random.between(1, 2) as u32,
        deadline_ms: random.percent(40).then(|| random.between(200, 5_000)),
    });
    let backoff_ms = random.pick(&[0, 10, 100]);
    StageSpec {
        path: format!("part/s{}", index.0),
        kind,
        needs,
        params: format!(r#"{{"stage":{}}}"#, index.0),
        tasks: Vec::new(),
        retry: Retry {
            attempts: random.between(1, 4) as u32,
            backoff_ms,
            backoff_ms_max: backoff_ms * random.between(1, 5),
            jitter_permille: random.pick(&[0, 250, 1000]),
        },
        timeout: Timeouts {
            start_to_close_ms: random.percent(50).then(|| random.between(50, 2_000)),
            heartbeat_ms: 100,
            schedule_to_start_ms: random.percent(20).then(|| random.between(20, 1_000)),
        },
        demand: Demand::default(),
        has_undo: !matches!(kind, StageKind::Approval | StageKind::Check | StageKind::Signal)
            && random.percent(50),
        idempotent: random.percent(50),
        gate,
        when,
        utcs_phase: None,
        outputs: Vec::new(),
        control: StageControl {
            roles: random.percent(30).then(|| "approver".to_owned()).into_iter().collect(),
            signal: (kind == StageKind::Signal).then(|| Awaited {
                name: SIGNAL.into(),
                deadline_ms: random.percent(40).then(|| random.between(200, 5_000)),
            }),
            retry: None,
        },
    }
}

//! What must come before what: dependencies by name, circles, topological order.
//!
//! Rule: a circle is reported once, with the names of those in it, at the place of one of its edges.

use super::document::Workflow;
use super::spec::{Definition, StageIndex};
use super::walk::{Problems, did_you_mean};

/// For each stage of the workflow, the positions of those it needs; unknown names are left out.
pub(super) fn edges(workflow: &Workflow) -> Vec<Vec<usize>> {
    let position = |name: &str| workflow.stages.iter().position(|stage| stage.name == name);
    let of_stage = |(index, stage): (usize, &super::document::Stage)| match &stage.needs {
        _ if workflow.in_written_order => index.checked_sub(1).into_iter().collect(),
        Some(needs) => needs.iter().filter_map(|need| position(&need.text)).collect(),
        None => vec![],
    };
    workflow.stages.iter().enumerate().map(of_stage).collect()
}

/// Reports dependencies on unknown stages and circles.
pub(super) fn check(workflow: &Workflow, problems: &mut Problems) {
    let names = || workflow.stages.iter().map(|stage| stage.name.as_str());
    for stage in &workflow.stages {
        for need in stage.needs.iter().flatten() {
            if !names().any(|name| name == need.text) {
                let help = did_you_mean(&need.text, names())
                    .unwrap_or_else(|| format!("stages here: {}", names().collect::<Vec<_>>().join(", ")));
                let message =
                    format!("`{}` needs `{}`, which is no stage of this workflow", stage.name, need.text);
                problems.add(need.at, "EX-0114", message, help);
            }
        }
    }
    for circle in circles(&edges(workflow)) {
        let name = |&at: &usize| workflow.stages[at].name.clone();
        let mut path: Vec<_> = circle.iter().map(name).collect();
        let (from, to) = (circle[0], circle[1 % circle.len()]);
        path.push(name(&from));
        let needs = workflow.stages[from].needs.iter().flatten();
        let at = needs.clone().find(|need| need.text == workflow.stages[to].name).map(|need| need.at);
        problems.add(
            at.unwrap_or(workflow.stages[from].at),
            "EX-0115",
            format!("stages need each other in a circle: {}", path.join(" -> ")),
            "leave out one of these dependencies",
        );
    }
}

/// Circles that share no member, each as the positions along it, the lowest first.
///
/// Stages that wait only for a circle are in none. O(stages x edges) at worst.
pub(super) fn circles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut gone = vec![false; edges.len()];
    let mut found = vec![];
    loop {
        // Whoever needs nothing that is left can run; what stays lies on a circle or behind one.
        while let Some(free) =
            (0..edges.len()).find(|&at| !gone[at] && edges[at].iter().all(|&need| gone[need]))
        {
            gone[free] = true;
        }
        let Some(start) = gone.iter().position(|gone| !gone) else { return found };
        let mut path = vec![start];
        let mut circle = loop {
            let here = path[path.len() - 1];
            let Some(&next) = edges[here].iter().find(|&&need| !gone[need]) else { return found };
            if let Some(since) = path.iter().position(|&earlier| earlier == next) {
                break path.split_off(since);
            }
            path.push(next);
        };
        let lowest = (0..circle.len()).min_by_key(|&at| circle[at]).unwrap_or(0);
        circle.rotate_left(lowest);
        circle.iter().for_each(|&at| gone[at] = true);
        found.push(circle);
    }
}

/// An order in which every stage stands behind what it needs; among the free ones the first written first.
///
/// `None` if the definition has a circle or a dependency that points at no stage.
pub fn topological_order(definition: &Definition) -> Option<Vec<StageIndex>> {
    let stages = &definition.stages;
    if stages.iter().flat_map(|stage| &stage.needs).any(|need| need.0 as usize >= stages.len()) {
        return None;
    }
    let mut missing: Vec<usize> = stages.iter().map(|stage| stage.needs.len()).collect();
    let mut free: std::collections::BTreeSet<usize> =
        (0..stages.len()).filter(|&at| missing[at] == 0).collect();
    let mut followers = vec![vec![]; stages.len()];
    for (at, stage) in stages.iter().enumerate() {
        stage.needs.iter().for_each(|need| followers[need.0 as usize].push(at));
    }
    let mut order = vec![];
    while let Some(next) = free.pop_first() {
        order.push(StageIndex(u32::try_from(next).ok()?));
        for &follower in &followers[next] {
            missing[follower] -= 1;
            if missing[follower] == 0 {
                free.insert(follower);
            }
        }
    }
    (order.len() == stages.len()).then_some(order)
}

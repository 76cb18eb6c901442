//! Supervisors under supervisors.

use std::cell::Cell;
use std::rc::Rc;

use futures::future::LocalBoxFuture;
use supervisors::{
    ChildError, ChildSpec, ChildState, Exit, Started, Starter, Strategy, SupervisorSpec, start,
    supervisor_child,
};

use crate::support::{Stage, in_virtual_time, settle, states, supervisor};

fn inner(stage: &Stage) -> SupervisorSpec {
    let mut spec = supervisor(Strategy::OneForOne, 0, stage.puppets(&["b", "c"]));
    spec.id = "inner".to_owned();
    spec
}

#[test]
fn only_the_dead_worker_is_restarted_while_its_supervisor_copes() {
    in_virtual_time(async {
        let stage = Stage::default();
        let mut spec = inner(&stage);
        spec.intensity.restarts = 1;
        let (inner_ref, child) = supervisor_child(spec);
        let (_top, _end) =
            start(supervisor(Strategy::OneForAll, 1, vec![stage.puppet("a"), child, stage.puppet("d")]));
        settle().await;
        assert_eq!(stage.happened(), "+a +b +c +d");
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "+b");
        assert_eq!(states(&inner_ref).await, "b:up c:up");
    });
}

#[test]
fn a_restarted_supervisor_begins_with_its_first_children_and_its_handle_stays_valid() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (inner_ref, child) = supervisor_child(inner(&stage));
        let (top, _end) = start(supervisor(Strategy::OneForOne, 1, vec![child]));
        settle().await;
        inner_ref.start_child(stage.puppet("added")).await.unwrap();
        assert_eq!(states(&inner_ref).await, "b:up c:up added:up");
        stage.happened();
        stage.exit("b", Exit::Killed).await;
        assert_eq!(stage.happened(), "-added -c +b +c");
        assert_eq!(states(&inner_ref).await, "b:up c:up");
        let tree = top.tree().await;
        assert_eq!((tree.children[0].id.as_str(), tree.children[0].restarts), ("inner", 1));
        let grandchildren: Vec<_> = tree.children[0].children.iter().map(|node| node.id.as_str()).collect();
        assert_eq!(grandchildren, ["b", "c"]);
    });
}

#[test]
fn a_shutdown_goes_through_the_whole_tree_in_reverse() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (inner_ref, child) = supervisor_child(inner(&stage));
        let (top, end) =
            start(supervisor(Strategy::OneForOne, 1, vec![stage.puppet("a"), child, stage.puppet("d")]));
        settle().await;
        stage.happened();
        top.shutdown().await;
        assert_eq!(stage.happened(), "-d -c -b -a");
        assert_eq!(end.await.unwrap(), Exit::Shutdown);
        let gone = ChildError::SupervisorGone("inner".into());
        assert_eq!(inner_ref.which_children().await.unwrap_err(), gone);
        assert_eq!(inner_ref.tree().await.state, ChildState::Undefined);
    });
}

struct Hanging(Rc<Cell<u32>>);

impl Starter for Hanging {
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        Box::pin(std::future::pending())
    }

    fn retire(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_starter_is_retired_also_when_its_supervisor_is_killed_in_the_middle_of_its_start() {
    in_virtual_time(async {
        let retired = Rc::new(Cell::new(0));
        let child = ChildSpec::new("hanging", Hanging(retired.clone()));
        let (_top, end) = start(supervisor(Strategy::OneForOne, 1, vec![child]));
        settle().await;
        end.abort();
        settle().await;
        assert_eq!(retired.get(), 1);
    });
}

#[test]
fn killing_the_top_supervisor_kills_every_worker_below_it() {
    in_virtual_time(async {
        let stage = Stage::default();
        let (_, child) = supervisor_child(inner(&stage));
        let (_top, end) = start(supervisor(Strategy::OneForOne, 1, vec![stage.puppet("a"), child]));
        settle().await;
        stage.happened();
        end.abort();
        settle().await;
        let mut killed: Vec<String> = stage.happened().split(' ').map(str::to_owned).collect();
        killed.sort();
        assert_eq!(killed, ["xa", "xb", "xc"]);
    });
}

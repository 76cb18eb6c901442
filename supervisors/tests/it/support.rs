//! Puppets and a stage: children whose starts, stops and exits the test commands and reads.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use supervisors::{
    ChildSpec, ChildState, Exit, Intensity, Restart, Running, Started, Starter, Strategy, SupervisorRef,
    SupervisorSpec,
};
use tokio::sync::oneshot;

/// Virtual time: an idle runtime jumps to the next timer.
pub fn in_virtual_time<F: Future>(test: F) -> F::Output {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

pub fn in_real_time<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, test)
}

/// Lets everything that can happen happen; takes one virtual millisecond.
pub async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[derive(Default)]
struct Inner {
    log: Vec<String>,
    exits: BTreeMap<String, oneshot::Sender<Exit>>,
    failing_starts: BTreeMap<String, u32>,
    stubborn: BTreeSet<String>,
    unkillable: BTreeSet<String>,
    absent: BTreeSet<String>,
    hanging: BTreeSet<String>,
}

#[derive(Clone, Default)]
pub struct Stage(Rc<RefCell<Inner>>);

impl Stage {
    pub fn puppet(&self, id: &str) -> ChildSpec {
        ChildSpec::new(id, Puppet { id: id.to_owned(), stage: self.clone() })
    }

    pub fn puppets(&self, ids: &[&str]) -> Vec<ChildSpec> {
        ids.iter().map(|id| self.puppet(id)).collect()
    }

    /// The child ends by itself, and what that brings about is over.
    pub async fn exit(&self, id: &str, exit: Exit) {
        self.exit_now(id, exit);
        settle().await;
    }

    /// The child ends by itself; nobody has heard of it yet.
    pub fn exit_now(&self, id: &str, exit: Exit) {
        let sender = self.0.borrow_mut().exits.remove(id);
        sender.unwrap_or_else(|| panic!("{id} is not up")).send(exit).unwrap();
    }

    pub fn fail_next_starts(&self, id: &str, times: u32) {
        self.0.borrow_mut().failing_starts.insert(id.to_owned(), times);
    }

    pub fn ignore_stops(&self, id: &str) {
        self.0.borrow_mut().stubborn.insert(id.to_owned());
    }

    pub fn ignore_kills(&self, id: &str) {
        self.0.borrow_mut().unkillable.insert(id.to_owned());
    }

    pub fn choose_not_to_run(&self, id: &str) {
        self.0.borrow_mut().absent.insert(id.to_owned());
    }

    pub fn hang_in_start(&self, id: &str) {
        self.0.borrow_mut().hanging.insert(id.to_owned());
    }

    /// What happened since the last call, for example "+a -b" (a started, b stopped).
    pub fn happened(&self) -> String {
        std::mem::take(&mut self.0.borrow_mut().log).join(" ")
    }

    fn note(&self, sign: &str, id: &str) {
        self.0.borrow_mut().log.push(format!("{sign}{id}"));
    }
}

struct Puppet {
    id: String,
    stage: Stage,
}

impl Starter for Puppet {
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            let (id, stage) = (self.id.clone(), self.stage.clone());
            if stage.0.borrow().hanging.contains(&id) {
                stage.note("?", &id);
                std::future::pending::<()>().await;
            }
            if stage.0.borrow().absent.contains(&id) {
                return Ok(Started::Ignore);
            }
            let fail = match stage.0.borrow_mut().failing_starts.get_mut(&id) {
                Some(times) => std::mem::replace(times, times.saturating_sub(1)) > 0,
                None => false,
            };
            if fail {
                stage.note("!", &id);
                return Err("told to fail".to_owned());
            }
            let (done, exit) = oneshot::channel();
            let (stop, stopped) = oneshot::channel();
            stage.note("+", &id);
            stage.0.borrow_mut().exits.insert(id.clone(), done);
            let (stop_id, stop_stage) = (id.clone(), stage.clone());
            tokio::task::spawn_local(async move {
                if stopped.await.is_ok() {
                    stop_stage.note("-", &stop_id);
                    let stubborn = stop_stage.0.borrow().stubborn.contains(&stop_id);
                    let done = (!stubborn).then(|| stop_stage.0.borrow_mut().exits.remove(&stop_id));
                    if let Some(Some(done)) = done {
                        let _ = done.send(Exit::Shutdown);
                    }
                }
            });
            let kill = move || {
                // Called also after the end, then it means nothing.
                let unkillable = stage.0.borrow().unkillable.contains(&id);
                let done = (!unkillable).then(|| stage.0.borrow_mut().exits.remove(&id));
                if let Some(Some(done)) = done {
                    stage.note("x", &id);
                    let _ = done.send(Exit::Killed);
                }
            };
            Ok(Started::Running(Running::new(exit, stop, kill)))
        }
        .boxed_local()
    }
}

pub fn supervisor(strategy: Strategy, restarts: u32, children: Vec<ChildSpec>) -> SupervisorSpec {
    SupervisorSpec::new("top", strategy, Intensity { restarts, period: Duration::from_secs(5) }, children)
}

/// One child with this restart type under a one-for-one supervisor that tolerates 10 restarts.
pub fn alone(stage: &Stage, restart: Restart) -> SupervisorSpec {
    supervisor(Strategy::OneForOne, 10, vec![stage.puppet("a").restart(restart)])
}

/// "a:Running b:Undefined", in start order.
pub async fn states(supervisor: &SupervisorRef) -> String {
    let children = supervisor.which_children().await.unwrap();
    let words: Vec<String> = children
        .iter()
        .map(|child| {
            let state = match child.state {
                ChildState::Running => "up",
                ChildState::Restarting => "restarting",
                ChildState::Undefined => "down",
            };
            format!("{}:{state}", child.id)
        })
        .collect();
    words.join(" ")
}

//! Stands for `actors/src/deployer.rs`, its steps and `releases.rs`: one activation at a time; the intent
//! is durable before the link is touched, and what was cut short goes back first.

use super::{DEPLOYER, Mail, Noted, Tick, Work, error, id};
use crate::Mutant;
use crate::judge::Verdict;
use crate::random::Random;
use crate::store::{Batch, Fact, Stream};
use crate::world::World;
use engine::definition::StageKind;
use engine::deployment::{Deployments, Input};
use engine::run::{ErrorClass, StageError};
use std::collections::VecDeque;

/// The link that names the active release: as a program sees it, and as the disk has it.
#[derive(Debug, Default)]
pub struct Link {
    pub now: Option<String>,
    synced: Option<String>,
}

impl Link {
    pub fn lose(&mut self, random: &mut Random) {
        if random.percent(50) {
            self.now.clone_from(&self.synced);
        } else {
            self.synced.clone_from(&self.now);
        }
    }
}

#[derive(Debug, Clone)]
enum Job {
    Deploy(Work),
    Undo(Work),
    Recover,
}

/// Where an activation stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeployStep {
    Begin,
    Intent,
    Rename,
    Sync,
    Verify,
    Succeed,
    RenameBack,
    SyncBack,
    Fail,
}

#[derive(Debug)]
struct Act {
    job: Job,
    step: DeployStep,
    release: Option<String>,
    previous: Option<String>,
    failed: Option<StageError>,
}

#[derive(Debug, Default)]
pub struct DeployerShell {
    machine: Deployments,
    records: u64,
    waiting: VecDeque<Job>,
    act: Option<Act>,
    /// The timer that counts; an older one has been overtaken.
    turn: u64,
}

impl World {
    pub fn deployer_starts(&mut self) {
        let mut shell = DeployerShell::default();
        for record in &self.judge.records {
            if let Fact::Deployment(event) = &record.fact {
                shell.machine.apply(record.position, record.time_ms, event);
                shell.records += 1;
            }
        }
        // An emergency stop outlives the daemon.
        self.daemon.emergency = shell.machine.frozen_by().is_some();
        shell.waiting.push_front(Job::Recover);
        self.daemon.deployer = shell;
        self.next_turn(0);
    }

    pub fn deployer(&mut self, mail: Mail) -> Verdict {
        match mail {
            Mail::Execute { work, undo } => {
                let job = match (work.kind, undo) {
                    (StageKind::Deployment, false) => Job::Deploy(work),
                    (StageKind::Deployment, true) => Job::Undo(work),
                    _ => return Err(format!("the deployer cannot carry out {work:?}")),
                };
                self.daemon.deployer.waiting.push_back(job);
                if self.daemon.deployer.act.is_none() {
                    self.next_turn(0);
                }
                Ok(())
            }
            Mail::Freeze { frozen, stop } => self.freeze(frozen, stop),
            other => Err(format!("the deployer cannot hear {other:?}")),
        }
    }

    fn freeze(&mut self, frozen: bool, stop: Option<u64>) -> Verdict {
        let by = "operator".to_owned();
        let input = if frozen { Input::Freeze { by } } else { Input::Thaw { by } };
        let event = self.daemon.deployer.machine.decide(input).map_err(|refusal| refusal.to_string())?;
        self.append_deployment(event, super::Then::Freeze { frozen, stop });
        Ok(())
    }

    fn append_deployment(&mut self, event: engine::deployment::Event, then: super::Then) {
        let batch = Batch {
            stream: Stream::Deployments,
            expected: self.daemon.deployer.records,
            facts: vec![Fact::Deployment(event)],
            time_ms: self.clock(),
        };
        self.append(DEPLOYER, batch, then);
    }

    fn take_in(&mut self, records: std::ops::Range<usize>) {
        for record in &self.judge.records[records] {
            if let Fact::Deployment(event) = &record.fact {
                self.daemon.deployer.machine.apply(record.position, record.time_ms, event);
                self.daemon.deployer.records += 1;
            }
        }
    }

    pub fn freeze_noted(&mut self, frozen: bool, stop: Option<u64>, records: Noted) -> Verdict {
        match records {
            Ok(records) => {
                self.take_in(records);
                stop.map_or(Ok(()), |stop| self.stop_is_recorded(stop))
            }
            Err(()) if self.mutant == Mutant::GivesUpOnConflict => {
                if let Some(stop) = stop {
                    self.daemon.stops.remove(&stop);
                }
                Ok(())
            }
            // A stop came since: what it freezes is not thawed by a clear from before it.
            Err(()) if !frozen && self.daemon.emergency => Ok(()),
            // Another record took the place; this one is decided anew.
            Err(()) => self.freeze(frozen, stop),
        }
    }

    pub fn deployment_noted(&mut self, step: DeployStep, records: Noted) -> Verdict {
        match records {
            Ok(records) => {
                self.take_in(records);
                match step {
                    DeployStep::Intent if self.daemon.deployer.machine.open().is_none() => {
                        self.finish_deployment(Ok(()));
                    }
                    DeployStep::Intent => self.go_on(DeployStep::Rename, 1),
                    DeployStep::Succeed => self.finish_deployment(Ok(())),
                    _ => {
                        let failed = self.daemon.deployer.act.as_mut().and_then(|act| act.failed.take());
                        self.finish_deployment(failed.map_or(Ok(()), Err));
                    }
                }
                Ok(())
            }
            Err(()) if self.mutant == Mutant::GivesUpOnConflict => {
                self.finish_deployment(Err(error("EX-0521", "conflict", ErrorClass::Transient)));
                Ok(())
            }
            Err(()) => self.deployer_goes_on(),
        }
    }

    fn next_turn(&mut self, after: u64) {
        self.daemon.deployer.turn += 1;
        self.tick(after, Tick::Deployer(self.daemon.deployer.turn));
    }

    pub fn deployer_turn(&mut self, turn: u64) -> Verdict {
        if turn == self.daemon.deployer.turn { self.deployer_goes_on() } else { Ok(()) }
    }

    fn go_on(&mut self, step: DeployStep, after: u64) {
        if let Some(act) = &mut self.daemon.deployer.act {
            act.step = step;
            self.next_turn(after);
        }
    }

    fn finish_deployment(&mut self, result: Result<(), StageError>) {
        if let Some(act) = self.daemon.deployer.act.take() {
            match act.job {
                Job::Deploy(work) => {
                    let value = crate::answers::whole(work.begun, work.stage);
                    self.report(&work, false, result.map(|()| value));
                }
                Job::Undo(work) => self.report(&work, true, result.map(|()| 0)),
                Job::Recover => {}
            }
        }
        self.next_turn(0);
    }

    fn commit_deployment(&mut self, input: Input, step: DeployStep) -> Verdict {
        match self.daemon.deployer.machine.decide(input) {
            Ok(mut event) => {
                if self.mutant == Mutant::UndoesToTheOneBefore {
                    self.undo_to_the_one_before(&mut event);
                }
                self.append_deployment(event, super::Then::Deploy(step));
            }
            Err(refusal) => {
                let failed = error("EX-0521", &refusal.to_string(), ErrorClass::Permanent);
                self.finish_deployment(Err(failed));
            }
        }
        Ok(())
    }

    /// What an undo did before it looked whether the run of that release is undone.
    fn undo_to_the_one_before(&mut self, event: &mut engine::deployment::Event) {
        let shell = &mut self.daemon.deployer;
        if let engine::deployment::Event::UndoStarted { release, run, .. } = event {
            let mut made = shell.machine.history().iter();
            if let Some(activation) = made.find(|a| a.run.as_ref() == Some(run) && a.release != a.previous) {
                release.clone_from(&activation.previous);
            }
            if let Some(act) = &mut shell.act {
                act.release.clone_from(release);
            }
        }
    }

    /// The link changes at one stroke; the directory is synced in a step of its own.
    fn rename(&mut self, release: Option<String>) -> Verdict {
        self.say(|| format!("link -> {release:?}"));
        self.link.now = release;
        self.judge.outside.switched(self.link.now.as_deref())
    }

    fn deployer_goes_on(&mut self) -> Verdict {
        let trouble = if self.calm { 0 } else { self.climate.trouble_percent };
        let fails = self.random.percent(trouble / 3);
        let shell = &mut self.daemon.deployer;
        let Some(act) = &shell.act else {
            let Some(job) = shell.waiting.pop_front() else { return Ok(()) };
            let step = DeployStep::Begin;
            shell.act = Some(Act { job, step, release: None, previous: None, failed: None });
            return self.deployer_goes_on();
        };
        let (step, release, previous) = (act.step, act.release.clone(), act.previous.clone());
        match step {
            DeployStep::Begin => return self.begin_activation(fails),
            DeployStep::Intent => {
                let input = match &act.job {
                    Job::Undo(work) => Input::Undo { run: id(work.run), by: "executingd".to_owned() },
                    Job::Deploy(work) => Input::Activate {
                        release: release.clone(),
                        run: Some(id(work.run)),
                        by: "submitter".to_owned(),
                    },
                    Job::Recover => return Err("a recovery has no intent".to_owned()),
                };
                let previous = shell.machine.active().map(str::to_owned);
                if let Some(act) = &mut shell.act {
                    act.previous = previous;
                }
                if self.mutant == Mutant::SwitchesBeforeTheIntent {
                    self.rename(release.clone())?;
                }
                return self.commit_deployment(input, step);
            }
            DeployStep::Rename if fails => return self.activation_failed("the switch failed"),
            DeployStep::Rename => {
                self.rename(release)?;
                self.go_on(DeployStep::Sync, 0);
            }
            DeployStep::Sync | DeployStep::SyncBack => {
                self.link.synced.clone_from(&self.link.now);
                let next = if step == DeployStep::Sync { DeployStep::Verify } else { DeployStep::Fail };
                self.go_on(next, 1);
            }
            DeployStep::Verify if fails || self.daemon.emergency => {
                return self.activation_failed("the check failed");
            }
            DeployStep::Verify => {
                self.go_on(DeployStep::Succeed, 0);
            }
            DeployStep::Succeed => return self.commit_deployment(Input::Verified, step),
            DeployStep::RenameBack => {
                self.rename(previous)?;
                self.go_on(DeployStep::SyncBack, 0);
            }
            DeployStep::Fail => {
                return self.commit_deployment(Input::Failed { why: "simulated".to_owned() }, step);
            }
        }
        Ok(())
    }

    fn activation_failed(&mut self, why: &str) -> Verdict {
        let class = if why.contains("check") { ErrorClass::Permanent } else { ErrorClass::Transient };
        if let Some(act) = &mut self.daemon.deployer.act {
            act.failed = Some(error("EX-0520", why, class));
        }
        self.go_on(DeployStep::RenameBack, 0);
        Ok(())
    }

    fn begin_activation(&mut self, fails: bool) -> Verdict {
        let shell = &mut self.daemon.deployer;
        let Some(act) = &mut shell.act else { return Ok(()) };
        match act.job.clone() {
            Job::Deploy(_) if fails => {
                self.finish_deployment(Err(error(
                    "EX-0520",
                    "the staged check failed",
                    ErrorClass::Transient,
                )));
            }
            Job::Deploy(work) => {
                let release = format!("rel-{:016x}", crate::answers::whole(work.begun, work.stage));
                act.release = Some(release.clone());
                self.releases.insert(release);
                self.go_on(DeployStep::Intent, 1);
            }
            Job::Undo(work) => {
                let run = id(work.run);
                if !shell.machine.has_deployed(&run)
                    || self.mutant == Mutant::SwitchesOnlyItsOwn && shell.machine.before_run(&run).is_none()
                {
                    self.finish_deployment(Ok(()));
                } else {
                    let back = shell.machine.before_run(&run).flatten();
                    act.release = back.map(str::to_owned);
                    self.go_on(DeployStep::Intent, 1);
                }
            }
            Job::Recover => {
                let open = shell.machine.recover().is_some();
                let active = shell.machine.active().map(str::to_owned);
                let agrees = self.link.now == active;
                act.previous.clone_from(&active);
                match (open, agrees) {
                    _ if self.mutant == Mutant::LeavesAnActivationOpen => self.finish_deployment(Ok(())),
                    (true, _) => {
                        self.count("activations cut short");
                        self.go_on(DeployStep::RenameBack, 0);
                    }
                    (false, true) => {
                        self.link.synced.clone_from(&self.link.now);
                        self.finish_deployment(Ok(()));
                    }
                    (false, false) => {
                        self.rename(active.clone())?;
                        self.link.synced = active;
                        self.finish_deployment(Ok(()));
                    }
                }
            }
        }
        Ok(())
    }
}

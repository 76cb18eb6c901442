//! What touches the world: jobs that cost money, releases, effects of programs, the emergency stop.

use super::{Verdict, must};
use engine::deployment;
use quantum::backends::JobEvent;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Reserved,
    Submitting,
    There,
    Fetching,
    Verified,
    Over,
}

#[derive(Debug, Default)]
pub struct Outside {
    jobs: BTreeMap<(u32, u32, u64), Job>,
    /// Keys that were journaled as being submitted.
    keys: BTreeSet<String>,
    charges: BTreeMap<String, u32>,
    /// Release, the one before, and the run of an activation that is open.
    open: Option<(Option<String>, Option<String>, Option<String>)>,
    active: Option<String>,
    /// What was deployed and by which run, oldest first, without what was taken back.
    made: Vec<(Option<String>, String)>,
    /// The run whose undo is open.
    undoing: Option<String>,
    frozen_at: Option<u64>,
    /// A client was told that the stop is in force and journaled, or a start found it so.
    told_stopped: bool,
    /// Effects of programs that must not be repeated, since somebody last allowed it.
    effects: BTreeMap<(u32, u32), u32>,
}

impl Outside {
    pub fn see_job(&mut self, stream: (u32, u32, u64), event: &JobEvent) -> Verdict {
        let state = self.jobs.get(&stream).copied();
        let next = match (state, event) {
            (None, JobEvent::Reserved) => Job::Reserved,
            (Some(Job::Reserved), JobEvent::Submitting { key }) => {
                self.keys.insert(key.0.clone());
                Job::Submitting
            }
            (Some(Job::Submitting), JobEvent::Submitted { .. }) => Job::There,
            (Some(Job::Submitting), JobEvent::NotSubmitted) => Job::Reserved,
            (Some(Job::Submitting), JobEvent::Lost) => Job::Over,
            (Some(Job::There), JobEvent::Queued | JobEvent::Running) => Job::There,
            (Some(Job::There), JobEvent::Fetching) => Job::Fetching,
            (Some(Job::Fetching), JobEvent::Verified) => Job::Verified,
            (Some(Job::Verified), JobEvent::Done) => Job::Over,
            (
                Some(Job::Reserved | Job::There | Job::Fetching),
                JobEvent::Failed { .. } | JobEvent::Cancelled,
            ) => Job::Over,
            (state, event) => return Err(format!("job {stream:?}: {event:?} cannot follow {state:?}")),
        };
        self.jobs.insert(stream, next);
        Ok(())
    }

    /// The vendor wrote a bill for a job under this key.
    ///
    /// # Errors
    /// If it is the second, or if the key was not in the journal before the call.
    pub fn charged(&mut self, key: &str) -> Verdict {
        must!(self.keys.contains(key), "a job was bought under {key}, which no record names");
        let bills = self.charges.entry(key.to_owned()).or_insert(0);
        *bills += 1;
        must!(*bills == 1, "a job was paid {bills} times under {key}");
        Ok(())
    }

    pub fn see_deployment(&mut self, position: u64, event: &deployment::Event) -> Verdict {
        match event {
            deployment::Event::ActivationStarted { release, previous, run, .. } => {
                self.begins(release, previous, run.clone())?;
            }
            deployment::Event::UndoStarted { release, previous, run, .. } => {
                self.begins(release, previous, None)?;
                let stays = self.made.iter().rev().find(|(_, maker)| maker != run);
                let newest = stays.and_then(|(release, _)| release.as_ref());
                must!(
                    release.as_ref() == newest,
                    "the undo of {run} goes back to {release:?}, but {newest:?} is the newest not undone"
                );
                self.undoing = Some(run.clone());
            }
            deployment::Event::ActivationSucceeded => {
                let Some((release, _, run)) = self.open.take() else {
                    return Err("an activation succeeded that never began".to_owned());
                };
                match (self.undoing.take(), run) {
                    (Some(undone), _) => self.made.retain(|(_, maker)| *maker != undone),
                    (None, Some(run)) => self.made.push((release.clone(), run)),
                    (None, None) => return Err("nobody asked for this activation".to_owned()),
                }
                self.active = release;
            }
            deployment::Event::ActivationReverted { .. } => {
                must!(self.open.take().is_some(), "an activation was reverted that never began");
                self.undoing = None;
            }
            deployment::Event::RunUndone { run } => {
                must!(self.open.is_none(), "an undo ended while {:?} is open", self.open);
                self.made.retain(|(_, maker)| maker != run);
                let newest = self.made.last().and_then(|(release, _)| release.as_ref());
                must!(
                    self.active.as_ref() == newest,
                    "{run} is undone and {:?} is active, but {newest:?} is the newest not undone",
                    self.active
                );
            }
            deployment::Event::Frozen { .. } => self.frozen_at = Some(position),
            deployment::Event::Thawed { .. } => (self.frozen_at, self.told_stopped) = (None, false),
        }
        Ok(())
    }

    fn begins(
        &mut self,
        release: &Option<String>,
        previous: &Option<String>,
        run: Option<String>,
    ) -> Verdict {
        must!(self.open.is_none(), "an activation began while {:?} is open", self.open);
        must!(self.frozen_at.is_none(), "an activation began while deployments are frozen");
        must!(*previous == self.active, "{previous:?} is said to be active, but {:?} is", self.active);
        self.open = Some((release.clone(), previous.clone(), run));
        Ok(())
    }

    /// What the link should say while no activation is under way.
    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    pub fn activation_is_open(&self) -> bool {
        self.open.is_some()
    }

    pub fn is_frozen(&self) -> bool {
        self.frozen_at.is_some()
    }

    /// The link names another release now.
    ///
    /// # Errors
    /// If no record announced it.
    pub fn switched(&self, link: Option<&str>) -> Verdict {
        let announced = link == self.active()
            || self.open.as_ref().is_some_and(|(release, previous, _)| {
                link == release.as_deref() || link == previous.as_deref()
            });
        must!(announced, "the link was switched to {link:?}, which no record announced");
        Ok(())
    }

    /// A run that ended rolled back or cancelled has taken back what it deployed.
    pub fn is_undone(&self, run: u32) -> Verdict {
        let name = format!("run-{run:06}");
        let left = self.made.iter().find(|(_, maker)| *maker == name);
        must!(left.is_none(), "run {run} was undone, but its release {left:?} was not taken back");
        Ok(())
    }

    /// A client was told that everything is stopped and that it is journaled.
    ///
    /// # Errors
    /// If the record was not durable by then.
    pub fn told_stopped(&mut self) -> Verdict {
        must!(self.frozen_at.is_some(), "a client was told of an emergency stop before it was durable");
        self.told_stopped = true;
        Ok(())
    }

    /// A stop that is journaled outlives the daemon, whether or not anybody was told.
    pub fn restarted(&mut self) {
        self.told_stopped = self.frozen_at.is_some();
    }

    pub fn may_start(&self, position: u64) -> Verdict {
        let stopped = self.told_stopped && self.frozen_at.is_some();
        must!(!stopped, "a stage was started at {position} after an emergency stop and before its clear");
        Ok(())
    }

    /// A program that must not be repeated took effect.
    ///
    /// # Errors
    /// If it had done so before and nobody had asked for it again.
    pub fn effect(&mut self, run: u32, stage: u32) -> Verdict {
        let effects = self.effects.entry((run, stage)).or_insert(0);
        *effects += 1;
        must!(*effects == 1, "run {run} stage {stage} took effect twice though it must not be repeated");
        Ok(())
    }

    /// A person asked for it again, or it was undone.
    pub fn may_repeat(&mut self, run: u32, stage: Option<u32>) {
        self.effects.retain(|(r, s), _| *r != run || stage.is_some_and(|stage| *s != stage));
    }
}

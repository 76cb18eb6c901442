//! Which release is active, and how the next one becomes it: a pure machine.
//!
//! Releases are immutable and named by digest. An activation is journaled as an intent before anything
//! is touched, and ends either verified or reverted to the release before. Rule: at most one activation
//! is open; history is only ever added to. Absent: files, links, check programs (the deployer has them).
//! Start at [`Deployments::decide`].

use serde::{Deserialize, Serialize};

/// Schema version of [`Event`] in journal envelopes.
pub const EVENT_SCHEMA: u16 = 1;

/// What became true about releases.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    /// Intent: `release` is about to replace `previous`.
    ActivationStarted {
        release: Option<String>,
        previous: Option<String>,
        run: Option<String>,
        by: String,
    },
    /// Active and verified.
    ActivationSucceeded,
    /// The check failed or the attempt was cut short; `previous` is active again.
    ActivationReverted {
        why: String,
    },
    Frozen {
        by: String,
    },
    Thawed {
        by: String,
    },
    /// Intent: what `run` deployed is taken back, so `release` is about to replace `previous`.
    UndoStarted {
        release: Option<String>,
        previous: Option<String>,
        run: String,
        by: String,
    },
    /// What `run` deployed is taken back; what is active is not its doing and stays.
    RunUndone {
        run: String,
    },
}

impl Event {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::ActivationStarted { .. } => "ActivationStarted",
            Self::ActivationSucceeded => "ActivationSucceeded",
            Self::ActivationReverted { .. } => "ActivationReverted",
            Self::Frozen { .. } => "DeploymentsFrozen",
            Self::Thawed { .. } => "DeploymentsThawed",
            Self::UndoStarted { .. } => "UndoStarted",
            Self::RunUndone { .. } => "RunUndone",
        }
    }
}

/// One line of the history of activations, newest last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activation {
    /// `None` means that nothing is active.
    pub release: Option<String>,
    pub previous: Option<String>,
    pub run: Option<String>,
    pub by: String,
    pub at_ms: u64,
    /// Journal position of the intent.
    pub position: u64,
    pub outcome: Outcome,
}

/// How an activation stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    Open,
    Succeeded,
    Reverted(String),
}

/// What somebody asks of the deployments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Activate {
        release: Option<String>,
        run: Option<String>,
        by: String,
    },
    Verified,
    Failed {
        why: String,
    },
    Freeze {
        by: String,
    },
    Thaw {
        by: String,
    },
    /// Take back all that a run deployed.
    Undo {
        run: String,
        by: String,
    },
}

/// Why not now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("an activation of {0} is still open")]
    Busy(String),
    #[error("no activation is open")]
    NothingOpen,
    #[error("deployments are frozen by {0}; an authorised clear thaws them")]
    Frozen(String),
}

/// A state that was wanted and not taken back since; the newest of them is active.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layer {
    release: Option<String>,
    /// Who can take it back; `None` for a rollback that a person asked for.
    run: Option<String>,
}

/// The name in an undo of before [`Event::UndoStarted`]: an activation of no run, by the daemon itself.
const UNDOER: &str = "executingd";

/// The history of activations and what follows from it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Deployments {
    history: Vec<Activation>,
    active: Option<String>,
    frozen_by: Option<String>,
    /// Oldest first. Below them all nothing is active.
    layers: Vec<Layer>,
    /// The run whose undo is open.
    undoing: Option<String>,
}

impl Deployments {
    /// # Errors
    /// [`Refusal`] when the input does not fit the state; nothing is changed either way.
    pub fn decide(&self, input: Input) -> Result<Event, Refusal> {
        let open = self.open();
        match input {
            Input::Activate { release, run, by } => {
                if let Some(by) = &self.frozen_by {
                    return Err(Refusal::Frozen(by.clone()));
                }
                if let Some(activation) = open {
                    return Err(Refusal::Busy(
                        activation.release.clone().unwrap_or_else(|| "nothing".into()),
                    ));
                }
                Ok(Event::ActivationStarted { release, previous: self.active.clone(), run, by })
            }
            Input::Verified => open.map(|_| Event::ActivationSucceeded).ok_or(Refusal::NothingOpen),
            Input::Failed { why } => {
                open.map(|_| Event::ActivationReverted { why }).ok_or(Refusal::NothingOpen)
            }
            Input::Freeze { by } => Ok(Event::Frozen { by }),
            Input::Thaw { by } => Ok(Event::Thawed { by }),
            Input::Undo { run, by } => {
                if let Some(activation) = open {
                    return Err(Refusal::Busy(
                        activation.release.clone().unwrap_or_else(|| "nothing".into()),
                    ));
                }
                match (self.before_run(&run), &self.frozen_by) {
                    (None, _) => Ok(Event::RunUndone { run }),
                    (Some(_), Some(by)) => Err(Refusal::Frozen(by.clone())),
                    (Some(release), None) => Ok(Event::UndoStarted {
                        release: release.map(str::to_owned),
                        previous: self.active.clone(),
                        run,
                        by,
                    }),
                }
            }
        }
    }

    /// The only place that changes the deployments.
    pub fn apply(&mut self, position: u64, time_ms: u64, event: &Event) {
        let opened = |release: &Option<String>, previous: &Option<String>, run: Option<String>, by: &str| {
            let (release, previous, by) = (release.clone(), previous.clone(), by.to_owned());
            Activation { release, previous, run, by, at_ms: time_ms, position, outcome: Outcome::Open }
        };
        match event {
            Event::ActivationStarted { release, previous, run, by } => {
                self.history.push(opened(release, previous, run.clone(), by));
            }
            Event::UndoStarted { release, previous, run, by } => {
                self.history.push(opened(release, previous, None, by));
                self.undoing = Some(run.clone());
            }
            Event::ActivationSucceeded => {
                let undone = self.undoing.take();
                if let Some(last) = self.history.last_mut() {
                    last.outcome = Outcome::Succeeded;
                    self.active.clone_from(&last.release);
                    let layer = Layer { release: last.release.clone(), run: last.run.clone() };
                    let of_old = layer.run.is_none() && last.by == UNDOER;
                    match undone {
                        Some(run) => self.take_back(&run),
                        None if of_old => self.take_back_as_of_old(layer),
                        None => self.layers.push(layer),
                    }
                }
            }
            Event::ActivationReverted { why } => {
                self.undoing = None;
                if let Some(last) = self.history.last_mut() {
                    last.outcome = Outcome::Reverted(why.clone());
                    self.active.clone_from(&last.previous);
                }
            }
            Event::Frozen { by } => self.frozen_by = Some(by.clone()),
            Event::Thawed { .. } => self.frozen_by = None,
            Event::RunUndone { run } => self.take_back(run),
        }
    }

    fn take_back(&mut self, run: &str) {
        self.layers.retain(|layer| layer.run.as_deref() != Some(run));
    }

    /// The record does not name the run: it was the one whose release was active.
    fn take_back_as_of_old(&mut self, back_to: Layer) {
        if let Some(run) = self.layers.last().and_then(|layer| layer.run.clone()) {
            self.take_back(&run);
        }
        if self.layers.last().and_then(|layer| layer.release.as_ref()) != back_to.release.as_ref() {
            self.layers.push(back_to);
        }
    }

    /// After a restart: the release that must be made active again before anything else happens.
    ///
    /// An activation cut short is reverted; the stage that wanted it starts over with a new intent.
    pub fn recover(&self) -> Option<&Activation> {
        self.open()
    }

    pub fn open(&self) -> Option<&Activation> {
        self.history.last().filter(|activation| activation.outcome == Outcome::Open)
    }

    pub fn active(&self) -> Option<&str> {
        self.active.as_deref()
    }

    pub fn frozen_by(&self) -> Option<&str> {
        self.frozen_by.as_deref()
    }

    pub fn history(&self) -> &[Activation] {
        &self.history
    }

    /// The release that was active before the present one, `Some(None)` if that was nothing at all, and
    /// `None` if there is no earlier state to go back to.
    pub fn before_active(&self) -> Option<Option<&str>> {
        self.history
            .iter()
            .rev()
            .filter(|activation| activation.outcome == Outcome::Succeeded)
            .find(|activation| activation.release != activation.previous && activation.release == self.active)
            .map(|activation| activation.previous.as_deref())
    }

    /// Whether anything that this run deployed was not taken back yet. A run that activates what is active
    /// already wants it as well: it stays when the other one is undone.
    pub fn has_deployed(&self, run: &str) -> bool {
        self.layers.iter().any(|layer| layer.run.as_deref() == Some(run))
    }

    /// Where the undo of a run's deployments goes back to: the newest release whose run is not undone,
    /// `Some(None)` if that is nothing at all, `None` if that is what is active.
    ///
    /// A run may have activated several releases, and the same one more than once: a retried stage does.
    pub fn before_run(&self, run: &str) -> Option<Option<&str>> {
        if !self.has_deployed(run) {
            return None;
        }
        let stays = self.layers.iter().rfind(|layer| layer.run.as_deref() != Some(run));
        let release = stays.and_then(|layer| layer.release.as_deref());
        (release != self.active()).then_some(release)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(deployments: &mut Deployments, input: Input) {
        let event = deployments.decide(input).unwrap();
        let position = deployments.history().len() as u64 + 1;
        deployments.apply(position, position, &event);
    }

    fn activate(release: &str) -> Input {
        Input::Activate { release: Some(release.into()), run: Some("r".into()), by: "ann".into() }
    }

    #[test]
    fn a_failed_check_leaves_the_release_before_active() {
        let mut d = Deployments::default();
        step(&mut d, activate("a"));
        assert_eq!(d.active(), None, "not active before it is verified");
        step(&mut d, Input::Verified);
        step(&mut d, activate("b"));
        step(&mut d, Input::Failed { why: "check said 1".into() });
        assert_eq!(d.active(), Some("a"));
        assert_eq!(d.before_active(), Some(None));
        assert_eq!(d.history().len(), 2, "history is added to, never rewritten");
    }

    #[test]
    fn two_activations_are_never_open_at_once() {
        let mut d = Deployments::default();
        step(&mut d, activate("a"));
        assert_eq!(d.decide(activate("b")), Err(Refusal::Busy("a".into())));
        assert_eq!(d.recover().map(|a| a.release.as_deref()), Some(Some("a")));
    }

    #[test]
    fn rolling_back_twice_walks_to_the_state_before_the_present_one() {
        let mut d = Deployments::default();
        for release in ["a", "b"] {
            step(&mut d, activate(release));
            step(&mut d, Input::Verified);
        }
        assert_eq!(d.before_active(), Some(Some("a")));
        step(&mut d, activate("a"));
        step(&mut d, Input::Verified);
        assert_eq!(d.before_active(), Some(Some("b")), "a rollback is a deployment of its own");
    }

    #[test]
    fn a_run_that_deployed_more_than_once_is_undone_to_the_state_before_its_first() {
        let mut d = Deployments::default();
        let other = Input::Activate { release: Some("z".into()), run: Some("q".into()), by: "ann".into() };
        step(&mut d, other);
        step(&mut d, Input::Verified);
        for release in ["a", "b", "a"] {
            step(&mut d, activate(release));
            step(&mut d, Input::Verified);
        }
        assert_eq!(d.before_run("r"), Some(Some("z")));
        assert_eq!(d.before_run("q"), None, "what is active is another run's");
        step(&mut d, Input::Activate { release: Some("z".into()), run: None, by: "executingd".into() });
        step(&mut d, Input::Verified);
        assert_eq!(d.before_run("r"), None, "what is active is not the run's any more");
        assert_eq!(d.before_run("q"), Some(None));
    }

    fn deployed(d: &mut Deployments, release: &str, run: Option<&str>) {
        let (release, run) = (Some(release.into()), run.map(Into::into));
        step(d, Input::Activate { release, run, by: "ann".into() });
        step(d, Input::Verified);
    }

    fn undone(d: &mut Deployments, run: &str) {
        step(d, Input::Undo { run: run.into(), by: "executingd".into() });
        if d.open().is_some() {
            step(d, Input::Verified);
        }
    }

    #[test]
    fn an_undo_never_goes_back_to_the_release_of_a_run_that_is_undone() {
        let mut d = Deployments::default();
        deployed(&mut d, "z", Some("p"));
        deployed(&mut d, "a", Some("q"));
        deployed(&mut d, "b", Some("r"));
        undone(&mut d, "q");
        assert_eq!(d.active(), Some("b"), "what is active was not the run's");
        undone(&mut d, "r");
        assert_eq!(d.active(), Some("z"));
        // Deployed again after its undo, it is there again.
        deployed(&mut d, "a", Some("q"));
        deployed(&mut d, "b", Some("r"));
        undone(&mut d, "r");
        assert_eq!(d.active(), Some("a"));
        for run in ["q", "p"] {
            undone(&mut d, run);
        }
        assert_eq!((d.active(), d.before_run("p")), (None, None));
    }

    #[test]
    fn what_another_run_or_a_person_wanted_too_stays_when_one_is_undone() {
        let mut d = Deployments::default();
        deployed(&mut d, "a", Some("q"));
        deployed(&mut d, "a", Some("r"));
        undone(&mut d, "q");
        assert_eq!(d.active(), Some("a"));
        deployed(&mut d, "b", Some("s"));
        deployed(&mut d, "a", None);
        for run in ["r", "s"] {
            undone(&mut d, run);
        }
        assert_eq!(d.active(), Some("a"), "a person went back to it");
    }

    #[test]
    fn an_undo_that_failed_may_be_tried_again_and_none_begins_while_frozen() {
        let mut d = Deployments::default();
        deployed(&mut d, "a", Some("q"));
        let undo = Input::Undo { run: "q".into(), by: "executingd".into() };
        step(&mut d, undo.clone());
        assert_eq!(d.decide(undo.clone()), Err(Refusal::Busy("nothing".into())));
        step(&mut d, Input::Failed { why: "no room".into() });
        assert_eq!((d.active(), d.has_deployed("q")), (Some("a"), true));
        step(&mut d, Input::Freeze { by: "ann".into() });
        assert_eq!(d.decide(undo), Err(Refusal::Frozen("ann".into())));
    }

    #[test]
    fn frozen_deployments_refuse_activation_until_thawed() {
        let mut d = Deployments::default();
        step(&mut d, Input::Freeze { by: "emergency-stop".into() });
        assert_eq!(d.decide(activate("a")), Err(Refusal::Frozen("emergency-stop".into())));
        step(&mut d, Input::Thaw { by: "ann".into() });
        assert!(d.decide(activate("a")).is_ok());
    }
}

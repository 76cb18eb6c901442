//! What a supervisor is made of, and how the first one is started.

use std::rc::Rc;

use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle};

use super::{SupervisorRef, shell};
use crate::Exit;
use crate::child::{ChildSpec, Held};
use crate::decision::{AutoShutdown, Boot, Intensity, Settings, Strategy};
use crate::spec::{self, SpecErrors, SpecFault};

/// What a supervisor is made of.
#[derive(Debug)]
pub struct SupervisorSpec {
    /// Name in logs and in the tree.
    pub id: String,
    /// Which siblings share a child's restart.
    pub strategy: Strategy,
    /// How many restarts are tolerated.
    pub intensity: Intensity,
    /// Started in this order, stopped in reverse.
    pub children: Vec<ChildSpec>,
    /// What a failed start means while the supervisor starts.
    pub boot: Boot,
    /// When the end of significant children ends the supervisor.
    pub auto_shutdown: AutoShutdown,
    /// Whether its handle may inject faults, into its children and into all below them. For drills.
    pub allow_faults: bool,
}

impl SupervisorSpec {
    /// A supervisor that boots as OTP's ([`Boot::Fail`]) and never shuts down by itself.
    #[must_use]
    pub fn new(
        id: impl Into<String>,
        strategy: Strategy,
        intensity: Intensity,
        children: Vec<ChildSpec>,
    ) -> Self {
        SupervisorSpec {
            id: id.into(),
            strategy,
            intensity,
            children,
            boot: Boot::default(),
            auto_shutdown: AutoShutdown::default(),
            allow_faults: false,
        }
    }

    /// Sets [`Self::boot`].
    #[must_use]
    pub fn boot(mut self, boot: Boot) -> Self {
        self.boot = boot;
        self
    }

    /// Sets [`Self::auto_shutdown`].
    #[must_use]
    pub fn auto_shutdown(mut self, auto_shutdown: AutoShutdown) -> Self {
        self.auto_shutdown = auto_shutdown;
        self
    }

    /// Sets [`Self::allow_faults`].
    #[must_use]
    pub fn allow_faults(mut self, allow: bool) -> Self {
        self.allow_faults = allow;
        self
    }

    /// Looks for everything that is wrong with it and with the supervisors below it; starts nothing.
    ///
    /// # Errors
    /// [`SpecErrors`], each fault with its place.
    pub fn check(&self) -> Result<(), SpecErrors> {
        SpecErrors::unless_empty(&self.id, self.faults())
    }

    pub(crate) fn faults(&self) -> Vec<SpecFault> {
        let held = self.children.iter().map(|child| (Rc::new(child.policy()), child.below.as_slice()));
        spec::supervisor_faults(&self.id, &self.settings(), held)
    }

    fn settings(&self) -> Settings {
        Settings { strategy: self.strategy, intensity: self.intensity, auto_shutdown: self.auto_shutdown }
    }
}

/// A spec in use; see [`Held`].
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) id: String,
    pub(crate) settings: Settings,
    pub(crate) boot: Boot,
    pub(crate) allow_faults: bool,
    pub(crate) children: Vec<Held>,
}

impl Plan {
    pub(super) fn check(&self) -> Result<(), SpecErrors> {
        let held = self.children.iter().map(|child| (child.policy.clone(), child.below()));
        SpecErrors::unless_empty(&self.id, spec::supervisor_faults(&self.id, &self.settings, held))
    }
}

impl From<SupervisorSpec> for Plan {
    fn from(spec: SupervisorSpec) -> Self {
        Plan {
            settings: spec.settings(),
            id: spec.id,
            boot: spec.boot,
            allow_faults: spec.allow_faults,
            children: spec.children.into_iter().map(Held::from).collect(),
        }
    }
}

/// Starts a supervisor as a local task and returns at once; the children come up in order. See
/// [`launch`] for a start that waits for them.
///
/// Its end is the value of the handle: [`Exit::Shutdown`] after [`SupervisorRef::shutdown`] and after
/// the end of significant children, [`Exit::StartFailed`] when a child did not come up,
/// [`Exit::Escalated`] when it gave up, [`Exit::Error`] with every fault of the spec (nothing is
/// started then). Aborting the task kills all children.
///
/// # Panics
/// Outside of a `tokio::task::LocalSet` (an actix `System` is one).
#[must_use = "a supervisor whose end nobody sees can give up unnoticed"]
pub fn start(spec: SupervisorSpec) -> (SupervisorRef, JoinHandle<Exit>) {
    let (handle, task, _booted) = begin(spec);
    (handle, task)
}

/// Why a supervisor did not come up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its spec is wrong; nothing was started.
    #[error(transparent)]
    BadSpec(#[from] SpecErrors),
    /// It ended before all its children were up; they are stopped.
    #[error("supervisor `{id}` did not come up: {exit}")]
    Failed {
        /// The supervisor.
        id: String,
        /// How it ended: [`Exit::StartFailed`] names the child.
        exit: Exit,
    },
}

/// Starts a supervisor and waits until its children are up, as OTP's `start_link`. Dropping the
/// future before that kills what was started.
///
/// # Errors
/// [`StartError`]; nothing runs then.
///
/// # Panics
/// As [`start`].
pub async fn launch(spec: SupervisorSpec) -> Result<(SupervisorRef, JoinHandle<Exit>), StartError> {
    spec.check()?;
    let (handle, task, booted) = begin(spec);
    let mut guard = AbortOnDrop(Some(task.abort_handle()));
    let is_up = booted.await.is_ok();
    guard.0 = None;
    if is_up {
        return Ok((handle, task));
    }
    let exit = task.await.unwrap_or(Exit::Killed);
    Err(StartError::Failed { id: handle.id().to_owned(), exit })
}

pub(super) struct AbortOnDrop(pub(super) Option<AbortHandle>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

fn begin(spec: SupervisorSpec) -> (SupervisorRef, JoinHandle<Exit>, oneshot::Receiver<()>) {
    let handle = SupervisorRef::new(&spec.id);
    let (keep_running, stop) = oneshot::channel();
    let (booted, is_up) = oneshot::channel();
    let run = shell::run(spec.into(), handle.clone(), stop, booted);
    let task = tokio::task::spawn_local(async move {
        let exit = run.await;
        drop(keep_running);
        exit
    });
    (handle, task, is_up)
}

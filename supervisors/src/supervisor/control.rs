//! The handle of a supervisor and the questions it answers.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::info::{ChildCounts, ChildInfo, Supervision};
use super::tree::TreeNode;
use crate::Exit;
use crate::child::{ChildSpec, Held};
use crate::decision::{Policy, Refusal, Settings};
use crate::fault::{Fault, InjectError};
use crate::spec::SpecErrors;

/// Requests that may wait for the supervisor's loop. It never blocks, so a handful is plenty; the
/// sender waits when it is full.
pub(super) const REQUESTS_MAX: usize = 64;

/// Why a request about a child failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChildError {
    /// The request does not fit the child's state.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The start was tried and failed; it is not tried again.
    #[error("child `{id}` did not start: {exit}")]
    StartFailed {
        /// The child.
        id: String,
        /// Why.
        exit: Exit,
    },
    /// The spec of a new child, or the new settings, are wrong; nothing was started or changed.
    #[error(transparent)]
    BadSpec(#[from] SpecErrors),
    /// There is no incarnation of this child to be watched (OTP: `noproc`).
    #[error("child `{0}` is not up, so its end cannot be watched; restart it or wait for its restart")]
    NotUp(String),
    /// The supervisor has ended, or is just being restarted itself.
    #[error("supervisor `{0}` is not running")]
    SupervisorGone(String),
}

pub(super) type Answer = oneshot::Sender<Result<(), ChildError>>;

pub(super) enum Request {
    Start(Box<Held>, Answer),
    Terminate(String, Answer),
    Restart(String, Answer),
    Delete(String, Answer),
    Supervision(oneshot::Sender<(Supervision, Vec<ChildInfo>)>),
    AllowsFaults(oneshot::Sender<bool>),
    Inject(String, Fault, oneshot::Sender<Result<(), InjectError>>),
    Which(oneshot::Sender<Vec<ChildInfo>>),
    WhichOne(String, oneshot::Sender<Result<ChildInfo, ChildError>>),
    Spec(String, oneshot::Sender<Result<Policy, ChildError>>),
    Watch(String, oneshot::Sender<Result<oneshot::Receiver<Exit>, ChildError>>),
    Settings(oneshot::Sender<Settings>),
    Reconfigure(Settings, Answer),
    Shutdown(Option<oneshot::Sender<()>>),
}

/// Handle of a supervisor; clones are the same supervisor. Of its thread only. The handle of a
/// nested supervisor stays valid over its restarts.
#[derive(Clone)]
pub struct SupervisorRef {
    id: Rc<str>,
    requests: Rc<RefCell<Option<mpsc::Sender<Request>>>>,
}

impl SupervisorRef {
    pub(super) fn new(id: &str) -> Self {
        SupervisorRef { id: id.into(), requests: Rc::default() }
    }

    /// Directs the handle to a new loop.
    pub(super) fn open(&self) -> mpsc::Receiver<Request> {
        let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
        *self.requests.borrow_mut() = Some(sender);
        receiver
    }

    pub(super) fn close(&self) {
        *self.requests.borrow_mut() = None;
    }

    /// The supervisor's name.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Adds a child and starts it; answered when it is up. A start that fails is not tried again
    /// and leaves nothing behind.
    ///
    /// # Errors
    /// [`ChildError::Refused`] if the id is taken, [`ChildError::BadSpec`], [`ChildError::StartFailed`].
    pub async fn start_child(&self, spec: ChildSpec) -> Result<(), ChildError> {
        self.ask(|answer| Request::Start(Box::new(spec.into()), answer)).await
    }

    /// Stops a child; answered when it is down. Its spec is kept (not a temporary child's). Fine on
    /// a child that is down already; ends a restart loop.
    ///
    /// # Errors
    /// [`Refusal::NotFound`].
    pub async fn terminate_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|answer| Request::Terminate(id.to_owned(), answer)).await
    }

    /// Starts a child that is down; answered when it is up.
    ///
    /// # Errors
    /// [`ChildError::Refused`] unless it is down, and always in a dynamic supervisor;
    /// [`ChildError::StartFailed`].
    pub async fn restart_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|answer| Request::Restart(id.to_owned(), answer)).await
    }

    /// Forgets a child that is down.
    ///
    /// # Errors
    /// [`ChildError::Refused`] unless it is down, and always in a dynamic supervisor.
    pub async fn delete_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|answer| Request::Delete(id.to_owned(), answer)).await
    }

    /// The children in start order.
    ///
    /// # Errors
    /// [`ChildError::SupervisorGone`].
    pub async fn which_children(&self) -> Result<Vec<ChildInfo>, ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Which(answer)).await?;
        answered.await.map_err(|_| self.gone())
    }

    /// One child.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`ChildError::SupervisorGone`].
    pub async fn which_child(&self, id: &str) -> Result<ChildInfo, ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::WhichOne(id.to_owned(), answer)).await?;
        answered.await.map_err(|_| self.gone())?
    }

    /// How many children there are.
    ///
    /// # Errors
    /// [`ChildError::SupervisorGone`].
    pub async fn count_children(&self) -> Result<ChildCounts, ChildError> {
        Ok(ChildCounts::of(&self.which_children().await?))
    }

    /// What was chosen for a child (OTP: `get_childspec`).
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`ChildError::SupervisorGone`].
    pub async fn child_spec(&self, id: &str) -> Result<Policy, ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Spec(id.to_owned(), answer)).await?;
        answered.await.map_err(|_| self.gone())?
    }

    /// A death watch on the incarnation of a child that is up now: the future gives its exit when it
    /// is down, whatever the kind of child ([`Exit::Killed`] if its supervisor was killed with it).
    /// Exactly one exit per watch; a restart needs a new one.
    ///
    /// # Errors
    /// [`Refusal::NotFound`], [`ChildError::NotUp`], [`ChildError::SupervisorGone`].
    pub async fn watch_child(&self, id: &str) -> Result<impl Future<Output = Exit> + use<>, ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Watch(id.to_owned(), answer)).await?;
        let ended = answered.await.map_err(|_| self.gone())??;
        Ok(async move { ended.await.unwrap_or(Exit::Killed) })
    }

    /// The settings in force.
    ///
    /// # Errors
    /// [`ChildError::SupervisorGone`].
    pub async fn settings(&self) -> Result<Settings, ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Settings(answer)).await?;
        answered.await.map_err(|_| self.gone())
    }

    /// Other settings from now on; children are left as they are. Restarts of the past count by the
    /// new intensity. A restart of this supervisor itself brings its spec's settings back.
    ///
    /// # Errors
    /// [`ChildError::BadSpec`], [`Refusal::StrategyFixed`], [`ChildError::SupervisorGone`].
    pub async fn reconfigure(&self, settings: Settings) -> Result<(), ChildError> {
        self.ask(|answer| Request::Reconfigure(settings, answer)).await
    }

    /// Does a fault to a child that is up, for a drill: `path` is its id, or ids from here downwards
    /// with `/` between. Answered when the fault is on its way. What follows is as for a fault of the
    /// child's own: it counts against intensity and backoff.
    ///
    /// Only with [`allow_faults`](crate::SupervisorSpec::allow_faults), which this supervisor decides
    /// for all below it.
    ///
    /// # Errors
    /// [`InjectError`]; nothing was done then.
    pub async fn inject(&self, path: &str, fault: Fault) -> Result<(), InjectError> {
        let gone = |who: &SupervisorRef| InjectError::SupervisorGone(who.id.to_string());
        let (answer, answered) = oneshot::channel();
        self.send(Request::AllowsFaults(answer)).await.map_err(|_| gone(self))?;
        if !answered.await.map_err(|_| gone(self))? {
            return Err(InjectError::NotAllowed(self.id.to_string()));
        }
        let not_found = || InjectError::NotFound { supervisor: self.id.to_string(), path: path.to_owned() };
        let (mut supervisor, mut rest) = (self.clone(), path);
        loop {
            let children = supervisor.which_children().await.map_err(|_| gone(&supervisor))?;
            if children.iter().any(|child| child.id == rest) {
                break;
            }
            // An id may have a `/` itself, so it is the children that say where it ends.
            let below = children.into_iter().find_map(|child| {
                let rest = rest.strip_prefix(child.id.as_str())?.strip_prefix('/')?;
                Some((child.supervisor?, rest))
            });
            (supervisor, rest) = below.ok_or_else(not_found)?;
        }
        let (answer, answered) = oneshot::channel();
        let request = Request::Inject(rest.to_owned(), fault, answer);
        supervisor.send(request).await.map_err(|_| gone(&supervisor))?;
        answered.await.map_err(|_| gone(&supervisor))?.map_err(|error| match error {
            InjectError::NotUp(_) => InjectError::NotUp(path.to_owned()),
            InjectError::NotFound { .. } => not_found(),
            InjectError::Unfit { kind, fault, .. } => {
                InjectError::Unfit { path: path.to_owned(), kind, fault }
            }
            other => other,
        })
    }

    /// What it tells about itself and its children.
    pub(super) async fn supervision_and_children(&self) -> Result<(Supervision, Vec<ChildInfo>), ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(Request::Supervision(answer)).await?;
        answered.await.map_err(|_| self.gone())
    }

    /// This supervisor and all below it.
    pub async fn tree(&self) -> TreeNode {
        super::tree::of(self).await
    }

    /// Stops the children in reverse start order, each within its patience, then the supervisor;
    /// returns when that is done. Fine on a supervisor that has ended.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Shutdown(Some(answer))).await.is_ok() {
            // Err: it ended in another way meanwhile.
            let _ = answered.await;
        }
    }

    /// Asks for a shutdown without waiting; false if it cannot be asked now.
    pub(super) fn request_shutdown(&self) -> bool {
        let sender = self.requests.borrow();
        sender.as_ref().is_some_and(|sender| sender.try_send(Request::Shutdown(None)).is_ok())
    }

    async fn ask(&self, request: impl FnOnce(Answer) -> Request) -> Result<(), ChildError> {
        let (answer, answered) = oneshot::channel();
        self.send(request(answer)).await?;
        answered.await.map_err(|_| self.gone())?
    }

    async fn send(&self, request: Request) -> Result<(), ChildError> {
        let sender = self.requests.borrow().clone().ok_or_else(|| self.gone())?;
        sender.send(request).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> ChildError {
        ChildError::SupervisorGone(self.id.to_string())
    }
}

impl fmt::Debug for SupervisorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SupervisorRef").field(&self.id).finish()
    }
}

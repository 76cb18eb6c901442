//! The handle of a supervisor and the questions it answers.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::tree::TreeNode;
use crate::Exit;
use crate::child::{ChildSpec, Held, MailboxInfo};
use crate::decision::Refusal;

/// Requests that may wait for the supervisor's loop. It never blocks, so a handful is plenty; the
/// sender waits when it is full.
const REQUESTS_MAX: usize = 64;

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
    /// The supervisor has ended, or is just being restarted itself.
    #[error("supervisor `{0}` is not running")]
    SupervisorGone(String),
}

/// Whether a child is up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChildState {
    /// Up (or on its way down).
    Running,
    /// Coming up, or waiting for its restart.
    Restarting,
    /// Down and staying down.
    Undefined,
}

/// One child, as its supervisor sees it.
#[derive(Debug, Clone)]
pub struct ChildInfo {
    /// Unique among its siblings.
    pub id: String,
    /// Whether it is up.
    pub state: ChildState,
    /// How often the supervisor started it again.
    pub restarts: u64,
    /// How it last ended.
    pub last_exit: Option<Exit>,
    /// Whether it is a supervisor.
    pub is_supervisor: bool,
    /// How full its mailbox is, if it has one.
    pub mailbox: Option<MailboxInfo>,
    /// Its handle, if it is a supervisor.
    pub supervisor: Option<SupervisorRef>,
}

/// How many children there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChildCounts {
    /// Known, up or down.
    pub specs: usize,
    /// Up.
    pub active: usize,
    /// Known and supervisors themselves.
    pub supervisors: usize,
    /// Known and not supervisors.
    pub workers: usize,
}

pub(super) type Answer = oneshot::Sender<Result<(), ChildError>>;

pub(super) enum Request {
    Start(Box<Held>, Answer),
    Terminate(String, Answer),
    Restart(String, Answer),
    Delete(String, Answer),
    Which(oneshot::Sender<Vec<ChildInfo>>),
    Shutdown(oneshot::Sender<()>),
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
    /// [`ChildError::Refused`] if the id is taken, [`ChildError::StartFailed`].
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
    /// [`ChildError::Refused`] unless it is down, [`ChildError::StartFailed`].
    pub async fn restart_child(&self, id: &str) -> Result<(), ChildError> {
        self.ask(|answer| Request::Restart(id.to_owned(), answer)).await
    }

    /// Forgets a child that is down.
    ///
    /// # Errors
    /// [`ChildError::Refused`] unless it is down.
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

    /// How many children there are.
    ///
    /// # Errors
    /// [`ChildError::SupervisorGone`].
    pub async fn count_children(&self) -> Result<ChildCounts, ChildError> {
        let children = self.which_children().await?;
        let count = |test: fn(&ChildInfo) -> bool| children.iter().filter(|child| test(child)).count();
        Ok(ChildCounts {
            specs: children.len(),
            active: count(|child| child.state == ChildState::Running),
            supervisors: count(|child| child.is_supervisor),
            workers: count(|child| !child.is_supervisor),
        })
    }

    /// This supervisor and all below it.
    pub async fn tree(&self) -> TreeNode {
        super::tree::of(self).await
    }

    /// Stops the children in reverse start order, each within its patience, then the supervisor;
    /// returns when that is done. Fine on a supervisor that has ended.
    pub async fn shutdown(&self) {
        let (answer, answered) = oneshot::channel();
        if self.send(Request::Shutdown(answer)).await.is_ok() {
            // Err: it ended in another way meanwhile.
            let _ = answered.await;
        }
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

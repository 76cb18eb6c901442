//! The daemon's side of the control protocol: every verb, answered from the board, the journal or an actor.
//!
//! Rule: reading verbs never wait for an actor's mailbox when the board or the journal knows the answer;
//! changing verbs go to the one actor that owns the thing. Start at [`DaemonService::call`].

mod backends;
mod batch;
mod changes;
mod dead;
mod explain;
mod follow;
mod housekeeping;
mod overview;
mod queries;
mod replies;
mod resources;
mod steer;
mod timetable;
mod tree;
mod uploads;

use crate::control::{Caller, Reply, Service};
use crate::settings::Settings;
use crate::settings::roles::{Role, least};
use crate::tree::Tree;
use actors::directory::Directory;
use actors::health::Health;
use actors::housekeeper::Housekeeper;
use actors::orchestrator::Orchestrator;
use actors::quantum_proxy::Office;
use actors::releases::Releases;
use actors::shared::Shared;
use actors::timetable::Timekeeper;
use engine::limits::REASON_BYTES_MAX;
use engine::placement::Capacity;
use engine::protocol::{ErrorReply, Request};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use supervisors::{ActorRef, SupervisorRef};

/// Longest wait for an actor's answer. They answer in microseconds; a restart takes milliseconds.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// A change waits for the journal, which may wait for a slow disk.
const CHANGE_WAIT: Duration = Duration::from_secs(30);

struct Inner {
    shared: Shared,
    directory: Directory,
    orchestrator: ActorRef<Orchestrator>,
    health: ActorRef<Health>,
    housekeeper: ActorRef<Housekeeper>,
    timetable: ActorRef<Timekeeper>,
    root: SupervisorRef,
    capacity: Capacity,
    office: Office,
    releases: Releases,
    settings: Settings,
    /// Emergency stops in force that the journal does not hold yet.
    stops_unrecorded: Cell<u32>,
}

/// Answers requests; cheap to clone.
#[derive(Clone)]
pub struct DaemonService {
    inner: Rc<Inner>,
}

impl std::fmt::Debug for DaemonService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DaemonService").finish_non_exhaustive()
    }
}

impl DaemonService {
    pub fn new(shared: &Shared, tree: &Tree, releases: Releases, settings: Settings) -> Self {
        Self {
            inner: Rc::new(Inner {
                shared: shared.clone(),
                directory: tree.directory.clone(),
                orchestrator: tree.orchestrator.clone(),
                health: tree.health.clone(),
                housekeeper: tree.housekeeper.clone(),
                timetable: tree.timetable.clone(),
                root: tree.root.clone(),
                capacity: tree.capacity.clone(),
                office: tree.office.clone(),
                releases,
                settings,
                stops_unrecorded: Cell::new(0),
            }),
        }
    }
}

impl Service for DaemonService {
    fn call(&self, who: Caller, request: Request) -> LocalBoxFuture<'static, Result<Reply, ErrorReply>> {
        let inner = Rc::clone(&self.inner);
        let role = inner.settings.roles.of(&who.name, &who.role);
        let who = Caller { role, ..who };
        async move { inner.answer(who, request).await }.boxed_local()
    }
}

impl Inner {
    async fn answer(self: Rc<Self>, who: Caller, request: Request) -> Result<Reply, ErrorReply> {
        if who.role == Role::Viewer.name() && least(&request) > Role::Viewer {
            let message = format!("{} ({}) may only look", who.name, who.role);
            return Err(replies::error("EX-0004", replies::exit::DENIED, message));
        }
        if let Some(reason) = request.reason()
            && reason.len() > REASON_BYTES_MAX
        {
            let given = reason.len();
            let message = format!(
                "the reason has {given} bytes, at most {REASON_BYTES_MAX} are kept; name the document that says more"
            );
            return Err(replies::error("EX-0002", replies::exit::USAGE, message));
        }
        let data = match request {
            Request::Have { digest } => uploads::have(&self, &digest)?,
            Request::Upload { digest, bytes } => return uploads::begin(&self, &digest, bytes),
            Request::Submit(submission) => changes::submit(&self, who, submission).await?,
            Request::List(asked) => batch::list(&self, &asked)?,
            Request::Batch(asked) => batch::batch(&self, who, asked).await?,
            Request::Dead { filter, limit, after } => {
                dead::list(&self, &filter, limit, after.as_deref()).await?
            }
            Request::DeadDismiss { run, reason } => dead::dismiss(&self, &who, run, reason).await?,
            Request::Overview => overview::overview(&self).await?,
            Request::Schedule(asked) => timetable::schedule(&self, &who, asked).await?,
            Request::Show { run } => queries::show(&self, &run)?,
            Request::Events { run, from } => queries::events(&self, &run, from)?,
            Request::Follow { run, from } => return follow::follow(self, run, from),
            Request::Wait { run } => follow::wait(&self, &run).await?,
            Request::Result { run } => queries::artefacts(&self, &run)?,
            Request::Artifact { run, name } => return queries::artefact(&self, &run, &name),
            Request::Resources => resources::resources(&self).await?,
            Request::Drain { resource, reason } => resources::drain(&self, &who, resource, reason).await?,
            Request::Undrain { resource } => resources::undrain(&self, &who, resource).await?,
            Request::Reserve { name, reserving } => resources::reserve(&self, &who, name, reserving).await?,
            Request::Unreserve { name } => resources::unreserve(&self, &who, name).await?,
            Request::Backends => backends::show(&self),
            Request::BackendTest { name, spend } => backends::test(&self, &name, spend).await?,
            Request::BackendDrain { name, reason } => {
                backends::drain(&self, &who, &name, Some(reason)).await?
            }
            Request::BackendResume { name } => backends::drain(&self, &who, &name, None).await?,
            Request::Jobs { run, state } => backends::jobs(&self, run, state).await?,
            Request::Tree => tree::show(&self).await,
            Request::Health => queries::health(&self).await?,
            Request::Explain { run } => explain::explain(&self, &run).await?,
            Request::Deployments => queries::deployments(&self).await?,
            Request::Inject { child, fault } => tree::inject(&self, &who, &child, fault).await?,
            Request::JournalVerify { expect } => housekeeping::verify(&self, expect).await?,
            Request::JournalHead => housekeeping::head(&self),
            Request::JournalExport => housekeeping::export(&self, &who).await?,
            Request::JournalFetch { name } => return housekeeping::fetch(&self, &who, &name),
            Request::JournalBackup { directory } => housekeeping::backup(&self, &who, &directory).await?,
            Request::JournalCompact => housekeeping::tidy(&self, &who, false, true).await?,
            Request::Gc { dry_run } => housekeeping::tidy(&self, &who, dry_run, false).await?,
            Request::Audit { from } => housekeeping::audit(&self, from)?,
            Request::Pin { run, reason } => housekeeping::pin(&self, &who, run, true, reason).await?,
            Request::Unpin { run, reason } => housekeeping::pin(&self, &who, run, false, reason).await?,
            Request::Doctor => queries::doctor(&self).await?,
            other => changes::change(&self, who, other).await?,
        };
        Ok(Reply::Data(data))
    }
}

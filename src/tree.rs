//! The whole supervision tree, child specs in start order. Read this first.
//!
//! ```text
//! executing            one_for_one, 20 restarts in 60 s (settings: `supervision`)
//! ├── resources        ledger of leases
//! ├── scheduler        queue of ready stages
//! ├── spares           keeps idle worker processes ready for the workers
//! ├── workers          one_for_one; one actor per worker slot, each holding one process at most
//! ├── backends         one_for_one; one proxy per quantum backend, all with one office of orders
//! ├── deployer         releases, one activation at a time
//! ├── runs             dynamic; one actor per unfinished run
//! ├── orchestrator     submissions, recovery, control
//! ├── timetable        schedules: submits their runs
//! ├── housekeeper      retention, compaction, garbage collection
//! └── health           looks once a second
//! ```
//! The journal's writer is a thread below all of this: if it fails, the daemon ends and recovers.
//!
//! Tells go in any direction. Asks go only along this list, so they cannot form a circle:
//! control -> {orchestrator, deployer, resources, scheduler, timetable, housekeeper, health};
//! scheduler -> resources;
//! housekeeper -> {orchestrator, deployer}.

use crate::settings::Supervision;
use actors::deployer::{DEPLOYER_MAILBOX, Deployer};
use actors::directory::Directory;
use actors::health::{HEALTH_MAILBOX, Health};
use actors::housekeeper::{HOUSEKEEPER_MAILBOX, Housekeeper, Writers};
use actors::orchestrator::{Catalog, ORCHESTRATOR_MAILBOX, Orchestrator};
use actors::quantum_proxy::{Office, PROXY_MAILBOX, QuantumProxy};
use actors::releases::Releases;
use actors::resources::{Leases, RESOURCES_MAILBOX, ResourceManager};
use actors::scheduler::{SCHEDULER_MAILBOX, Scheduler};
use actors::shared::Shared;
use actors::solver_worker::{SolverWorker, WORKER_MAILBOX};
use actors::timetable::{TIMETABLE_MAILBOX, Timekeeper};
use engine::placement::{Capacity, SlotKind};
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use supervisors::process::warm_pool_child;
use supervisors::{
    ActorRef, Backoff, ChildSpec, Exit, Shutdown, SupervisorRef, actor_child, actor_child_with,
    supervisor_child,
};
use tokio::task::JoinHandle;

/// The first restart is immediate in effect; a child that fails again and again is given time.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(1), factor: 2, max: Duration::from_secs(5), jitter: 0.2 };

/// How long a child may take to stop: workers are killed with their processes, the rest stops at once.
const STOP_DEADLINE: Duration = Duration::from_secs(2);

/// The started tree and the references that control needs.
pub struct Tree {
    pub root: SupervisorRef,
    pub end: JoinHandle<Exit>,
    pub directory: Directory,
    pub orchestrator: ActorRef<Orchestrator>,
    pub health: ActorRef<Health>,
    pub housekeeper: ActorRef<Housekeeper>,
    pub timetable: ActorRef<Timekeeper>,
    pub capacity: Capacity,
    pub office: Office,
}

impl std::fmt::Debug for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tree").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// How much the tree may use.
#[derive(Debug, Clone)]
pub struct Size {
    pub cpu_cores: u32,
    pub memory_mib: u64,
    pub worker_slots: u32,
    /// Jobs at once by quantum backend.
    pub backends: BTreeMap<String, u32>,
}

impl Size {
    /// As the ledger counts it.
    pub fn capacity(&self) -> Capacity {
        Capacity {
            cpu_cores: self.cpu_cores,
            memory_mib: self.memory_mib,
            slots: (1..=self.worker_slots).map(|i| (format!("worker-{i}"), SlotKind::Worker)).collect(),
            backends: self.backends.clone(),
        }
    }
}

fn settled(spec: ChildSpec) -> ChildSpec {
    spec.backoff(BACKOFF).shutdown(Shutdown::Deadline(STOP_DEADLINE))
}

/// Starts the tree on the current thread (an actix `System`).
pub fn start(
    shared: &Shared,
    catalog: Arc<Catalog>,
    releases: Releases,
    office: Office,
    size: Size,
    supervision: &Supervision,
    allow_faults: bool,
) -> Tree {
    let capacity = size.capacity();

    let scheduler_later: Arc<OnceLock<ActorRef<Scheduler>>> = Arc::default();
    let (resources, resources_spec) = {
        let (shared, scheduler) = (shared.clone(), Arc::clone(&scheduler_later));
        let leases = Leases::none(&shared);
        actor_child("resources", RESOURCES_MAILBOX, move || {
            ResourceManager::new(shared.clone(), leases.clone(), Arc::clone(&scheduler))
        })
    };
    let (scheduler, scheduler_spec) = {
        let (resources, shared) = (resources.clone(), shared.clone());
        actor_child("scheduler", SCHEDULER_MAILBOX, move || Scheduler::new(resources.clone(), shared.clone()))
    };
    // Set once, right here; the resource manager tells it when something is free.
    let _ = scheduler_later.set(scheduler.clone());

    let mut workers = BTreeMap::new();
    let mut worker_specs = Vec::new();
    for name in capacity.slots.keys() {
        let (shared, slot) = (shared.clone(), name.clone());
        let (worker, spec) = actor_child(name.clone(), WORKER_MAILBOX, move || {
            SolverWorker::new(slot.clone(), shared.clone())
        });
        workers.insert(name.clone(), worker);
        worker_specs.push(settled(spec));
    }
    let mut backends = BTreeMap::new();
    let mut backend_specs = Vec::new();
    for name in capacity.backends.keys() {
        let (shared, backend, office) = (shared.clone(), name.clone(), office.clone());
        let (proxy, spec) = actor_child(name.clone(), PROXY_MAILBOX, move || {
            QuantumProxy::new(backend.clone(), shared.clone(), office.clone())
        });
        backends.insert(name.clone(), proxy);
        backend_specs.push(settled(spec));
    }
    let (deployer, deployer_spec) = {
        let (shared, releases) = (shared.clone(), releases.clone());
        actor_child("deployer", DEPLOYER_MAILBOX, move || Deployer::new(shared.clone(), releases.clone()))
    };
    let directory = Directory { resources, scheduler, workers, backends, deployer };

    let (_, workers_spec) = supervisor_child(supervision.spec("workers", worker_specs));
    let (_, backends_spec) = supervisor_child(supervision.spec("backends", backend_specs));
    let (runs, runs_spec) = supervisor_child(supervision.spec("runs", Vec::new()));
    let (orchestrator, orchestrator_spec) = {
        let (shared, directory) = (shared.clone(), directory.clone());
        actor_child_with("orchestrator", ORCHESTRATOR_MAILBOX, move |me| {
            Orchestrator::new(
                shared.clone(),
                directory.clone(),
                Arc::clone(&catalog),
                runs.clone(),
                me.clone(),
            )
        })
    };
    let (timetable, timetable_spec) = {
        let (shared, orchestrator) = (shared.clone(), orchestrator.clone());
        actor_child("timetable", TIMETABLE_MAILBOX, move || {
            Timekeeper::new(shared.clone(), orchestrator.clone())
        })
    };
    let (housekeeper, housekeeper_spec) = {
        let (shared, orchestrator, deployer) =
            (shared.clone(), orchestrator.clone(), directory.deployer.clone());
        let writers = Writers { resources: directory.resources.clone(), timetable: timetable.clone() };
        actor_child("housekeeper", HOUSEKEEPER_MAILBOX, move || {
            Housekeeper::new(
                shared.clone(),
                releases.clone(),
                orchestrator.clone(),
                deployer.clone(),
                writers.clone(),
            )
        })
    };
    let (health, health_spec) = {
        let shared = shared.clone();
        actor_child("health", HEALTH_MAILBOX, move || Health::new(shared.clone()))
    };
    let children = vec![
        settled(resources_spec),
        settled(scheduler_spec),
        settled(warm_pool_child("spares", &shared.spares)),
        workers_spec.shutdown(Shutdown::Infinity),
        backends_spec.shutdown(Shutdown::Infinity),
        settled(deployer_spec),
        runs_spec.shutdown(Shutdown::Infinity),
        settled(orchestrator_spec),
        settled(timetable_spec),
        settled(housekeeper_spec),
        settled(health_spec),
    ];
    let (root, end) = supervisors::start(supervision.spec("executing", children).allow_faults(allow_faults));
    Tree { root, end, directory, orchestrator, health, housekeeper, timetable, capacity, office }
}

//! Who is who in the tree: the references that actors use to reach each other.
//!
//! Rule: built once by the tree; tells go anywhere, asks only downwards (src/tree.rs lists them).

use crate::deployer::Deployer;
use crate::quantum_proxy::QuantumProxy;
use crate::resources::ResourceManager;
use crate::scheduler::Scheduler;
use crate::solver_worker::SolverWorker;
use std::collections::BTreeMap;
use supervisors::ActorRef;

/// References to the long-lived actors.
#[derive(Clone)]
pub struct Directory {
    pub resources: ActorRef<ResourceManager>,
    pub scheduler: ActorRef<Scheduler>,
    pub workers: BTreeMap<String, ActorRef<SolverWorker>>,
    pub backends: BTreeMap<String, ActorRef<QuantumProxy>>,
    pub deployer: ActorRef<Deployer>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("workers", &self.workers.keys().collect::<Vec<_>>())
            .field("backends", &self.backends.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

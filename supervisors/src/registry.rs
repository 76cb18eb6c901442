//! Names for actors, tellers and supervisors.
//!
//! A name stands for a reference that re-resolves by itself over restarts, so a lookup is needed once
//! only. The one rule: a name belongs to one child at a time. It is given when the child starts, kept
//! over its restarts, and free when the child is down for good. Start at [`Registry::child`].

use std::any::{Any, type_name};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use crate::child::{ChildSpec, Started, Starter};
use crate::{ActorRef, SupervisorRef, Teller};

/// Why a name was not given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name `{name}` is taken by `{who}` ({what}); choose another, or end that one first")]
pub struct AlreadyRegistered {
    /// The name asked for.
    pub name: String,
    /// Who has it: the child's id.
    pub who: String,
    /// The type it is registered as.
    pub what: &'static str,
}

/// Why a name did not lead to a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nobody has it: not started yet, or down for good.
    #[error("nobody is registered as `{0}`")]
    NotRegistered(String),
    /// It is something else.
    #[error("`{name}` is registered as {found}, not as {expected}")]
    OtherType {
        /// The name.
        name: String,
        /// The type asked for.
        expected: &'static str,
        /// The type it is registered as.
        found: &'static str,
    },
    /// A supervisor's handle belongs to the thread it was registered on.
    #[error("`{0}` is a supervisor of another thread; ask there")]
    OtherThread(String),
}

#[derive(Clone)]
enum Value {
    /// An `ActorRef<A>` or a `Teller<M>`.
    Shared(Arc<dyn Any + Send + Sync>),
    /// A supervisor, kept aside by its own thread under the registration's number.
    Supervisor(ThreadId),
}

struct Entry {
    registration: u64,
    who: Arc<str>,
    what: &'static str,
    value: Value,
}

/// What a name can stand for: made from an [`ActorRef`], a [`SupervisorRef`], or [`Named::teller`].
#[derive(Clone)]
pub struct Named {
    who: Arc<str>,
    what: &'static str,
    value: NamedValue,
}

#[derive(Clone)]
enum NamedValue {
    Shared(Arc<dyn Any + Send + Sync>),
    Supervisor(SupervisorRef),
}

impl Named {
    /// A sender of one message type; `who` is its owner, for the one who finds the name taken.
    pub fn teller<M: 'static>(who: &str, teller: Teller<M>) -> Self {
        let what = type_name::<Teller<M>>();
        Named { who: who.into(), what, value: NamedValue::Shared(Arc::new(teller)) }
    }
}

impl<A: actix::Actor<Context = actix::Context<A>>> From<&ActorRef<A>> for Named {
    fn from(actor: &ActorRef<A>) -> Self {
        let what = type_name::<ActorRef<A>>();
        Named { who: actor.id().clone(), what, value: NamedValue::Shared(Arc::new(actor.clone())) }
    }
}

impl From<&SupervisorRef> for Named {
    fn from(supervisor: &SupervisorRef) -> Self {
        let what = type_name::<SupervisorRef>();
        Named { who: supervisor.id().into(), what, value: NamedValue::Supervisor(supervisor.clone()) }
    }
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("who", &self.who).field("what", &self.what).finish_non_exhaustive()
    }
}

thread_local! {
    /// Supervisors registered on this thread, by the number of their registration.
    static SUPERVISORS: RefCell<BTreeMap<u64, SupervisorRef>> = const { RefCell::new(BTreeMap::new()) };
}

static NEXT_REGISTRATION: AtomicU64 = AtomicU64::new(0);

/// Names and who they stand for. Clones are the same registry, usable from any thread; a lookup takes
/// a lock and O(log n) comparisons.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<String, Entry>>>);

impl Registry {
    /// An empty registry.
    #[must_use]
    pub fn new() -> Self {
        Registry::default()
    }

    /// Gives a name until the registration is dropped.
    ///
    /// # Errors
    /// [`AlreadyRegistered`] with who has it.
    pub fn register(
        &self,
        name: impl Into<String>,
        named: impl Into<Named>,
    ) -> Result<Registration, AlreadyRegistered> {
        let (name, named) = (name.into(), named.into());
        let mut names = self.lock();
        if let Some(taken) = names.get(&name) {
            return Err(AlreadyRegistered { name, who: taken.who.to_string(), what: taken.what });
        }
        let number = NEXT_REGISTRATION.fetch_add(1, Ordering::Relaxed);
        let value = match named.value {
            NamedValue::Shared(value) => Value::Shared(value),
            NamedValue::Supervisor(supervisor) => {
                SUPERVISORS.with_borrow_mut(|kept| kept.insert(number, supervisor));
                Value::Supervisor(std::thread::current().id())
            }
        };
        names.insert(name.clone(), Entry { registration: number, who: named.who, what: named.what, value });
        Ok(Registration { registry: self.clone(), name, number })
    }

    /// The child of `spec` under a name, from its first start until it is down for good, and again if
    /// it is started again after that. While it rests between two starts the name stays.
    ///
    /// If the name is taken the start fails, with the text of [`AlreadyRegistered`].
    #[must_use]
    pub fn child(&self, name: impl Into<String>, named: impl Into<Named>, mut spec: ChildSpec) -> ChildSpec {
        let (registry, name, named) = (self.clone(), name.into(), named.into());
        let starter = spec.starter;
        spec.starter = Box::new(NamedStarter { starter, registry, name, named, registration: None });
        spec
    }

    /// The actor of that name.
    ///
    /// # Errors
    /// [`LookupError::NotRegistered`], [`LookupError::OtherType`].
    pub fn actor<A: actix::Actor<Context = actix::Context<A>>>(
        &self,
        name: &str,
    ) -> Result<ActorRef<A>, LookupError> {
        self.shared(name)
    }

    /// The sender of that name.
    ///
    /// # Errors
    /// [`LookupError::NotRegistered`], [`LookupError::OtherType`].
    pub fn teller<M: 'static>(&self, name: &str) -> Result<Teller<M>, LookupError> {
        self.shared(name)
    }

    /// The supervisor of that name, on the thread where it was registered.
    ///
    /// # Errors
    /// [`LookupError`].
    pub fn supervisor(&self, name: &str) -> Result<SupervisorRef, LookupError> {
        let names = self.lock();
        let entry = names.get(name).ok_or_else(|| LookupError::NotRegistered(name.to_owned()))?;
        match entry.value {
            Value::Supervisor(thread) if thread == std::thread::current().id() => {
                let found = SUPERVISORS.with_borrow(|kept| kept.get(&entry.registration).cloned());
                found.ok_or_else(|| LookupError::NotRegistered(name.to_owned()))
            }
            Value::Supervisor(_) => Err(LookupError::OtherThread(name.to_owned())),
            Value::Shared(_) => Err(other_type::<SupervisorRef>(name, entry)),
        }
    }

    /// All names in order, each with the id of its child.
    #[must_use]
    pub fn names(&self) -> Vec<(String, String)> {
        self.lock().iter().map(|(name, entry)| (name.clone(), entry.who.to_string())).collect()
    }

    fn shared<T: Clone + 'static>(&self, name: &str) -> Result<T, LookupError> {
        let names = self.lock();
        let entry = names.get(name).ok_or_else(|| LookupError::NotRegistered(name.to_owned()))?;
        let found = match &entry.value {
            Value::Shared(value) => value.downcast_ref::<T>().cloned(),
            Value::Supervisor(_) => None,
        };
        found.ok_or_else(|| other_type::<T>(name, entry))
    }

    fn release(&self, name: &str, number: u64) {
        let removed = {
            let mut names = self.lock();
            let own = names.get(name).is_some_and(|entry| entry.registration == number);
            if own { names.remove(name) } else { None }
        };
        SUPERVISORS.with(|kept| {
            // On another thread there is none; during the end of the thread the map may be gone.
            if let Ok(mut kept) = kept.try_borrow_mut() {
                kept.remove(&number);
            }
        });
        // Outside of the lock: the last reference to an actor may go with it.
        drop(removed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn other_type<T>(name: &str, entry: &Entry) -> LookupError {
    LookupError::OtherType { name: name.to_owned(), expected: type_name::<T>(), found: entry.what }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Registry").field(&self.names()).finish()
    }
}

/// Holds a name. Dropping it sets the name free.
#[derive(Debug)]
#[must_use = "dropping it sets the name free"]
pub struct Registration {
    registry: Registry,
    name: String,
    number: u64,
}

impl Registration {
    /// The name held.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.registry.release(&self.name, self.number);
    }
}

/// Starts a child under a name.
struct NamedStarter {
    starter: Box<dyn Starter>,
    registry: Registry,
    name: String,
    named: Named,
    registration: Option<Registration>,
}

impl Starter for NamedStarter {
    fn start(&mut self, generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            if self.registration.is_none() {
                let given = self.registry.register(self.name.clone(), self.named.clone());
                self.registration = Some(given.map_err(|taken| taken.to_string())?);
            }
            let started = self.starter.start(generation).await;
            if matches!(started, Ok(Started::Ignore)) {
                self.registration = None;
            }
            started
        }
        .boxed_local()
    }

    fn inject(&mut self, fault: crate::Fault) -> bool {
        self.starter.inject(fault)
    }

    fn mailbox(&self) -> Option<crate::MailboxInfo> {
        self.starter.mailbox()
    }

    fn abandon(&mut self) {
        self.starter.abandon();
    }

    fn retire(&mut self) {
        self.registration = None;
        self.starter.retire();
    }
}

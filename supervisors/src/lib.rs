//! OTP over actix: supervisors, restart strategies, ordered shutdown, bounded mailboxes, processes.
//! No domain word in it.
//!
//! A **supervisor** starts its children in order, watches them, restarts those that die and stops
//! them in reverse order. A **child** is anything with a [`Starter`]: an actor ([`actor_child`]), an
//! async task ([`task_child`]), another supervisor ([`supervisor_child`]), and what may block: an actor
//! on a thread of its own ([`hosted_actor_child`]), a thread ([`thread_child`]), an operating system
//! process ([`process::process_child`]). A [`Registry`] gives them names, and
//! [`SupervisorRef::inject`] does them harm in a drill.
//!
//! ```
//! # use std::time::Duration;
//! # use supervisors::*;
//! # struct Counter(u32);
//! # impl actix::Actor for Counter { type Context = actix::Context<Self>; }
//! # impl actix::Supervised for Counter {}
//! # struct Inc;
//! # impl actix::Message for Inc { type Result = u32; }
//! # impl actix::Handler<Inc> for Counter {
//! #     type Result = u32;
//! #     fn handle(&mut self, _: Inc, _: &mut actix::Context<Self>) -> u32 { self.0 += 1; self.0 }
//! # }
//! # actix::System::new().block_on(async {
//! let (counter, child) = actor_child("counter", 16, || Counter(0));
//! let intensity = Intensity { restarts: 3, period: Duration::from_secs(10) };
//! let spec = SupervisorSpec::new("top", Strategy::OneForOne, intensity, vec![child]);
//! let (top, end) = launch(spec).await?;
//! assert_eq!(counter.ask(Inc, Duration::from_secs(1)).await, Ok(1));
//! top.shutdown().await;
//! assert_eq!(end.await.ok(), Some(Exit::Shutdown));
//! assert_eq!(counter.tell(Inc), Err(TellError::Down));
//! # Ok::<(), StartError>(())
//! # }).unwrap();
//! ```
//!
//! # Order
//! - Children start one after the other; the next one when the one before is up, and a supervisor is
//!   up when its children are. They stop one after
//!   the other in reverse, each within its own patience: asked, killed after the deadline, given up
//!   as [`Exit::Unkillable`] 200 ms after the kill.
//! - A group restart ([`Strategy::OneForAll`], [`Strategy::RestForOne`]) first stops everything that
//!   must go, then starts; the backoff of the child that failed delays the whole group. As in OTP it
//!   also starts children of the group that were down, and never temporary ones.
//! - [`Strategy::Dynamic`] starts and stops in parallel.
//! - Messages of one sender in one lane are handled in the order they were accepted. The control lane
//!   goes before the ordinary one. A stop goes before both.
//!
//! # What a restart keeps, and what is lost when
//! | what happened | actor value | mailbox | the message being handled, spawned futures, timers |
//! |---|---|---|---|
//! | panic; stop of a group restart; normal exit of a permanent child | kept, `Supervised::restarting` is called | kept | lost |
//! | panic in `restarting`, kill after the deadline | new from the factory | kept | lost |
//! | [`Exit::Unkillable`] | new from the factory | lost | lost |
//! | down for good (terminated, intensity exceeded, a supervisor above restarted) | dropped | lost | lost |
//!
//! A lost message is never handled again; whoever asked gets [`AskError::Lost`]. The broken actor's
//! `stopped` is not called after a panic. While a child rests in its backoff, messages are accepted
//! up to the bound; when it is down for good they are refused ([`TellError::Down`]).
//!
//! # Differences from OTP
//! - [`Boot::Retry`] and [`Backoff`]; the defaults are OTP's (fail, at once). A restart without backoff
//!   involves no timer.
//! - A supervisor that gave up ends with [`Exit::Escalated`], which is abnormal; OTP's `shutdown` would
//!   leave a transient supervisor down.
//! - Requests and exits are heard while children start and stop; OTP's wait. So siblings that wait for
//!   their turn in a group restart are seen, as `restarting`, and still come up when the one they wait
//!   for is terminated meanwhile (OTP: `undefined`, and they stay down).
//! - Children of [`Strategy::Dynamic`] have ids and specs of their own instead of one template, and may
//!   be given at the start.
//! - Children are listed in start order, OTP lists the newest first.
//! - A restarted supervisor begins with the children and settings of its spec again, as OTP's; there
//!   is no code upgrade, only [`SupervisorRef::reconfigure`].
//!
//! # Limits
//! One thread: supervisors and their actors live on the thread of one `LocalSet` (an actix `System`),
//! so an actor that blocks, blocks them all; blocking work belongs into a thread or a [`process`], see
//! docs/actor-hosts.md. Isolation of
//! panics needs `panic = "unwind"`, and a panic while another one unwinds still aborts the process
//! (a field's `Drop` that panics during the drop of an actor that panics in its own `Drop`).
//! An event costs time logarithmic in the number of siblings, plus those it stops and starts.
//!
//! Start reading at [`decision`] (the rules, pure), then `supervisor/shell.rs` (the loop), then
//! `adapter/` (actix).

pub mod decision;
pub mod process;

mod adapter;
mod child;
mod exit;
mod fault;
mod leash;
mod panics;
mod pulse;
mod registry;
mod spec;
mod spec_data;
mod supervisor;
mod task;
mod thread;

pub use adapter::{
    ActorRef, ActorSpec, AskError, CONTROL_CAPACITY, TellError, Teller, WeakActorRef, actor_child,
    actor_child_with, hosted_actor_child,
};
pub use child::{
    ChildSpec, Handling, MailboxInfo, Running, STOP_PATIENCE, Started, Starter, StopSignal, Waiting, Watchdog,
};
pub use decision::{
    AutoShutdown, Backoff, Boot, Intensity, Policy, Refusal, Restart, Settings, Shutdown, Strategy,
};
pub use exit::Exit;
pub use fault::{ChildKind, Fault, InjectError};
pub use panics::install_panic_hook;
pub use pulse::Pulse;
pub use registry::{AlreadyRegistered, LookupError, Named, Registration, Registry};
pub use spec::{SpecErrors, SpecFault};
pub use spec_data::{BackoffData, ChildData, ShutdownData, SupervisorData};
pub use supervisor::{
    ChildCounts, ChildError, ChildInfo, ChildState, Silence, StartError, Supervision, SupervisorRef,
    SupervisorSpec, TreeNode, launch, start, supervisor_child, supervisor_child_with,
};
pub use task::task_child;
pub use thread::{StopFlag, ThreadPulse, abandoned_threads, is_abandoned, thread_child};

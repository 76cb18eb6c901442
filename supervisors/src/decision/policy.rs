//! What the user chooses for a child and for a supervisor: plain data, no behaviour.

use std::sync::Arc;
use std::time::Duration;

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// Only after an abnormal exit ([`Exit::is_normal`](crate::Exit::is_normal)).
    Transient,
    /// Never; its spec is forgotten when it ends.
    Temporary,
}

/// How a child is brought to an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shutdown {
    /// Killed at once, without being asked.
    Brutal,
    /// Asked to stop; killed when it still runs after this time.
    Deadline(Duration),
    /// Asked to stop and waited for without limit. For supervisors, whose children have limits.
    Infinity,
}

/// Which siblings share the fate of a child that is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// None.
    OneForOne,
    /// All.
    OneForAll,
    /// Those that were started after it.
    RestForOne,
    /// None, and the children are independent: started and stopped in parallel, and a child that
    /// ended for good is forgotten (OTP's simple_one_for_one, with ids).
    Dynamic,
}

/// How many restarts a supervisor performs before it gives up.
///
/// More than `restarts` within `period` and the supervisor stops its children and itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intensity {
    /// Restarts that are still tolerated within `period`.
    pub restarts: u32,
    /// Length of the sliding window.
    pub period: Duration,
}

impl Default for Intensity {
    /// OTP's default: 1 restart in 5 seconds.
    fn default() -> Self {
        Intensity { restarts: 1, period: Duration::from_secs(5) }
    }
}

/// When the end of significant children ends their supervisor (EEP 56).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AutoShutdown {
    /// Not at all; significant children are refused.
    #[default]
    Never,
    /// When one of them ended by itself and is not restarted.
    AnySignificant,
    /// When the last of them did.
    AllSignificant,
}

/// What a failed start means while the supervisor itself starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Boot {
    /// The supervisor stops what it started and ends with
    /// [`Exit::StartFailed`](crate::Exit::StartFailed). The default, as in OTP.
    #[default]
    Fail,
    /// The start is tried again like a restart, with backoff and intensity; the next children wait. A
    /// temporary child is not tried again.
    Retry,
}

/// What can be changed while a supervisor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Which siblings share a child's restart. Dynamic stays dynamic, and nothing else becomes it.
    pub strategy: Strategy,
    /// How many restarts are tolerated; restarts of the past count by the new period.
    pub intensity: Intensity,
    /// When significant children end the supervisor.
    pub auto_shutdown: AutoShutdown,
}

/// What the decision core must know about a child.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Name of the child, unique among its siblings.
    pub id: Arc<str>,
    /// When it is restarted.
    pub restart: Restart,
    /// How it is stopped.
    pub shutdown: Shutdown,
    /// How long to wait before a restart.
    pub backoff: super::Backoff,
    /// Whether its end can end the supervisor ([`AutoShutdown`]). Not for permanent children.
    pub significant: bool,
    /// How long its pulse may stand still; `None`: it is not watched.
    pub watchdog: Option<Duration>,
}

impl Policy {
    /// A permanent child with [`STOP_PATIENCE`](crate::STOP_PATIENCE), without backoff and watchdog.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Policy {
            id: id.into(),
            restart: Restart::Permanent,
            shutdown: Shutdown::Deadline(crate::STOP_PATIENCE),
            backoff: super::Backoff::NONE,
            significant: false,
            watchdog: None,
        }
    }
}

//! Why a child ended. Every child that ran ends with exactly one [`Exit`].

use std::fmt;
use std::time::Duration;

/// Why a child ended.
///
/// [`Exit::Normal`], [`Exit::Shutdown`] and [`Exit::ShutdownBecause`] are *normal* ends (a transient
/// child stays down after them); everything else is *abnormal*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The child finished its work by itself.
    Normal,
    /// The child stopped because it was asked to.
    Shutdown,
    /// The child stopped on purpose, for a reason worth telling (OTP: `{shutdown, Reason}`).
    ShutdownBecause(String),
    /// The child (or its start) reported an error; the text is for people.
    Error(String),
    /// The child panicked; the text is the panic's message.
    Panicked(String),
    /// The child was killed: by the supervisor after its deadline, or it vanished without a word.
    Killed,
    /// The child did not even react to the kill and was abandoned.
    Unkillable,
    /// The child's pulse stood still for longer than this patience, and it was killed for it.
    Hung(Duration),
    /// A supervisor did not come up because this child of it did not
    /// (OTP: `{shutdown, {failed_to_start_child, Id, Reason}}`).
    StartFailed {
        /// The child's id.
        child: String,
        /// Why it did not start; again a `StartFailed` if the child is a supervisor.
        cause: Box<Exit>,
    },
    /// A supervisor gave up. The causes, outermost first.
    Escalated(Vec<String>),
}

impl Exit {
    /// Whether a transient child may stay down after this exit.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Normal | Exit::Shutdown | Exit::ShutdownBecause(_))
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("normal"),
            Exit::Shutdown => f.write_str("shutdown"),
            Exit::ShutdownBecause(reason) => write!(f, "shutdown: {reason}"),
            Exit::Error(text) => write!(f, "error: {text}"),
            Exit::Panicked(text) => write!(f, "panicked: {text}"),
            Exit::Killed => f.write_str("killed"),
            Exit::Unkillable => f.write_str("unkillable"),
            Exit::Hung(patience) => write!(f, "hung: no sign of life for {patience:?}"),
            Exit::StartFailed { child, cause } => write!(f, "child `{child}` failed to start: {cause}"),
            Exit::Escalated(chain) => write!(f, "escalated: {}", chain.join(" <- ")),
        }
    }
}

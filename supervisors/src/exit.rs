//! Why a child ended. Every child that ran ends with exactly one [`Exit`].

use std::fmt;

/// Why a child ended.
///
/// [`Exit::Normal`] and [`Exit::Shutdown`] are *normal* ends (a transient child stays down after
/// them); everything else is *abnormal*.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The child finished its work by itself.
    Normal,
    /// The child stopped because it was asked to.
    Shutdown,
    /// The child (or its start) reported an error; the text is for people.
    Error(String),
    /// The child panicked; the text is the panic's message.
    Panicked(String),
    /// The child was killed: by the supervisor after its deadline, or it vanished without a word.
    Killed,
    /// The child did not even react to the kill and was abandoned.
    Unkillable,
    /// A supervisor gave up. The causes, outermost first.
    Escalated(Vec<String>),
}

impl Exit {
    /// Whether a transient child may stay down after this exit.
    #[must_use]
    pub fn is_normal(&self) -> bool {
        matches!(self, Exit::Normal | Exit::Shutdown)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Normal => f.write_str("normal"),
            Exit::Shutdown => f.write_str("shutdown"),
            Exit::Error(text) => write!(f, "error: {text}"),
            Exit::Panicked(text) => write!(f, "panicked: {text}"),
            Exit::Killed => f.write_str("killed"),
            Exit::Unkillable => f.write_str("unkillable"),
            Exit::Escalated(chain) => write!(f, "escalated: {}", chain.join(" <- ")),
        }
    }
}

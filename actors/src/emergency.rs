//! The journaled word of an emergency stop: who declared it, when and why, and who cleared it.
//!
//! Rule: one stream of its own, so that the reason outlives the daemon. Absent: the stopping itself (each
//! executor ends its own work) and whether deployments are frozen (their own stream says so).

use crate::records::{self, Principal};
use crate::shared::Shared;
use journal::AppendError;
use serde::{Deserialize, Serialize};

/// Stream of all stops and clears.
pub const EMERGENCY_STREAM: &str = "emergency";
const SCHEMA: u16 = 1;
/// Two people may act at once; each try reads the stream anew.
const TRIES: u32 = 8;

/// Stored for ever; new variants go last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Declared { reason: String, by: String },
    Cleared { reason: String, by: String },
}

impl Event {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Declared { .. } => "EmergencyDeclared",
            Self::Cleared { .. } => "EmergencyCleared",
        }
    }
}

/// Journals a stop or a clear, also on a full disk.
///
/// # Errors
/// Why the journal did not take it.
pub async fn note(shared: &Shared, event: &Event, by: &Principal) -> Result<(), String> {
    let mut why = String::new();
    for _ in 0..TRIES {
        let have = shared
            .journal
            .streams(EMERGENCY_STREAM)
            .into_iter()
            .find_map(|(stream, records)| (stream == EMERGENCY_STREAM).then_some(records))
            .unwrap_or(0);
        let record = records::record(EMERGENCY_STREAM.to_owned(), have, event.name(), SCHEMA, event, by)
            .map_err(|error| error.to_string())?;
        match shared.append_urgent(vec![record]).await {
            Ok(_) => return Ok(()),
            Err(error @ AppendError::Conflict { .. }) => why = error.to_string(),
            Err(error) => return Err(error.to_string()),
        }
    }
    Err(why)
}

/// The stop that is in force by the journal: its reason, with who declared it.
pub fn in_force(shared: &Shared) -> Option<String> {
    let mut newest = None;
    let mut from = 1;
    loop {
        let page = shared
            .journal
            .read_stream(EMERGENCY_STREAM, from, engine::limits::PAGE_RECORDS_MAX)
            .unwrap_or_default();
        let Some(last) = page.last() else { break };
        from = last.stream_seq + 1;
        newest = Some(last.clone());
    }
    let record = newest?;
    match records::decode::<Event>(&record, SCHEMA) {
        Ok(Event::Cleared { .. }) => None,
        Ok(Event::Declared { reason, by }) => Some(format!("{reason} (declared by {by})")),
        // Nobody can say that it was cleared.
        Err(error) => Some(format!("the record of emergency stops cannot be read: {error}")),
    }
}

//! After a restart: what was in flight is taken away and begins again, what was asked is asked again.

use super::decide::Draft;
use super::{Command, Event, Interruption, Run, commands};

impl Run {
    /// What a restart of the daemon makes true, and every command that may have been lost with it.
    ///
    /// Attempts in flight are interrupted without being counted and become ready at once; those that
    /// nobody may repeat unasked are put in doubt. An undo in flight is dispatched again under a new
    /// fence. Journal and apply the events, then perform the commands. Safe to repeat. No `Abandon` is
    /// among them: worker processes died with the daemon and quantum jobs are found again by key.
    pub fn recover(&self, now_ms: u64) -> (Vec<Event>, Vec<Command>) {
        let mut draft = Draft::new(&self.terms, &self.progress, now_ms, 0);
        for stage in self.terms.indices() {
            draft.take_away(stage, Interruption::DaemonRestarted);
        }
        draft.advance();
        let commands = commands::after_restart(&draft);
        (draft.events, commands)
    }
}

//! What the simulation drives: the run itself, or a mutant of it.

use engine::definition::StageIndex;
use engine::run::{Command, Decision, Event, Fence, Input, Refusal, Run};

pub trait Machine: Clone {
    /// The same machine round another run: a new one, or one restored from its records.
    fn holding(&self, run: Run, replayed: bool) -> Self;
    fn run(&self) -> &Run;
    fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal>;
    fn apply(&mut self, position: u64, time_ms: u64, event: &Event);
    fn recover(&self, now_ms: u64) -> (Vec<Event>, Vec<Command>);

    fn fence(&self, stage: StageIndex) -> Option<Fence> {
        self.run().fence(stage)
    }
}

//! Worker processes: they compute in steps, leave checkpoints, crash, hang, speak garbage, answer twice.
//!
//! Rule: what they compute depends on their task alone. An `exec` program takes its outside effect just
//! before its end.

use crate::answers;
use crate::judge::Verdict;
use crate::world::{Happening, World};
use engine::run::ErrorClass;

/// How a process will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lot {
    Finish,
    CrashAt(u32),
    HangAt(u32),
    /// Its result is not what its digest says.
    Garbage,
    /// Exit code 0 and no result.
    NoResult,
    /// It says itself what went wrong.
    FailWith(ErrorClass),
}

#[derive(Debug, Clone)]
pub struct Process {
    pub slot: usize,
    pub run: u32,
    pub stage: u32,
    pub undo: bool,
    pub is_program: bool,
    pub repeatable: bool,
    pub lot: Lot,
    pub state: u64,
    pub step: u32,
    pub pace_ms: u64,
    /// It was asked to leave a checkpoint and end.
    pub stop: bool,
}

/// What comes up the pipe, or is seen of the process.
#[derive(Debug, Clone)]
pub enum Word {
    Checkpoint {
        step: u32,
        state: u64,
    },
    /// The claimed digest and the content.
    Result {
        claimed: u64,
        content: u64,
    },
    Failed(ErrorClass),
    /// Ended by itself without a result.
    Exited,
    /// Silent for two heartbeats.
    Silent,
    Garbage,
    /// It ended as it was asked to.
    Stopped,
}

/// Silence after which a process counts as hung.
const SILENCE_MS: u64 = 200;

impl World {
    /// The process takes its next step.
    pub fn process(&mut self, pid: u64) -> Verdict {
        let Some(process) = self.processes.get_mut(&pid) else { return Ok(()) };
        let steps = answers::steps(process.stage);
        let last = process.step + 1 >= steps;
        let at = process.step;
        match process.lot {
            Lot::CrashAt(step) if step <= at => {
                self.count("workers crashed");
                return self.leave(pid, Word::Exited);
            }
            Lot::HangAt(step) if step <= at => {
                self.count("workers hung");
                let slot = process_slot(&self.processes[&pid]);
                self.after(SILENCE_MS, Happening::FromWorker { slot, pid, word: Word::Silent });
                return Ok(());
            }
            Lot::FailWith(class) if last => return self.leave(pid, Word::Failed(class)),
            _ => {}
        }
        process.state = answers::step(process.state, at);
        process.step += 1;
        let (pace, slot) = (process.pace_ms, process.slot);
        let (state, step) = (process.state, process.step);
        let takes_effect = last && process.is_program && !process.undo && !process.repeatable;
        let (run, stage, lot) = (process.run, process.stage, process.lot);
        if takes_effect {
            self.say(|| format!("effect of run {run} stage {stage}"));
            self.judge.outside.effect(run, stage)?;
        }
        if last {
            return match lot {
                Lot::NoResult => self.leave(pid, Word::Exited),
                Lot::Garbage => {
                    self.count("garbage results");
                    self.leave(pid, Word::Result { claimed: state ^ 1, content: state })
                }
                // A crash drawn for after the last step: the work is done, nobody hears of it.
                Lot::CrashAt(_) | Lot::HangAt(_) if step >= steps && self.random.percent(50) => {
                    self.leave(pid, Word::Exited)
                }
                _ => self.leave(pid, Word::Result { claimed: state, content: state }),
            };
        }
        if self.processes[&pid].stop && !self.processes[&pid].undo {
            if !self.processes[&pid].is_program {
                self.after(0, Happening::FromWorker { slot, pid, word: Word::Checkpoint { step, state } });
            }
            return self.leave(pid, Word::Stopped);
        }
        if step % 2 == 0 && !self.processes[&pid].is_program {
            let after = self.random.between(0, 3);
            self.after(after, Happening::FromWorker { slot, pid, word: Word::Checkpoint { step, state } });
        }
        self.after(pace, Happening::Process { pid });
        Ok(())
    }

    /// The process ends and its last word is on its way, perhaps twice, perhaps late.
    fn leave(&mut self, pid: u64, word: Word) -> Verdict {
        let Some(process) = self.processes.remove(&pid) else { return Ok(()) };
        let slot = process.slot;
        let after = self.random.pick(&[0, 0, 1, 5]);
        if !self.calm && self.random.percent(6) {
            self.count("words doubled");
            let later = self.random.between(0, 400);
            self.after(later, Happening::FromWorker { slot, pid, word: word.clone() });
        }
        self.after(after, Happening::FromWorker { slot, pid, word });
        Ok(())
    }

    pub fn kill(&mut self, pid: u64) {
        if self.mutant != crate::Mutant::LeavesWorkersAlive {
            self.processes.remove(&pid);
        }
    }
}

const fn process_slot(process: &Process) -> usize {
    process.slot
}

//! Stands for `actors/src/solver_worker.rs`, `worker_drive.rs` and `exec.rs`: one slot, one process.

use super::{FIRST_RUN, Mail, Place, Tick, error};
use crate::Mutant;
use crate::answers;
use crate::judge::Verdict;
use crate::workers::{Lot, Process, Word};
use crate::world::{Happening, World};
use engine::definition::{StageIndex, StageKind};
use engine::run::{ArtefactRef, ErrorClass, Fence, Input, StageError};
use std::collections::{BTreeMap, VecDeque};

/// An attempt that was asked to stop has this long.
const STOP_WAIT_MS: u64 = 10_000;

/// One attempt, with all that its executor must know.
#[derive(Debug, Clone)]
pub struct Work {
    pub run: u32,
    pub stage: u32,
    pub kind: StageKind,
    pub fence: u64,
    /// What the work begins from: seed, parameters and inputs in one number.
    pub begun: u64,
    pub resume_from: Option<String>,
    pub repeatable: bool,
}

#[derive(Debug, Default)]
pub struct SlotShell {
    current: Option<(Work, bool, u64)>,
    waiting: VecDeque<(Work, bool)>,
    /// Newest fence of each stage that was abandoned here: a word to stop overtakes the word to begin.
    abandoned: BTreeMap<(u32, u32), u64>,
}

/// The end of an attempt as the run hears it.
pub fn report(work: &Work, undo: bool, result: Result<u64, StageError>) -> Input {
    let (stage, fence) = (StageIndex(work.stage), Fence(work.fence));
    match (result, undo) {
        (Ok(_), true) => Input::Compensated { stage, fence },
        (Err(error), false) => Input::Failed { stage, fence, error },
        (Err(error), true) => Input::CompensationFailed { stage, fence, error },
        (Ok(value), false) => {
            let name = answers::output_name(work.stage);
            let outputs = vec![ArtefactRef { name, digest: answers::digest(value), bytes: 8 }];
            let facts = format!(r#"{{"flag_{}":{}}}"#, work.stage, answers::flag(value));
            Input::Succeeded { stage, fence, outputs, facts }
        }
    }
}

impl World {
    pub fn report(&mut self, work: &Work, undo: bool, result: Result<u64, StageError>) {
        let input = report(work, undo, result);
        self.control(FIRST_RUN + work.run as usize, Mail::Drive { input, ticket: None });
    }

    pub fn slot(&mut self, slot: usize, mail: Mail) -> Verdict {
        match mail {
            Mail::Execute { work, undo } => {
                let abandoned = self.daemon.slots[slot].abandoned.get(&(work.run, work.stage));
                if abandoned.is_some_and(|fence| work.fence <= *fence)
                    && self.mutant != Mutant::BeginsWhatWasAbandoned
                {
                    return Ok(());
                }
                if self.daemon.to_stop.remove(&(work.run, work.stage, work.fence)) && !undo {
                    self.say_stopped(&work);
                    return Ok(());
                }
                let other = |held: &(Work, bool, u64)| (held.0.run, held.0.stage) != (work.run, work.stage);
                if self.daemon.slots[slot].current.as_ref().is_some_and(other) {
                    self.daemon.slots[slot].waiting.push_back((work, undo));
                    return Ok(());
                }
                return self.begin(slot, work, undo);
            }
            Mail::Abandon { run, stage, fence } => {
                let wanted = |work: &Work| (work.run, work.stage, work.fence) == (run, stage, fence);
                if let Some((_, _, pid)) = self.daemon.slots[slot].current.take_if(|held| wanted(&held.0)) {
                    self.kill(pid);
                }
                self.daemon.slots[slot].waiting.retain(|(work, _)| !wanted(work));
                self.daemon.slots[slot].abandoned.insert((run, stage), fence);
                return self.next(slot);
            }
            Mail::AbandonAll => {
                if let Some((_, _, pid)) = self.daemon.slots[slot].current.take() {
                    self.kill(pid);
                }
                self.daemon.slots[slot].waiting.clear();
            }
            Mail::Panic => {
                // The futures of the old incarnation are gone and their process group with them.
                if let Some((work, undo, pid)) = self.daemon.slots[slot].current.take() {
                    self.kill(pid);
                    let unknown = !work.repeatable && self.mutant != Mutant::RepeatsAfterAPanic;
                    let class = if unknown { ErrorClass::Ambiguous } else { ErrorClass::Transient };
                    self.report(&work, undo, Err(error("EX-0501", "the slot panicked", class)));
                }
                return self.next(slot);
            }
            Mail::FromWorker { pid, word } => return self.hear(slot, pid, word),
            other => return Err(format!("a slot cannot hear {other:?}")),
        }
        Ok(())
    }

    /// The word to stop goes straight to whoever drives the attempt, or waits for it.
    pub fn stop_attempt(&mut self, place: Place) -> Verdict {
        let is = |work: &Work| (work.run, work.stage, work.fence) == place;
        self.count("asked to stop");
        let held = self.daemon.slots.iter().flat_map(|slot| slot.current.as_ref());
        let pid = held.filter(|(work, undo, _)| is(work) && !undo).map(|(_, _, pid)| *pid).next();
        if let Some(pid) = pid {
            if let Some(process) = self.processes.get_mut(&pid) {
                process.stop = true;
                if process.is_program {
                    // It has no checkpoint to leave and is ended where it stands.
                    let slot = process.slot;
                    self.kill(pid);
                    self.after(0, Happening::FromWorker { slot, pid, word: Word::Stopped });
                }
            }
            self.tick(STOP_WAIT_MS, Tick::Stopped(place));
            return Ok(());
        }
        if !self.stop_job(place)? {
            self.daemon.to_stop.insert(place);
        }
        Ok(())
    }

    /// Killed, since it did not come to a safe point.
    pub fn stop_patience_ends(&mut self, place: Place) -> Verdict {
        let is = |work: &Work| (work.run, work.stage, work.fence) == place;
        for slot in 0..self.daemon.slots.len() {
            let held = self.daemon.slots[slot].current.take_if(|(work, undo, _)| is(work) && !*undo);
            if let Some((work, _, pid)) = held {
                self.count("killed for not stopping");
                self.kill(pid);
                self.say_stopped(&work);
                return self.next(slot);
            }
        }
        Ok(())
    }

    pub fn say_stopped(&mut self, work: &Work) {
        let (stage, fence) = (StageIndex(work.stage), Fence(work.fence));
        let input = match self.mutant {
            Mutant::ChargesAStop => {
                Input::Failed { stage, fence, error: error("EX-0590", "stopped", ErrorClass::Transient) }
            }
            _ => Input::Stopped { stage, fence },
        };
        self.control(FIRST_RUN + work.run as usize, Mail::Drive { input, ticket: None });
    }

    fn next(&mut self, slot: usize) -> Verdict {
        if self.daemon.slots[slot].current.is_none()
            && let Some((work, undo)) = self.daemon.slots[slot].waiting.pop_front()
        {
            return self.begin(slot, work, undo);
        }
        Ok(())
    }

    /// Stands for `actors/src/at_work.rs`: the attempt before lets go first, wherever it is; false if a newer
    /// one is at work.
    fn take_over(&mut self, work: &Work) -> Result<bool, String> {
        if matches!(
            self.mutant,
            Mutant::LeavesExecutorsAtWork | Mutant::BeginsWhatWasAbandoned | Mutant::LeavesWorkersAlive
        ) {
            return Ok(true);
        }
        for slot in 0..self.daemon.slots.len() {
            let same = |held: &mut (Work, bool, u64)| (held.0.run, held.0.stage) == (work.run, work.stage);
            if let Some((old, undo, pid)) = self.daemon.slots[slot].current.take_if(same) {
                if old.fence > work.fence {
                    self.daemon.slots[slot].current = Some((old, undo, pid));
                    return Ok(false);
                }
                self.count("overtaken");
                self.kill(pid);
                self.next(slot)?;
            }
        }
        Ok(true)
    }

    fn begin(&mut self, slot: usize, work: Work, undo: bool) -> Verdict {
        if let Some((_, _, pid)) = self.daemon.slots[slot].current.take() {
            self.kill(pid);
        }
        if !self.take_over(&work)? {
            return self.next(slot);
        }
        let twin = |process: &&Process| process.run == work.run && process.stage == work.stage;
        if let Some(process) = self.processes.values().find(twin) {
            return Err(format!("two workers at run {} stage {}: {process:?}", work.run, work.stage));
        }
        if let Some(process) = self.processes.values().find(|process| process.slot == slot) {
            return Err(format!("two live workers in slot {slot}: {process:?}"));
        }
        self.pids += 1;
        let pid = self.pids;
        let (step, state) = self.where_to_begin(&work);
        let lot = self.lot(&work, undo);
        self.say(|| format!("slot {slot}: process {pid} {lot:?} undo {undo} {work:?}"));
        let process = Process {
            slot,
            run: work.run,
            stage: work.stage,
            undo,
            is_program: work.kind == StageKind::Exec,
            repeatable: work.repeatable,
            lot,
            state,
            step,
            pace_ms: self.random.pick(&[1, 5, 30, 100]),
            stop: false,
        };
        let pace = process.pace_ms;
        self.processes.insert(pid, process);
        self.daemon.slots[slot].current = Some((work, undo, pid));
        self.after(pace, Happening::Process { pid });
        Ok(())
    }

    fn where_to_begin(&mut self, work: &Work) -> (u32, u64) {
        let digest = work.resume_from.as_deref().and_then(answers::value_of);
        if digest.is_some() {
            self.count("resumed from a checkpoint");
        }
        let kept = match self.mutant {
            Mutant::MixesUpCheckpoints => digest.and_then(|_| self.artefacts.first_key_value()),
            _ => digest.and_then(|digest| self.artefacts.get_key_value(&digest)),
        };
        kept.map_or((0, work.begun), |(_, kept)| *kept)
    }

    fn lot(&mut self, work: &Work, undo: bool) -> Lot {
        let trouble = if self.calm { 0 } else { self.climate.trouble_percent };
        if !self.random.percent(trouble) {
            return Lot::Finish;
        }
        let steps = u64::from(answers::steps(work.stage));
        let at = self.random.below(steps + 1) as u32;
        match self.random.below(10) {
            0..=2 => Lot::CrashAt(at),
            3 => Lot::HangAt(at),
            4 if !undo => Lot::Garbage,
            5 => Lot::NoResult,
            6 => Lot::FailWith(ErrorClass::Permanent),
            _ => Lot::FailWith(ErrorClass::Transient),
        }
    }

    fn hear(&mut self, slot: usize, pid: u64, word: Word) -> Verdict {
        let Some((work, undo, _)) = self.daemon.slots[slot].current.as_ref().filter(|held| held.2 == pid)
        else {
            // A word of a process that nobody waits for any more, or of none.
            return Ok(());
        };
        let (work, undo) = (work.clone(), *undo);
        // How a program that was killed or lost ended, nobody knows.
        let class = if work.kind == StageKind::Exec { ErrorClass::Ambiguous } else { ErrorClass::Transient };
        let result = match word {
            Word::Checkpoint { step, state } => {
                if undo {
                    return Ok(());
                }
                let digest = answers::mix(state, u64::from(step));
                self.artefacts.insert(digest, (step, state));
                let checkpoint =
                    ArtefactRef { name: "checkpoint".to_owned(), digest: answers::digest(digest), bytes: 16 };
                let (stage, fence) = (StageIndex(work.stage), Fence(work.fence));
                let input = Input::Checkpointed { stage, fence, checkpoint };
                self.control(FIRST_RUN + work.run as usize, Mail::Drive { input, ticket: None });
                return Ok(());
            }
            Word::Result { claimed, content } if claimed == content => Ok(content),
            Word::Result { claimed, .. } if self.mutant == Mutant::AdoptsUnhashedOutputs => Ok(claimed),
            Word::Result { .. } | Word::Garbage => Err(error("EX-0503", "garbage", class)),
            Word::Failed(class) => Err(error("EX-0530", "it says so", class)),
            Word::Exited => Err(error("EX-0504", "no result", class)),
            Word::Silent => Err(error("EX-0502", "silent", class)),
            Word::Stopped => {
                self.kill(pid);
                self.daemon.slots[slot].current = None;
                self.say_stopped(&work);
                return self.next(slot);
            }
        };
        self.kill(pid);
        self.daemon.slots[slot].current = None;
        self.report(&work, undo, result);
        self.next(slot)
    }
}

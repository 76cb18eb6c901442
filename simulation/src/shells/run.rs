//! Stands for `actors/src/run_actor.rs`: decide, journal, apply, perform.

use super::{
    DEPLOYER, FIRST_RUN, FIRST_SLOT, Mail, Noted, PROXY, RESOURCES, SCHEDULER, Then, Tick, Ticket, Work, id,
};
use crate::Mutant;
use crate::define::BACKEND;
use crate::judge::Verdict;
use crate::store::{Batch, Fact, Record, Stream};
use crate::world::World;
use engine::definition::{Attempt, StageIndex, StageKind};
use engine::placement::{Ask, Owner, SlotKind};
use engine::run::{Command, Decision, Event, Fence, Input, Run, StageState};
use std::collections::BTreeMap;

/// Events between two checkpoints; few, so that restoring from one is seen often.
const CHECKPOINT_EVERY: u64 = 5;

#[derive(Debug)]
pub struct RunShell {
    pub run: Run,
    pub sequence: u64,
    pub checkpointed: u64,
    pub live: bool,
    pub placed_on: BTreeMap<u32, String>,
    /// Number of the newest request for room; a placement answers the request whose number it carries.
    pub turn: u64,
    /// The request that each stage waits for or was placed by.
    pub asked: BTreeMap<u32, u64>,
}

/// What follows once a commit is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Nothing,
    /// Let the run say what is due.
    Look,
    /// An emergency stop was noted first; now recover.
    Recover,
}

impl World {
    pub fn run_actor(&mut self, run: u32, mail: Mail) -> Verdict {
        if !self.daemon.runs.get(&run).is_some_and(|shell| shell.live) {
            // Nobody is there: what was sent is dropped, as by a mailbox that is down.
            return match mail {
                Mail::Placed { input: Input::Placed { stage, .. }, .. } => {
                    self.control(RESOURCES, Mail::Release((id(run), stage.0)));
                    Ok(())
                }
                Mail::Stop { stop } => self.answer(Some(Ticket::Stop(stop))),
                _ => Ok(()),
            };
        }
        match mail {
            Mail::Resume => self.resume(run),
            Mail::Panic => {
                // Its requests are withdrawn and made again, whoever asks meanwhile.
                self.daemon.has_granted = true;
                // Its leases die with it, before its attempts are noted as taken away.
                if let Some(seen) = self.judge.runs.get_mut(&run) {
                    seen.lose_places();
                }
                self.resume(run)
            }
            Mail::Drive { input, ticket } => self.drive(run, input, ticket),
            Mail::Stop { stop } => self.drive(run, Input::EmergencyStop, Some(Ticket::Stop(stop))),
            Mail::Placed { input, turn } => {
                let Input::Placed { stage, .. } = &input else { return Ok(()) };
                let own = self.daemon.runs[&run].asked.get(&stage.0) == Some(&turn);
                // The lease of an earlier request was given back when it was withdrawn, or granted since.
                if own || self.mutant == Mutant::TakesOldPlacements {
                    return self.drive(run, input, None);
                }
                self.give_back(run, *stage);
                Ok(())
            }
            other => Err(format!("a run cannot hear {other:?}")),
        }
    }

    /// A run as its journal says it is.
    pub fn rebuild(&self, run: u32, whole: bool) -> Result<(Run, u64), String> {
        let chapter = self.chapters.get(&run).map_or(&[][..], Vec::as_slice);
        let first = chapter.first().map(|at| &self.judge.records[*at]);
        let Some(Record { position, time_ms, fact: Fact::Run(event), .. }) = first else {
            return Err(format!("run {run} has no first record"));
        };
        let kept = self.checkpoints.get(&run).and_then(|kept| kept.last()).filter(|_| !whole);
        let (mut rebuilt, mut sequence) = match (kept, self.pristine.get(&run)) {
            (Some((sequence, _, run)), _) => (run.clone(), *sequence),
            (None, Some(run)) if !whole => (run.clone(), 1),
            _ => (Run::submitted(*position, *time_ms, event).map_err(|e| e.to_string())?, 1),
        };
        let forgotten =
            match self.mutant {
                Mutant::ForgetsASuccess if !whole => chapter.iter().rev().find(|at| {
                    matches!(self.judge.records[**at].fact, Fact::Run(Event::StageSucceeded { .. }))
                }),
                Mutant::ForgetsASignal if !whole => chapter.iter().rev().find(|at| {
                    matches!(self.judge.records[**at].fact, Fact::Run(Event::SignalRecorded { .. }))
                }),
                _ => None,
            };
        for at in chapter.iter().skip(sequence as usize) {
            let record = &self.judge.records[*at];
            if let (Fact::Run(event), false) = (&record.fact, forgotten == Some(at)) {
                rebuilt.apply(record.position, record.time_ms, event);
            }
            sequence = record.sequence;
        }
        Ok((rebuilt, sequence))
    }

    /// Reads the run from checkpoint and journal, takes away what was in flight, goes on.
    fn resume(&mut self, run: u32) -> Verdict {
        self.control(RESOURCES, Mail::ReleaseRun(id(run)));
        self.control(SCHEDULER, Mail::WithdrawRun(id(run)));
        let (rebuilt, sequence) = self.rebuild(run, false)?;
        // An actor that starts again in a living daemon has left its executors at work.
        let in_flight: Vec<(u32, u64)> = (0..rebuilt.definition().stages.len() as u32)
            .filter_map(|stage| Some((stage, rebuilt.fence(StageIndex(stage))?.0)))
            .collect();
        if self.mutant != Mutant::LeavesExecutorsAtWork {
            in_flight.into_iter().for_each(|(stage, fence)| self.abandon(run, stage, fence));
        }
        let ended = rebuilt.phase().is_ended();
        let Some(shell) = self.daemon.runs.get_mut(&run) else { return Ok(()) };
        (shell.run, shell.sequence, shell.checkpointed) = (rebuilt, sequence, sequence);
        shell.placed_on.clear();
        shell.asked.clear();
        if ended {
            return Ok(());
        }
        let stopped = self.daemon.emergency && self.mutant != Mutant::ForgetsTheEmergency;
        if stopped && !self.daemon.runs[&run].run.is_paused() {
            let now = self.clock();
            let decision = self.daemon.runs[&run].run.decide(now, 0, Input::EmergencyStop);
            let events = decision.map_err(|refusal| refusal.to_string())?.events;
            return self.commit(run, events, Vec::new(), None, Next::Recover);
        }
        self.recover_run(run)
    }

    fn recover_run(&mut self, run: u32) -> Verdict {
        let (mut events, commands) = self.daemon.runs[&run].run.recover(self.clock());
        if self.mutant == Mutant::ForgetsWhatWasInFlight {
            events.clear();
        }
        self.commit(run, events, commands, None, Next::Look)
    }

    fn commit(
        &mut self,
        run: u32,
        events: Vec<Event>,
        commands: Vec<Command>,
        ticket: Option<Ticket>,
        next: Next,
    ) -> Verdict {
        if events.is_empty() {
            self.perform(run, commands)?;
            self.answer(ticket)?;
            return self.then(run, next);
        }
        let time_ms = self.clock();
        let Some(shell) = self.daemon.runs.get_mut(&run) else { return Ok(()) };
        let batch = Batch {
            stream: Stream::Run(run),
            expected: shell.sequence,
            facts: events.iter().cloned().map(Fact::Run).collect(),
            time_ms,
        };
        let mut commands = commands;
        if self.mutant == Mutant::ActsBeforeTheRecord {
            let first = self.judge.records.len() as u64 + 1;
            let mut early = shell.run.clone();
            for (event, position) in events.iter().zip(first..) {
                early.apply(position, time_ms, event);
            }
            let live = std::mem::replace(&mut shell.run, early);
            self.perform(run, std::mem::take(&mut commands))?;
            if let Some(shell) = self.daemon.runs.get_mut(&run) {
                shell.run = live;
            }
        }
        let actor = FIRST_RUN + run as usize;
        self.lane(actor).waits = true;
        self.append(actor, batch, Then::Run { run, commands, ticket, next });
        Ok(())
    }

    pub fn run_is_durable(
        &mut self,
        run: u32,
        records: Noted,
        commands: Vec<Command>,
        ticket: Option<Ticket>,
        next: Next,
    ) -> Verdict {
        self.lane(FIRST_RUN + run as usize).waits = false;
        let Ok(records) = records else {
            return Err(format!("two writers wrote into the stream of run {run}"));
        };
        let Some(shell) = self.daemon.runs.get_mut(&run) else { return Ok(()) };
        let records = &self.judge.records[records];
        for record in records {
            if let Fact::Run(event) = &record.fact {
                shell.run.apply(record.position, record.time_ms, event);
                if let Event::StageStarted { stage, placed_on, .. } = event {
                    shell.placed_on.insert(stage.0, placed_on.clone());
                }
            }
        }
        shell.sequence += records.len() as u64;
        if shell.run.phase().is_ended() || shell.sequence - shell.checkpointed >= CHECKPOINT_EVERY {
            shell.checkpointed = shell.sequence;
            let position = records.last().map_or(0, |record| record.position);
            let kept = self.checkpoints.entry(run).or_default();
            kept.push((shell.sequence, position, shell.run.clone()));
            if kept.len() > 2 {
                kept.remove(0);
            }
        }
        self.perform(run, commands)?;
        self.answer(ticket)?;
        self.then(run, next)
    }

    fn then(&mut self, run: u32, next: Next) -> Verdict {
        if next == Next::Look && self.daemon.missing.contains(&run) {
            // Behind the requests that were just made.
            self.mail(SCHEDULER, Mail::Answered(run));
        }
        match next {
            Next::Nothing => Ok(()),
            Next::Look if self.daemon.runs[&run].live => self.drive(run, Input::Woke, None),
            Next::Look => Ok(()),
            Next::Recover => self.recover_run(run),
        }
    }

    /// `Some(good)` for an answer of an executor: whether its fence is the present one by the journal.
    fn is_good(&self, run: u32, input: &Input) -> Option<bool> {
        let (stage, fence, undo) = match input {
            Input::Checkpointed { stage, fence, .. }
            | Input::Succeeded { stage, fence, .. }
            | Input::Failed { stage, fence, .. } => (stage, fence, false),
            Input::Compensated { stage, fence } | Input::CompensationFailed { stage, fence, .. } => {
                (stage, fence, true)
            }
            _ => return None,
        };
        Some(self.judge.fence(run, stage.0, undo) == Some(fence.0))
    }

    pub fn drive(&mut self, run: u32, input: Input, ticket: Option<Ticket>) -> Verdict {
        let now = self.clock();
        let random = self.random.word();
        let good = self.is_good(run, &input);
        // Asked for before the stop, delivered after it: the stop goes before everything.
        let begins_again = matches!(input, Input::Resume { .. } | Input::Retry { .. } | Input::Reset { .. });
        if begins_again && self.daemon.emergency && self.mutant != Mutant::ResumesDuringAStop {
            return self.answer(ticket);
        }
        let placed = match &input {
            Input::Placed { stage, .. } => Some(*stage),
            _ => None,
        };
        let must_fit = good == Some(true) && !matches!(input, Input::Checkpointed { .. });
        let Some(shell) = self.daemon.runs.get(&run) else { return Ok(()) };
        let input = match (self.mutant, input) {
            (Mutant::AcceptsStaleFences, Input::Succeeded { stage, fence, outputs, facts }) => {
                let fence = shell.run.fence(stage).unwrap_or(fence);
                Input::Succeeded { stage, fence, outputs, facts }
            }
            (_, input) => input,
        };
        if self.trace {
            self.say(|| format!("run {run} <- {input:?}"));
        }
        match shell.run.decide(now, random, input) {
            Ok(mut decision) => {
                if good == Some(false) {
                    return Err(format!("run {run} took an answer with an old fence"));
                }
                if self.mutant == Mutant::ResetsWhatItKept {
                    for event in &mut decision.events {
                        if let Event::RunReset { again, .. } = event
                            && !again.contains(&StageIndex(0))
                        {
                            again.push(StageIndex(0));
                        }
                    }
                }
                if self.mutant == Mutant::RepeatsWhatTimedOut {
                    repeat_what_timed_out(&shell.run, now, &mut decision);
                }
                self.commit(run, decision.events, decision.commands, ticket, Next::Nothing)
            }
            Err(refusal) => {
                if must_fit {
                    return Err(format!("run {run} refused a good answer: {refusal}"));
                }
                let shell_ended = shell.run.phase().is_ended();
                if let Some(stage) = placed {
                    self.give_back(run, stage);
                }
                if shell_ended && let Some(shell) = self.daemon.runs.get_mut(&run) {
                    shell.live = false;
                }
                self.answer(ticket)
            }
        }
    }

    /// Nobody will use the lease of a refused placement, unless the stage runs on it (a doubled answer)
    /// or has asked again: then it is found held and granted to the new request.
    fn give_back(&mut self, run: u32, stage: StageIndex) {
        let used = match (self.mutant, self.daemon.runs[&run].run.stage(stage)) {
            (Mutant::LeaksALease, _) | (_, StageState::Running { .. }) => true,
            (Mutant::LeaksTheLeaseOfAnUndo, StageState::Compensating { .. }) => true,
            (mutant, StageState::Ready { .. }) => mutant != Mutant::TakesTheNextRequestsLease,
            _ => false,
        };
        if !used {
            self.control(RESOURCES, Mail::Release((id(run), stage.0)));
        }
    }

    fn perform(&mut self, run: u32, commands: Vec<Command>) -> Verdict {
        for command in commands {
            self.do_command(run, command)?;
        }
        Ok(())
    }

    fn do_command(&mut self, run: u32, command: Command) -> Verdict {
        let now_ms = self.clock();
        let Some(shell) = self.daemon.runs.get_mut(&run) else { return Ok(()) };
        match command {
            Command::RequestPlacement { stage, attempt, mut demand, priority } => {
                let kind = shell.run.definition().stages[stage.0 as usize].kind;
                let computes = matches!(kind, StageKind::MilpSolving | StageKind::QaoaOptimization);
                if demand.memory_mib == 0 && computes {
                    demand.memory_mib = self.judge.room.worker_memory_mib;
                }
                let slot =
                    matches!(kind, StageKind::MilpSolving | StageKind::Exec).then_some(SlotKind::Worker);
                if kind == StageKind::QaoaOptimization {
                    demand.backend = Some(BACKEND.to_owned());
                }
                let owner = Owner {
                    user: shell.run.submitted_by().to_owned(),
                    workflow: shell.run.definition().workflow.clone(),
                };
                let key = (id(run), stage.0);
                let ceiling = shell.run.definition().ceilings.clone();
                let asked_ms = match self.mutant {
                    Mutant::ForgetsTheAge => now_ms,
                    _ => shell.run.asked_ms(stage).unwrap_or(now_ms),
                };
                let ask = Ask { key, owner, demand, slot, money_micro_usd: 0, ceiling, priority, asked_ms };
                shell.turn += 1;
                let turn = shell.turn;
                shell.asked.insert(stage.0, turn);
                self.mail(SCHEDULER, Mail::Enqueue { ask, attempt, run, turn });
            }
            Command::WithdrawPlacement { stage } => {
                shell.asked.remove(&stage.0);
                self.control(SCHEDULER, Mail::Withdraw((id(run), stage.0)));
                // A lease that an earlier answer left for this request is nobody's now.
                if !matches!(self.mutant, Mutant::LeaksALease | Mutant::LeaksTheLeaseOfAnUndo) {
                    self.control(RESOURCES, Mail::Release((id(run), stage.0)));
                }
            }
            Command::Dispatch { stage, resume_from, .. } => {
                if self.mutant == Mutant::ReleasesTheLeaseEarly {
                    self.control(RESOURCES, Mail::Release((id(run), stage.0)));
                }
                let resume_from = resume_from.map(|checkpoint| checkpoint.digest);
                self.hand_out(run, stage, resume_from, false)?;
            }
            Command::DispatchUndo { stage, .. } => self.hand_out(run, stage, None, true)?,
            Command::Stop { stage, fence } => self.stop_attempt((run, stage.0, fence.0))?,
            // What is taken up at once changes no result, so there is nothing here to take it up.
            Command::Steer { .. } => self.count("steered"),
            Command::Abandon { stage, fence } => self.abandon(run, stage.0, fence.0),
            Command::ReleaseLease { stage } => self.control(RESOURCES, Mail::Release((id(run), stage.0))),
            Command::WakeAt { at_ms } => self.tick(at_ms.saturating_sub(now_ms), Tick::Wake(run)),
            Command::Ended => shell.live = false,
        }
        Ok(())
    }

    /// Tells whoever may hold the attempt.
    fn abandon(&mut self, run: u32, stage: u32, fence: u64) {
        for slot in 0..self.slots {
            self.control(FIRST_SLOT + slot, Mail::Abandon { run, stage, fence });
        }
        self.control(PROXY, Mail::Abandon { run, stage, fence });
    }

    /// From here on the attempt's time counts.
    fn handed_out(&mut self, run: u32, stage: StageIndex, fence: Fence) {
        let now_ms = self.clock();
        self.judge.handed(run, stage.0, fence.0, now_ms);
        let Some(shell) = self.daemon.runs.get_mut(&run) else { return };
        if self.mutant != Mutant::CountsFromTheRecord
            && let Some(at_ms) = shell.run.handed_out(stage, fence, now_ms)
        {
            self.tick(at_ms.saturating_sub(now_ms), Tick::Wake(run));
        }
    }

    fn hand_out(&mut self, run: u32, stage: StageIndex, resume_from: Option<String>, undo: bool) -> Verdict {
        let shell = &self.daemon.runs[&run];
        let machine = &shell.run;
        let fence = machine.fence(stage).map_or(0, |fence| fence.0);
        if self.judge.fence(run, stage.0, undo) != Some(fence) {
            return Err(format!("work of run {run} stage {} began before its record", stage.0));
        }
        let spec = &machine.definition().stages[stage.0 as usize];
        let made = machine.artefacts();
        let inputs = spec.needs.iter().map(|need| {
            let output = made.get(&crate::answers::output_name(need.0));
            output.and_then(|(output, _)| crate::answers::value_of(&output.digest)).unwrap_or(0)
        });
        let params = crate::answers::that_count(&machine.params_of(stage));
        let begun = crate::answers::beginning(machine.seed(), stage.0, &params, inputs);
        let work = Work {
            run,
            stage: stage.0,
            kind: spec.kind,
            fence,
            begun,
            resume_from,
            repeatable: spec.kind != StageKind::Exec || spec.idempotent,
        };
        let (kind, place) = (spec.kind, shell.placed_on.get(&stage.0).cloned().unwrap_or_default());
        self.handed_out(run, stage, Fence(fence));
        match (kind, undo) {
            (StageKind::MilpSolving, true) => {
                let input = Input::Compensated { stage, fence: Fence(fence) };
                self.mail(FIRST_RUN + run as usize, Mail::Drive { input, ticket: None });
            }
            (StageKind::MilpSolving | StageKind::Exec, _) => {
                let slot = place.strip_prefix("worker-").and_then(|slot| slot.parse().ok()).unwrap_or(0);
                self.mail(FIRST_SLOT + slot, Mail::Execute { work, undo });
            }
            (StageKind::QaoaOptimization, _) => self.mail(PROXY, Mail::Execute { work, undo }),
            _ => self.mail(DEPLOYER, Mail::Execute { work, undo }),
        }
        Ok(())
    }
}

/// What the machine did before it knew that a program which took too long may have had its effect.
fn repeat_what_timed_out(run: &Run, now_ms: u64, decision: &mut Decision) {
    for event in &mut decision.events {
        if let Event::StageInDoubt { stage, attempt, error } = event.clone()
            && error.code == "EX-0505"
            && attempt.0 < run.definition().stages[stage.0 as usize].retry.attempts
        {
            let attempt = Attempt(attempt.0 + 1);
            let error = super::error("EX-0505", "too long", engine::run::ErrorClass::Transient);
            *event = Event::StageRetryPlanned { stage, attempt, at_ms: now_ms + 1, error };
            decision.commands.push(Command::WakeAt { at_ms: now_ms + 1 });
        }
    }
}

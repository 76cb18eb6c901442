//! The judge is judged: each mutant breaks one promise, and the simulation must notice.
//!
//! A mutant wraps the run and alters what it decides; nothing in the engine knows of it. A mutant that
//! lives through all its seeds means a promise that nobody checks.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sim;

use engine::definition::{Attempt, StageIndex, StageKind};
use engine::run::{
    Command, Decision, ErrorClass, Event, Fence, Input, Interruption, Phase, Refusal, Run, StageState,
};
use sim::define::SUBMITTER;
use sim::live;
use sim::machine::Machine;

/// Seeds within which a mutant must be caught; most need fewer than ten.
const SEEDS: u64 = 3_000;

/// How one mutant differs from the run.
trait Fault: Clone {
    fn decided(&self, _run: &Run, _input: &Input, _decision: &mut Decision) {}
    fn refused(&self, _run: &Run, _input: &Input, refusal: Refusal) -> Result<Decision, Refusal> {
        Err(refusal)
    }
    fn heard(&self, _run: &Run, input: Input) -> Input {
        input
    }
    fn recovered(&self, _events: &mut Vec<Event>, _commands: &mut Vec<Command>) {}
    /// Whether the live run takes this record in (a replay always does).
    fn notes(&self, _event: &Event) -> bool {
        true
    }
}

#[derive(Clone)]
struct Mutant<F> {
    fault: F,
    run: Option<Run>,
    replayed: bool,
}

impl<F: Fault> Machine for Mutant<F> {
    fn holding(&self, run: Run, replayed: bool) -> Self {
        Self { fault: self.fault.clone(), run: Some(run), replayed }
    }

    fn run(&self) -> &Run {
        self.run.as_ref().expect("made by `holding`")
    }

    fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal> {
        let input = self.fault.heard(self.run(), input);
        match self.run().decide(now_ms, random, input.clone()) {
            Ok(mut decision) => {
                self.fault.decided(self.run(), &input, &mut decision);
                Ok(decision)
            }
            Err(refusal) => self.fault.refused(self.run(), &input, refusal),
        }
    }

    fn apply(&mut self, position: u64, time_ms: u64, event: &Event) {
        if self.replayed || self.fault.notes(event) {
            self.run.as_mut().expect("made by `holding`").apply(position, time_ms, event);
        }
    }

    fn recover(&self, now_ms: u64) -> (Vec<Event>, Vec<Command>) {
        let (mut events, mut commands) = self.run().recover(now_ms);
        self.fault.recovered(&mut events, &mut commands);
        (events, commands)
    }
}

/// Fails unless some seed notices `fault`, and notices it for a reason that contains one of `words`.
fn caught<F: Fault>(fault: F, words: &[&str]) {
    let mutant = Mutant { fault, run: None, replayed: false };
    for seed in 0..SEEDS {
        if let Err(broken) = live(seed, &mutant) {
            assert!(
                words.iter().any(|word| broken.contains(word)),
                "seed {seed}: caught for another reason: {broken}"
            );
            println!("caught by seed {seed}: {}", broken.lines().next().unwrap_or_default());
            return;
        }
    }
    panic!("the mutant lived through {SEEDS} seeds");
}

fn stages(run: &Run) -> impl Iterator<Item = StageIndex> + use<> {
    (0..run.definition().stages.len() as u32).map(StageIndex)
}

/// Asks for room for a stage that must not begin, where the run may dispatch at all.
fn begin(run: &Run, stage: StageIndex, decision: &mut Decision) {
    let steady = run.phase() == Phase::Running && !run.is_paused();
    let turning = decision.events.iter().any(|event| {
        matches!(
            event,
            Event::RunPaused { .. }
                | Event::UnwindingStarted { .. }
                | Event::RunSucceeded
                | Event::RunRetried { .. }
        )
    });
    if steady && !turning {
        let attempt = Attempt(run.attempts(stage) + 1);
        decision.events.push(Event::StageReady { stage, attempt });
        let demand = run.definition().stages[stage.0 as usize].demand.clone();
        decision.commands.push(Command::RequestPlacement { stage, attempt, demand, priority: 1 });
    }
}

#[derive(Clone)]
struct SkipsANeedCheck;
impl Fault for SkipsANeedCheck {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        let early = stages(run).find(|stage| {
            let spec = &run.definition().stages[stage.0 as usize];
            let open = spec.needs.iter().any(|need| !run.stage(*need).is_done());
            let touched = decision.events.iter().any(|e| matches!(e, Event::StageSucceeded { .. }));
            *run.stage(*stage) == StageState::Waiting && open && !touched
        });
        if let Some(stage) = early {
            begin(run, stage, decision);
        }
    }
}

#[test]
fn a_stage_that_begins_before_its_needs_is_noticed() {
    caught(SkipsANeedCheck, &["begins before its needs"]);
}

#[derive(Clone)]
struct RestartsAFinishedStage;
impl Fault for RestartsAFinishedStage {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        if let Some(stage) = stages(run).find(|stage| *run.stage(*stage) == StageState::Succeeded) {
            begin(run, stage, decision);
        }
    }
}

#[test]
fn a_finished_stage_that_begins_again_is_noticed() {
    caught(RestartsAFinishedStage, &["begins again after its end", "an approval is never dispatched"]);
}

#[derive(Clone)]
struct UndoesInForwardOrder;
impl Fault for UndoesInForwardOrder {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        // Any other finished stage with an undo, found from the front.
        let first = stages(run).find(|stage| {
            let spec = &run.definition().stages[stage.0 as usize];
            spec.has_undo && *run.stage(*stage) == StageState::Succeeded
        });
        let Some(first) = first else { return };
        for event in &mut decision.events {
            if let Event::CompensationStarted { stage, attempt: Attempt(1) } = event {
                *stage = first;
            }
        }
        for command in &mut decision.commands {
            if let Command::DispatchUndo { stage, attempt: Attempt(1) } = command {
                *stage = first;
            }
        }
    }
}

#[test]
fn an_undo_out_of_order_is_noticed() {
    caught(UndoesInForwardOrder, &["is next in reverse order"]);
}

#[derive(Clone)]
struct UndoesWhileWorkRuns;
impl Fault for UndoesWhileWorkRuns {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        let before = decision.events.len();
        decision
            .events
            .retain(|event| !matches!(event, Event::StageInterrupted { why: Interruption::Unwinding, .. }));
        if decision.events.len() < before {
            decision.commands.retain(|command| !matches!(command, Command::Abandon { .. }));
        }
    }
}

#[test]
fn an_undo_while_work_is_in_flight_is_noticed() {
    caught(UndoesWhileWorkRuns, &["still in flight"]);
}

#[derive(Clone)]
struct LeavesWorkersAlive;
impl Fault for LeavesWorkersAlive {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        decision.commands.retain(|command| !matches!(command, Command::Abandon { .. }));
    }
}

#[test]
fn a_worker_left_alive_is_noticed() {
    caught(LeavesWorkersAlive, &["while workers live", "two workers", "are left"]);
}

#[derive(Clone)]
struct CountsInterruptions;
impl Fault for CountsInterruptions {
    fn recovered(&self, events: &mut Vec<Event>, commands: &mut Vec<Command>) {
        let interrupted: Vec<StageIndex> = events
            .iter()
            .filter_map(|event| match event {
                Event::StageInterrupted { stage, .. } => Some(*stage),
                _ => None,
            })
            .collect();
        for event in events {
            if let Event::StageReady { stage, attempt } = event
                && interrupted.contains(stage)
            {
                attempt.0 += 1;
            }
        }
        for command in commands {
            if let Command::RequestPlacement { stage, attempt, .. } = command
                && interrupted.contains(stage)
            {
                attempt.0 += 1;
            }
        }
    }
}

#[test]
fn an_interruption_that_costs_an_attempt_is_noticed() {
    caught(CountsInterruptions, &["follows", "exceeds its limit"]);
}

#[derive(Clone)]
struct AcceptsStaleFences;
impl Fault for AcceptsStaleFences {
    fn heard(&self, run: &Run, input: Input) -> Input {
        let now = |stage: StageIndex, fence: Fence| run.fence(stage).unwrap_or(fence);
        match input {
            Input::Succeeded { stage, fence, outputs, facts } => {
                Input::Succeeded { stage, fence: now(stage, fence), outputs, facts }
            }
            Input::Compensated { stage, fence } => Input::Compensated { stage, fence: now(stage, fence) },
            other => other,
        }
    }
}

#[test]
fn a_stale_answer_that_gets_through_is_noticed() {
    caught(AcceptsStaleFences, &["accepted, but it is stale", "took the result of"]);
}

#[derive(Clone)]
struct CutsBackoffShort;
impl Fault for CutsBackoffShort {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        for event in &mut decision.events {
            if let Event::StageRetryPlanned { stage, at_ms, .. }
            | Event::CompensationRetryPlanned { stage, at_ms, .. } = event
            {
                *at_ms -= run.definition().stages[stage.0 as usize].retry.backoff_ms / 2;
            }
        }
    }
}

#[test]
fn a_backoff_cut_short_is_noticed() {
    caught(CutsBackoffShort, &["backoff until"]);
}

#[derive(Clone)]
struct IgnoresItsOwnBackoff;
impl Fault for IgnoresItsOwnBackoff {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        let waiting = stages(run).find(|stage| matches!(run.stage(*stage), StageState::Backoff { .. }));
        let ready = decision.events.iter().any(|event| matches!(event, Event::StageReady { .. }));
        if let Some(stage) = waiting.filter(|_| !ready) {
            begin(run, stage, decision);
        }
    }
}

#[test]
fn a_stage_that_begins_in_its_backoff_is_noticed() {
    caught(IgnoresItsOwnBackoff, &["before its backoff is over"]);
}

#[derive(Clone)]
struct NeverGivesUp;
impl Fault for NeverGivesUp {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        let now_ms = run.applied().1;
        let last = decision.events.iter().position(
            |event| matches!(event, Event::StageFailed { error, .. } if error.class == ErrorClass::Transient),
        );
        if let Some(at) = last
            && let Event::StageFailed { stage, attempt, error } = decision.events[at].clone()
        {
            let attempt = Attempt(attempt.0 + 1);
            let at_ms = now_ms + run.definition().stages[stage.0 as usize].retry.backoff_ms_max;
            decision.events.truncate(at);
            decision.events.push(Event::StageRetryPlanned { stage, attempt, at_ms, error });
            decision.commands = vec![Command::ReleaseLease { stage }, Command::WakeAt { at_ms }];
        }
    }
}

#[test]
fn one_attempt_too_many_is_noticed() {
    caught(NeverGivesUp, &["exceeds its limit"]);
}

#[derive(Clone)]
struct ForgetsToEnd;
impl Fault for ForgetsToEnd {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        decision.events.retain(|event| !matches!(event, Event::RunSucceeded | Event::RunRolledBack));
        decision.commands.retain(|command| *command != Command::Ended);
    }
    fn recovered(&self, events: &mut Vec<Event>, commands: &mut Vec<Command>) {
        events.retain(|event| !matches!(event, Event::RunSucceeded | Event::RunRolledBack));
        commands.retain(|command| *command != Command::Ended);
    }
}

#[test]
fn a_run_that_never_ends_is_noticed() {
    caught(ForgetsToEnd, &["stuck"]);
}

#[derive(Clone)]
struct LetsTheSubmitterApprove;
impl Fault for LetsTheSubmitterApprove {
    fn refused(&self, _: &Run, input: &Input, refusal: Refusal) -> Result<Decision, Refusal> {
        match (input, &refusal) {
            (Input::Decide { stage, by, approved, reason, .. }, Refusal::NotAllowed { .. })
                if by == SUBMITTER =>
            {
                let (stage, by, approved, reason) = (*stage, by.clone(), *approved, reason.clone());
                let events = vec![Event::ApprovalRecorded { stage, by, approved, reason }];
                Ok(Decision { events, commands: Vec::new() })
            }
            _ => Err(refusal),
        }
    }
}

#[test]
fn a_submitter_who_approves_is_noticed() {
    caught(LetsTheSubmitterApprove, &["the submitter decided"]);
}

#[derive(Clone)]
struct LetsOnePersonCountTwice;
impl Fault for LetsOnePersonCountTwice {
    fn refused(&self, _: &Run, input: &Input, refusal: Refusal) -> Result<Decision, Refusal> {
        match (input, &refusal) {
            (Input::Decide { stage, by, approved: true, reason, .. }, Refusal::NotAllowed { .. })
                if by != SUBMITTER =>
            {
                let (stage, by, reason) = (*stage, by.clone(), reason.clone());
                let events = vec![Event::ApprovalRecorded { stage, by, approved: true, reason }];
                Ok(Decision { events, commands: Vec::new() })
            }
            _ => Err(refusal),
        }
    }
}

#[test]
fn a_person_who_counts_twice_is_noticed() {
    caught(LetsOnePersonCountTwice, &["counted twice"]);
}

#[derive(Clone)]
struct EndsBeforeTheLastUndo;
impl Fault for EndsBeforeTheLastUndo {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        for event in &mut decision.events {
            if matches!(event, Event::CompensationStarted { .. }) {
                *event = Event::RunRolledBack;
            }
        }
        decision.commands.retain(|command| !matches!(command, Command::DispatchUndo { .. }));
    }
}

#[test]
fn a_run_that_ends_with_stages_not_undone_is_noticed() {
    caught(EndsBeforeTheLastUndo, &["not undone"]);
}

#[derive(Clone)]
struct StartsInAPause;
impl Fault for StartsInAPause {
    fn decided(&self, run: &Run, input: &Input, decision: &mut Decision) {
        let ready = stages(run).find(|stage| matches!(run.stage(*stage), StageState::Ready { .. }));
        if let (Input::Pause { .. }, Some(stage)) = (input, ready) {
            let attempt = Attempt(run.attempts(stage) + 1);
            decision.events.push(Event::StageStarted { stage, attempt, placed_on: "node-1".into() });
        }
    }
}

#[test]
fn a_stage_that_starts_in_a_pause_is_noticed() {
    caught(StartsInAPause, &["the run is paused"]);
}

#[derive(Clone)]
struct RepeatsWhatIsInDoubt;
impl Fault for RepeatsWhatIsInDoubt {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        let now_ms = run.applied().1;
        for event in &mut decision.events {
            if let Event::StageInDoubt { stage, attempt, error } = event.clone()
                && attempt.0 < run.definition().stages[stage.0 as usize].retry.attempts
            {
                let at_ms = now_ms + 10;
                *event = Event::StageRetryPlanned { stage, attempt: Attempt(attempt.0 + 1), at_ms, error };
            }
        }
    }
}

#[test]
fn a_repetition_of_what_may_have_happened_is_noticed() {
    caught(RepeatsWhatIsInDoubt, &["repeats unasked"]);
}

#[derive(Clone)]
struct ForgetsALease;
impl Fault for ForgetsALease {
    fn decided(&self, _: &Run, input: &Input, decision: &mut Decision) {
        if matches!(input, Input::Woke) {
            decision.commands.retain(|command| !matches!(command, Command::ReleaseLease { .. }));
        }
    }
}

#[test]
fn a_lease_that_is_never_given_back_is_noticed() {
    caught(ForgetsALease, &["leases, workers or requests are left", "not over after"]);
}

#[derive(Clone)]
struct AsksNobodyAfterARestart;
impl Fault for AsksNobodyAfterARestart {
    fn recovered(&self, _: &mut Vec<Event>, commands: &mut Vec<Command>) {
        commands.retain(|command| !matches!(command, Command::RequestPlacement { .. }));
    }
}

#[test]
fn a_request_forgotten_after_a_restart_is_noticed() {
    caught(AsksNobodyAfterARestart, &["stuck"]);
}

#[derive(Clone)]
struct LosesCheckpoints;
impl Fault for LosesCheckpoints {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        for command in &mut decision.commands {
            if let Command::Dispatch { resume_from, .. } = command {
                *resume_from = None;
            }
        }
    }
}

#[test]
fn a_checkpoint_that_is_not_offered_is_noticed() {
    caught(LosesCheckpoints, &["is to resume from"]);
}

#[derive(Clone)]
struct RemembersOtherThanItsJournal;
impl Fault for RemembersOtherThanItsJournal {
    fn notes(&self, event: &Event) -> bool {
        !matches!(event, Event::StageCheckpointed { .. })
    }
}

#[test]
fn a_live_run_that_differs_from_its_journal_is_noticed() {
    caught(RemembersOtherThanItsJournal, &["replay differs"]);
}

#[derive(Clone)]
struct StopsWhatMayNotBeRepeated;
impl Fault for StopsWhatMayNotBeRepeated {
    fn decided(&self, run: &Run, input: &Input, decision: &mut Decision) {
        let Input::PauseNow { .. } = input else { return };
        for stage in stages(run) {
            let spec = &run.definition().stages[stage.0 as usize];
            let unrepeatable = spec.kind == StageKind::Exec && !spec.idempotent;
            if let (StageState::Running { attempt, fence, .. }, true) = (run.stage(stage), unrepeatable) {
                decision.events.push(Event::StageStopRequested { stage, attempt: *attempt });
                decision.commands.push(Command::Stop { stage, fence: *fence });
            }
        }
    }
}

#[test]
fn a_stop_of_what_may_have_had_its_effect_is_noticed() {
    caught(StopsWhatMayNotBeRepeated, &["may not be repeated"]);
}

#[derive(Clone)]
struct TellsNobodyToStop;
impl Fault for TellsNobodyToStop {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        decision.commands.retain(|command| !matches!(command, Command::Stop { .. }));
    }
}

#[test]
fn a_stop_that_nobody_hears_of_is_noticed() {
    caught(TellsNobodyToStop, &["nobody tells it"]);
}

#[derive(Clone)]
struct CountsAStoppedAttempt;
impl Fault for CountsAStoppedAttempt {
    fn decided(&self, run: &Run, input: &Input, decision: &mut Decision) {
        let Input::Stopped { stage, .. } = input else { return };
        let retry = &run.definition().stages[stage.0 as usize].retry;
        for event in &mut decision.events {
            if let Event::StageInterrupted { attempt, .. } = event
                && attempt.0 < retry.attempts
            {
                attempt.0 += 1;
            }
        }
    }
}

#[test]
fn a_pause_that_costs_an_attempt_is_noticed() {
    caught(CountsAStoppedAttempt, &["is not in flight", "follows"]);
}

#[derive(Clone)]
struct ResetsWithoutUndo;
impl Fault for ResetsWithoutUndo {
    fn decided(&self, _: &Run, input: &Input, decision: &mut Decision) {
        let Input::Reset { .. } = input else { return };
        if let Some(Event::CompensationStarted { .. }) = decision.events.last() {
            decision.events.pop();
            decision.events.push(Event::ResetDone);
            decision.commands.retain(|command| !matches!(command, Command::DispatchUndo { .. }));
        }
    }
}

#[test]
fn a_reset_that_leaves_effects_in_place_is_noticed() {
    caught(ResetsWithoutUndo, &["the reset is done with stage"]);
}

#[derive(Clone)]
struct KeepsWhatCameAfter;
impl Fault for KeepsWhatCameAfter {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        for event in &mut decision.events {
            if let Event::RunReset { again, .. } = event {
                again.pop();
            }
        }
    }
}

#[test]
fn a_reset_that_keeps_too_much_is_noticed() {
    caught(KeepsWhatCameAfter, &["again instead of"]);
}

#[derive(Clone)]
struct TakesEverySignal;
impl Fault for TakesEverySignal {
    fn refused(&self, run: &Run, input: &Input, refusal: Refusal) -> Result<Decision, Refusal> {
        match (input, &refusal) {
            (Input::Signal { stage, name, data, key, by }, Refusal::NotNow { .. })
                if !run.phase().is_ended() =>
            {
                let (stage, name, data) = (*stage, name.clone(), data.clone());
                let (key, by) = (key.clone(), by.clone());
                let events = vec![Event::SignalRecorded { stage, name, data, key, by }];
                Ok(Decision { events, commands: Vec::new() })
            }
            _ => Err(refusal),
        }
    }
}

#[test]
fn a_second_signal_is_noticed() {
    caught(
        TakesEverySignal,
        &["took two signals", "after its end", "past its deadline", "does not go forward"],
    );
}

#[derive(Clone)]
struct GoesOnPastTheDeadline;
impl Fault for GoesOnPastTheDeadline {
    fn decided(&self, run: &Run, _: &Input, decision: &mut Decision) {
        let late = decision.events.iter().any(|event| matches!(event, Event::DeadlinePassed { .. }));
        if late {
            let stage = stages(run).find(|stage| matches!(run.stage(*stage), StageState::Ready { .. }));
            decision.events.clear();
            decision.commands.clear();
            if let Some(stage) = stage {
                let attempt = Attempt(run.attempts(stage) + 1);
                decision.events.push(Event::StageStarted { stage, attempt, placed_on: "node-1".into() });
            }
        }
    }
}

#[test]
fn a_stage_that_begins_past_the_deadline_of_its_run_is_noticed() {
    caught(
        GoesOnPastTheDeadline,
        &["past the deadline of the run", "stuck", "not over after", "the run is paused"],
    );
}

#[derive(Clone)]
struct EndsBeforeTheDeadline;
impl Fault for EndsBeforeTheDeadline {
    fn decided(&self, run: &Run, input: &Input, decision: &mut Decision) {
        if let (Input::Pause { .. }, Some(_)) = (input, run.deadline_ms()) {
            let code = "EX-0050".to_owned();
            let error =
                engine::run::StageError { code, message: "late".into(), class: ErrorClass::Permanent };
            decision.events.push(Event::DeadlinePassed { error });
        }
    }
}

#[test]
fn a_run_ended_before_its_deadline_is_noticed() {
    caught(EndsBeforeTheDeadline, &["ended before its deadline"]);
}

#[derive(Clone)]
struct AsksForNoRole;
impl Fault for AsksForNoRole {
    fn heard(&self, _: &Run, input: Input) -> Input {
        match input {
            Input::Decide { stage, by, approved, reason, .. } => {
                Input::Decide { stage, by, role: "admin".to_owned(), approved, reason }
            }
            other => other,
        }
    }
}

#[test]
fn a_decision_without_the_role_is_noticed() {
    caught(AsksForNoRole, &["without the role"]);
}

#[derive(Clone)]
struct TunesEverythingLive;
impl Fault for TunesEverythingLive {
    fn decided(&self, _: &Run, _: &Input, decision: &mut Decision) {
        for event in &mut decision.events {
            if let Event::ParameterTuned { stage, parameter, old, value, by } = event.clone() {
                *event = Event::ParameterTunedLive { stage, parameter, old, value, by };
            }
        }
    }
}

#[test]
fn a_parameter_of_the_result_that_changes_under_running_work_is_noticed() {
    caught(TunesEverythingLive, &["changes the result"]);
}

#[derive(Clone)]
struct NoFault;
impl Fault for NoFault {}

#[test]
#[should_panic(expected = "the mutant lived")]
fn a_mutant_without_a_fault_lives() {
    caught(NoFault, &[]);
}

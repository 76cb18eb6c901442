//! Every run ends and replays exactly, whatever crashes, hangs, lies or comes late.
//!
//! `SEEDS=100000 cargo test -p engine --test simulation` for more seeds, `SEED=n` for a single one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod sim;

use engine::run::{Command, Decision, Event, Input, Refusal, Run};
use sim::live;
use sim::machine::Machine;
use sim::world::Report;
use std::collections::BTreeMap;

/// Seeds per commit: a few seconds.
const SEEDS: u64 = 20_000;

/// The run as it is.
#[derive(Clone)]
struct Plain(Option<Run>);

impl Machine for Plain {
    fn holding(&self, run: Run, _: bool) -> Self {
        Self(Some(run))
    }

    fn run(&self) -> &Run {
        self.0.as_ref().expect("made by `holding`")
    }

    fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal> {
        self.run().decide(now_ms, random, input)
    }

    fn apply(&mut self, position: u64, time_ms: u64, event: &Event) {
        self.0.as_mut().expect("made by `holding`").apply(position, time_ms, event);
    }

    fn recover(&self, now_ms: u64) -> (Vec<Event>, Vec<Command>) {
        self.run().recover(now_ms)
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn live_or_say_how_to_replay(seed: u64) -> Report {
    match std::panic::catch_unwind(|| live(seed, &Plain(None))) {
        Ok(Ok(report)) => report,
        Ok(Err(broken)) => panic!("{broken}\nreplay: SEED={seed} cargo test -p engine --test simulation"),
        Err(_) => panic!("panicked\nreplay: SEED={seed} cargo test -p engine --test simulation"),
    }
}

#[test]
fn every_run_ends_and_replays_exactly_under_crashes() {
    if let Some(seed) = number("SEED") {
        println!("{:#?}", live_or_say_how_to_replay(seed));
        return;
    }
    let seeds = number("SEEDS").unwrap_or(SEEDS);
    let began = std::time::Instant::now();
    let mut events: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut crashes, mut refusals, mut steps) = (0, 0, 0);
    for seed in 0..seeds {
        let report = live_or_say_how_to_replay(seed);
        report.events.iter().for_each(|(name, count)| *events.entry(name).or_default() += count);
        crashes += report.crashes;
        refusals += report.refusals;
        steps += report.steps;
    }
    println!("{seeds} seeds, {steps} steps, {crashes} crashes, {refusals} refusals in {:?}", began.elapsed());
    println!("{events:#?}");
    // A simulation that never goes somewhere proves nothing about it.
    if seeds >= 5_000 {
        for name in [
            "StageReady",
            "StageStarted",
            "StageCheckpointed",
            "StageSucceeded",
            "StageRetryPlanned",
            "StageInterrupted",
            "StageFailed",
            "StageSkipped",
            "GateOpened",
            "ApprovalRecorded",
            "StageInDoubt",
            "RunPaused",
            "RunResumed",
            "CancelRequested",
            "UnwindingStarted",
            "CompensationStarted",
            "CompensationSucceeded",
            "CompensationRetryPlanned",
            "CompensationFailed",
            "RunRetried",
            "ParameterTuned",
            "RunSucceeded",
            "RunRolledBack",
            "RunFailed",
            "RunCancelled",
            "CriteriaNotMet",
            "StageStopRequested",
            "ParameterTunedLive",
            "RunReset",
            "ResetDone",
            "SignalAwaited",
            "SignalRecorded",
            "DeadlinePassed",
        ] {
            assert!(events.get(name).is_some_and(|count| *count >= 100), "{name} hardly ever happened");
        }
    }
}

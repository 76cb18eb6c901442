//! The judge is judged: each mutant of the order breaks one promise, and the simulation must notice.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod order_sim;

use order_sim::world::live;
use order_sim::{Machine, Sound};
use quantum::backends::order::{Answer, Command, Decision, End, Input, Memo, Refusal};
use quantum::backends::{Amount, BackendError, JobEvent, Wanted};

/// Seeds within which a mutant must be caught.
const SEEDS: u64 = 3_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    SubmitsAgainAfterARestart,
    ForgetsTheKeyOfALostReply,
    TakesAnAnswerForNothingDone,
    CallsBeforeItsRecord,
    BuysAnotherWhileTheFirstGoesOn,
    BelievesAnyResult,
    SettlesWithNothing,
    NeverSettles,
    IgnoresTheCancellation,
    GivesUpAnUnknownWord,
    PollsWithoutAPause,
    HurriesTheBackend,
    WaitsForEver,
    LosesWhatCouldBeFound,
    BelievesTheFirstNotFound,
}

#[derive(Clone)]
struct Mutant {
    fault: Fault,
    sound: Sound,
}

impl Mutant {
    fn alter(&self, decision: &mut Decision) {
        match self.fault {
            Fault::PollsWithoutAPause => {
                if let Some(Command::Poll { after_ms, .. }) = &mut decision.command {
                    *after_ms /= 4;
                }
            }
            Fault::HurriesTheBackend => {
                if let Some(Command::Find { after_ms, .. } | Command::Fetch { after_ms, .. }) =
                    &mut decision.command
                {
                    *after_ms = (*after_ms).min(2_000);
                }
            }
            Fault::SettlesWithNothing => {
                for event in &mut decision.events {
                    if let JobEvent::Settled { spent, .. } = event {
                        *spent = Amount::NONE;
                    }
                }
            }
            Fault::NeverSettles => decision.events.retain(|event| !matches!(event, JobEvent::Settled { .. })),
            Fault::CallsBeforeItsRecord => {
                // The recall is performed and not written down.
                decision.events.retain(|event| !matches!(event, JobEvent::Recalled { .. }));
            }
            Fault::BuysAnotherWhileTheFirstGoesOn => {
                let recalls = decision.events.iter().any(|event| matches!(event, JobEvent::Recalled { .. }));
                if recalls && let Some(key) = self.sound.0.as_ref().unwrap().key().cloned() {
                    let reason = quantum::backends::Reason::Queue { queue_ms: 1 };
                    decision.events = vec![
                        JobEvent::Failed { message: "late".into() },
                        JobEvent::Settled { key, spent: hold(self) },
                        JobEvent::FellBack { reason },
                    ];
                }
            }
            _ => {}
        }
    }
}

fn hold(mutant: &Mutant) -> Amount {
    mutant.sound.0.as_ref().unwrap().candidate().map_or(Amount::NONE, |one| one.hold)
}

fn ambiguous(answer: &Answer) -> bool {
    matches!(answer, Answer::Submitted(Err(BackendError::Ambiguous { .. })))
}

impl Machine for Mutant {
    fn wanted(&self, time_ms: u64, wanted: Wanted) -> Self {
        Self { sound: self.sound.wanted(time_ms, wanted), ..self.clone() }
    }

    fn decide(&self, now_ms: u64, random: u64, mut input: Input) -> Result<Decision, Refusal> {
        let nothing_done =
            || BackendError::Transient { backend: "v".into(), message: "m".into(), after_ms: None };
        if let Input::Answer { answer, .. } = &mut input {
            match self.fault {
                // A lost reply read as "nothing was done".
                Fault::TakesAnAnswerForNothingDone if ambiguous(answer) => {
                    *answer = Answer::Submitted(Err(nothing_done()));
                }
                Fault::ForgetsTheKeyOfALostReply if ambiguous(answer) => {
                    let gone = BackendError::Permanent { backend: "v".into(), message: "m".into() };
                    *answer = Answer::Submitted(Err(gone));
                }
                Fault::BelievesAnyResult => {
                    if let Answer::Fetched(Ok((result, _))) = answer {
                        result.counts = vec![(0, 100)];
                    }
                }
                Fault::GivesUpAnUnknownWord => {
                    if let Answer::Polled(Ok(poll)) = answer
                        && matches!(poll, quantum::backends::Poll::Unknown { .. })
                    {
                        *poll = quantum::backends::Poll::Failed { message: "unknown".into() };
                    }
                }
                Fault::LosesWhatCouldBeFound => {
                    if let Answer::Polled(Err(error @ BackendError::Transient { .. })) = answer {
                        *error = BackendError::Permanent { backend: "v".into(), message: "m".into() };
                    }
                    if let Answer::Polled(Ok(poll)) = answer
                        && matches!(poll, quantum::backends::Poll::Unknown { .. })
                    {
                        let lost = BackendError::Permanent { backend: "v".into(), message: "m".into() };
                        *answer = Answer::Polled(Err(lost));
                    }
                }
                _ => {}
            }
        }
        let late = match (self.fault, &input) {
            // The wait for requests that may still be on their way is skipped.
            (Fault::BelievesTheFirstNotFound, Input::Answer { answer: Answer::Found(Ok(None)), .. }) => {
                60_000
            }
            _ => 0,
        };
        if self.fault == Fault::IgnoresTheCancellation && matches!(input, Input::Cancel { .. }) {
            let mut decision = self.sound.decide(now_ms, random, input)?;
            decision.events.truncate(1);
            decision.command = None;
            // Written down and not acted upon: it goes on as if nothing had been said.
            decision.memo = self.sound.0.as_ref().unwrap().memo().clone();
            return Ok(decision);
        }
        let mut decision = self.sound.decide(now_ms + late, random, input)?;
        self.alter(&mut decision);
        if self.fault == Fault::WaitsForEver
            && decision.events.iter().any(|event| matches!(event, JobEvent::Recalled { .. }))
        {
            decision.command = None;
        }
        Ok(decision)
    }

    fn recover(&self, now_ms: u64, random: u64) -> Decision {
        let mut decision = self.sound.recover(now_ms, random);
        if self.fault == Fault::SubmitsAgainAfterARestart
            && let Some(Command::Find { call, after_ms, backend, key }) = decision.command.clone()
        {
            decision.command = Some(Command::Submit { call, after_ms, backend, key });
        }
        self.alter(&mut decision);
        decision
    }

    fn apply(&mut self, time_ms: u64, event: &JobEvent) {
        if self.fault == Fault::IgnoresTheCancellation && matches!(event, JobEvent::CancelWanted { .. }) {
            return;
        }
        self.sound.apply(time_ms, event);
    }

    fn remember(&mut self, memo: Memo) {
        self.sound.remember(memo);
    }

    fn end(&self) -> Option<End> {
        self.sound.end()
    }
}

/// Fails unless some seed notices, for a reason that contains one of `words`.
fn caught(fault: Fault, words: &[&str]) {
    let mutant = Mutant { fault, sound: Sound(None) };
    for seed in 0..SEEDS {
        if let Err(broken) = live(seed, &mutant) {
            assert!(
                words.iter().any(|word| broken.contains(word)),
                "seed {seed}: for another reason: {broken}"
            );
            println!("{fault:?} caught by seed {seed}: {}", broken.lines().next().unwrap_or_default());
            return;
        }
    }
    panic!("{fault:?} lived through {SEEDS} seeds");
}

#[test]
fn a_submission_repeated_after_a_restart_is_noticed() {
    caught(Fault::SubmitsAgainAfterARestart, &["repeated blindly", "twice"]);
}

#[test]
fn a_lost_reply_taken_for_a_refusal_is_noticed() {
    caught(Fault::ForgetsTheKeyOfALostReply, &["never submitted", "settled before", "two jobs"]);
}

#[test]
fn a_lost_reply_taken_for_nothing_done_is_noticed() {
    caught(Fault::TakesAnAnswerForNothingDone, &["never submitted", "repeated blindly", "twice"]);
}

#[test]
fn a_recall_that_is_not_written_down_is_noticed() {
    caught(Fault::CallsBeforeItsRecord, &["before that is written down"]);
}

#[test]
fn a_second_job_bought_while_the_first_goes_on_is_noticed() {
    caught(Fault::BuysAnotherWhileTheFirstGoesOn, &["while its job goes on"]);
}

#[test]
fn a_result_that_is_believed_unseen_is_noticed() {
    caught(Fault::BelievesAnyResult, &["a wrong result is believed"]);
}

#[test]
fn a_bill_that_is_not_counted_is_noticed() {
    caught(Fault::SettlesWithNothing, &["is settled with"]);
}

#[test]
fn a_budget_held_for_ever_is_noticed() {
    caught(Fault::NeverSettles, &["held for ever", "still held"]);
}

#[test]
fn a_cancellation_that_is_written_down_and_ignored_is_noticed() {
    caught(Fault::IgnoresTheCancellation, &["after its end was wanted"]);
}

#[test]
fn a_job_given_up_for_a_word_nobody_knows_is_noticed() {
    caught(Fault::GivesUpAnUnknownWord, &["while its job goes on", "two jobs"]);
}

#[test]
fn polls_without_a_pause_are_noticed() {
    caught(Fault::PollsWithoutAPause, &["apart", "left alone"]);
}

#[test]
fn a_backend_that_is_not_left_alone_is_noticed() {
    caught(Fault::HurriesTheBackend, &["left alone"]);
}

#[test]
fn an_order_that_waits_for_ever_is_noticed() {
    caught(Fault::WaitsForEver, &["never ends"]);
}

#[test]
fn a_job_lost_that_could_be_found_is_noticed() {
    caught(Fault::LosesWhatCouldBeFound, &["lost that could be found"]);
}

#[test]
fn a_request_on_its_way_that_is_not_waited_for_is_noticed() {
    caught(
        Fault::BelievesTheFirstNotFound,
        &["never submitted", "twice", "settled before", "repeated blindly"],
    );
}

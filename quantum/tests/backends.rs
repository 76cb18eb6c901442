//! Job states, results and the circuit breaker: what they accept and what they refuse.

// Helpers of tests may panic as tests do.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use quantum::backends::{
    Asked, Backend, BackendError, Cancelled, Capability, Estimate, JobEvent, JobId, JobKey, JobResult,
    JobSpec, JobState, JobWork, Poll, Price, Queue, ResultError, Target,
};
use quantum::breaker::{Breaker, Input, Phase, Refusal, Thresholds};
use std::task::{Context, Poll as Ready, Waker};

fn key() -> JobKey {
    JobKey("run-1/qaoa/1".into())
}

fn id() -> JobId {
    JobId("job-7".into())
}

fn all_events() -> Vec<JobEvent> {
    use JobEvent as E;
    let message = "no".to_owned();
    vec![
        E::Reserved,
        E::Submitting { key: key() },
        E::Submitted { id: id() },
        E::Queued,
        E::Running,
        E::Fetching,
        E::Verified,
        E::Done,
        E::Failed { message },
        E::Cancelled,
        E::Lost,
        E::NotSubmitted,
    ]
}

#[test]
fn a_job_goes_from_planned_to_done_in_this_order() {
    use JobEvent as E;
    let path = [
        E::Reserved,
        E::Submitting { key: key() },
        E::Submitted { id: id() },
        E::Queued,
        E::Running,
        E::Fetching,
        E::Verified,
        E::Done,
    ];
    let mut state = JobState::Planned;
    for event in &path {
        state = state.after(event).unwrap();
    }
    assert_eq!(state, JobState::Done);
}

#[test]
fn an_open_submission_is_found_freed_or_lost_and_nothing_else() {
    let state = JobState::Submitting { key: key() };
    let next: Vec<JobState> = all_events().iter().filter_map(|event| state.after(event)).collect();
    assert_eq!(next, [JobState::Submitted { id: id() }, JobState::Lost { key: key() }, JobState::Reserved]);
}

#[test]
fn an_ended_job_accepts_no_event() {
    for state in [
        JobState::Done,
        JobState::Failed { message: "x".into() },
        JobState::Cancelled,
        JobState::Lost { key: key() },
    ] {
        assert!(state.ended());
        assert!(all_events().iter().all(|event| state.after(event).is_none()), "{state:?}");
    }
}

proptest! {
    #[test]
    fn no_order_of_events_submits_twice_without_knowing_the_first_did_not_arrive(picks in prop::collection::vec(0usize..12, 0..60)) {
        let events = all_events();
        let (mut state, mut open, mut reserved) = (JobState::Planned, false, false);
        for pick in picks {
            let Some(next) = state.after(&events[pick]) else { continue };
            match &events[pick] {
                JobEvent::Reserved => reserved = true,
                JobEvent::Submitting { .. } => {
                    prop_assert!(!open && reserved, "a submission before the last one was settled");
                    open = true;
                }
                JobEvent::NotSubmitted => open = false,
                JobEvent::Done => {
                    let verified = matches!(state, JobState::Verified { .. });
                    prop_assert!(verified, "done without a verified result");
                }
                _ => {}
            }
            state = next;
        }
    }
}

fn spec(shots: u32) -> JobSpec {
    let work =
        JobWork::FeasibleSet { costs: vec![1.0, 2.0, 3.0], cost_angles: vec![0.1], mixer_angles: vec![0.2] };
    JobSpec { work, shots, seed: 0 }
}

#[test]
fn a_result_that_contradicts_its_job_is_refused_with_the_reason() {
    let result = |counts: &[(u64, u64)]| JobResult {
        counts: counts.to_vec(),
        qpu_ms: None,
        cost_micro_usd: None,
        calibration: None,
    };
    let job = spec(10);
    assert_eq!(result(&[(0, 4), (2, 6)]).verify(&job), Ok(()));
    assert_eq!(result(&[(0, 4), (2, 5)]).verify(&job), Err(ResultError::Shots { given: 9, asked: 10 }));
    assert_eq!(
        result(&[(0, u64::MAX), (2, u64::MAX)]).verify(&job),
        Err(ResultError::Shots { given: 2 * u128::from(u64::MAX), asked: 10 })
    );
    assert_eq!(result(&[(0, 4), (3, 6)]).verify(&job), Err(ResultError::Outcome { outcome: 3, outcomes: 3 }));
    assert_eq!(result(&[(2, 4), (0, 6)]).verify(&job), Err(ResultError::Order { outcome: 0 }));
    assert_eq!(result(&[(1, 4), (1, 6)]).verify(&job), Err(ResultError::Order { outcome: 1 }));
    assert_eq!(result(&[(0, 10), (1, 0)]).verify(&job), Err(ResultError::Empty { outcome: 1 }));
    assert_eq!(result(&[]).verify(&job), Err(ResultError::Shots { given: 0, asked: 10 }));
}

/// Answers from memory and forgets the reply of its first submission.
#[derive(Debug, Default)]
struct Forgetful(std::sync::Mutex<Vec<JobKey>>);

impl Backend for Forgetful {
    fn name(&self) -> &str {
        "forgetful"
    }
    fn describe(&self) -> Asked<'_, Target> {
        let capability = Capability {
            idempotent_submit: false,
            find: true,
            cancel: false,
            openqasm3: false,
            feasible_set: true,
        };
        Box::pin(async move {
            Ok(Target {
                name: "forgetful".into(),
                simulated: true,
                qubits_max: 0,
                designs_max: 10,
                shots_max: 10,
                gates: vec![],
                capability,
                price: Price::default(),
                calibration: None,
                queue: Queue::default(),
            })
        })
    }
    fn estimate<'a>(&'a self, job: &'a JobSpec) -> Asked<'a, Estimate> {
        Box::pin(async move { Ok(Estimate { shots: job.shots.into(), ..Estimate::default() }) })
    }
    fn submit<'a>(&'a self, _: &'a JobSpec, key: &'a JobKey) -> Asked<'a, JobId> {
        Box::pin(async move {
            self.0.lock().unwrap().push(key.clone());
            Err(BackendError::Ambiguous { backend: "forgetful".into(), message: "the reply was lost".into() })
        })
    }
    fn find<'a>(&'a self, key: &'a JobKey) -> Asked<'a, Option<JobId>> {
        Box::pin(async move {
            let place = self.0.lock().unwrap().iter().position(|known| known == key);
            Ok(place.map(|place| JobId(place.to_string())))
        })
    }
    fn poll<'a>(&'a self, _: &'a JobId) -> Asked<'a, Poll> {
        Box::pin(async { Ok(Poll::Unknown { word: "DREAMING".into() }) })
    }
    fn result<'a>(&'a self, _: &'a JobId) -> Asked<'a, JobResult> {
        Box::pin(async {
            Ok(JobResult { counts: vec![(0, 10)], qpu_ms: None, cost_micro_usd: None, calibration: None })
        })
    }
    fn cancel<'a>(&'a self, _: &'a JobId) -> Asked<'a, Cancelled> {
        Box::pin(async { Ok(Cancelled::NotPossible) })
    }
}

fn now<T>(mut future: Asked<'_, T>) -> Result<T, BackendError> {
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Ready::Ready(answer) => answer,
        Ready::Pending => panic!("this backend never waits"),
    }
}

#[test]
fn a_job_whose_reply_was_lost_is_found_by_its_key_through_the_trait_object() {
    let backend: Box<dyn Backend> = Box::new(Forgetful::default());
    let job = spec(10);
    assert_eq!(now(backend.find(&key())), Ok(None));
    let error = now(backend.submit(&job, &key())).unwrap_err();
    assert!(
        matches!(error, BackendError::Ambiguous { .. }) && error.to_string().contains("before repeating")
    );
    let found = now(backend.find(&key())).unwrap().unwrap();
    assert_eq!(now(backend.result(&found)).unwrap().verify(&job), Ok(()));
}

fn send(breaker: &mut Breaker, now_ms: u64, input: Input) -> Result<(), Refusal> {
    let event = breaker.decide(now_ms, input)?;
    breaker.apply(event);
    Ok(())
}

fn fails(breaker: &mut Breaker, now_ms: u64) {
    send(breaker, now_ms, Input::Ask).unwrap();
    let generation = breaker.generation();
    send(breaker, now_ms, Input::Failed { generation }).unwrap();
}

fn succeeds(breaker: &mut Breaker, now_ms: u64) {
    send(breaker, now_ms, Input::Ask).unwrap();
    let generation = breaker.generation();
    send(breaker, now_ms, Input::Succeeded { generation }).unwrap();
}

const THREE: Thresholds = Thresholds { failures: 3, open_ms: 100, open_ms_max: 350, probes: 2 };

#[test]
fn only_failures_in_a_row_open_the_breaker() {
    let mut breaker = Breaker::new(THREE);
    for _ in 0..10 {
        fails(&mut breaker, 0);
        fails(&mut breaker, 0);
        succeeds(&mut breaker, 0);
    }
    assert_eq!(breaker.phase(), Phase::Closed { failures: 0 });
    for _ in 0..3 {
        fails(&mut breaker, 50);
    }
    assert_eq!(breaker.phase(), Phase::Open { until_ms: 150, open_ms: 100 });
    assert_eq!(breaker.decide(149, Input::Ask), Err(Refusal::Open { wait_ms: 1 }));
    assert!(breaker.decide(150, Input::Ask).is_ok());
}

fn opened() -> Breaker {
    let mut breaker = Breaker::new(THREE);
    for _ in 0..3 {
        fails(&mut breaker, 0);
    }
    breaker
}

#[test]
fn half_open_lets_so_many_probes_through_and_closes_when_all_succeed() {
    let mut breaker = opened();
    send(&mut breaker, 100, Input::Ask).unwrap();
    send(&mut breaker, 100, Input::Ask).unwrap();
    assert_eq!(send(&mut breaker, 100, Input::Ask), Err(Refusal::Probing));
    let generation = breaker.generation();
    send(&mut breaker, 101, Input::Succeeded { generation }).unwrap();
    assert_eq!(
        send(&mut breaker, 101, Input::Ask),
        Err(Refusal::Probing),
        "one success and one under way are two"
    );
    send(&mut breaker, 102, Input::Succeeded { generation }).unwrap();
    assert_eq!(breaker.phase(), Phase::Closed { failures: 0 });
}

#[test]
fn a_failed_probe_doubles_the_wait_up_to_its_limit() {
    let mut breaker = opened();
    let mut waits = Vec::new();
    let mut now = 100;
    for _ in 0..4 {
        fails(&mut breaker, now);
        let Phase::Open { until_ms, .. } = breaker.phase() else { panic!("not open") };
        waits.push(until_ms - now);
        now = until_ms;
    }
    assert_eq!(waits, [200, 350, 350, 350]);
    // Once closed, the next opening starts from the short wait again.
    succeeds(&mut breaker, now);
    succeeds(&mut breaker, now);
    (0..3).for_each(|_| fails(&mut breaker, now));
    assert_eq!(breaker.phase(), Phase::Open { until_ms: now + 100, open_ms: 100 });
}

#[test]
fn a_late_reply_of_an_earlier_phase_counts_for_nothing() {
    let mut breaker = Breaker::new(THREE);
    send(&mut breaker, 0, Input::Ask).unwrap();
    let old = breaker.generation();
    (0..3).for_each(|_| fails(&mut breaker, 0));
    send(&mut breaker, 100, Input::Ask).unwrap();
    let before = breaker.clone();
    for input in [Input::Succeeded { generation: old }, Input::Failed { generation: old }] {
        assert!(matches!(send(&mut breaker, 101, input), Err(Refusal::Stale { .. })));
        assert_eq!(breaker, before);
    }
}

#[test]
fn probes_of_a_dead_process_do_not_block_the_breaker_for_ever() {
    let mut breaker = opened();
    send(&mut breaker, 100, Input::Ask).unwrap();
    send(&mut breaker, 100, Input::Ask).unwrap();
    breaker.recover();
    succeeds(&mut breaker, 200);
    succeeds(&mut breaker, 200);
    assert_eq!(breaker.phase(), Phase::Closed { failures: 0 });
}

proptest! {
    #[test]
    fn the_breaker_never_stays_shut_for_longer_than_its_limit(
        steps in prop::collection::vec((0u64..200, 0u8..3), 1..200),
        probes in 1u32..4,
    ) {
        let mut breaker = Breaker::new(Thresholds { probes, ..THREE });
        let (mut now, mut permitted) = (0, Vec::new());
        for (passed, choice) in steps {
            now += passed;
            if choice == 0 {
                if send(&mut breaker, now, Input::Ask).is_ok() {
                    permitted.push(breaker.generation());
                }
            } else if let Some(generation) = permitted.pop() {
                let input = if choice == 1 { Input::Succeeded { generation } } else { Input::Failed { generation } };
                let _ = send(&mut breaker, now, input);
            }
            if let Phase::Open { until_ms, .. } = breaker.phase() {
                prop_assert!(until_ms <= now + 350);
            }
            if let Phase::HalfOpen { under_way, succeeded, .. } = breaker.phase() {
                prop_assert!(under_way + succeeded <= probes && succeeded < probes);
            }
            let replayed: Breaker = serde_json::from_str(&serde_json::to_string(&breaker).unwrap()).unwrap();
            prop_assert_eq!(&replayed, &breaker);
        }
        // Whatever happened: when all is answered and time passes, a call gets through.
        for generation in permitted {
            let _ = send(&mut breaker, now, Input::Failed { generation });
        }
        prop_assert!(send(&mut breaker, now + 350, Input::Ask).is_ok());
    }
}

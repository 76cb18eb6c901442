//! `explain RUN`: why each stage waits, in one sentence, and what it waited for before.
//!
//! Rule: the reason is the one that whoever decides has, never a guess of this page: the run for needs,
//! gates and rests, the newest placement for room, the board for disk, breakers and emergency stops.
//! Past waits come from the journal (`actors::waits`). Start at [`explain`].

use super::queries::time;
use super::{ANSWER_WAIT, Inner};
use actors::scheduler::Reasons;
use actors::{records, stages, waits};
use engine::definition::{StageIndex, StageKind, StageSpec};
use engine::limits::PAGE_RECORDS_MAX;
use engine::placement::{LeaseKey, Ledger, Resource, Why};
use engine::protocol::ErrorReply;
use engine::run::{Event, Run, StageState, Wait};
use engine::taxonomy;
use serde_json::{Value, json};

/// Holders that an answer names; `resources` shows all.
const HOLDERS_MAX: usize = 10;

/// One stage's reason as it is answered.
struct Reason {
    word: &'static str,
    sentence: String,
    since_ms: Option<u64>,
    until_ms: Option<u64>,
    /// Further fields of this reason.
    more: Value,
}

impl Reason {
    fn new(word: &'static str, sentence: String) -> Self {
        Self { word, sentence, since_ms: None, until_ms: None, more: json!({}) }
    }

    fn json(self, stage: &str) -> Value {
        let mut all = json!({ "stage": stage, "reason": self.word, "sentence": self.sentence });
        if let Some(since) = self.since_ms {
            all["since"] = time(since).into();
        }
        if let Some(until) = self.until_ms {
            all["until"] = time(until).into();
        }
        if let (Some(all), Value::Object(more)) = (all.as_object_mut(), self.more) {
            all.extend(more);
        }
        all
    }
}

pub(super) async fn explain(inner: &Inner, id: &str) -> Result<Value, ErrorReply> {
    let run = inner.run(id)?;
    let asked = actors::scheduler::Explain { run: id.to_owned() };
    let reasons = inner.directory.scheduler.ask(asked, ANSWER_WAIT).await.ok();
    let ledger = inner.directory.resources.ask(actors::resources::Look, ANSWER_WAIT).await.ok();
    let explaining = Explaining { inner, run: &run, reasons, ledger: ledger.map(|view| view.0) };
    let now_ms = inner.shared.clock.now_ms();
    let waits: Vec<(StageIndex, Reason)> =
        run.waits(now_ms).into_iter().map(|(stage, wait)| (stage, explaining.reason(stage, wait))).collect();
    let path = |stage: u32| run.definition().stages.get(stage as usize).map(|spec| spec.path.as_str());
    let shown: Vec<Value> =
        waits.into_iter().map(|(stage, reason)| reason.json(path(stage.0).unwrap_or_default())).collect();
    let stages: Vec<Value> =
        shown.iter().map(|wait| json!({ "stage": wait["stage"], "why": wait["sentence"] })).collect();
    let past: Vec<Value> = waits::read(&inner.shared.journal, id)
        .into_iter()
        .map(|waited| {
            json!({
                "stage": path(waited.stage), "attempt": waited.attempt, "reason": waited.why.word(),
                "sentence": format!("waited for {}", waited.why.short()),
                "since": time(waited.since_ms), "until": time(waited.until_ms),
                "seconds": waited.until_ms.saturating_sub(waited.since_ms) as f64 / 1_000.0,
            })
        })
        .collect();
    Ok(json!({
        "run": id, "phase": run.phase_name(), "stages": stages, "waits": shown, "waited": past,
        "retries": retries(&run), "error_classes": error_classes(&run),
    }))
}

/// Under which policy failed attempts are repeated, and who said each part of it; all of it was settled when the
/// run was submitted.
fn retries(run: &Run) -> Vec<Value> {
    let computes = |spec: &&StageSpec| !matches!(spec.kind, StageKind::Approval | StageKind::Signal);
    let one = |spec: &StageSpec| {
        let policy = spec.retry_policy();
        json!({
            "stage": spec.path, "attempts": policy.attempts, "backoff_ms": policy.backoff_ms,
            "backoff_max_ms": policy.backoff_ms_max, "factor": f64::from(policy.factor_permille) / 1_000.0,
            "retry_on": policy.retry_on.words(), "from": policy.from,
        })
    };
    run.definition().stages.iter().filter(computes).map(one).collect()
}

/// Codes that count as another class in this run.
fn error_classes(run: &Run) -> Value {
    let classes = run.definition().control.error_classes.iter();
    classes
        .map(|(code, class)| (code.clone(), json!(taxonomy::word(*class))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

struct Explaining<'a> {
    inner: &'a Inner,
    run: &'a Run,
    reasons: Option<Reasons>,
    ledger: Option<Ledger>,
}

impl Explaining<'_> {
    fn reason(&self, stage: StageIndex, wait: Wait) -> Reason {
        let board = &self.inner.shared.board;
        match (&wait, board.emergency()) {
            // What a stage needs comes first, and a person's no is asked for in an emergency too.
            (Wait::Dependency(_) | Wait::InDoubt(_), _) | (_, None) => {}
            (_, Some(why)) => {
                let sentence = format!(
                    "waits for the end of the emergency stop ({why}); `emergency-clear`, then `resume`, let it go on"
                );
                return Reason::new("emergency", sentence);
            }
        }
        match wait {
            Wait::Dependency(needs) => {
                let sentence = format!("waits for {}", needs.join(", "));
                Reason { more: json!({ "needs": needs }), ..Reason::new("dependency", sentence) }
            }
            Wait::Placement => self.placement(stage),
            Wait::Backoff(until_ms) => self.backoff(stage, until_ms),
            Wait::Gate { missing, deadline_ms } => {
                let by = self.run.submitted_by();
                let until = deadline_ms.map(|at| format!(" until {}", time(at))).unwrap_or_default();
                let sentence = format!(
                    "waits for {missing} approval(s){until}, by anybody but {by}, who submitted the run: `approve` or `reject`"
                );
                let more = json!({ "missing": missing, "not_by": by });
                Reason { until_ms: deadline_ms, more, ..Reason::new("approval", sentence) }
            }
            Wait::Signal { name, deadline_ms } => {
                let until = deadline_ms.map(|at| format!(" until {}", time(at))).unwrap_or_default();
                let sentence = format!("waits for the signal `{name}`{until}: `signal` gives it");
                let more = json!({ "signal": name });
                Reason { until_ms: deadline_ms, more, ..Reason::new("signal", sentence) }
            }
            Wait::Paused => {
                let (by, at_ms) = self.paused_by().unzip();
                let who = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
                let since = at_ms.map(|at| format!(" since {}", time(at))).unwrap_or_default();
                let sentence = format!("the run is paused{who}{since}; `resume` lets it go on");
                Reason { since_ms: at_ms, more: json!({ "by": by }), ..Reason::new("paused", sentence) }
            }
            Wait::InDoubt(what) => Reason::new(
                "in-doubt",
                format!(
                    "it is not known whether its last attempt took effect ({what}); a person must `retry` or `cancel`"
                ),
            ),
        }
    }

    fn placement(&self, stage: StageIndex) -> Reason {
        let asked_ms = match self.run.stage(stage) {
            StageState::Ready { since_ms, .. } => Some(*since_ms),
            _ => None,
        };
        let board = &self.inner.shared.board;
        if let Some(why) = board.no_room().or_else(|| board.disk_full()) {
            let sentence = format!("waits for room on disk: {why}");
            return Reason { since_ms: asked_ms, ..Reason::new("disk", sentence) };
        }
        let key = (self.run.id().to_owned(), stage.0);
        let known =
            self.reasons.as_ref().and_then(|reasons| reasons.0.iter().find(|(ask, _)| ask.key == key));
        let (Some((ask, Some((why, since_ms)))), Some(ledger)) = (known, &self.ledger) else {
            let sentence = "waits for the scheduler, which will look in a moment".to_owned();
            return Reason { since_ms: asked_ms, ..Reason::new("queued", sentence) };
        };
        let sentence = match why {
            Why::Drained(resource) => self.drained(resource),
            _ => ledger.sentence(ask, why, time, |key| self.name(key)),
        };
        Reason {
            word: why.word(),
            sentence,
            since_ms: Some(*since_ms),
            until_ms: why.until_ms(),
            more: self.details(ledger, why),
        }
    }

    fn drained(&self, resource: &Resource) -> String {
        format!("waits for {resource}, which an operator has drained; `resources` says who and why")
    }

    fn details(&self, ledger: &Ledger, why: &Why) -> Value {
        match why {
            Why::Short { resource, behind } => {
                let holders: Vec<Value> = ledger
                    .holders_of(resource)
                    .into_iter()
                    .take(HOLDERS_MAX)
                    .map(|(key, lease)| {
                        json!({
                            "run": key.0, "stage": self.path(key), "user": lease.owner.user,
                            "since": time(lease.since_ms),
                        })
                    })
                    .collect();
                let behind = behind.as_ref().map(|key| self.name(key));
                json!({ "resource": resource.to_string(), "holders": holders, "behind": behind })
            }
            Why::Kept { resource, head } => {
                json!({ "resource": resource.to_string(), "kept_for": self.name(head) })
            }
            Why::Drained(resource) => json!({ "resource": resource.to_string() }),
            Why::Quota { of, what, used, most, .. } => {
                json!({ "of": of.to_string(), "what": what, "used": used, "most": most })
            }
            Why::Budget { of, what, used, most, .. } => {
                json!({ "of": of, "what": what, "used": used, "most": most })
            }
            Why::Ceiling { what, used, most } => json!({ "what": what, "used": used, "most": most }),
            Why::Reserved { reservation, .. } => json!({ "reservation": reservation }),
            Why::Parallel { most } => {
                json!({ "most": most, "runs": ledger.open_runs().iter().take(HOLDERS_MAX).collect::<Vec<_>>() })
            }
        }
    }

    fn backoff(&self, stage: StageIndex, until_ms: u64) -> Reason {
        let error = self.run.stage_error(stage);
        let after = error.map(|e| format!(" after {}: {}", e.code, e.message)).unwrap_or_default();
        let backend =
            stages::backend(&self.run.definition().stages[stage.0 as usize], &self.run.params_of(stage));
        let breaker = |backend: &String| {
            let breakers = self.inner.shared.board.breakers();
            breakers.get(backend)?["breaker"].as_str().filter(|state| *state != "closed").map(str::to_owned)
        };
        let resting = backend.and_then(|backend| breaker(&backend).map(|state| (backend, state)));
        match resting {
            Some((backend, state)) => {
                let sentence = format!(
                    "rests until {} before its next attempt{after}; the breaker of backend {backend} is {state}",
                    time(until_ms)
                );
                let more = json!({ "backend": backend, "breaker": state });
                Reason { until_ms: Some(until_ms), more, ..Reason::new("breaker", sentence) }
            }
            None => {
                let sentence = format!("rests until {} before its next attempt{after}", time(until_ms));
                let more = json!({ "code": error.map(|error| &error.code) });
                Reason { until_ms: Some(until_ms), more, ..Reason::new("backoff", sentence) }
            }
        }
    }

    /// Who paused the run, and when: its newest pause.
    fn paused_by(&self) -> Option<(String, u64)> {
        let stream = records::run_stream(self.run.id());
        let (mut from, mut found) = (1, None);
        loop {
            let page = self.inner.shared.journal.read_stream(&stream, from, PAGE_RECORDS_MAX).ok()?;
            let Some(last) = page.last() else { return found };
            from = last.stream_seq + 1;
            for record in page {
                if let Ok(Event::RunPaused { by }) = records::decode_run_event(&record) {
                    found = Some((by, record.time_ms));
                }
            }
        }
    }

    fn path(&self, (run, stage): &LeaseKey) -> Option<String> {
        let of = self.inner.shared.board.live(run)?;
        of.definition().stages.get(*stage as usize).map(|spec| spec.path.clone())
    }

    fn name(&self, key: &LeaseKey) -> String {
        match self.path(key) {
            Some(path) => format!("{path} of {}", key.0),
            None => format!("stage {} of {}", key.1, key.0),
        }
    }
}

//! The health monitor: looks at journal, disk and queues (once a second by default) and keeps the programme's five
//! figures (throughput, latency, resource efficiency, success rate, error rate).
//!
//! Rule: it only looks; what it finds it shows on the board, in metrics and in the log.

use crate::shared::Shared;
use actix::{Actor, AsyncContext, Context, Handler, Message, Supervised};
use engine::run::Run;
use serde_json::json;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

/// Questions that may wait.
pub const HEALTH_MAILBOX: usize = 256;
/// Free space on disk can go within seconds, however seldom the rest is looked at.
const ROOM_EVERY: Duration = Duration::from_secs(1);

/// Sums over ended runs, for the rates. Process-wide like the metrics they feed.
#[derive(Debug, Default)]
struct Totals {
    ended: u64,
    succeeded: u64,
    attempts: u64,
    attempts_failed: u64,
    designs: f64,
    busy_seconds: f64,
    wall_seconds: f64,
}

static TOTALS: Mutex<Totals> = Mutex::new(Totals {
    ended: 0,
    succeeded: 0,
    attempts: 0,
    attempts_failed: 0,
    designs: 0.0,
    busy_seconds: 0.0,
    wall_seconds: 0.0,
});

/// Counts an ended run into the programme's five figures.
pub fn observe_run_end(run: &Run) {
    let mut totals = TOTALS.lock().unwrap_or_else(PoisonError::into_inner);
    let wall = run.applied().1.saturating_sub(run.submitted_ms()) as f64 / 1_000.0;
    totals.ended += 1;
    if run.phase_name() == "succeeded" {
        totals.succeeded += 1;
    }
    totals.designs +=
        run.facts().get("feasible_configurations_found").and_then(serde_json::Value::as_f64).unwrap_or(0.0);
    for index in 0..run.definition().stages.len() as u32 {
        let stage = engine::definition::StageIndex(index);
        let attempts = u64::from(run.attempts(stage));
        totals.attempts += attempts;
        totals.attempts_failed +=
            if run.stage(stage).is_done() { attempts.saturating_sub(1) } else { attempts };
        totals.busy_seconds += run.timing(stage, run.applied().1).seconds();
    }
    totals.wall_seconds += wall;
    metrics::histogram!("executing_run_latency_seconds").record(wall);
    metrics::counter!("executing_designs_enumerated_total").absolute(totals.designs as u64);
    if totals.wall_seconds > 0.0 {
        metrics::gauge!("executing_throughput_designs_per_hour")
            .set(totals.designs / totals.wall_seconds * 3_600.0);
        metrics::gauge!("executing_resource_efficiency_ratio").set(totals.busy_seconds / totals.wall_seconds);
    }
    metrics::gauge!("executing_success_rate_ratio").set(totals.succeeded as f64 / totals.ended as f64);
    if totals.attempts > 0 {
        metrics::gauge!("executing_error_rate_ratio")
            .set(totals.attempts_failed as f64 / totals.attempts as f64);
    }
}

/// The programme's figures since the daemon began; rates are `None` before there is anything to count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    pub ended: u64,
    pub designs_per_hour: Option<f64>,
    pub success_rate: Option<f64>,
    pub error_rate: Option<f64>,
}

/// The figures of the runs that ended so far.
pub fn figures() -> Figures {
    let totals = TOTALS.lock().unwrap_or_else(PoisonError::into_inner);
    let rate = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
    Figures {
        ended: totals.ended,
        designs_per_hour: rate(totals.designs, totals.wall_seconds / 3_600.0),
        success_rate: rate(totals.succeeded as f64, totals.ended as f64),
        error_rate: rate(totals.attempts_failed as f64, totals.attempts as f64),
    }
}

/// The actor that looks.
#[derive(Debug)]
pub struct Health {
    shared: Shared,
    started_ms: u64,
}

impl Health {
    pub fn new(shared: Shared) -> Self {
        let started_ms = shared.clock.now_ms();
        Self { shared, started_ms }
    }

    fn look(&mut self, _: &mut Context<Self>) {
        journal::failpoint!("health.look");
        let status = self.shared.journal.status();
        metrics::counter!("executing_journal_fsyncs_total").absolute(status.fsyncs);
        metrics::counter!("executing_journal_records_total").absolute(status.records);
        metrics::gauge!("executing_disk_free_bytes").set(status.disk_free_bytes as f64);
        metrics::gauge!("executing_spare_workers").set(self.shared.spares.status().ready as f64);
        metrics::gauge!("executing_runs_open").set(self.shared.board.live_runs().len() as f64);
        metrics::gauge!("executing_uptime_seconds")
            .set(self.shared.clock.now_ms().saturating_sub(self.started_ms) as f64 / 1_000.0);
    }
}

impl Actor for Health {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.run_interval(ROOM_EVERY, |actor, _| actor.shared.room.look(&actor.shared.board));
        ctx.run_interval(self.shared.limits.scheduling.health_every, Self::look);
    }
}

impl Supervised for Health {}

/// How is everything?
#[derive(Debug, Message)]
#[rtype(result = "Report")]
pub struct Look;

/// Answer to [`Look`].
#[derive(Debug, actix::MessageResponse)]
pub struct Report {
    pub healthy: bool,
    pub components: serde_json::Value,
}

impl Handler<Look> for Health {
    type Result = Report;

    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Report {
        let status = self.shared.journal.status();
        let board = &self.shared.board;
        let journal_ok = status.poisoned.is_none();
        let (disk, low) = (board.disk_full(), board.no_room());
        let disk_ok = disk.is_none() && low.is_none();
        let retention = self.shared.books.unreadable();
        let unreadable = board.unreadable();
        let recovered = board.is_recovered() && unreadable.is_empty();
        let healthy = journal_ok && disk_ok && recovered && retention.is_none();
        let components = json!({
            "journal": { "ok": journal_ok, "poisoned": status.poisoned, "records": status.records, "head": self.shared.journal.head().position },
            "disk": { "ok": disk_ok, "full": disk, "paused": low, "free_bytes": status.disk_free_bytes },
            "recovery": { "ok": recovered, "unreadable_runs": unreadable },
            "retention": { "ok": retention.is_none(), "unreadable": retention },
            "runs": { "ok": true, "open": board.live_runs().len() },
            "emergency_stop": board.emergency(),
        });
        Report { healthy, components }
    }
}

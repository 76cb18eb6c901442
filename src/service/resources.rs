//! `resources` and the orders of operators: what there is, who holds it, what is kept, drained, used up.
//!
//! Rule: looking asks the resource manager once; an order is answered when it is durable. Whoever may
//! open the socket with the role `operator` or `admin` may order.

use super::queries::time;
use super::replies::{self, error, exit};
use super::{ANSWER_WAIT, CHANGE_WAIT, Inner};
use crate::control::Caller;
use actors::records::Principal;
use actors::resources::{Look, Operate, OperateError, Stands};
use engine::placement::{
    Budget, DAY_MS, HOUR_MS, Holder, Ledger, Order, OrderRefused, Reservation, Resource, Spent, Tally,
};
use engine::protocol::{ErrorReply, Reserving};
use engine::retention::by_number;
use serde_json::{Map, Value, json};
use tokio::sync::oneshot;

pub(super) async fn resources(inner: &Inner) -> Result<Value, ErrorReply> {
    let manager = &inner.directory.resources;
    let asked = |e| replies::from_ask("the resource manager", e);
    let ledger = manager.ask(Look, ANSWER_WAIT).await.map_err(asked)?.0;
    let standing = manager.ask(Stands, ANSWER_WAIT).await.map_err(asked)?.0;
    let (cpu_free, memory_free) = ledger.free();
    let now_ms = inner.shared.clock.now_ms();
    let mut leases: Vec<_> = ledger.leases().iter().collect();
    leases.sort_by_key(|((run, stage), _)| (by_number(run), *stage));
    let leases: Vec<Value> = leases
        .into_iter()
        .map(|((run, stage), lease)| {
            let live = inner.shared.board.live(run);
            let path = live.and_then(|r| r.definition().stages.get(*stage as usize).map(|s| s.path.clone()));
            json!({
                "run": run, "stage": path, "user": lease.owner.user, "workflow": lease.owner.workflow,
                "place": lease.place, "slot": lease.slot, "backend": lease.backend,
                "cpu_cores": lease.cpu_cores, "memory_mib": lease.memory_mib, "shots": lease.shots,
                "micro_usd": lease.money_micro_usd, "fence": lease.fence, "since": time(lease.since_ms),
                "until": lease.expires_ms.map(time),
            })
        })
        .collect();
    let capacity = ledger.capacity();
    let held_slots = ledger.leases().values().filter(|lease| lease.slot.is_some()).count();
    let places = |name: &String| {
        ledger.leases().values().filter(|lease| lease.backend.as_ref() == Some(name)).count() as u32
    };
    let free_places: Map<String, Value> = capacity
        .backends
        .iter()
        .map(|(name, all)| (name.clone(), all.saturating_sub(places(name)).into()))
        .collect();
    let drains: Vec<Value> = standing
        .drains()
        .iter()
        .map(|(resource, ordered)| {
            json!({
                "resource": written(resource), "reason": ordered.what, "by": ordered.by,
                "since": time(ordered.at_ms),
            })
        })
        .collect();
    let reservations: Vec<Value> = ledger
        .policy()
        .reservations
        .iter()
        .filter(|(_, reservation)| reservation.until_ms > now_ms)
        .map(|(name, reservation)| {
            let by = standing.reservations().get(name).map(|ordered| ordered.by.clone());
            reserved(name, reservation, by, now_ms)
        })
        .collect();
    Ok(json!({
        "capacity": {
            "cpu_cores": capacity.cpu_cores, "memory_mib": capacity.memory_mib,
            "worker_slots": capacity.slots.len(), "backends": capacity.backends,
        },
        "free": {
            "cpu_cores": cpu_free, "memory_mib": memory_free,
            "worker_slots": capacity.slots.len().saturating_sub(held_slots), "backends": free_places,
        },
        "leases": leases,
        "quotas": quotas(&ledger, now_ms),
        "budgets": budgets(&ledger, now_ms),
        "reservations": reservations,
        "drains": drains,
        "queue": queue(inner, &ledger),
    }))
}

fn queue(inner: &Inner, ledger: &Ledger) -> Value {
    let scheduling = &inner.shared.limits.scheduling;
    let policy = ledger.policy();
    json!({
        "runs_open": inner.shared.board.live_count(),
        "runs_max": scheduling.runs_open_max,
        "runs_max_per_user": scheduling.runs_open_max_per_user,
        "stages_max": policy.queue_max,
        "stages_max_per_user": policy.queue_max_per_user,
        "runs_side_by_side": ledger.open_runs().len(),
        "runs_side_by_side_max": policy.max_parallel_workflows,
    })
}

fn reserved(name: &str, reservation: &Reservation, by: Option<String>, now_ms: u64) -> Value {
    json!({
        "name": name, "for": reservation.holder.to_string(), "cpu_cores": reservation.cpu_cores,
        "memory_mib": reservation.memory_mib, "slots": reservation.slots, "backends": reservation.backends,
        "from": time(reservation.from_ms), "until": time(reservation.until_ms),
        "holds": reservation.holds_at(now_ms),
        // None: it stands in the settings.
        "by": by,
    })
}

/// Every limit of users and workflows, with what is used of it; those without a limit are left out.
fn quotas(ledger: &Ledger, now_ms: u64) -> Vec<Value> {
    let policy = ledger.policy();
    let mut known: std::collections::BTreeMap<Holder, Tally> = ledger.holders_known().into_iter().collect();
    for name in policy.users.keys() {
        known.entry(Holder::User(name.clone())).or_default();
    }
    for name in policy.workflows.keys() {
        known.entry(Holder::Workflow(name.clone())).or_default();
    }
    let mut rows = Vec::new();
    for (holder, tally) in known {
        let quota = policy.quota(&holder);
        let (shots, money) = tally.spent.today(now_ms);
        for (what, used, most) in [
            ("stages", tally.stages, quota.stages),
            ("cpu_cores", tally.cpu_cores, quota.cpu_cores),
            ("memory_mib", tally.memory_mib, quota.memory_mib),
            ("shots_per_day", shots, quota.shots_per_day),
            ("micro_usd_per_day", money, quota.money_micro_usd_per_day),
        ] {
            if let Some(most) = most {
                let left = most.saturating_sub(used);
                rows.push(json!({ "of": holder.to_string(), "what": what, "used": used, "most": most, "left": left }));
            }
        }
    }
    rows
}

/// Every budget with what is used and left of it in the running hour or day.
fn budgets(ledger: &Ledger, now_ms: u64) -> Vec<Value> {
    let (spent, of_backends) = ledger.spent();
    let policy = ledger.policy();
    let mut rows = Vec::new();
    let mut add = |of: &str, budget: &Budget, spent: Spent| {
        let (shots, money) = spent.today(now_ms);
        let (hour_ends, day_ends) = ((now_ms / HOUR_MS + 1) * HOUR_MS, (now_ms / DAY_MS + 1) * DAY_MS);
        for (what, used, most, ends) in [
            ("shots_per_hour", spent.shots_in_hour(now_ms), budget.shots_per_hour, hour_ends),
            ("shots_per_day", shots, budget.shots_per_day, day_ends),
            ("micro_usd_per_day", money, budget.money_micro_usd_per_day, day_ends),
        ] {
            if let Some(most) = most {
                let left = most.saturating_sub(used);
                rows.push(json!({ "of": of, "what": what, "used": used, "most": most, "left": left, "until": time(ends) }));
            }
        }
    };
    add("daemon", &policy.budget, spent);
    for (backend, budget) in &policy.backend_budgets {
        add(backend, budget, of_backends.get(backend).copied().unwrap_or_default());
    }
    rows
}

/// A resource as operators write it.
fn written(resource: &Resource) -> String {
    match resource {
        Resource::Machine => "machine".to_owned(),
        Resource::Cpu => "cpu".to_owned(),
        Resource::Memory => "memory".to_owned(),
        Resource::AnySlot => "slots".to_owned(),
        Resource::Slot(name) => name.clone(),
        Resource::Backend(name) => name.clone(),
    }
}

/// What an operator means by a word: `machine`, `slots`, a slot, or a backend.
fn meant(inner: &Inner, word: &str) -> Result<Resource, ErrorReply> {
    let capacity = &inner.capacity;
    match word {
        "machine" => Ok(Resource::Machine),
        "slots" => Ok(Resource::AnySlot),
        name if capacity.slots.contains_key(name) => Ok(Resource::Slot(name.to_owned())),
        name if capacity.backends.contains_key(name) => Ok(Resource::Backend(name.to_owned())),
        other => {
            let known: Vec<&str> = ["machine", "slots"]
                .into_iter()
                .chain(capacity.slots.keys().map(String::as_str))
                .chain(capacity.backends.keys().map(String::as_str))
                .collect();
            let message = format!("there is no resource {other:?}; there are: {}", known.join(", "));
            Err(error("EX-0028", exit::NOT_FOUND, message))
        }
    }
}

pub(super) async fn drain(
    inner: &Inner,
    who: &Caller,
    word: String,
    reason: String,
) -> Result<Value, ErrorReply> {
    let resource = meant(inner, &word)?;
    if reason.trim().is_empty() {
        return Err(error("EX-0002", exit::USAGE, "a drain needs a reason; others will read it"));
    }
    order(inner, who, Order::Drain { resource, reason: reason.clone() }).await?;
    Ok(json!({ "resource": word, "drained": true, "reason": reason, "by": who.name }))
}

pub(super) async fn undrain(inner: &Inner, who: &Caller, word: String) -> Result<Value, ErrorReply> {
    let resource = meant(inner, &word)?;
    order(inner, who, Order::Undrain { resource }).await?;
    Ok(json!({ "resource": word, "drained": false, "by": who.name }))
}

pub(super) async fn reserve(
    inner: &Inner,
    who: &Caller,
    name: String,
    asked: Reserving,
) -> Result<Value, ErrorReply> {
    let wrong = |message: String| Err(error("EX-0030", exit::INVALID, message));
    let holder = match (asked.user, asked.workflow) {
        (Some(user), None) => Holder::User(user),
        (None, Some(workflow)) => Holder::Workflow(workflow),
        _ => return wrong("expected exactly one of `user` and `workflow`".to_owned()),
    };
    let now_ms = inner.shared.clock.now_ms();
    let from_ms = match asked.from.as_deref().map(crate::settings::scheduling::time_ms).transpose() {
        Ok(from) => from.unwrap_or(now_ms),
        Err(why) => return wrong(format!("from: {why}")),
    };
    let until_ms = match crate::settings::scheduling::time_ms(&asked.until) {
        Ok(until) => until,
        Err(why) => match engine::definition::units::duration_ms(&asked.until) {
            Ok(ms) => from_ms.saturating_add(ms),
            Err(_) => return wrong(format!("until: {why}, or a duration such as 2h")),
        },
    };
    let memory_mib = match asked.memory.as_deref().map(engine::definition::units::size_mib).transpose() {
        Ok(memory) => memory.unwrap_or(0),
        Err(why) => return wrong(format!("memory: {why}")),
    };
    let reservation = Reservation {
        holder,
        cpu_cores: asked.cpu_cores,
        memory_mib,
        slots: asked.slots,
        backends: asked.backends,
        from_ms,
        until_ms,
    };
    let shown = reserved(&name, &reservation, Some(who.name.clone()), now_ms);
    order(inner, who, Order::Reserve { name, reservation }).await?;
    Ok(shown)
}

pub(super) async fn unreserve(inner: &Inner, who: &Caller, name: String) -> Result<Value, ErrorReply> {
    order(inner, who, Order::Unreserve { name: name.clone() }).await?;
    Ok(json!({ "name": name, "reserved": false, "by": who.name }))
}

async fn order(inner: &Inner, who: &Caller, order: Order) -> Result<(), ErrorReply> {
    if !matches!(who.role.as_str(), "operator" | "admin") {
        let message = format!("{} ({}) may not do this; an operator or admin may", who.name, who.role);
        return Err(error("EX-0004", exit::DENIED, message));
    }
    let (reply, answered) = oneshot::channel();
    let by = Principal { name: who.name.clone(), role: who.role.clone() };
    let manager = &inner.directory.resources;
    manager.tell(Operate { order, by, reply }).map_err(|_| replies::busy("the resource manager"))?;
    let answer = match tokio::time::timeout(CHANGE_WAIT, answered).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) => return Err(replies::busy("the resource manager")),
        Err(_) => {
            let message =
                "the journal did not take the order in time; it may still do so, look with `resources`";
            return Err(error("EX-0010", exit::TIMEOUT, message));
        }
    };
    answer.map_err(|refused| {
        let message = refused.to_string();
        match refused {
            OperateError::Busy(_) => error("EX-0009", exit::TRY_LATER, message),
            OperateError::NotDurable(_) => error("EX-0013", exit::TRY_LATER, message),
            OperateError::Refused(refused) => match refused {
                OrderRefused::Unknown { .. } | OrderRefused::NoReservation { .. } => {
                    error("EX-0028", exit::NOT_FOUND, message)
                }
                OrderRefused::DrainedAlready { .. }
                | OrderRefused::NotDrained { .. }
                | OrderRefused::NameTaken { .. }
                | OrderRefused::OfSettings { .. } => error("EX-0029", exit::CONFLICT, message),
                OrderRefused::OutOfRange { .. } => error("EX-0030", exit::INVALID, message),
            },
        }
    })
}

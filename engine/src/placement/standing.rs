//! What operators ordered and what was spent: drains, reservations and use of budgets, over restarts.
//!
//! Rule: [`Standing::decide`] says what an order makes true and changes nothing; the caller journals the
//! event and then applies it. Who ordered it and when stands in the record's envelope.
//! Absent: leases (they end with the daemon) and the rules of the settings ([`super::Policy`]).

use super::capacity::{Capacity, Owner, Resource};
use super::policy::{Policy, Reservation};
use super::tally::{DAY_MS, HOUR_MS};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Schema version of [`Event`] in journal envelopes.
pub const STANDING_SCHEMA: u16 = 1;

/// Reservations that may stand at once: each is looked at for every stage that is placed.
pub const RESERVATIONS_MAX: usize = 64;

/// Longest name of a reservation, as of a stage.
const NAME_BYTES_MAX: usize = 64;

/// What became true.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    Drained {
        resource: Resource,
        reason: String,
    },
    Undrained {
        resource: Resource,
    },
    Reserved {
        name: String,
        reservation: Reservation,
    },
    Unreserved {
        name: String,
    },
    /// Shots and money that a lease took out of its budgets.
    SetAside {
        owner: Owner,
        backend: Option<String>,
        shots: u64,
        money_micro_usd: u64,
        since_ms: u64,
    },
    /// What such a lease, granted at `since_ms`, did not use.
    GivenBack {
        owner: Owner,
        backend: Option<String>,
        shots: u64,
        money_micro_usd: u64,
        since_ms: u64,
    },
    /// Last of a stream that goes on in another one.
    Closed,
    /// First of a stream that goes on from another one: all that counted there.
    Carried(Carried),
}

/// What still counts of a stream that begins anew.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Carried {
    drains: Vec<(Resource, Ordered<String>)>,
    reservations: Vec<(String, Ordered<Reservation>)>,
    /// Use of budgets in the running day, by owner, backend and hour.
    pub spent: Vec<Used>,
}

/// Shots and money that one owner took on one backend in the hour that begins at `since_ms`, net.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    pub owner: Owner,
    pub backend: Option<String>,
    pub shots: u64,
    pub money_micro_usd: u64,
    pub since_ms: u64,
}

/// All that still counts at `now_ms` of a whole stream: of each event who ordered it and when. O(n log n).
pub fn carried<'e>(events: impl Iterator<Item = (&'e Event, &'e str, u64)>, now_ms: u64) -> Carried {
    let mut standing = Standing::default();
    let mut sums: BTreeMap<(Owner, Option<String>, u64), (u64, u64)> = BTreeMap::new();
    for (event, by, at_ms) in events {
        standing.apply(event, by, at_ms);
        let mut note =
            |owner: &Owner, backend: &Option<String>, since_ms: u64, used: (u64, u64), adds: bool| {
                // Windows that are over count no more.
                if since_ms / DAY_MS < now_ms / DAY_MS {
                    return;
                }
                let sum = sums.entry((owner.clone(), backend.clone(), since_ms / HOUR_MS)).or_default();
                *sum = match adds {
                    true => (sum.0.saturating_add(used.0), sum.1.saturating_add(used.1)),
                    false => (sum.0.saturating_sub(used.0), sum.1.saturating_sub(used.1)),
                };
            };
        match event {
            Event::SetAside { owner, backend, shots, money_micro_usd, since_ms } => {
                note(owner, backend, *since_ms, (*shots, *money_micro_usd), true);
            }
            Event::GivenBack { owner, backend, shots, money_micro_usd, since_ms } => {
                note(owner, backend, *since_ms, (*shots, *money_micro_usd), false);
            }
            Event::Carried(carried) => {
                for used in &carried.spent {
                    let amount = (used.shots, used.money_micro_usd);
                    note(&used.owner, &used.backend, used.since_ms, amount, true);
                }
            }
            _ => {}
        }
    }
    let spent = sums.into_iter().filter(|(_, sum)| *sum != (0, 0));
    let spent = spent.map(|((owner, backend, hour), (shots, money_micro_usd))| Used {
        owner,
        backend,
        shots,
        money_micro_usd,
        since_ms: hour * HOUR_MS,
    });
    Carried {
        drains: standing.drains.into_iter().collect(),
        reservations: standing.reservations.into_iter().filter(|(_, r)| r.what.until_ms > now_ms).collect(),
        spent: spent.collect(),
    }
}

impl Event {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Drained { .. } => "ResourceDrained",
            Self::Undrained { .. } => "ResourceUndrained",
            Self::Reserved { .. } => "ResourceReserved",
            Self::Unreserved { .. } => "ResourceUnreserved",
            Self::SetAside { .. } => "BudgetSetAside",
            Self::GivenBack { .. } => "BudgetGivenBack",
            Self::Closed => "ResourcesClosed",
            Self::Carried(_) => "ResourcesCarried",
        }
    }
}

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    Drain { resource: Resource, reason: String },
    Undrain { resource: Resource },
    Reserve { name: String, reservation: Reservation },
    Unreserve { name: String },
}

/// A drain or reservation with who ordered it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered<T> {
    pub what: T,
    pub by: String,
    pub at_ms: u64,
}

/// Why an order is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefused {
    #[error("there is no {asked}; known are: {known}")]
    Unknown { asked: Resource, known: String },
    #[error("{resource} is drained already, by {by}: {reason}")]
    DrainedAlready { resource: Resource, by: String, reason: String },
    #[error("{resource} is not drained; drained are: {drained}")]
    NotDrained { resource: Resource, drained: String },
    #[error("a reservation {name:?} stands already; take another name, or end it first")]
    NameTaken { name: String },
    #[error("there is no reservation {name:?}; there are: {known}")]
    NoReservation { name: String, known: String },
    #[error("the reservation {name:?} stands in the settings; take it out there")]
    OfSettings { name: String },
    #[error("{field}: expected {expected}, got {got}")]
    OutOfRange { field: &'static str, expected: String, got: String },
}

/// All that stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    drains: BTreeMap<Resource, Ordered<String>>,
    reservations: BTreeMap<String, Ordered<Reservation>>,
}

impl Standing {
    /// Drained resources with the reason of each.
    pub const fn drains(&self) -> &BTreeMap<Resource, Ordered<String>> {
        &self.drains
    }

    /// Reservations beside those of the settings, those that are over included.
    pub const fn reservations(&self) -> &BTreeMap<String, Ordered<Reservation>> {
        &self.reservations
    }

    /// What `order` makes true at `now_ms`.
    ///
    /// # Errors
    /// [`OrderRefused`]; nothing changes either way.
    pub fn decide(
        &self,
        order: Order,
        capacity: &Capacity,
        settings: &Policy,
        now_ms: u64,
    ) -> Result<Event, OrderRefused> {
        match order {
            Order::Drain { resource, reason } => {
                known(&resource, capacity)?;
                if let Some(Ordered { what, by, .. }) = self.drains.get(&resource) {
                    let (by, reason) = (by.clone(), what.clone());
                    return Err(OrderRefused::DrainedAlready { resource, by, reason });
                }
                Ok(Event::Drained { resource, reason })
            }
            Order::Undrain { resource } => {
                if !self.drains.contains_key(&resource) {
                    let drained = listed(self.drains.keys());
                    return Err(OrderRefused::NotDrained { resource, drained });
                }
                Ok(Event::Undrained { resource })
            }
            Order::Reserve { name, reservation } => {
                if settings.reservations.contains_key(&name)
                    || self.reservations.get(&name).is_some_and(|known| known.what.until_ms > now_ms)
                {
                    return Err(OrderRefused::NameTaken { name });
                }
                check_name(&name)?;
                check_reservation(&reservation, capacity, now_ms)?;
                let standing =
                    self.reservations.values().filter(|known| known.what.until_ms > now_ms).count();
                if standing + settings.reservations.len() >= RESERVATIONS_MAX {
                    return Err(OrderRefused::OutOfRange {
                        field: "reservations",
                        expected: format!("at most {RESERVATIONS_MAX}"),
                        got: "one more".to_owned(),
                    });
                }
                Ok(Event::Reserved { name, reservation })
            }
            Order::Unreserve { name } => {
                if settings.reservations.contains_key(&name) {
                    return Err(OrderRefused::OfSettings { name });
                }
                if !self.reservations.contains_key(&name) {
                    let known = listed(self.reservations.keys());
                    return Err(OrderRefused::NoReservation { name, known });
                }
                Ok(Event::Unreserved { name })
            }
        }
    }

    /// Takes an event over; `by` and `at_ms` are those of its record.
    pub fn apply(&mut self, event: &Event, by: &str, at_ms: u64) {
        let by = by.to_owned();
        match event {
            Event::Drained { resource, reason } => {
                self.drains.insert(resource.clone(), Ordered { what: reason.clone(), by, at_ms });
            }
            Event::Undrained { resource } => drop(self.drains.remove(resource)),
            Event::Reserved { name, reservation } => {
                self.reservations.insert(name.clone(), Ordered { what: reservation.clone(), by, at_ms });
            }
            Event::Unreserved { name } => drop(self.reservations.remove(name)),
            // The ledger keeps these sums.
            Event::SetAside { .. } | Event::GivenBack { .. } | Event::Closed => {}
            Event::Carried(carried) => {
                self.drains = carried.drains.iter().cloned().collect();
                self.reservations = carried.reservations.iter().cloned().collect();
            }
        }
    }

    /// The rules of the settings with the reservations that stand at `now_ms` or are to come.
    pub fn over(&self, settings: &Policy, now_ms: u64) -> Policy {
        let mut policy = settings.clone();
        for (name, Ordered { what, .. }) in &self.reservations {
            if what.until_ms > now_ms {
                policy.reservations.entry(name.clone()).or_insert_with(|| what.clone());
            }
        }
        policy
    }
}

fn listed<T: ToString>(names: impl Iterator<Item = T>) -> String {
    let names: Vec<String> = names.map(|name| name.to_string()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn known(resource: &Resource, capacity: &Capacity) -> Result<(), OrderRefused> {
    let known = match resource {
        Resource::Slot(name) if !capacity.slots.contains_key(name) => listed(capacity.slots.keys()),
        Resource::Backend(name) if !capacity.backends.contains_key(name) => listed(capacity.backends.keys()),
        _ => return Ok(()),
    };
    Err(OrderRefused::Unknown { asked: resource.clone(), known })
}

fn check_name(name: &str) -> Result<(), OrderRefused> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !plain {
        return Err(OrderRefused::OutOfRange {
            field: "name",
            expected: format!("1 to {NAME_BYTES_MAX} letters, digits, `-`, `_`, `.`"),
            got: format!("{name:?}"),
        });
    }
    Ok(())
}

/// Whether a reservation can be kept at all: within the capacity, of something, and not over.
///
/// # Errors
/// [`OrderRefused::OutOfRange`], naming the field and its range.
pub fn check_reservation(
    reservation: &Reservation,
    capacity: &Capacity,
    now_ms: u64,
) -> Result<(), OrderRefused> {
    let wrong = |field, expected: String, got: String| Err(OrderRefused::OutOfRange { field, expected, got });
    let parts = [
        ("cpu_cores", reservation.cpu_cores, u64::from(capacity.cpu_cores)),
        ("memory", reservation.memory_mib, capacity.memory_mib),
        ("slots", reservation.slots, capacity.slots.len() as u64),
    ];
    for (field, asked, most) in parts {
        if asked > most {
            return wrong(field, format!("at most {most}, the capacity"), asked.to_string());
        }
    }
    for (name, asked) in &reservation.backends {
        match capacity.backends.get(name) {
            None => {
                return Err(OrderRefused::Unknown {
                    asked: Resource::Backend(name.clone()),
                    known: listed(capacity.backends.keys()),
                });
            }
            Some(most) if *asked > u64::from(*most) => {
                return wrong("backends", format!("at most {most} places on {name}"), asked.to_string());
            }
            Some(_) => {}
        }
    }
    let places: u64 = reservation.backends.values().sum();
    if reservation.cpu_cores + reservation.memory_mib + reservation.slots + places == 0 {
        return wrong(
            "reservation",
            "at least one of cpu_cores, memory, slots, backends".into(),
            "none".into(),
        );
    }
    if reservation.until_ms <= reservation.from_ms || reservation.until_ms <= now_ms {
        return wrong(
            "until",
            "a time after `from` that is not over".into(),
            format!("{} ms", reservation.until_ms),
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{Holder, SlotKind};
    use super::*;

    fn capacity() -> Capacity {
        Capacity {
            cpu_cores: 4,
            memory_mib: 1_000,
            slots: [("worker-1".to_owned(), SlotKind::Worker)].into(),
            backends: [("simulator".to_owned(), 2)].into(),
        }
    }

    fn reservation() -> Reservation {
        Reservation {
            holder: Holder::User("ada".to_owned()),
            cpu_cores: 2,
            memory_mib: 0,
            slots: 0,
            backends: BTreeMap::new(),
            from_ms: 10,
            until_ms: 20,
        }
    }

    fn ordered(standing: &mut Standing, order: Order, now_ms: u64) -> Result<(), String> {
        let event = standing.decide(order, &capacity(), &Policy::default(), now_ms);
        let event = event.map_err(|refused| refused.to_string())?;
        standing.apply(&event, "olga", now_ms);
        Ok(())
    }

    #[test]
    fn a_stream_that_begins_anew_carries_what_stands_and_what_was_spent_today_and_nothing_else() {
        let owner = |user: &str| Owner { user: user.into(), workflow: "w".into() };
        let drained =
            |slot: &str| Event::Drained { resource: Resource::Slot(slot.into()), reason: "disk".into() };
        let reserved = |name: &str, until_ms| {
            let reservation = Reservation { until_ms, ..reservation() };
            Event::Reserved { name: name.into(), reservation }
        };
        let spent = |user: &str, shots, since_ms| {
            let (owner, backend) = (owner(user), Some("simulator".to_owned()));
            Event::SetAside { owner, backend, shots, money_micro_usd: 10 * shots, since_ms }
        };
        let today = 20 * DAY_MS;
        let (owner_of, backend) = (owner("ada"), Some("simulator".to_owned()));
        let back = Event::GivenBack {
            owner: owner_of,
            backend,
            shots: 30,
            money_micro_usd: 300,
            since_ms: today + 5,
        };
        let events = [
            drained("worker-1"),
            drained("worker-2"),
            Event::Undrained { resource: Resource::Slot("worker-2".into()) },
            reserved("over", today),
            reserved("night", today + DAY_MS),
            spent("ada", 7, today - 1),
            spent("ada", 50, today + 5),
            spent("ada", 50, today + 9),
            back,
            spent("bob", 1, today + HOUR_MS + 1),
        ];
        let told = |events: &[Event]| -> Carried {
            carried(events.iter().map(|event| (event, "olga", 3)), today + 2 * HOUR_MS)
        };
        let whole = told(&events);
        let sums: Vec<_> = whole.spent.iter().map(|u| (u.owner.user.as_str(), u.shots, u.since_ms)).collect();
        assert_eq!(sums, [("ada", 70, today), ("bob", 1, today + HOUR_MS)]);
        let (mut before, mut after) = (Standing::default(), Standing::default());
        events.iter().for_each(|event| before.apply(event, "olga", 3));
        after.apply(&Event::Carried(whole.clone()), "executingd", 9);
        assert_eq!(after.drains(), before.drains());
        assert_eq!(after.reservations().keys().collect::<Vec<_>>(), ["night"]);
        // Again and again the same.
        assert_eq!(told(&[Event::Carried(whole.clone())]), whole);
    }

    #[test]
    fn a_drain_stands_until_it_is_ended_and_no_longer() {
        let mut standing = Standing::default();
        let drain = |resource| Order::Drain { resource, reason: "a new disk".to_owned() };
        let slot = Resource::Slot("worker-1".to_owned());
        ordered(&mut standing, drain(slot.clone()), 1).unwrap();
        let again = ordered(&mut standing, drain(slot.clone()), 2).unwrap_err();
        assert!(again.contains("by olga: a new disk"), "{again}");
        let other = ordered(&mut standing, Order::Undrain { resource: Resource::Machine }, 3).unwrap_err();
        assert!(other.contains("drained are: worker slot \"worker-1\""), "{other}");
        ordered(&mut standing, Order::Undrain { resource: slot.clone() }, 4).unwrap();
        assert!(standing.drains().is_empty());
        let nobody = ordered(&mut standing, drain(Resource::Backend("ibm".to_owned())), 5).unwrap_err();
        assert!(nobody.contains("known are: simulator"), "{nobody}");
    }

    #[test]
    fn a_reservation_is_refused_with_the_field_and_its_range() {
        let mut standing = Standing::default();
        let reserve = |change: &dyn Fn(&mut Reservation)| {
            let mut reservation = reservation();
            change(&mut reservation);
            Order::Reserve { name: "night".to_owned(), reservation }
        };
        type Change = &'static dyn Fn(&mut Reservation);
        let cases: [(Change, &str); 6] = [
            (&|r| r.cpu_cores = 5, "cpu_cores: expected at most 4"),
            (&|r| r.memory_mib = 1_001, "memory: expected at most 1000"),
            (&|r| r.slots = 2, "slots: expected at most 1"),
            (
                &|r| {
                    r.backends.insert("simulator".to_owned(), 3);
                },
                "at most 2 places on simulator",
            ),
            (&|r| r.cpu_cores = 0, "at least one of"),
            (&|r| r.until_ms = 10, "until: expected a time after"),
        ];
        for (change, expected) in cases {
            let refused = ordered(&mut standing, reserve(change), 1).unwrap_err();
            assert!(refused.contains(expected), "{refused}");
        }
        let over = ordered(&mut standing, reserve(&|_| {}), 20).unwrap_err();
        assert!(over.contains("not over"), "{over}");
        ordered(&mut standing, reserve(&|_| {}), 1).unwrap();
        assert!(ordered(&mut standing, reserve(&|_| {}), 2).unwrap_err().contains("stands already"));
        // Its name is free again when it is over.
        let later = Order::Reserve {
            name: "night".to_owned(),
            reservation: Reservation { until_ms: 90, ..reservation() },
        };
        ordered(&mut standing, later, 20).unwrap();
    }

    #[test]
    fn a_reservation_counts_beside_those_of_the_settings_until_it_is_over_or_ended() {
        let mut standing = Standing::default();
        let settings =
            Policy { reservations: [("day".to_owned(), reservation())].into(), ..Policy::default() };
        let order = Order::Reserve { name: "night".to_owned(), reservation: reservation() };
        ordered(&mut standing, order, 1).unwrap();
        let names = |standing: &Standing, now| {
            standing.over(&settings, now).reservations.into_keys().collect::<Vec<_>>()
        };
        assert_eq!(names(&standing, 19), ["day", "night"]);
        assert_eq!(names(&standing, 20), ["day"]);
        let refused = standing.decide(Order::Unreserve { name: "day".to_owned() }, &capacity(), &settings, 2);
        assert_eq!(refused, Err(OrderRefused::OfSettings { name: "day".to_owned() }));
        ordered(&mut standing, Order::Unreserve { name: "night".to_owned() }, 3).unwrap();
        assert_eq!(names(&standing, 4), ["day"]);
        assert!(ordered(&mut standing, Order::Unreserve { name: "night".to_owned() }, 5).is_err());
    }
}

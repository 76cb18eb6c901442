//! Fair share between users: virtual time, which runs slower for those with more weight.
//!
//! A user's virtual time is what its leases have used, as a part of the capacity times milliseconds,
//! divided by its weight. The part of a lease is the largest of its parts of cores, memory, slots and
//! places (dominant resource fairness: Ghodsi et al., NSDI 2011). Who has the least goes first.
//!
//! Rule: nobody saves up. A user that begins to compete starts no earlier than the least of those who
//! compete already, and what is used while nobody else waits is forgotten.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Virtual time has this many units per millionth of the capacity and millisecond at weight 1, so that
/// division by a weight loses nothing that matters.
pub const UNITS: u128 = 1_000;

/// Every lease counts as used for this long beyond its real time. It spreads what is granted in one go,
/// and stages that take no time are not free.
pub const START_CHARGE_MS: u64 = 1_000;

/// A step of priority goes before others as if its user had used so much less: ten seconds of the whole
/// machine. It is used up like any other time, so shares hold in the long run.
pub const PRIORITY_CREDIT: u128 = 10_000 * 1_000_000 * UNITS;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Share {
    used: u128,
    /// Sum of the parts of its leases.
    rate: u64,
    at_ms: u64,
    weight: u32,
    competes: bool,
}

impl Share {
    fn settle(&mut self, now_ms: u64) {
        let elapsed = u128::from(now_ms.saturating_sub(self.at_ms));
        self.used += u128::from(self.rate) * elapsed * UNITS / u128::from(self.weight);
        self.at_ms = self.at_ms.max(now_ms);
    }
}

/// The virtual times of all users that matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Shares {
    users: BTreeMap<String, Share>,
    /// Where a user that begins to compete starts at the earliest.
    floor: u128,
}

impl Shares {
    /// Brings a user up to date and answers its virtual time.
    pub fn at(&mut self, user: &str, weight: u32, now_ms: u64) -> u128 {
        let floor = self.floor;
        let share = self.share(user, now_ms);
        share.settle(now_ms);
        share.weight = weight;
        if !share.competes {
            share.used = share.used.max(floor);
        }
        share.used
    }

    fn share(&mut self, user: &str, now_ms: u64) -> &mut Share {
        let used = self.floor;
        let new = || Share { used, rate: 0, at_ms: now_ms, weight: 1, competes: false };
        self.users.entry(user.to_owned()).or_insert_with(new)
    }

    /// A lease begins; answers the user's virtual time with it.
    pub fn begins(&mut self, user: &str, part: u64, now_ms: u64) -> u128 {
        let share = self.share(user, now_ms);
        share.settle(now_ms);
        share.used += u128::from(part) * u128::from(START_CHARGE_MS) * UNITS / u128::from(share.weight);
        share.rate += part;
        share.used
    }

    /// A lease ends.
    pub fn stops(&mut self, user: &str, part: u64, now_ms: u64) {
        if let Some(share) = self.users.get_mut(user) {
            share.settle(now_ms);
            share.rate = share.rate.saturating_sub(part);
        }
    }

    pub fn settle_all(&mut self, now_ms: u64) {
        self.users.values_mut().for_each(|share| share.settle(now_ms));
    }

    /// The outcome of a placement: `competing` are the users who wait for what others hold.
    pub fn close(&mut self, competing: &[&str]) {
        self.users.values_mut().for_each(|share| share.competes = false);
        for user in competing {
            if let Some(share) = self.users.get_mut(*user) {
                share.competes = true;
            }
        }
        let of_those = self.users.values().filter(|share| share.competes).map(|share| share.used).min();
        // Where nobody waits, what was used cost nobody anything: all start level.
        let level = of_those.or_else(|| self.users.values().map(|share| share.used).max());
        self.floor = self.floor.max(level.unwrap_or(0));
        let floor = self.floor;
        self.users.retain(|_, share| share.competes || share.rate > 0 || share.used > floor);
    }
}

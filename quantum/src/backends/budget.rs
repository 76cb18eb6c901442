//! What jobs may take: shots, machine time and money, per job, run and day.
//!
//! Rule: an amount is held before the call that may spend it, and settled when the job has ended, so that
//! what is held and spent together never exceeds a limit. The ledger is a fold over journaled entries and
//! keeps nothing else; replaying them gives the same ledger. Absent: clocks, prices. Start at [`Ledger`].

use super::Estimate;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Length of the day of a daily limit, counted from 1970-01-01 UTC.
const DAY_MS: u64 = 86_400_000;

/// How much of each counted thing; whole numbers, so that sums are exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Amount {
    pub shots: u64,
    /// Time on the machine, in milliseconds.
    pub qpu_ms: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

impl Amount {
    /// Nothing.
    pub const NONE: Self = Self { shots: 0, qpu_ms: 0, micro_usd: 0 };

    /// Both together; saturates, so that an absurd sum is refused rather than small.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            shots: self.shots.saturating_add(other.shots),
            qpu_ms: self.qpu_ms.saturating_add(other.qpu_ms),
            micro_usd: self.micro_usd.saturating_add(other.micro_usd),
        }
    }

    /// What is set aside for a job that was estimated so.
    pub const fn of(estimate: &Estimate) -> Self {
        Self { shots: estimate.shots, qpu_ms: estimate.qpu_ms, micro_usd: estimate.cost_micro_usd }
    }
}

/// Most of each counted thing; what is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ceiling {
    pub shots: Option<u64>,
    pub qpu_ms: Option<u64>,
    pub micro_usd: Option<u64>,
}

impl Ceiling {
    /// The first counted thing that `amount` has too much of: its name with unit, what it is, what it may be.
    fn exceeded_by(&self, amount: &Amount) -> Option<(&'static str, u64, u64)> {
        [
            ("shots", amount.shots, self.shots),
            ("QPU milliseconds", amount.qpu_ms, self.qpu_ms),
            ("millionths of a US dollar", amount.micro_usd, self.micro_usd),
        ]
        .into_iter()
        .find_map(|(what, given, most)| most.filter(|most| given > *most).map(|most| (what, given, most)))
    }
}

/// The limits of one backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    pub job: Ceiling,
    pub run: Ceiling,
    /// Per day of UTC; a job counts on the day on which it was held.
    pub day: Ceiling,
}

/// Why an amount is not held.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the budget per {per} allows {most} {what}, and this job would bring it to {given}")]
pub struct OverBudget {
    /// `job`, `run` or `day`.
    pub per: &'static str,
    pub what: &'static str,
    pub given: u64,
    pub most: u64,
}

/// What became true of a budget. Journaled together with the arrow of the job it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum BudgetEntry {
    /// `job` is the key of the job: unique, as each submission has its own.
    Held { job: String, run: String, amount: Amount },
    /// The job has ended and took this; nothing of it is held any more. Settling again changes nothing.
    Settled { job: String, spent: Amount },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    run: String,
    day: u64,
    amount: Amount,
    open: bool,
}

/// What one backend's jobs have taken and may still take.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    lines: BTreeMap<String, Line>,
    runs: BTreeMap<String, Amount>,
    days: BTreeMap<u64, Amount>,
}

impl Ledger {
    /// Whether `amount` may be held for a job of `run` at `now_ms`.
    ///
    /// # Errors
    /// [`OverBudget`], the first limit that would be passed: job, run, day.
    pub fn check(&self, budget: &Budget, run: &str, now_ms: u64, amount: &Amount) -> Result<(), OverBudget> {
        let in_run = self.runs.get(run).copied().unwrap_or_default().plus(*amount);
        let in_day = self.days.get(&(now_ms / DAY_MS)).copied().unwrap_or_default().plus(*amount);
        for (per, ceiling, total) in
            [("job", &budget.job, amount), ("run", &budget.run, &in_run), ("day", &budget.day, &in_day)]
        {
            if let Some((what, given, most)) = ceiling.exceeded_by(total) {
                return Err(OverBudget { per, what, given, most });
            }
        }
        Ok(())
    }

    /// Takes over a journaled entry of `time_ms`.
    pub fn apply(&mut self, time_ms: u64, entry: &BudgetEntry) {
        match entry {
            BudgetEntry::Held { job, run, amount } => {
                if self.lines.contains_key(job) {
                    return;
                }
                let day = time_ms / DAY_MS;
                let line = Line { run: run.clone(), day, amount: *amount, open: true };
                self.lines.insert(job.clone(), line);
                self.change(run.clone(), day, Amount::NONE, *amount);
            }
            BudgetEntry::Settled { job, spent } => {
                let Some(line) = self.lines.get_mut(job).filter(|line| line.open) else { return };
                let (run, day, held) = (line.run.clone(), line.day, line.amount);
                (line.amount, line.open) = (*spent, false);
                self.change(run, day, held, *spent);
            }
        }
    }

    fn change(&mut self, run: String, day: u64, less: Amount, more: Amount) {
        for total in [self.runs.entry(run).or_default(), self.days.entry(day).or_default()] {
            let rest = Amount {
                shots: total.shots.saturating_sub(less.shots),
                qpu_ms: total.qpu_ms.saturating_sub(less.qpu_ms),
                micro_usd: total.micro_usd.saturating_sub(less.micro_usd),
            };
            *total = rest.plus(more);
        }
    }

    /// Held and spent together by `run`.
    pub fn of_run(&self, run: &str) -> Amount {
        self.runs.get(run).copied().unwrap_or_default()
    }

    /// Held and spent together on the day of `now_ms`.
    pub fn of_day(&self, now_ms: u64) -> Amount {
        self.days.get(&(now_ms / DAY_MS)).copied().unwrap_or_default()
    }

    /// Keys of jobs whose amount is held and not settled.
    pub fn held(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().filter(|(_, line)| line.open).map(|(job, _)| job.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shots(shots: u64) -> Amount {
        Amount { shots, ..Amount::NONE }
    }

    fn held(job: &str, run: &str, n: u64) -> BudgetEntry {
        BudgetEntry::Held { job: job.into(), run: run.into(), amount: shots(n) }
    }

    fn settled(job: &str, n: u64) -> BudgetEntry {
        BudgetEntry::Settled { job: job.into(), spent: shots(n) }
    }

    const BUDGET: Budget = {
        let none = Ceiling { shots: None, qpu_ms: None, micro_usd: None };
        Budget {
            job: Ceiling { shots: Some(60), ..none },
            run: Ceiling { shots: Some(100), ..none },
            day: Ceiling { shots: Some(150), ..none },
        }
    };

    #[test]
    fn held_and_spent_count_together_and_the_limit_itself_may_be_reached() {
        let mut ledger = Ledger::default();
        ledger.apply(0, &held("a", "r", 60));
        assert_eq!(ledger.check(&BUDGET, "r", 0, &shots(40)), Ok(()));
        let over = ledger.check(&BUDGET, "r", 0, &shots(41)).unwrap_err();
        assert_eq!((over.per, over.given, over.most), ("run", 101, 100));
        ledger.apply(0, &settled("a", 20));
        assert_eq!(ledger.check(&BUDGET, "r", 0, &shots(60)), Ok(()));
        assert_eq!(ledger.check(&BUDGET, "r", 0, &shots(61)).unwrap_err().per, "job");
    }

    #[test]
    fn a_day_ends_and_what_was_held_before_counts_on_its_own_day_even_if_settled_later() {
        let mut ledger = Ledger::default();
        for (job, run) in [("a", "r"), ("b", "s"), ("c", "t")] {
            ledger.apply(5, &held(job, run, 50));
        }
        assert_eq!(ledger.check(&BUDGET, "u", DAY_MS - 1, &shots(1)).unwrap_err().per, "day");
        assert_eq!(ledger.check(&BUDGET, "u", DAY_MS, &shots(60)), Ok(()));
        ledger.apply(DAY_MS, &settled("a", 10));
        assert_eq!((ledger.of_day(0), ledger.of_day(DAY_MS)), (shots(110), Amount::NONE));
    }

    #[test]
    fn holding_or_settling_twice_changes_nothing_and_absurd_sums_are_refused() {
        let mut ledger = Ledger::default();
        for entry in [held("a", "r", 9), held("a", "r", 9), settled("a", 4), settled("a", 0), settled("b", 7)]
        {
            ledger.apply(0, &entry);
        }
        assert_eq!((ledger.of_run("r"), ledger.held().count()), (shots(4), 0));
        assert!(ledger.check(&BUDGET, "r", 0, &shots(u64::MAX)).is_err());
        assert_eq!(ledger.check(&Budget::default(), "r", 0, &shots(u64::MAX)), Ok(()));
    }
}

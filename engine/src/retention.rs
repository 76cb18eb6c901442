//! Which ended runs are kept, and for how long: pins, age, number; and which failures somebody has looked at.
//!
//! [`runs_to_forget`] chooses; what was chosen becomes an [`Event`] of the stream `retention` before anything
//! is removed, so that a removal that was cut short is taken up again. Rule: a forgotten run never comes
//! back, and its number is never given out again. Absent: removing anything, and what else protects a run
//! (a release that is active; the caller names it in `kept`).

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// Newest schema version of [`Event`] in journal envelopes; see [`Event::schema`].
pub const EVENT_SCHEMA: u16 = 2;

/// Runs that one decision forgets at most, so that its record stays far below the journal's limit of 1 MiB
/// (16 bytes for each gap between numbers); the next decision takes the rest.
pub const DECISION_RUNS_MAX: usize = 20_000;

/// Runs are called `run-` and a number of at least six digits.
pub fn number_of(run: &str) -> Option<u64> {
    let digits = run.strip_prefix("run-")?;
    if digits.len() < 6 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// What names of runs are sorted by where people see them: their number, which as text would go astray from
/// seven digits on. Numbers have no needless zeros beyond six digits, so the shorter is the less.
pub const fn by_number(run: &str) -> (usize, &str) {
    (run.len(), run)
}

/// The name of the run with this number.
pub fn name_of(number: u64) -> String {
    format!("run-{number:06}")
}

/// What is kept at most. Whichever limit is reached first counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Time since its end after which a run is forgotten, in ms.
    pub age_ms_max: u64,
    /// Ended runs that are kept, pinned and otherwise protected ones not counted.
    pub runs_max: usize,
}

/// A run that ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    pub number: u64,
    pub ended_ms: u64,
}

/// The runs that go, oldest end first, at most [`DECISION_RUNS_MAX`]; never one of `kept`. O(n log n).
pub fn runs_to_forget(ended: &[Ended], kept: &BTreeSet<u64>, now_ms: u64, limits: Limits) -> Vec<u64> {
    let mut open: Vec<Ended> = ended.iter().filter(|run| !kept.contains(&run.number)).copied().collect();
    open.sort_unstable_by_key(|run| (run.ended_ms, run.number));
    let beyond = open.len().saturating_sub(limits.runs_max);
    let is_old = |run: &Ended| now_ms.saturating_sub(run.ended_ms) > limits.age_ms_max;
    let goes = open.iter().enumerate().take_while(|(place, run)| *place < beyond || is_old(run));
    goes.take(DECISION_RUNS_MAX).map(|(_, run)| run.number).collect()
}

/// What became true. Who and when stand in the record's envelope.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Event {
    RunPinned {
        run: u64,
        reason: String,
    },
    RunUnpinned {
        run: u64,
        reason: String,
    },
    /// First and last numbers, both included. From here on these runs are gone; what is left of them on disk
    /// may be removed at any time.
    RunsForgotten {
        runs: Vec<(u64, u64)>,
    },
    /// Somebody has looked at how this run ended, and lets it rest. Schema 2. If it is retried and fails again,
    /// it ends at another time, and is a dead letter again.
    LetterDismissed {
        run: u64,
        ended_ms: u64,
        reason: String,
    },
}

impl Event {
    /// Schema version that a record of this event carries: the first that knew it.
    pub const fn schema(&self) -> u16 {
        match self {
            Self::RunPinned { .. } | Self::RunUnpinned { .. } | Self::RunsForgotten { .. } => 1,
            Self::LetterDismissed { .. } => 2,
        }
    }

    pub const fn name(&self) -> &'static str {
        match self {
            Self::RunPinned { .. } => "RunPinned",
            Self::RunUnpinned { .. } => "RunUnpinned",
            Self::RunsForgotten { .. } => "RunsForgotten",
            Self::LetterDismissed { .. } => "LetterDismissed",
        }
    }
}

/// What somebody wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    Pin { run: u64, reason: String },
    Unpin { run: u64, reason: String },
    Forget { runs: Vec<u64> },
    Dismiss { run: u64, ended_ms: u64, reason: String },
}

/// Why an input does not fit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("{} was forgotten and does not come back", name_of(*.0))]
    Forgotten(u64),
    #[error("{} is pinned and is not forgotten", name_of(*.0))]
    Pinned(u64),
}

/// The books: which runs are pinned, and which are gone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    pins: BTreeMap<u64, String>,
    /// First to last number; ranges neither touch nor overlap.
    forgotten: BTreeMap<u64, u64>,
    /// When the run ended whose failure somebody has looked at.
    dismissed: BTreeMap<u64, u64>,
}

impl Retention {
    /// `None` if it is so already.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed either way.
    pub fn decide(&self, input: Input) -> Result<Option<Event>, Refusal> {
        match input {
            Input::Pin { run, .. } if self.is_forgotten(run) => Err(Refusal::Forgotten(run)),
            Input::Pin { run, .. } if self.is_pinned(run) => Ok(None),
            Input::Pin { run, reason } => Ok(Some(Event::RunPinned { run, reason })),
            Input::Unpin { run, .. } if !self.is_pinned(run) => Ok(None),
            Input::Unpin { run, reason } => Ok(Some(Event::RunUnpinned { run, reason })),
            Input::Dismiss { run, .. } if self.is_forgotten(run) => Err(Refusal::Forgotten(run)),
            Input::Dismiss { run, ended_ms, .. } if self.is_dismissed(run, ended_ms) => Ok(None),
            Input::Dismiss { run, ended_ms, reason } => {
                Ok(Some(Event::LetterDismissed { run, ended_ms, reason }))
            }
            Input::Forget { runs } => {
                if let Some(pinned) = runs.iter().find(|run| self.is_pinned(**run)) {
                    return Err(Refusal::Pinned(*pinned));
                }
                let new = runs.into_iter().filter(|run| !self.is_forgotten(*run)).collect();
                let runs = ranges(new);
                Ok((!runs.is_empty()).then_some(Event::RunsForgotten { runs }))
            }
        }
    }

    /// The only place that changes the books.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RunPinned { run, reason } => {
                self.pins.insert(*run, reason.clone());
            }
            Event::RunUnpinned { run, .. } => {
                self.pins.remove(run);
            }
            Event::RunsForgotten { runs } => runs.iter().for_each(|(first, last)| self.forget(*first, *last)),
            Event::LetterDismissed { run, ended_ms, .. } => {
                self.dismissed.insert(*run, *ended_ms);
            }
        }
    }

    fn forget(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last.max(first));
        self.dismissed.retain(|run, _| !(first..=last).contains(run));
        // Everything that touches or overlaps the new range becomes one with it.
        while let Some((&from, &to)) = self.forgotten.range(..=last.saturating_add(1)).next_back() {
            if to.saturating_add(1) < first {
                break;
            }
            self.forgotten.remove(&from);
            first = first.min(from);
            last = last.max(to);
        }
        self.forgotten.insert(first, last);
    }

    pub fn is_pinned(&self, run: u64) -> bool {
        self.pins.contains_key(&run)
    }

    /// Whether somebody has looked at the run's end at that time.
    pub fn is_dismissed(&self, run: u64, ended_ms: u64) -> bool {
        self.dismissed.get(&run) == Some(&ended_ms)
    }

    /// Numbers of pinned runs, and why each is.
    pub fn pins(&self) -> &BTreeMap<u64, String> {
        &self.pins
    }

    pub fn is_forgotten(&self, run: u64) -> bool {
        self.forgotten.range(..=run).next_back().is_some_and(|(_, last)| run <= *last)
    }

    /// The highest number that was ever forgotten; new runs are numbered beyond it.
    pub fn newest_forgotten(&self) -> Option<u64> {
        self.forgotten.last_key_value().map(|(_, last)| *last)
    }

    pub fn forgotten_count(&self) -> u64 {
        self.forgotten.iter().map(|(first, last)| last - first + 1).sum()
    }
}

fn ranges(mut runs: Vec<u64>) -> Vec<(u64, u64)> {
    runs.sort_unstable();
    let mut found: Vec<(u64, u64)> = Vec::new();
    for run in runs {
        match found.last_mut() {
            Some((_, last)) if run <= last.saturating_add(1) => *last = run,
            _ => found.push((run, run)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DAY_MS: u64 = 86_400_000;

    fn ended(runs: &[(u64, u64)]) -> Vec<Ended> {
        runs.iter().map(|(number, ended_ms)| Ended { number: *number, ended_ms: *ended_ms }).collect()
    }

    #[test]
    fn names_are_sorted_by_number_beyond_six_digits_too() {
        let numbers = [1, 99, 999_999, 1_000_000, 1_000_001, 9_999_999, 10_000_000];
        let names: Vec<String> = numbers.into_iter().map(name_of).collect();
        assert!(names.is_sorted_by_key(|name| by_number(name)));
        assert!(!names.is_sorted(), "as text they are not");
    }

    #[test]
    fn a_run_goes_when_it_is_older_than_the_age_and_not_a_millisecond_before() {
        let runs = ended(&[(1, 1_000), (2, 1_001)]);
        let limits = Limits { age_ms_max: DAY_MS, runs_max: 10 };
        assert_eq!(runs_to_forget(&runs, &BTreeSet::new(), 1_001 + DAY_MS, limits), [1]);
        assert_eq!(runs_to_forget(&runs, &BTreeSet::new(), 1_000 + DAY_MS, limits), [0; 0]);
    }

    #[test]
    fn beyond_the_number_those_go_that_ended_first_and_protected_ones_do_not_count() {
        let runs = ended(&[(1, 50), (2, 10), (3, 30), (4, 20)]);
        let limits = Limits { age_ms_max: DAY_MS, runs_max: 2 };
        assert_eq!(runs_to_forget(&runs, &BTreeSet::new(), 60, limits), [2, 4]);
        assert_eq!(runs_to_forget(&runs, &BTreeSet::from([2]), 60, limits), [4]);
        assert_eq!(runs_to_forget(&runs, &BTreeSet::from([1, 2, 3]), 60, limits), [0; 0]);
    }

    #[test]
    fn a_pinned_run_is_not_forgotten_and_a_forgotten_one_is_not_pinned() {
        let mut books = Retention::default();
        for input in [Input::Pin { run: 7, reason: "r".into() }, Input::Forget { runs: vec![5, 6, 9] }] {
            let event = books.decide(input).unwrap().unwrap();
            books.apply(&event);
        }
        assert_eq!(books.decide(Input::Forget { runs: vec![7, 8] }), Err(Refusal::Pinned(7)));
        assert_eq!(books.decide(Input::Pin { run: 6, reason: String::new() }), Err(Refusal::Forgotten(6)));
        assert_eq!(books.decide(Input::Pin { run: 7, reason: "again".into() }), Ok(None));
        assert_eq!(books.decide(Input::Forget { runs: vec![9] }), Ok(None));
        assert_eq!(books.newest_forgotten(), Some(9));
    }

    #[test]
    fn a_dismissal_holds_for_the_end_it_was_said_of_and_goes_with_the_run() {
        let mut books = Retention::default();
        let dismiss = |ended_ms| Input::Dismiss { run: 7, ended_ms, reason: "known".into() };
        let event = books.decide(dismiss(100)).unwrap().unwrap();
        assert_eq!(event.schema(), 2);
        books.apply(&event);
        assert_eq!(books.decide(dismiss(100)), Ok(None));
        assert!(books.is_dismissed(7, 100) && !books.is_dismissed(7, 101) && !books.is_dismissed(8, 100));
        let again = books.decide(dismiss(200)).unwrap().unwrap();
        books.apply(&again);
        assert!(books.is_dismissed(7, 200) && !books.is_dismissed(7, 100));
        let forgotten = books.decide(Input::Forget { runs: vec![7] }).unwrap().unwrap();
        assert_eq!(forgotten.schema(), 1);
        books.apply(&forgotten);
        assert!(!books.is_dismissed(7, 200));
        assert_eq!(books.decide(dismiss(200)), Err(Refusal::Forgotten(7)));
    }

    #[test]
    fn names_and_numbers_of_runs_belong_together() {
        for number in [0, 1, 999_999, 1_000_000, 123_456_789] {
            assert_eq!(number_of(&name_of(number)), Some(number));
        }
        for other in ["run-1", "run-00000x", "stage-000001", "run-", "run-+00001"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn what_is_kept_is_protected_or_young_and_few_enough(
            times in prop::collection::vec(0_u64..1_000, 0..60),
            kept in prop::collection::btree_set(0_u64..60, 0..10),
            now in 0_u64..1_500, age in 0_u64..1_000, max in 0_usize..40,
        ) {
            let runs: Vec<Ended> = times.iter().enumerate()
                .map(|(i, ended_ms)| Ended { number: i as u64, ended_ms: *ended_ms }).collect();
            let limits = Limits { age_ms_max: age, runs_max: max };
            let gone: BTreeSet<u64> = runs_to_forget(&runs, &kept, now, limits).into_iter().collect();
            prop_assert!(gone.is_disjoint(&kept));
            let left: Vec<Ended> = runs.iter().filter(|run| !gone.contains(&run.number)).copied().collect();
            let open: Vec<&Ended> = left.iter().filter(|run| !kept.contains(&run.number)).collect();
            prop_assert!(open.len() <= max);
            prop_assert!(open.iter().all(|run| now.saturating_sub(run.ended_ms) <= age));
            // Nothing goes without a reason: it was too old, or as many as are allowed ended no earlier.
            for run in runs.iter().filter(|run| gone.contains(&run.number)) {
                let later = open.iter().filter(|other| other.ended_ms >= run.ended_ms).count();
                prop_assert!(now.saturating_sub(run.ended_ms) > age || later == max);
            }
            prop_assert!(runs_to_forget(&left, &kept, now, limits).is_empty());
        }

        #[test]
        fn the_books_agree_with_a_plain_set(batches in prop::collection::vec(
            prop::collection::vec(0_u64..80, 1..20), 1..12)) {
            let (mut books, mut plain) = (Retention::default(), BTreeSet::new());
            for runs in batches {
                plain.extend(runs.iter().copied());
                if let Some(event) = books.decide(Input::Forget { runs }).unwrap() {
                    books.apply(&event);
                }
                for run in 0..90 {
                    prop_assert_eq!(books.is_forgotten(run), plain.contains(&run));
                }
                prop_assert_eq!(books.forgotten_count(), plain.len() as u64);
                prop_assert_eq!(books.newest_forgotten(), plain.last().copied());
            }
        }
    }
}

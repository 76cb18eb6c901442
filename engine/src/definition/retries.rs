//! How failed attempts are repeated, beyond how often: by which factor the wait grows, which classes of errors, and
//! who said so.
//!
//! Rule: what a stage states wins over what its workflow states, that over what the settings say of the stage's
//! kind, that over what the settings say of all stages, that over what is built in; and it is settled when a run
//! is submitted. Stored only where the settings or the workflow say something of it, so that a definition without
//! it keeps the digest it always had. Absent: what then happens (`run::retry`).

use crate::run::ErrorClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most attempts of a stage. Whoever needs more has something else than bad luck.
pub const ATTEMPTS_MAX: u32 = 100;
/// Longest first and longest last wait of a policy in the settings: a day. A workflow may say more for itself.
pub const BACKOFF_MS_MAX: u64 = 86_400_000;
/// A wait is multiplied by this many thousandths when nobody says: it doubles.
pub const FACTOR_PERMILLE_DEFAULT: u32 = 2_000;
/// 1 keeps the wait as it is; tenfold waits reach a day from a second in five attempts.
pub const FACTOR_PERMILLE: std::ops::RangeInclusive<u32> = 1_000..=10_000;

/// Classes of errors that are repeated; a permanent one never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryOn {
    pub transient: bool,
    /// Of stages that may be repeated; others wait for a person whatever is said here.
    pub ambiguous: bool,
}

impl RetryOn {
    pub const BOTH: Self = Self { transient: true, ambiguous: true };

    pub const fn takes(self, class: ErrorClass) -> bool {
        match class {
            ErrorClass::Transient => self.transient,
            ErrorClass::Ambiguous => self.ambiguous,
            ErrorClass::Permanent => false,
        }
    }

    /// From words, at least one.
    ///
    /// # Errors
    /// What was expected.
    pub fn read<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Self, String> {
        let mut on = Self { transient: false, ambiguous: false };
        for word in words {
            match word {
                "transient" => on.transient = true,
                "ambiguous" => on.ambiguous = true,
                "permanent" => {
                    return Err(
                        "transient, ambiguous; a permanent error is never repeated (`error_classes` \
                                gives a code another class)"
                            .to_owned(),
                    );
                }
                _ => return Err("a list of transient, ambiguous".to_owned()),
            }
        }
        if on.transient || on.ambiguous {
            Ok(on)
        } else {
            Err("at least one of transient, ambiguous".to_owned())
        }
    }

    pub fn words(self) -> Vec<&'static str> {
        [("transient", self.transient), ("ambiguous", self.ambiguous)]
            .into_iter()
            .filter_map(|(word, is_on)| is_on.then_some(word))
            .collect()
    }
}

/// What a run keeps of a stage's policy beside [`super::Retry`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RetryRule {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor_permille: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<RetryOn>,
    /// Field to who stated it, as [`Source::name`] has it; what is not named is built in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub from: BTreeMap<String, String>,
}

/// What settings say of a stage kind; what is not given comes from elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RetryDefaults {
    pub attempts: Option<u32>,
    pub backoff_ms: Option<u64>,
    pub backoff_ms_max: Option<u64>,
    pub factor_permille: Option<u32>,
    pub retry_on: Option<RetryOn>,
}

/// Who stated a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Stage,
    Workflow,
    /// The settings, of the stage's kind.
    Kind,
    /// The settings, of all stages.
    Settings,
}

impl Source {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stage => "stage",
            Self::Workflow => "workflow",
            Self::Kind => "settings of the kind",
            Self::Settings => "settings",
        }
    }
}

/// Who stated which field.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sources {
    pub attempts: Option<Source>,
    pub backoff: Option<Source>,
    pub backoff_max: Option<Source>,
    pub factor: Option<Source>,
    pub retry_on: Option<Source>,
}

impl Sources {
    pub fn or(self, other: Self) -> Self {
        Self {
            attempts: self.attempts.or(other.attempts),
            backoff: self.backoff.or(other.backoff),
            backoff_max: self.backoff_max.or(other.backoff_max),
            factor: self.factor.or(other.factor),
            retry_on: self.retry_on.or(other.retry_on),
        }
    }

    fn each(self) -> [(&'static str, Option<Source>); 5] {
        [
            ("attempts", self.attempts),
            ("backoff", self.backoff),
            ("backoff_max", self.backoff_max),
            ("factor", self.factor),
            ("retry_on", self.retry_on),
        ]
    }

    /// Whether the settings had a say in it.
    pub fn are_of_settings(self) -> bool {
        self.each().iter().any(|(_, source)| matches!(source, Some(Source::Kind | Source::Settings)))
    }

    pub fn names(self) -> BTreeMap<String, String> {
        let named =
            |(field, source): (&str, Option<Source>)| Some((field.to_owned(), source?.name().to_owned()));
        self.each().into_iter().filter_map(named).collect()
    }
}

/// The policy in force of a stage, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    pub attempts: u32,
    pub backoff_ms: u64,
    pub backoff_ms_max: u64,
    pub factor_permille: u32,
    pub jitter_permille: u16,
    pub retry_on: RetryOn,
    /// Each field to who stated it.
    pub from: BTreeMap<&'static str, String>,
}

const BUILT_IN: &str = "built in";
/// Of a run that was submitted where the settings said nothing: the file does not say which part of it.
const FILE: &str = "workflow file";

impl super::StageSpec {
    /// The policy under which this stage's attempts are repeated, and where each part of it comes from.
    pub fn retry_policy(&self) -> Policy {
        let rule = self.control.retry.clone().unwrap_or_default();
        let is_told = self.control.retry.is_some();
        let source = |field: &str, is_default: bool| match rule.from.get(field) {
            Some(source) => source.clone(),
            None if is_told || is_default => BUILT_IN.to_owned(),
            None => FILE.to_owned(),
        };
        let retry = &self.retry;
        let longest = super::BACKOFF_MS_MAX_DEFAULT.max(retry.backoff_ms);
        let from = BTreeMap::from([
            ("attempts", source("attempts", retry.attempts == super::ATTEMPTS_DEFAULT)),
            ("backoff", source("backoff", retry.backoff_ms == super::BACKOFF_MS_DEFAULT)),
            ("backoff_max", source("backoff_max", retry.backoff_ms_max == longest)),
            ("factor", source("factor", rule.factor_permille.is_none())),
            ("retry_on", source("retry_on", rule.retry_on.is_none())),
        ]);
        Policy {
            attempts: retry.attempts,
            backoff_ms: retry.backoff_ms,
            backoff_ms_max: retry.backoff_ms_max,
            factor_permille: rule.factor_permille.unwrap_or(FACTOR_PERMILLE_DEFAULT),
            jitter_permille: retry.jitter_permille,
            retry_on: rule.retry_on.unwrap_or(RetryOn::BOTH),
            from,
        }
    }
}

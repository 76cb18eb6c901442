//! What people and deadlines may ask of a run: the parts of a definition that steer and compute nothing.
//!
//! Rule: stored as JSON inside of the first record, and left out where nothing is stated, so that a
//! definition without them keeps the digest it always had. Absent: what then happens (`run`).

use super::retries::RetryRule;
use crate::run::ErrorClass;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Of a whole run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RunControl {
    /// The run is cancelled, with compensation, so many ms after its submission or its newest retry or
    /// reset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
    /// Whose clone it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<Origin>,
    /// Codes of errors that count as another class than they are raised with, as the settings had it when the
    /// run was submitted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub error_classes: BTreeMap<String, ErrorClass>,
}

/// The run that another one was made from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    pub run: String,
    /// Path of the stage from which on it computes by itself; what came before was taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
}

/// Of one stage.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct StageControl {
    /// Roles of which one is needed to decide at the stage's gate; empty means anybody who may approve.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub roles: Vec<String>,
    /// What a stage of kind `signal` waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<Awaited>,
    /// How failed attempts are repeated, where settings or workflow say more than how often and how soon.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry: Option<RetryRule>,
}

/// A signal from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Awaited {
    pub name: String,
    /// Not there for so long means failed; `None` waits for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_ms: Option<u64>,
}

impl RunControl {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl StageControl {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

//! Stable codes of the problems a scenario file can have.

use super::document::CommonCodes;

/// Code and explanation, for `executingctl explain`.
pub const CODES: &[(&str, &str)] = &[
    ("EX-0350", "The scenario file is not readable as YAML, JSON or CSV, or it is too large."),
    ("EX-0351", "A value of the scenario file has the wrong type, such as a word where a number belongs."),
    ("EX-0352", "The scenario file has a key that version 1 does not know."),
    ("EX-0353", "The scenario file lacks a key that is needed."),
    ("EX-0354", "A key of the scenario file is written twice."),
    ("EX-0355", "A figure of the scenario file is NaN or infinite."),
    ("EX-0356", "The version of the scenario file is not 1."),
    ("EX-0357", "The scenario list is empty: no rows, no variables, or a count of 0."),
    ("EX-0358", "A probability is negative or above 1."),
    ("EX-0359", "The probabilities do not sum to 1 within 1e-9. They are never rescaled silently."),
    (
        "EX-0360",
        "The parameters of a distribution contradict each other, such as a lower bound above the upper one.",
    ),
    ("EX-0361", "A variable has no distribution, or more than one."),
    ("EX-0362", "A correlation names a variable that does not exist, names one twice, or repeats a pair."),
    ("EX-0363", "A correlation lies outside -1 to 1."),
    ("EX-0364", "The correlations contradict each other: their matrix is not positive semidefinite."),
    ("EX-0365", "The sampling method is not random, latin-hypercube or sobol."),
    ("EX-0366", "Too many scenarios, variables or figures; for sobol also a count beyond 65,536."),
    ("EX-0367", "The table of the scenario file is not there."),
    ("EX-0368", "A table and distributions are given together; a file has one or the other."),
    ("EX-0369", "A row of the table has more or fewer fields than its head line."),
    (
        "EX-0370",
        "A name is no letter followed by letters, digits and underscores, so that no formula could use it.",
    ),
];

pub(crate) const COMMON: CommonCodes = CommonCodes {
    syntax: "EX-0350",
    wrong_type: "EX-0351",
    unknown_key: "EX-0352",
    missing_key: "EX-0353",
    duplicate_key: "EX-0354",
    not_finite: "EX-0355",
};
pub(crate) const VERSION: &str = "EX-0356";
pub(crate) const EMPTY: &str = "EX-0357";
pub(crate) const PROBABILITY: &str = "EX-0358";
pub(crate) const PROBABILITY_SUM: &str = "EX-0359";
pub(crate) const PARAMETERS: &str = "EX-0360";
pub(crate) const DISTRIBUTION: &str = "EX-0361";
pub(crate) const CORRELATION_NAMES: &str = "EX-0362";
pub(crate) const CORRELATION_RANGE: &str = "EX-0363";
pub(crate) const NOT_POSITIVE_DEFINITE: &str = "EX-0364";
pub(crate) const SAMPLING: &str = "EX-0365";
pub(crate) const TOO_MANY: &str = "EX-0366";
pub(crate) const NO_TABLE: &str = "EX-0367";
pub(crate) const TABLE_AND_DISTRIBUTIONS: &str = "EX-0368";
pub(crate) const ROW_LENGTH: &str = "EX-0369";
pub(crate) const NAME: &str = "EX-0370";

/// Whether a formula can use the name.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

//! Stable codes of the problems a cost model can have.

use crate::scenarios::document::CommonCodes;

/// Code and explanation, for `executingctl explain`.
pub const CODES: &[(&str, &str)] = &[
    ("EX-0380", "The cost model is not readable as YAML or JSON, or it is too large."),
    ("EX-0381", "A value of the cost model has the wrong type, such as a word where a number belongs."),
    ("EX-0382", "The cost model has a key that version 1 does not know."),
    ("EX-0383", "The cost model lacks a key that is needed."),
    ("EX-0384", "A key of the cost model is written twice."),
    ("EX-0385", "A figure of the cost model is NaN or infinite."),
    ("EX-0386", "The version of the cost model is not 1."),
    ("EX-0387", "The cost model has no term, or more than 256."),
    ("EX-0388", "An attribute needs either `aggregate` or `decision`, and a known way to aggregate."),
    ("EX-0389", "A formula cannot be read."),
    ("EX-0390", "A formula uses a name that is no attribute, no constant and no scenario variable."),
    ("EX-0391", "A name means two things: an attribute, a constant or a scenario variable."),
    (
        "EX-0392",
        "A name is no letter followed by letters, digits and underscores, so that no formula could use it.",
    ),
    ("EX-0393", "The cost model names a decision that the design space does not have."),
    ("EX-0394", "No option states the attribute, no factor table gives it, and there is no `missing`."),
    ("EX-0395", "A formula adds, subtracts or compares figures of different units."),
    ("EX-0396", "A figure is stated twice: by the option and a factor table, or by two tables."),
    ("EX-0397", "An attribute that the cost model uses is a word or a yes/no, not a number."),
    ("EX-0398", "A design lacks the figure of an attribute that has no `missing`."),
    (
        "EX-0399",
        "A term gives NaN or infinity for a design in a scenario, for example by a division by zero.",
    ),
    ("EX-0400", "The sum of the terms is too large for a number."),
    (
        "EX-0401",
        "A term is below 0 although the cost model says `negative: forbidden`; or `negative` is another word.",
    ),
    (
        "EX-0402",
        "A term ties decisions together, so that the cost is no sum over decisions and HiGHS cannot be asked.",
    ),
    ("EX-0403", "Options times scenarios are too many figures for the program that HiGHS is asked."),
];

pub(crate) const COMMON: CommonCodes = CommonCodes {
    syntax: "EX-0380",
    wrong_type: "EX-0381",
    unknown_key: "EX-0382",
    missing_key: "EX-0383",
    duplicate_key: "EX-0384",
    not_finite: "EX-0385",
};
pub(crate) const VERSION: &str = "EX-0386";
pub(crate) const TERMS: &str = "EX-0387";
pub(crate) const GATHER: &str = "EX-0388";
pub(crate) const FORMULA: &str = "EX-0389";
pub(crate) const UNKNOWN_NAME: &str = "EX-0390";
pub(crate) const AMBIGUOUS_NAME: &str = "EX-0391";
pub(crate) const NAME: &str = "EX-0392";
pub(crate) const UNKNOWN_DECISION: &str = "EX-0393";
pub(crate) const NOWHERE: &str = "EX-0394";
pub(crate) const UNITS: &str = "EX-0395";
pub(crate) const TWICE: &str = "EX-0396";
pub(crate) const NOT_A_NUMBER: &str = "EX-0397";
pub(crate) const MISSING: &str = "EX-0398";
pub(crate) const TERM_NOT_FINITE: &str = "EX-0399";
pub(crate) const TOTAL_NOT_FINITE: &str = "EX-0400";
pub(crate) const TERM_NEGATIVE: &str = "EX-0401";
pub(crate) const COUPLED: &str = "EX-0402";
pub(crate) const SPREAD: &str = "EX-0403";

//! Stable codes of the problems the programme's files can have.

use crate::scenarios::document::CommonCodes;

/// Code and explanation, for `executingctl explain`.
pub const CODES: &[(&str, &str)] = &[
    ("EX-0410", "A file of the programme is not readable as YAML or JSON, or it is too large."),
    (
        "EX-0411",
        "A value in a file of the programme has the wrong type, such as a word where a number belongs.",
    ),
    ("EX-0412", "A file of the programme has a key that is not known."),
    ("EX-0413", "A file of the programme lacks a key that is needed."),
    ("EX-0414", "A key in a file of the programme is written twice."),
    ("EX-0415", "A figure in a file of the programme is NaN or infinite."),
    ("EX-0416", "Two candidates have the same id."),
    ("EX-0417", "No candidate offers a subsystem that has a TRL gate, so no design exists."),
    ("EX-0418", "A number has more digits than can be held exactly (18)."),
    ("EX-0419", "A pair rule names a subsystem that has no TRL gate and so is not chosen."),
    ("EX-0420", "A risk figure is out of range: cvar_alpha lies in [0, 1), beta is at least 0."),
    ("EX-0421", "Passenger bins were asked for and the candidates file has none, or repeats one."),
];

pub(crate) const COMMON: CommonCodes = CommonCodes {
    syntax: "EX-0410",
    wrong_type: "EX-0411",
    unknown_key: "EX-0412",
    missing_key: "EX-0413",
    duplicate_key: "EX-0414",
    not_finite: "EX-0415",
};
pub(crate) const SAME_DONOR: &str = "EX-0416";
pub(crate) const NOBODY_OFFERS: &str = "EX-0417";
pub(crate) const DIGITS: &str = "EX-0418";
pub(crate) const PAIR_NAMES: &str = "EX-0419";
pub(crate) const RISK: &str = "EX-0420";
pub(crate) const BINS: &str = "EX-0421";

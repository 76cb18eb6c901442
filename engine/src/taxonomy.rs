//! Kinds of errors as the programme names them, and which of our codes each stands for.
//!
//! Rule: the class of a kind is the one with which its codes are raised; settings may name a kind under
//! its own class, and whoever names it under another is told so. docs/scheduling.md holds the same table,
//! and a test holds the two equal. Absent: codes that no kind of the programme stands for.

use crate::run::ErrorClass;
use std::fmt::Write;

/// A kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    pub name: &'static str,
    pub class: ErrorClass,
    /// What is raised for it.
    pub codes: &'static [&'static str],
}

const fn transient(name: &'static str, codes: &'static [&'static str]) -> Kind {
    Kind { name, class: ErrorClass::Transient, codes }
}

const fn permanent(name: &'static str, codes: &'static [&'static str]) -> Kind {
    Kind { name, class: ErrorClass::Permanent, codes }
}

/// All kinds that the programme's settings name.
pub const KINDS: [Kind; 6] = [
    transient("network_timeout", &["EX-0502", "EX-0514"]),
    transient("resource_unavailable", &["EX-0501", "EX-0508", "EX-0013"]),
    transient("quantum_backend_busy", &["EX-0514"]),
    permanent("configuration_invalid", &["EX-0507", "EX-0510", "EX-0511"]),
    permanent("constraint_violation", &["EX-0512", "EX-0515"]),
    permanent("certification_failure", &["EX-0516", "EX-0517"]),
];

/// The class that settings may give a kind of this name; none for a name that is not known.
pub fn class_of(name: &str) -> Option<ErrorClass> {
    KINDS.iter().find(|kind| kind.name == name).map(|kind| kind.class)
}

/// The word for a class in settings and tables.
pub const fn word(class: ErrorClass) -> &'static str {
    match class {
        ErrorClass::Transient => "transient",
        ErrorClass::Permanent => "permanent",
        ErrorClass::Ambiguous => "ambiguous",
    }
}

/// The class that a word in settings names.
pub fn from_word(text: &str) -> Option<ErrorClass> {
    [ErrorClass::Transient, ErrorClass::Permanent, ErrorClass::Ambiguous]
        .into_iter()
        .find(|class| word(*class) == text)
}

/// The table as it is published.
pub fn render() -> String {
    let mut table = String::from("| kind in `error_types` | class | our codes |\n|---|---|---|\n");
    for kind in KINDS {
        let codes: Vec<String> = kind
            .codes
            .iter()
            .filter_map(|code| crate::codes::lookup(code))
            .map(|code| format!("{} {}", code.code, code.title))
            .collect();
        let _ = writeln!(table, "| {} | {} | {} |", kind.name, word(kind.class), codes.join(", "));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_stands_for_codes_that_there_are() {
        for kind in KINDS {
            assert!(!kind.codes.is_empty(), "{} stands for nothing", kind.name);
            for code in kind.codes {
                assert!(crate::codes::lookup(code).is_some(), "{code} of {} is no code", kind.name);
            }
        }
        assert_eq!(class_of("constraint_violation"), Some(ErrorClass::Permanent));
        assert_eq!(class_of("sunspots"), None);
    }

    #[test]
    fn the_published_table_is_this_one() {
        let page = include_str!("../../docs/scheduling.md");
        assert!(page.contains(&render()), "docs/scheduling.md lacks:\n{}", render());
    }
}

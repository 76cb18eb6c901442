//! Walking a tree and collecting every problem on the way.
//!
//! Rule: a helper that fails has already written down why; the caller goes on with what is left.
//! Start at [`Walk::fields`].

use super::decimal::DecimalError;
use super::tree::{Kind, Node, Place};
use super::{Attribute, Decimal};
use crate::problem::Problem;
use std::collections::BTreeMap;

/// Most problems listed for one file. A person mends a screenful at a time; the rest follows.
pub const PROBLEMS_MAX: usize = 200;

/// Longest name or id in bytes. They appear in tables and messages; the longest seen has 32.
pub const NAME_BYTES_MAX: usize = 256;

pub(super) struct Walk<'a> {
    file: &'a str,
    problems: Vec<Problem>,
    unlisted: usize,
}

/// The known keys of one mapping, each at most once.
pub(super) struct Fields<'a> {
    pub place: Place,
    values: BTreeMap<&'static str, (&'a Node, Place)>,
}

impl<'a> Fields<'a> {
    pub fn get(&self, key: &str) -> Option<&'a Node> {
        self.values.get(key).map(|(node, _)| *node)
    }
    /// Where the key itself stands.
    pub fn place_of(&self, key: &str) -> Place {
        self.values.get(key).map_or(self.place, |(_, place)| *place)
    }
}

impl<'f> Walk<'f> {
    pub fn new(file: &'f str) -> Self {
        Walk { file, problems: Vec::new(), unlisted: 0 }
    }

    pub fn clean(&self) -> bool {
        self.problems.is_empty()
    }

    pub fn problem(&mut self, place: Place, code: &str, message: impl Into<String>, help: impl Into<String>) {
        if self.problems.len() >= PROBLEMS_MAX {
            self.unlisted += 1;
            return;
        }
        self.problems.push(Problem {
            code: code.to_string(),
            file: self.file.to_string(),
            line: place.line,
            column: place.column,
            message: message.into(),
            help: help.into(),
        });
    }

    /// All problems in the order of the file.
    pub fn finish(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| (p.line, p.column));
        if self.unlisted > 0 {
            let message = format!("{} more problems are not listed", self.unlisted);
            let file = self.file.to_string();
            self.problems.push(Problem {
                code: "EX-0322".to_string(),
                file,
                line: 0,
                column: 0,
                message,
                help: "mend the listed ones first".to_string(),
            });
        }
        self.problems
    }

    fn wrong(&mut self, node: &Node, what: &str, expected: &str) {
        let message = format!("{what}: expected {expected}, found {}", node.describe());
        self.problem(node.place, "EX-0302", message, "");
    }

    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) => Some(items),
            _ => {
                self.wrong(node, what, "a list");
                None
            }
        }
    }

    pub fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [(Node, Node)]> {
        match &node.kind {
            Kind::Map(items) => Some(items),
            _ => {
                self.wrong(node, what, "a mapping");
                None
            }
        }
    }

    /// The mapping's entries by key: unknown, doubled and absent ones are problems.
    pub fn fields<'n>(
        &mut self,
        node: &'n Node,
        what: &str,
        required: &[&'static str],
        optional: &[&'static str],
    ) -> Option<Fields<'n>> {
        let items = self.map(node, what)?;
        let known: Vec<&'static str> = required.iter().chain(optional).copied().collect();
        let mut values: BTreeMap<&'static str, (&Node, Place)> = BTreeMap::new();
        for (key, value) in items {
            let Kind::Scalar { text, .. } = &key.kind else {
                self.wrong(key, &format!("{what}: a key"), "a word");
                continue;
            };
            match known.iter().find(|k| **k == text.as_str()) {
                None => {
                    let message = format!("{what}: unknown key `{text}`");
                    let help = match nearest(text, &known) {
                        Some(near) => format!("did you mean `{near}`? known here: {}", known.join(", ")),
                        None => format!("known here: {}", known.join(", ")),
                    };
                    self.problem(key.place, "EX-0304", message, help);
                }
                Some(k) => {
                    if let Some((_, first)) = values.get(k) {
                        let message =
                            format!("{what}: the key `{k}` stands twice, first in line {}", first.line);
                        self.problem(key.place, "EX-0305", message, "keep one of the two");
                    } else {
                        values.insert(k, (value, key.place));
                    }
                }
            }
        }
        for key in required {
            if !values.contains_key(key) {
                self.problem(node.place, "EX-0303", format!("{what}: the key `{key}` is missing"), "");
            }
        }
        Some(Fields { place: node.place, values })
    }

    /// A name or id: any scalar but null, its literal text.
    pub fn name(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.kind {
            Kind::Scalar { text, plain } if !(*plain && node.is_null() && !text.is_empty()) => {
                if text.trim().is_empty() || text.chars().any(char::is_control) {
                    let message = format!("{what} is empty or has control characters");
                    self.problem(node.place, "EX-0323", message, "give it a plain word");
                    return None;
                }
                if text.len() > NAME_BYTES_MAX {
                    let message =
                        format!("{what} has {} bytes; at most {NAME_BYTES_MAX} are read", text.len());
                    self.problem(node.place, "EX-0301", message, "shorten it");
                    return None;
                }
                Some(text.clone())
            }
            _ => {
                self.wrong(node, what, "a name");
                None
            }
        }
    }

    /// An exact number. Quoted text is not a number.
    pub fn number(&mut self, node: &Node, what: &str) -> Option<Decimal> {
        let Kind::Scalar { text, plain: true } = &node.kind else {
            self.wrong(node, what, "a number");
            return None;
        };
        match Decimal::parse(text) {
            Ok(number) => Some(number),
            Err(error) => {
                self.number_problem(node, what, &error);
                None
            }
        }
    }

    fn number_problem(&mut self, node: &Node, what: &str, error: &DecimalError) {
        let (code, help) = match error {
            DecimalError::NotFinite { .. } => ("EX-0312", "give a finite number"),
            DecimalError::NotANumber { .. } => ("EX-0311", "give an integer or a decimal"),
            DecimalError::TooManyDigits { .. } => ("EX-0311", "use fewer digits or another unit"),
        };
        self.problem(node.place, code, format!("{what}: {error}"), help);
    }

    /// A whole number from 0 to `u32::MAX`.
    pub fn count(&mut self, node: &Node, what: &str) -> Option<u32> {
        let number = self.number(node, what)?;
        let whole = number.normalised();
        match u32::try_from(whole.mantissa) {
            Ok(count) if whole.scale == 0 => Some(count),
            _ => {
                let message = format!("{what}: expected a whole number from 0, found {number}");
                self.problem(node.place, "EX-0320", message, "");
                None
            }
        }
    }

    /// A number, word or flag. Only unquoted text can be a number or flag.
    pub fn attribute(&mut self, node: &Node, what: &str) -> Option<Attribute> {
        match &node.kind {
            Kind::Scalar { text, plain: false } => Some(Attribute::Text(text.clone())),
            Kind::Scalar { text, .. } if !node.is_null() => match text.as_str() {
                "true" | "True" | "TRUE" => Some(Attribute::Flag(true)),
                "false" | "False" | "FALSE" => Some(Attribute::Flag(false)),
                _ => match Decimal::parse(text) {
                    Ok(number) => Some(Attribute::Number(number)),
                    Err(DecimalError::NotANumber { .. }) => Some(Attribute::Text(text.clone())),
                    Err(error) => {
                        self.number_problem(node, what, &error);
                        None
                    }
                },
            },
            _ => {
                self.wrong(node, what, "a number, a word or true/false");
                None
            }
        }
    }
}

/// The known word within two edits of `text`, if there is one.
pub(super) fn nearest<'k>(text: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (edits(text, k), *k))
        .filter(|(distance, k)| *distance <= 2 && *distance < k.chars().count())
        .min()
        .map(|(_, k)| k)
}

fn edits(a: &str, b: &str) -> usize {
    if a.len().abs_diff(b.len()) > 8 {
        return usize::MAX;
    }
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let changed = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

//! Walking a YAML tree by hand: every question that fails leaves a [`Problem`] and the walk goes on.
//!
//! Rule: a question answers `None` exactly when it has left a problem, so nothing wrong goes unsaid
//! and nothing is said twice. Start at [`Fields::open`].

use super::problem::Problem;
use super::yaml::{Entry, Node, Place, Scalar, Value};
use std::ops::RangeInclusive;

/// The problems found in one file so far.
#[derive(Debug)]
pub struct Problems {
    file: String,
    found: Vec<Problem>,
}

impl Problems {
    pub fn of(file: &str) -> Self {
        Self { file: file.into(), found: vec![] }
    }

    pub fn add(&mut self, at: Place, code: &str, message: impl Into<String>, help: impl Into<String>) {
        self.found.push(Problem {
            code: code.into(),
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            message: message.into(),
            help: help.into(),
        });
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    pub fn into_found(self) -> Vec<Problem> {
        self.found
    }

    pub fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        // A phrase such as "the workflow `w`" has its own quotes.
        let what = if what.contains([' ', '`']) { what.to_owned() } else { format!("`{what}`") };
        self.add(node.at, "EX-0102", format!("{what} must be {expected}, not {}", node.describe()), "");
    }

    /// Text; numbers and booleans count as what they are written as.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match node.scalar() {
            Some(Scalar::Null) | None => {
                self.wrong_type(node, what, "text");
                None
            }
            Some(_) => Some(node.raw().to_owned()),
        }
    }

    pub fn flag(&mut self, node: &Node, what: &str) -> Option<bool> {
        if let Some(Scalar::Flag(flag)) = node.scalar() {
            return Some(flag);
        }
        self.wrong_type(node, what, "true or false");
        None
    }

    pub fn whole(&mut self, node: &Node, what: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let Some(Scalar::Whole(number)) = node.scalar() else {
            self.wrong_type(node, what, "a whole number");
            return None;
        };
        let fits = u64::try_from(number).ok().filter(|number| range.contains(number));
        if fits.is_none() {
            let message =
                format!("`{what}` is {number}; it must be from {} to {}", range.start(), range.end());
            self.add(node.at, "EX-0123", message, "");
        }
        fits
    }

    pub fn number(&mut self, node: &Node, what: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let number = match node.scalar() {
            Some(Scalar::Whole(number)) => number as f64,
            Some(Scalar::Number(number)) => number,
            _ => {
                self.wrong_type(node, what, "a number");
                return None;
            }
        };
        if range.contains(&number) {
            return Some(number);
        }
        let message = format!("`{what}` is {number}; it must be from {} to {}", range.start(), range.end());
        self.add(node.at, "EX-0123", message, "");
        None
    }

    pub fn list<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Node]> {
        if let Value::List(items) = &node.value {
            return Some(items);
        }
        self.wrong_type(node, what, "a list");
        None
    }

    pub fn map<'n>(&mut self, node: &'n Node, what: &str) -> Option<&'n [Entry]> {
        if let Value::Map(entries) = &node.value {
            return Some(entries);
        }
        self.wrong_type(node, what, "a map");
        None
    }

    /// A list of texts with the place of each; items that are no text are reported and left out.
    pub fn texts(&mut self, node: &Node, what: &str) -> Option<Vec<Placed>> {
        let items = self.list(node, what)?;
        let mut texts = vec![];
        for item in items {
            if let Some(text) = self.text(item, what) {
                texts.push(Placed { text, at: item.at });
            }
        }
        Some(texts)
    }
}

/// A text and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    pub text: String,
    pub at: Place,
}

/// A map whose keys are asked for one by one; what nobody asked for is an unknown key.
#[derive(Debug)]
pub struct Fields<'n> {
    entries: &'n [Entry],
    asked: Vec<&'static str>,
    what: String,
}

impl<'n> Fields<'n> {
    /// `what` names the map in messages, for example "a stage".
    pub fn open(node: &'n Node, what: impl Into<String>, problems: &mut Problems) -> Option<Self> {
        let what = what.into();
        let entries = problems.map(node, &what)?;
        Some(Self { entries, asked: vec![], what })
    }

    pub fn take(&mut self, key: &'static str) -> Option<&'n Node> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    /// The value of whichever of two names is used; both at once is a problem.
    pub fn take_either(
        &mut self,
        key: &'static str,
        alias: &'static str,
        problems: &mut Problems,
    ) -> Option<&'n Node> {
        let (first, second) = (self.take(key), self.take(alias));
        if let (Some(_), Some(node)) = (first, second) {
            problems.add(
                node.at,
                "EX-0105",
                format!("`{alias}` is another name for `{key}`, and both are given"),
                "keep one",
            );
        }
        first.or(second)
    }

    /// Reports every key that was never asked for.
    pub fn finish(self, problems: &mut Problems) {
        for entry in self.entries.iter().filter(|entry| !self.asked.contains(&entry.key.as_str())) {
            let help = did_you_mean(&entry.key, self.asked.iter().copied())
                .unwrap_or_else(|| format!("known: {}", self.asked.join(", ")));
            problems.add(entry.key_at, "EX-0103", format!("{} has no key `{}`", self.what, entry.key), help);
        }
    }
}

/// `did you mean ...?` if one of `known` is close enough to `given` to be a slip of the hand.
pub fn did_you_mean<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    // Cost is bounded by both lengths; nobody mistypes a name of hundreds of letters.
    if given.len() > 100 {
        return None;
    }
    let closest = |(first, first_distance), (second, second_distance)| {
        if second_distance < first_distance { (second, second_distance) } else { (first, first_distance) }
    };
    let (name, distance) =
        known.into_iter().map(|name| (name, strsim::osa_distance(given, name))).reduce(closest)?;
    (distance <= 1 + given.len() / 4).then(|| format!("did you mean `{name}`?"))
}

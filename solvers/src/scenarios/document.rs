//! A YAML or JSON text as a tree that remembers where everything stood.
//!
//! Rule: a scalar keeps its text as written, so that the readers above decide what it means and every
//! complaint can name line and column. [`Reader`] collects complaints; nothing stops at the first one.
//! Absent: several documents in one file, tags, merge keys. Start at [`parse`].

use crate::problem::Problem;
use granit_parser::{Event, Parser, ScalarStyle};
use std::collections::BTreeMap;

/// Largest input file. A table of 100,000 scenarios with ten figures is about 20 MB.
pub(crate) const DOCUMENT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Largest tree after aliases are expanded; stops a few lines of aliases from filling the memory.
const NODES_MAX: usize = 4_000_000;

/// Where something stood, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    pub line: u32,
    pub column: u32,
}

#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub at: Place,
    pub kind: Kind,
}

#[derive(Debug, Clone)]
pub(crate) enum Kind {
    Scalar { text: String, quoted: bool },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub key: String,
    pub at: Place,
    pub value: Node,
}

impl Node {
    /// What stands here, in words for a complaint.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar { .. } if self.is_null() => "nothing".into(),
            Kind::Scalar { text, .. } => format!("`{}`", shorten(text)),
            Kind::List(items) => format!("a list of {}", items.len()),
            Kind::Map(_) => "a mapping".into(),
        }
    }

    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, quoted: false }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    pub fn entries(&self) -> &[Entry] {
        match &self.kind {
            Kind::Map(entries) => entries,
            _ => &[],
        }
    }

    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|e| e.key == key).map(|e| &e.value)
    }
}

fn shorten(text: &str) -> String {
    if text.chars().count() <= 60 {
        return text.to_string();
    }
    text.chars().take(57).chain("...".chars()).collect()
}

/// Why a text is not a tree.
#[derive(Debug)]
pub(crate) struct Broken {
    pub at: Place,
    pub message: String,
}

fn place(mark: &granit_parser::Marker) -> Place {
    Place {
        line: u32::try_from(mark.line()).unwrap_or(u32::MAX),
        column: u32::try_from(mark.col() + 1).unwrap_or(u32::MAX),
    }
}

enum Open {
    List(Place, usize, Vec<Node>),
    Map(Place, usize, Vec<Entry>, Option<(String, Place)>),
}

/// Reads one document. JSON is YAML's flow style, so the same code reads both.
///
/// A key that is written twice is kept twice; [`Reader::keys`] complains about it.
pub(crate) fn parse(text: &str) -> Result<Node, Broken> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Broken {
            at: Place::default(),
            message: format!("the file has {} bytes, the limit is {DOCUMENT_BYTES_MAX}", text.len()),
        });
    }
    let mut stack: Vec<Open> = Vec::new();
    let mut root: Option<Node> = None;
    let mut anchors: BTreeMap<usize, Node> = BTreeMap::new();
    let mut nodes = 0usize;
    let mut documents = 0usize;
    for step in Parser::new_from_str(text.trim_start_matches('\u{feff}')) {
        let (event, span) = step.map_err(|e| Broken { at: place(e.marker()), message: e.info() })?;
        let at = place(&span.start);
        let (node, anchor) = match event {
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(Broken {
                        at,
                        message: "a second document begins here; one was expected".into(),
                    });
                }
                continue;
            }
            Event::Scalar(text, style, anchor, _) => (
                Node {
                    at,
                    kind: Kind::Scalar { text: text.into_owned(), quoted: style != ScalarStyle::Plain },
                },
                anchor,
            ),
            Event::SequenceStart(_, anchor, _) => {
                stack.push(Open::List(at, anchor, Vec::new()));
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                stack.push(Open::Map(at, anchor, Vec::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open::List(at, anchor, items)) => (Node { at, kind: Kind::List(items) }, anchor),
                Some(Open::Map(at, anchor, entries, _)) => (Node { at, kind: Kind::Map(entries) }, anchor),
                None => continue,
            },
            Event::Alias(id) => match anchors.get(&id) {
                Some(node) => {
                    nodes += count(node);
                    (Node { at, kind: node.kind.clone() }, 0)
                }
                None => {
                    return Err(Broken {
                        at,
                        message: "an alias refers to a value that is not complete yet".into(),
                    });
                }
            },
            _ => continue,
        };
        nodes += 1;
        if nodes > NODES_MAX {
            return Err(Broken {
                at,
                message: format!("more than {NODES_MAX} values once aliases are expanded"),
            });
        }
        if anchor != 0 {
            anchors.insert(anchor, node.clone());
        }
        match stack.last_mut() {
            None => root = Some(node),
            Some(Open::List(_, _, items)) => items.push(node),
            Some(Open::Map(_, _, entries, pending)) => match pending.take() {
                None => match node.kind {
                    Kind::Scalar { text, .. } => *pending = Some((text, at)),
                    _ => {
                        return Err(Broken {
                            at,
                            message: "a key must be a word, not a list or mapping".into(),
                        });
                    }
                },
                Some((key, key_at)) => entries.push(Entry { key, at: key_at, value: node }),
            },
        }
    }
    root.ok_or(Broken { at: Place { line: 1, column: 1 }, message: "the file is empty".into() })
}

fn count(node: &Node) -> usize {
    match &node.kind {
        Kind::Scalar { .. } => 1,
        Kind::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Kind::Map(entries) => 1 + entries.iter().map(|e| count(&e.value)).sum::<usize>(),
    }
}

/// The codes one reader uses for the complaints that every reader has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CommonCodes {
    pub syntax: &'static str,
    pub wrong_type: &'static str,
    pub unknown_key: &'static str,
    pub missing_key: &'static str,
    pub duplicate_key: &'static str,
    pub not_finite: &'static str,
}

/// Collects the problems of one file.
#[derive(Debug)]
pub(crate) struct Reader {
    pub file: String,
    pub codes: CommonCodes,
    pub problems: Vec<Problem>,
}

impl Reader {
    pub fn new(file: &str, codes: CommonCodes) -> Self {
        Reader { file: file.to_string(), codes, problems: Vec::new() }
    }

    pub fn problem(&mut self, code: &str, at: Place, message: impl Into<String>, help: impl Into<String>) {
        self.problems.push(Problem {
            code: code.to_string(),
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            message: message.into(),
            help: help.into(),
        });
    }

    /// The tree of `text`, or `None` with a complaint.
    pub fn parse(&mut self, text: &str) -> Option<Node> {
        match parse(text) {
            Ok(node) => Some(node),
            Err(broken) => {
                let codes = self.codes;
                self.problem(
                    codes.syntax,
                    broken.at,
                    format!("not readable as YAML or JSON: {}", broken.message),
                    "correct the text at this place",
                );
                None
            }
        }
    }

    fn wrong_type(&mut self, node: &Node, what: &str, expected: &str) {
        let codes = self.codes;
        self.problem(
            codes.wrong_type,
            node.at,
            format!("{what} must be {expected}, not {}", node.describe()),
            "",
        );
    }

    /// Complains unless `node` is a mapping with keys among `known` (any key when `known` is empty),
    /// each written once, and all of `required`.
    pub fn keys(&mut self, node: &Node, what: &str, known: &[&str], required: &[&str]) -> bool {
        let codes = self.codes;
        let Kind::Map(entries) = &node.kind else {
            self.wrong_type(node, what, "a mapping");
            return false;
        };
        let before = self.problems.len();
        let mut seen: BTreeMap<&str, Place> = BTreeMap::new();
        for entry in entries {
            if let Some(first) = seen.insert(entry.key.as_str(), entry.at) {
                self.problem(
                    codes.duplicate_key,
                    entry.at,
                    format!("`{}` of {what} is written twice, first in line {}", entry.key, first.line),
                    "keep one of the two",
                );
            }
            if !known.is_empty() && !known.contains(&entry.key.as_str()) {
                self.problem(
                    codes.unknown_key,
                    entry.at,
                    format!("unknown key `{}` in {what}", shorten(&entry.key)),
                    format!("known here: {}", known.join(", ")),
                );
            }
        }
        for key in required {
            if !seen.contains_key(key) {
                self.problem(codes.missing_key, node.at, format!("{what} lacks `{key}`"), "add it");
            }
        }
        self.problems.len() == before
    }

    /// A finite number.
    pub fn number(&mut self, node: &Node, what: &str) -> Option<f64> {
        let codes = self.codes;
        let Kind::Scalar { text, quoted: false } = &node.kind else {
            self.wrong_type(node, what, "a number");
            return None;
        };
        match to_f64(text) {
            Some(value) if value.is_finite() => Some(value),
            Some(_) => {
                self.problem(
                    codes.not_finite,
                    node.at,
                    format!("{what} must be a finite number, not {}", node.describe()),
                    "NaN and infinity have no place in a figure",
                );
                None
            }
            None => {
                self.wrong_type(node, what, "a number");
                None
            }
        }
    }

    /// A whole number within `range`.
    pub fn whole(&mut self, node: &Node, what: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        if let Kind::Scalar { text, quoted: false } = &node.kind
            && let Ok(value) = text.replace('_', "").parse::<u64>()
            && range.contains(&value)
        {
            return Some(value);
        }
        let expected = format!("a whole number from {} to {}", range.start(), range.end());
        self.wrong_type(node, what, &expected);
        None
    }

    /// A word: any scalar but nothing, quoted or not.
    pub fn text(&mut self, node: &Node, what: &str) -> Option<String> {
        match &node.kind {
            Kind::Scalar { text, .. } if !node.is_null() => Some(text.clone()),
            _ => {
                self.wrong_type(node, what, "a word");
                None
            }
        }
    }

    /// A list, of exactly `length` when given.
    pub fn list<'n>(&mut self, node: &'n Node, what: &str, length: Option<usize>) -> Option<&'n [Node]> {
        match &node.kind {
            Kind::List(items) if length.is_none_or(|n| n == items.len()) => Some(items),
            _ => {
                let expected = match length {
                    Some(n) => format!("a list of {n}"),
                    None => "a list".into(),
                };
                self.wrong_type(node, what, &expected);
                None
            }
        }
    }
}

/// The number a plain scalar stands for; NaN and infinities in YAML's and other spellings included.
pub(crate) fn to_f64(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        ".nan" | "nan" => return Some(f64::NAN),
        ".inf" | "+.inf" | "inf" | "+inf" | "infinity" | "+infinity" => {
            return Some(f64::INFINITY);
        }
        "-.inf" | "-inf" | "-infinity" => return Some(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = text.replace('_', "");
    if !digits.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | '-' | '+')) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_block_and_flow_style() {
        let tree = parse("a: 1\nb: {c: [x, y]}\n").unwrap();
        let list = tree.get("b").unwrap().get("c").unwrap();
        assert_eq!(tree.entries()[1].at, Place { line: 2, column: 1 });
        assert_eq!(list.at, Place { line: 2, column: 8 });
    }

    #[test]
    fn json_reads_as_the_same_tree() {
        let tree = parse("{\"a\": [1, \"2\"]}").unwrap();
        let Kind::List(items) = &tree.get("a").unwrap().kind else { panic!("not a list") };
        assert!(matches!(&items[0].kind, Kind::Scalar { quoted: false, .. }));
        assert!(matches!(&items[1].kind, Kind::Scalar { quoted: true, .. }));
    }

    #[test]
    fn doubling_aliases_are_stopped() {
        let mut text = String::from("a0: &a0 [x, x]\n");
        for i in 1..40 {
            text += &format!("a{i}: &a{i} [*a{}, *a{}]\n", i - 1, i - 1);
        }
        assert!(parse(&text).unwrap_err().message.contains("aliases"));
    }

    #[test]
    fn a_broken_text_names_its_line() {
        assert_eq!(parse("a: 1\nb: [1, 2\n").unwrap_err().at.line, 2);
    }

    #[test]
    fn words_are_no_numbers() {
        for word in ["e5", "", "-", "1.2.3", "0x10", "true"] {
            assert_eq!(to_f64(word), None, "{word}");
        }
        assert_eq!(to_f64("1_000"), Some(1000.0));
    }
}

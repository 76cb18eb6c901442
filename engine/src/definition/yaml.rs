//! YAML text to a plain tree in which every node knows its line and column.
//!
//! Rule: this file knows YAML and no workflow. Typed deserialisers stop at the first defect; a tree
//! can be walked to the end, so that a reader hears of everything at once. Aliases are copied in
//! (bounded by [`NODES_MAX`] and [`DEPTH_MAX`]); tags outside the core schema and merge keys are
//! refused, since no workflow needs them. Start at [`parse`].

use crate::definition::problem::Problem;
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Largest workflow file, in bytes. A 300-stage workflow is about 60 KiB; 16 times that is surely a mistake.
pub const TEXT_BYTES_MAX: usize = 1024 * 1024;
/// Most nodes of a file after aliases are copied in: ten for each of the most stages, and as much again twice.
pub const NODES_MAX: usize = 200_000;
/// Deepest nesting. Workflows need six; parameters may carry structure of their own.
pub const DEPTH_MAX: usize = 64;
/// Characters of a wrong text that a message repeats: enough to find it again.
const SHOWN_CHARS_MAX: usize = 60;

/// Where a node begins; both count from 1, and 0 means not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// One value with its place.
#[derive(Debug, Clone)]
pub struct Node {
    pub at: Place,
    pub value: Value,
}

/// The three shapes of YAML.
#[derive(Debug, Clone)]
pub enum Value {
    /// `plain` is false for quoted and block text, which is never a number or a boolean.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// In written order; keys are unique.
    Map(Vec<Entry>),
}

/// A key with its value.
#[derive(Debug, Clone)]
pub struct Entry {
    pub key: String,
    pub key_at: Place,
    pub node: Node,
}

/// What a scalar means under YAML's core schema.
#[derive(Debug, Clone, PartialEq)]
pub enum Scalar<'a> {
    Null,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(&'a str),
}

impl Node {
    /// The meaning of a scalar, `None` for lists and maps.
    pub fn scalar(&self) -> Option<Scalar<'_>> {
        let Value::Scalar { text, plain } = &self.value else { return None };
        if !plain {
            return Some(Scalar::Text(text));
        }
        Some(match text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Scalar::Null,
            "true" | "True" | "TRUE" => Scalar::Flag(true),
            "false" | "False" | "FALSE" => Scalar::Flag(false),
            other => number(other).unwrap_or(Scalar::Text(other)),
        })
    }

    /// What stands here, in words for a message.
    pub fn describe(&self) -> String {
        match (&self.value, self.scalar()) {
            (Value::List(_), _) => "a list".into(),
            (Value::Map(_), _) => "a map".into(),
            (_, None | Some(Scalar::Null)) => "nothing".into(),
            (_, Some(Scalar::Flag(flag))) => format!("`{flag}`"),
            (_, Some(Scalar::Whole(_) | Scalar::Number(_))) => format!("the number {}", self.raw()),
            (_, Some(Scalar::Text(text))) => match text.char_indices().nth(SHOWN_CHARS_MAX) {
                None => format!("the text {text:?}"),
                Some((end, _)) => format!("the text {:?} and more", &text[..end]),
            },
        }
    }

    /// The text of a scalar as written, empty for lists and maps.
    pub fn raw(&self) -> &str {
        if let Value::Scalar { text, .. } = &self.value { text } else { "" }
    }

    /// The same value as JSON. Numbers that JSON cannot hold stay text.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::List(items) => Json::Array(items.iter().map(Self::to_json).collect()),
            Value::Map(entries) => {
                Json::Object(entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect())
            }
            Value::Scalar { text, .. } => match self.scalar() {
                None | Some(Scalar::Null) => Json::Null,
                Some(Scalar::Flag(flag)) => Json::Bool(flag),
                Some(Scalar::Whole(whole)) => Json::from(whole),
                Some(Scalar::Number(number)) => serde_json::Number::from_f64(number)
                    .map_or_else(|| Json::String(text.clone()), Json::Number),
                Some(Scalar::Text(text)) => Json::String(text.into()),
            },
        }
    }
}

/// A plain scalar as a number, if it is one; `1_000`, `0755` and `1.2.3` are text.
fn number(text: &str) -> Option<Scalar<'static>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    if digits.bytes().all(|byte| byte.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') {
            return None;
        }
        if let Ok(whole) = text.parse() {
            return Some(Scalar::Whole(whole));
        }
    }
    if !digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Scalar::Number)
}

/// The documents of a stream, in order; empty documents are left out.
///
/// # Errors
/// `EX-0100` if the text is too large, too deep or has too many nodes, `EX-0101` if it is not YAML,
/// `EX-0105` for every key that stands twice in a map.
pub fn parse(text: &str, file: &str) -> Result<Vec<Node>, Vec<Problem>> {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes, more than the {TEXT_BYTES_MAX} allowed", text.len());
        return Err(vec![problem(
            file,
            Place::default(),
            "EX-0100",
            message,
            "split it into several workflows",
        )]);
    }
    let mut builder = Builder::new(file);
    for next in Parser::new_from_str(text) {
        match next {
            Ok((event, span)) => builder.event(event, &span)?,
            Err(error) => {
                let at = place(*error.marker());
                builder.problems.push(problem(
                    file,
                    at,
                    "EX-0101",
                    format!("this is not YAML: {}", error.info()),
                    "check indentation, quotes and brackets at this place",
                ));
                return Err(builder.problems);
            }
        }
    }
    if builder.problems.is_empty() { Ok(builder.documents) } else { Err(builder.problems) }
}

fn problem(file: &str, at: Place, code: &str, message: String, help: &str) -> Problem {
    Problem {
        code: code.into(),
        file: file.into(),
        line: at.line,
        column: at.column,
        message,
        help: help.into(),
    }
}

fn place(marker: serde_saphyr::granit_parser::Marker) -> Place {
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Place { line: narrow(marker.line()), column: narrow(marker.col()).saturating_add(1) }
}

/// A collection that is still open.
struct Open {
    node: Node,
    anchor: usize,
    /// Height of the tallest child so far.
    height: usize,
    /// A key that waits for its value.
    key: Option<(String, Place)>,
}

struct Builder<'a> {
    file: &'a str,
    documents: Vec<Node>,
    open: Vec<Open>,
    /// Anchored nodes with their height and number of nodes.
    anchors: BTreeMap<usize, (Node, usize, usize)>,
    nodes: usize,
    problems: Vec<Problem>,
}

impl<'a> Builder<'a> {
    fn new(file: &'a str) -> Self {
        Self { file, documents: vec![], open: vec![], anchors: BTreeMap::new(), nodes: 0, problems: vec![] }
    }

    /// Only what makes going on senseless is an `Err`; other defects are collected.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<(), Vec<Problem>> {
        let at = place(span.start);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let as_text = self.tag_means_text(tag, at);
                let plain = style == ScalarStyle::Plain && !as_text;
                let node = Node { at, value: Value::Scalar { text: text.into_owned(), plain } };
                self.count(1, 1, at)?;
                self.close(node, anchor, 1);
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.tag_means_text(tag, at);
                self.begin(Node { at, value: Value::List(vec![]) }, anchor)?;
            }
            Event::MappingStart(_, anchor, tag) => {
                self.tag_means_text(tag, at);
                self.begin(Node { at, value: Value::Map(vec![]) }, anchor)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    self.close(open.node, open.anchor, open.height + 1);
                }
            }
            Event::Alias(anchor) => {
                let Some((node, height, nodes)) = self.anchors.get(&anchor).cloned() else {
                    let message = "an alias stands inside the very node it names".into();
                    self.problems.push(problem(self.file, at, "EX-0101", message, "write the value out"));
                    return Err(std::mem::take(&mut self.problems));
                };
                self.count(nodes, height, at)?;
                self.close(Node { at, ..node }, 0, height);
            }
            Event::DocumentEnd => self.anchors.clear(),
            _ => {}
        }
        Ok(())
    }

    fn begin(&mut self, node: Node, anchor: usize) -> Result<(), Vec<Problem>> {
        self.count(1, 1, node.at)?;
        self.open.push(Open { node, anchor, height: 0, key: None });
        Ok(())
    }

    fn count(&mut self, nodes: usize, height: usize, at: Place) -> Result<(), Vec<Problem>> {
        self.nodes += nodes;
        let message = if self.nodes > NODES_MAX {
            format!("more than {NODES_MAX} values")
        } else if self.open.len() + height > DEPTH_MAX {
            format!("nested more than {DEPTH_MAX} deep")
        } else {
            return Ok(());
        };
        self.problems.push(problem(self.file, at, "EX-0100", message, "write the workflow more plainly"));
        Err(std::mem::take(&mut self.problems))
    }

    /// Whether the tag says that the scalar is text whatever it looks like.
    fn tag_means_text(&mut self, tag: Option<Cow<'_, Tag>>, at: Place) -> bool {
        let Some(tag) = tag else { return false };
        if !tag.is_yaml_core_schema() {
            let message = format!("the tag {} has no meaning here", tag.original());
            self.problems.push(problem(self.file, at, "EX-0102", message, "leave the tag out"));
        }
        tag.is_yaml_core_schema_tag("str")
    }

    fn close(&mut self, node: Node, anchor: usize, height: usize) {
        if anchor != 0 {
            let nodes = size(&node);
            self.anchors.insert(anchor, (node.clone(), height, nodes));
        }
        let Some(open) = self.open.last_mut() else {
            if !matches!(node.scalar(), Some(Scalar::Null)) {
                self.documents.push(node);
            }
            return;
        };
        open.height = open.height.max(height);
        match &mut open.node.value {
            Value::List(items) => items.push(node),
            Value::Map(entries) => match open.key.take() {
                Some((key, key_at)) => entries.push(Entry { key, key_at, node }),
                None => {
                    let Value::Scalar { text, .. } = node.value else {
                        let message = "a key must be plain text".into();
                        let found =
                            problem(self.file, node.at, "EX-0102", message, "a list or map is no key");
                        self.problems.push(found);
                        open.key = Some((String::new(), node.at));
                        return;
                    };
                    if entries.iter().any(|entry| entry.key == text) {
                        let message = format!("the key `{text}` stands twice in this map");
                        self.problems.push(problem(
                            self.file,
                            node.at,
                            "EX-0105",
                            message,
                            "keep one of them",
                        ));
                    }
                    open.key = Some((text, node.at));
                }
            },
            Value::Scalar { .. } => {}
        }
    }
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(size).sum(),
        Value::Map(entries) => entries.iter().map(|entry| 1 + size(&entry.node)).sum(),
    }
}

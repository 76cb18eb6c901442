//! YAML or JSON text as a tree in which every node knows its line and column.
//!
//! Rule: the tree keeps the literal text of every scalar, so that numbers can be read exactly and all
//! problems can be reported at once by a walk. JSON is read by the same parser: it is YAML in flow
//! form. Absent: meaning; [`super::reader`] gives it. Start at [`parse`].

use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Deepest nesting that is read. The format needs 8; deeper text is a mistake, and the walk recurses.
pub const DEPTH_MAX: usize = 64;

/// Most nodes of one file, aliases expanded. The largest space within the other limits (64 MiB of
/// tuples at 4 bytes each) stays below.
pub const NODES_MAX: usize = 20_000_000;

/// Most nodes that aliases may add. A hundred shared options fit; an alias bomb does not.
pub const ALIAS_NODES_MAX: usize = 100_000;

/// Where something stands in its file; both count from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    pub line: u32,
    pub column: u32,
}

/// One value with its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub place: Place,
    pub kind: Kind,
}

/// The three shapes a value can have.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// `plain` is false for quoted and block text, which is never a number, flag or null.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl Node {
    /// What it is, in words for a message.
    pub fn describe(&self) -> String {
        match &self.kind {
            Kind::Scalar { text, plain: true } if text.is_empty() => "nothing".to_string(),
            Kind::Scalar { text, .. } => {
                let short: String = text.chars().take(40).collect();
                format!("`{short}`")
            }
            Kind::List(items) => format!("a list of {}", items.len()),
            Kind::Map(items) => format!("a mapping of {}", items.len()),
        }
    }

    /// True for an absent value: empty, `~` or `null` outside quotes.
    pub fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true }
            if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }
}

/// Why a text is no tree. The message is the parser's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxProblem {
    pub place: Place,
    pub message: String,
}

enum Open {
    List(usize, Place, Vec<Node>),
    Map(usize, Place, Vec<(Node, Node)>, Option<Node>),
}

fn place(span: &Span) -> Place {
    let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Place { line: narrow(span.start.line()), column: narrow(span.start.col()).saturating_add(1) }
}

fn size(node: &Node) -> usize {
    1 + match &node.kind {
        Kind::Scalar { .. } => 0,
        Kind::List(items) => items.iter().map(size).sum(),
        Kind::Map(items) => items.iter().map(|(k, v)| size(k) + size(v)).sum(),
    }
}

/// Reads one document.
///
/// # Errors
/// [`SyntaxProblem`] at the first place where the text is not YAML, nests deeper than [`DEPTH_MAX`],
/// has more than [`NODES_MAX`] nodes, or has a second document.
pub fn parse(text: &str) -> Result<Option<Node>, SyntaxProblem> {
    let mut stack: Vec<Open> = Vec::new();
    let mut anchors: BTreeMap<usize, (Node, usize)> = BTreeMap::new();
    let mut root: Option<Node> = None;
    let mut documents = 0usize;
    let mut nodes = 0usize;
    let mut aliased = 0usize;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|e| SyntaxProblem {
            place: Place {
                line: u32::try_from(e.marker().line()).unwrap_or(0),
                column: u32::try_from(e.marker().col()).map_or(0, |c| c.saturating_add(1)),
            },
            message: e.kind().to_string(),
        })?;
        let at = place(&span);
        let fail = |message: String| SyntaxProblem { place: at, message };
        let (anchor, done) = match event {
            Event::Scalar(value, style, anchor, _) => {
                nodes += 1;
                let kind = Kind::Scalar { text: value.into_owned(), plain: style == ScalarStyle::Plain };
                (anchor, Node { place: at, kind })
            }
            Event::Alias(id) => {
                let (named, weight) = anchors
                    .get(&id)
                    .ok_or_else(|| fail("an alias stands inside what it names".to_string()))?;
                nodes += weight;
                aliased += weight;
                if aliased > ALIAS_NODES_MAX {
                    return Err(fail(format!("aliases stand for more than {ALIAS_NODES_MAX} values")));
                }
                let mut node = named.clone();
                node.place = at;
                (0, node)
            }
            Event::SequenceStart(_, anchor, _) => {
                stack.push(Open::List(anchor, at, Vec::new()));
                if stack.len() > DEPTH_MAX {
                    return Err(fail(format!("nested deeper than {DEPTH_MAX} levels")));
                }
                continue;
            }
            Event::MappingStart(_, anchor, _) => {
                stack.push(Open::Map(anchor, at, Vec::new(), None));
                if stack.len() > DEPTH_MAX {
                    return Err(fail(format!("nested deeper than {DEPTH_MAX} levels")));
                }
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => match stack.pop() {
                Some(Open::List(anchor, place, items)) => {
                    nodes += 1;
                    (anchor, Node { place, kind: Kind::List(items) })
                }
                Some(Open::Map(anchor, place, items, _)) => {
                    nodes += 1;
                    (anchor, Node { place, kind: Kind::Map(items) })
                }
                None => return Err(fail("an end without a start".to_string())),
            },
            Event::DocumentStart(..) => {
                documents += 1;
                if documents > 1 {
                    return Err(fail("a second document begins here; one was expected".to_string()));
                }
                continue;
            }
            _ => continue,
        };
        if nodes > NODES_MAX {
            return Err(fail(format!("more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            let weight = size(&done);
            anchors.insert(anchor, (done.clone(), weight));
        }
        match stack.last_mut() {
            None => root = Some(done),
            Some(Open::List(_, _, items)) => items.push(done),
            Some(Open::Map(_, _, items, key)) => match key.take() {
                None => *key = Some(done),
                Some(name) => items.push((name, done)),
            },
        }
    }
    Ok(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_from_one_in_yaml_and_json_alike() {
        let tree = parse("a: 1\nb: [x, 2.50]\n").unwrap().unwrap();
        let Kind::Map(items) = tree.kind else { panic!("no mapping") };
        let Kind::List(list) = &items[1].1.kind else { panic!("no list") };
        assert_eq!(list[1].place, Place { line: 2, column: 8 });
        assert_eq!(list[1].kind, Kind::Scalar { text: "2.50".into(), plain: true });
        let json = parse("{\n  \"a\": \"1\"}").unwrap().unwrap();
        let Kind::Map(items) = json.kind else { panic!("no mapping") };
        assert_eq!(items[0].1.place, Place { line: 2, column: 8 });
    }

    #[test]
    fn an_alias_bomb_and_a_deep_nest_are_refused() {
        let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_string();
        for i in 1..12 {
            let one = format!("*a{}", i - 1);
            bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![one; 10].join(", ")));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("more than"));
        let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
        assert!(parse(&deep).is_err());
        assert!(parse("a: 1\n---\nb: 2\n").unwrap_err().message.contains("second document"));
        assert!(parse("a: [1").is_err());
    }
}

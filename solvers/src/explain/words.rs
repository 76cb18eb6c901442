//! An explanation as a table for people.

use super::Explanation;
use std::fmt::Write;

fn number(value: Option<u128>) -> String {
    value.map_or_else(|| "not computed".to_string(), |n| n.to_string())
}

/// The explanation as lines of text: counts per constraint, then conflict and relaxations.
pub fn table(explanation: &Explanation) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{text}");
    };
    line(format!("combinations: {}", number(explanation.combinations)));
    line(format!("designs:      {}", number(explanation.designs)));
    let rows: Vec<[String; 3]> = explanation
        .constraints
        .iter()
        .map(|e| [number(e.removed_alone), number(e.removed_given_others), e.words.clone()])
        .collect();
    if !rows.is_empty() {
        let heads = ["removes alone".to_string(), "given the others".to_string(), "constraint".to_string()];
        let width = |i: usize| rows.iter().chain([&heads]).map(|r| r[i].chars().count()).max().unwrap_or(0);
        let (first, second) = (width(0), width(1));
        for row in [&heads].into_iter().chain(&rows) {
            line(format!("{:>first$}  {:>second$}  {}", row[0], row[1], row[2]));
        }
    }
    if let Some(conflict) = &explanation.conflict {
        let proven =
            if conflict.proven { "none of them can be spared" } else { "perhaps not all are needed" };
        line(format!("no design meets all constraints; these contradict each other ({proven}):"));
        conflict.words.iter().for_each(|words| line(format!("  {words}")));
    }
    if explanation.designs == Some(0) {
        match explanation.relaxations.len() {
            0 if explanation.not_computed.is_empty() => {
                line("no single change of one constraint is enough".to_string());
            }
            0 => {}
            _ => line("each of these changes alone is enough for a design:".to_string()),
        }
        explanation.relaxations.iter().for_each(|r| line(format!("  {}", r.words)));
    }
    explanation.not_computed.iter().for_each(|what| line(format!("not computed: {what}")));
    out
}

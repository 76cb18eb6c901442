//! Tables that fit the terminal.
//!
//! Rule: no line is wider than the terminal. Values are shortened in the middle with `…`, since names differ at
//! their ends; sentences are wrapped instead, since half of one says nothing; columns that do not fit at all are
//! left out, the last first, and a `…` says so. Where the width is not known nothing is shortened. Control
//! characters, which could do things to a terminal, are shown as spaces. Absent: which data (output.rs).

use std::io::{self, IsTerminal};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Between two columns.
const GAP: usize = 2;
/// A column is not made narrower than this; rather the last one is left out.
const COLUMN_MIN: usize = 8;
/// A first column up to this wide is never shortened.
const FIRST_MAX: usize = 14;
/// A terminal narrower than this is treated as if it had so many columns.
const WIDTH_MIN: usize = 24;
/// Columns whose values are sentences.
const SENTENCES: [&str; 6] = ["message", "why", "detail", "reason", "remedy", "meaning"];

/// Columns of the terminal: `COLUMNS` if it says, else what the terminal says; `None` where there is none.
pub fn width() -> Option<usize> {
    let said = std::env::var("COLUMNS").ok().and_then(|text| text.parse::<usize>().ok());
    let width = said.or_else(|| {
        io::stdout().is_terminal().then(crossterm::terminal::size)?.ok().map(|(columns, _)| columns.into())
    });
    width.filter(|width| *width > 0).map(|width| width.max(WIDTH_MIN))
}

/// A value without what could do things to a terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// At most `width` columns of `text`: its beginning, `…`, its end.
pub fn shortened(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    if width == 0 {
        return String::new();
    }
    let (head_max, tail_max) = ((width - 1).div_ceil(2), (width - 1) / 2);
    let take = |chars: &mut dyn Iterator<Item = char>, most: usize| {
        let mut taken = 0;
        let mut found = Vec::new();
        for c in chars {
            taken += c.width().unwrap_or(0);
            if taken > most {
                break;
            }
            found.push(c);
        }
        found
    };
    let head: String = take(&mut text.chars(), head_max).into_iter().collect();
    let tail: String = take(&mut text.chars().rev(), tail_max).into_iter().rev().collect();
    format!("{head}…{tail}")
}

/// Lines of at most `width` columns, broken between words where there are any.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let mut word = word;
        loop {
            let line = lines.last_mut().map_or(0, |line| line.width());
            let space = usize::from(line > 0);
            if line + space + word.width() <= width {
                let last = lines.last_mut().filter(|_| true);
                if let Some(last) = last {
                    if space > 0 {
                        last.push(' ');
                    }
                    last.push_str(word);
                }
                break;
            }
            if line > 0 {
                lines.push(String::new());
                continue;
            }
            // A word that is longer than a line is cut.
            let mut taken = 0;
            let end = word.char_indices().find(|(_, c)| {
                taken += c.width().unwrap_or(0);
                taken > width
            });
            let end = end.map_or(word.len(), |(at, c)| if at == 0 { c.len_utf8() } else { at });
            let (part, rest) = word.split_at(end);
            if let Some(last) = lines.last_mut() {
                last.push_str(part);
            }
            lines.push(String::new());
            word = rest;
        }
    }
    if lines.len() > 1 && lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

/// `text` with spaces up to `width` columns.
pub fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text.width())))
}

/// Rows under a header.
pub fn rows(columns: &[String], rows: &[Vec<String>], width: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| plain(cell)).collect()).collect();
    let mut header: Vec<String> = columns.iter().map(|column| plain(&column.to_uppercase())).collect();
    let natural = |i: usize| {
        let cells = rows.iter().map(|row| row.get(i).map_or(0, |cell| cell.width()));
        cells.max().unwrap_or(0).max(header[i].width())
    };
    let mut widths: Vec<usize> = (0..columns.len()).map(natural).collect();
    let mut left_out = false;
    if let Some(width) = width {
        while !fit(&mut widths, width, left_out) && widths.len() > 1 {
            widths.pop();
            left_out = true;
        }
    }
    header.truncate(widths.len());
    let mut text = String::new();
    let mut line = |cells: &[String], more: &str| {
        let mut line = String::new();
        for (cell, width) in cells.iter().zip(&widths) {
            line.push_str(&padded(cell, width + GAP));
        }
        line.push_str(more);
        text.push_str(line.trim_end());
        text.push('\n');
    };
    let more = if left_out { "…" } else { "" };
    line(&header.iter().zip(&widths).map(|(cell, width)| shortened(cell, *width)).collect::<Vec<_>>(), more);
    for row in &rows {
        let cells: Vec<Vec<String>> = widths
            .iter()
            .enumerate()
            .map(|(i, width)| {
                let cell = row.get(i).map_or("", String::as_str);
                let is_sentence = SENTENCES.contains(&columns[i].as_str());
                if is_sentence { wrapped(cell, *width) } else { vec![shortened(cell, *width)] }
            })
            .collect();
        let lines = cells.iter().map(Vec::len).max().unwrap_or(1);
        for i in 0..lines {
            let part: Vec<String> =
                cells.iter().map(|cell| cell.get(i).cloned().unwrap_or_default()).collect();
            line(&part, "");
        }
    }
    text.truncate(text.trim_end_matches('\n').len());
    text
}

/// Takes from the widest until all fit; false if the narrowest allowed does not.
fn fit(widths: &mut [usize], width: usize, left_out: bool) -> bool {
    let gaps = GAP * widths.len().saturating_sub(1) + if left_out { GAP + 1 } else { 0 };
    let room = width.saturating_sub(gaps);
    // The first column says what a line is about; half a name names nothing.
    let first = widths.first().copied().filter(|first| *first <= FIRST_MAX).unwrap_or(0);
    let capped =
        |(i, width): (usize, &usize), cap: usize| if i == 0 && first > 0 { first } else { (*width).min(cap) };
    let sum = |cap: usize| widths.iter().enumerate().map(|each| capped(each, cap)).sum::<usize>();
    if sum(usize::MAX) <= room {
        return true;
    }
    // The largest cap under which all fit; the sum grows with it.
    let (mut low, mut high) = (0, widths.iter().copied().max().unwrap_or(0));
    while low < high {
        let middle = (low + high).div_ceil(2);
        if sum(middle) <= room { low = middle } else { high = middle - 1 }
    }
    if low < COLUMN_MIN && widths.len() > 1 {
        return false;
    }
    let fitted: Vec<usize> = widths.iter().enumerate().map(|each| capped(each, low)).collect();
    widths.copy_from_slice(&fitted);
    true
}

/// Names and values, one pair a line; values are wrapped beside their names.
pub fn pairs(pairs: &[(String, String)], width: Option<usize>) -> String {
    let names = pairs.iter().map(|(name, _)| name.width()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (name, value) in pairs {
        let value = plain(value);
        let parts = match width.map(|width| width.saturating_sub(names + GAP).max(COLUMN_MIN)) {
            Some(room) => wrapped(&value, room),
            None => vec![value],
        };
        for (i, part) in parts.iter().enumerate() {
            let name = if i == 0 { name.as_str() } else { "" };
            lines.push(format!("{}{part}", padded(name, names + GAP)).trim_end().to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(cells: &[&str]) -> Vec<String> {
        cells.iter().map(|cell| (*cell).to_owned()).collect()
    }

    fn wide() -> (Vec<String>, Vec<Vec<String>>) {
        let columns =
            strings(&["run", "workflow", "phase", "user", "submitted", "ended", "message", "pinned"]);
        let row = strings(&[
            "run-000001",
            "a-workflow-with-a-name-that-has-no-end-but-this-one",
            "rolled-back",
            "someone.with.a.long.name@example.org",
            "2026-11-23T14:00:00.000Z",
            "2026-11-23T14:00:01.000Z",
            "the worker ended with signal 9 before it had said what it found, for the third time",
            "false",
        ]);
        (columns, vec![row; 3])
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_the_run_is_never_shortened() {
        let (columns, body) = wide();
        for width in [24, 40, 60, 80, 120, 200, 400] {
            let text = rows(&columns, &body, Some(width));
            for line in text.lines() {
                assert!(line.width() <= width, "{} > {width}: {line}", line.width());
            }
            assert_eq!(text.matches("run-000001").count(), 3, "{width}:\n{text}");
        }
        let whole = rows(&columns, &body, None);
        assert!(!whole.contains('…') && whole.contains("for the third time"), "{whole}");
    }

    #[test]
    fn what_does_not_fit_is_named_by_a_mark_and_what_fits_has_none() {
        let (columns, body) = wide();
        let narrow = rows(&columns, &body, Some(60));
        assert!(narrow.lines().next().unwrap().ends_with('…'), "{narrow}");
        assert!(!narrow.contains("PINNED"), "{narrow}");
        let few = rows(&strings(&["run", "phase"]), &[strings(&["run-1", "failed"])], Some(60));
        assert_eq!(few, "RUN    PHASE\nrun-1  failed");
    }

    #[test]
    fn a_sentence_is_wrapped_and_nothing_of_it_is_lost() {
        let (columns, body) = wide();
        let text = rows(&columns[5..7], &[body[0][5..7].to_vec()], Some(60));
        let words: Vec<&str> = text.split_whitespace().collect();
        for word in body[0][6].split(' ') {
            assert!(words.contains(&word), "{word} is lost:\n{text}");
        }
    }

    #[test]
    fn a_name_keeps_its_beginning_and_its_end() {
        assert_eq!(shortened("full-optimization", 9), "full…tion");
        assert_eq!(shortened("full-optimization", 17), "full-optimization");
        assert_eq!(shortened("ab", 1), "…");
        for width in 0..12 {
            assert!(shortened("日本語のとても長い名前", width).width() <= width);
        }
    }

    #[test]
    fn a_word_longer_than_a_line_is_cut_and_every_line_fits() {
        for width in 1..10 {
            let lines = wrapped("a verylongwordindeed 日本語の名前 end", width);
            assert!(lines.iter().all(|line| line.width() <= width.max(2)), "{width}: {lines:?}");
            let all: String = lines.concat().split_whitespace().collect();
            assert_eq!(all, "averylongwordindeed日本語の名前end");
        }
    }

    #[test]
    fn nothing_in_a_value_reaches_the_terminal_as_a_command() {
        let text = rows(&strings(&["message"]), &[strings(&["a\x1b[2Jb\r\nc\u{9b}d"])], Some(80));
        assert!(!text.contains('\x1b') && !text.contains('\r') && !text.contains('\u{9b}'), "{text:?}");
        assert_eq!(text.lines().count(), 2);
        assert!(!pairs(&[("n".into(), "x\x07y".into())], None).contains('\x07'));
    }
}

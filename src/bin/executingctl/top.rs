//! `top`: what the daemon does right now, again and again.
//!
//! Rule: it fits the terminal, whatever its size, and leaves the terminal as it was. Keys: `q` leaves, `p` holds
//! the picture, `c` shows runs without their stages. Absent: the figures (the daemon's `overview`). Start at
//! [`draw`], which is pure.

use crate::context::{Context, Outcome};
use crate::output;
use crate::table::{padded, shortened, width};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::terminal::{
    self, Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use engine::protocol::Request;
use executing::control::Client;
use serde_json::Value;
use std::io::{self, IsTerminal, Read, Write};
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// Columns of one bar.
const BAR: usize = 10;
/// Alerts that are shown at most; the first are the worst.
const ALERTS_MAX: usize = 4;
/// Lines of a picture that nobody cuts: what a pipe gets.
const LINES_UNCUT: usize = 10_000;
/// Columns where nothing says how many there are.
const WIDTH_DEFAULT: usize = 100;

/// Looks every `every`, `count` times. Without a terminal a table is shown once, unless told otherwise.
pub async fn top(context: &Context, every: Duration, count: Option<u64>) -> Outcome {
    let is_picture = context.output.is_for_people();
    let is_terminal = io::stdout().is_terminal();
    let mut client = context.client().await?;
    if is_picture && is_terminal && count.is_none() {
        return live(client, every).await;
    }
    let mut left = count.unwrap_or(if is_picture { 1 } else { u64::MAX });
    while left > 0 {
        let overview = client.request(&Request::Overview).await?;
        if is_picture {
            let lines = draw(&overview, width().unwrap_or(WIDTH_DEFAULT), LINES_UNCUT, false);
            output::line(&lines.join("\n"));
        } else {
            context.output.data(&overview);
        }
        left -= 1;
        if left > 0 {
            tokio::time::sleep(every).await;
        }
    }
    Ok(0)
}

/// The terminal while it is ours; given back however this ends.
struct Screen;

impl Screen {
    fn take() -> io::Result<Self> {
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen, Hide)?;
        Ok(Self)
    }

    fn show(lines: &[String]) -> io::Result<()> {
        let mut out = io::stdout().lock();
        queue!(out, MoveTo(0, 0))?;
        for (i, line) in lines.iter().enumerate() {
            let end = if i + 1 < lines.len() { "\r\n" } else { "" };
            queue!(out, Clear(ClearType::CurrentLine))?;
            write!(out, "{line}{end}")?;
        }
        queue!(out, Clear(ClearType::FromCursorDown))?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Whoever took the terminal away needs it no more.
        let _ = execute!(io::stdout(), LeaveAlternateScreen, Show);
        let _ = disable_raw_mode();
    }
}

/// Bytes that people type. The thread ends with the program: a read cannot be taken back.
fn keys() -> mpsc::UnboundedReceiver<u8> {
    let (typed, keys) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for byte in io::stdin().lock().bytes() {
            let Ok(byte) = byte else { return };
            if typed.send(byte).is_err() {
                return;
            }
        }
    });
    keys
}

async fn live(mut client: Client, every: Duration) -> Outcome {
    let failed = |error: io::Error| crate::context::refusal("EX-0046", 1, format!("the terminal: {error}"));
    let screen = Screen::take().map_err(failed)?;
    let mut keys = keys();
    let mut ended = signal(SignalKind::terminate()).map_err(failed)?;
    let mut resized = signal(SignalKind::window_change()).map_err(failed)?;
    let (mut held, mut compact) = (false, false);
    let mut overview = client.request(&Request::Overview).await?;
    let mut clock = tokio::time::interval(every);
    clock.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let (columns, lines) =
            terminal::size().map_or((80, 24), |(columns, lines)| (columns.into(), lines.into()));
        let mut picture = draw(&overview, columns, lines, compact);
        if held && let Some(first) = picture.first_mut() {
            *first = shortened(&format!("{first}  (held)"), columns);
        }
        Screen::show(&picture).map_err(failed)?;
        tokio::select! {
            key = keys.recv() => match key {
                // `q`, and what Ctrl-C and Ctrl-D send where the terminal does not act on them.
                Some(b'q' | 3 | 4) => break,
                Some(b'p') => held = !held,
                Some(b'c') => compact = !compact,
                Some(_) => {}
                // Nobody types any more: the picture goes on.
                None => tokio::time::sleep(every).await,
            },
            _ = ended.recv() => break,
            _ = resized.recv() => {}
            _ = clock.tick() => {
                if !held {
                    overview = client.request(&Request::Overview).await?;
                }
            }
        }
    }
    drop(screen);
    Ok(0)
}

fn number(of: &Value, key: &str) -> f64 {
    of.get(key).and_then(Value::as_f64).unwrap_or_default()
}

fn text<'v>(of: &'v Value, key: &str) -> &'v str {
    of.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn list<'v>(of: &'v Value, key: &str) -> &'v [Value] {
    of.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `███░░░░░░░`
fn bar(share: f64) -> String {
    let full = (share.clamp(0.0, 1.0) * BAR as f64).round() as usize;
    format!("{}{}", "█".repeat(full), "░".repeat(BAR - full))
}

fn used(overview: &Value, key: &str, word: &str, unit: f64) -> String {
    let of = &overview[key];
    let (used, total) = (number(of, "used"), number(of, "total"));
    let share = if total > 0.0 { used / total } else { 0.0 };
    let amount = |value: f64| {
        let value = format!("{:.1}", value / unit);
        value.trim_end_matches(".0").to_owned()
    };
    format!("{word} {} {}/{}", bar(share), amount(used), amount(total))
}

/// `12s`, `3min`, `2.5h`
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 100.0 => format!("{s:.0}s"),
        s if s < 6_000.0 => format!("{:.0}min", s / 60.0),
        s => format!("{:.1}h", s / 3_600.0),
    }
}

fn percent(of: &Value, key: &str) -> String {
    match of.get(key).and_then(Value::as_f64) {
        Some(share) => format!("{:.1}%", share * 100.0),
        None => "-".to_owned(),
    }
}

/// The picture: at most `lines` lines of at most `columns` columns.
pub fn draw(overview: &Value, columns: usize, lines: usize, compact: bool) -> Vec<String> {
    let mut picture = head(overview);
    let alerts = list(overview, "alerts");
    picture
        .extend(alerts.iter().take(ALERTS_MAX).filter_map(Value::as_str).map(|alert| format!("! {alert}")));
    if alerts.len() > ALERTS_MAX {
        picture.push(format!("! and {} more", alerts.len() - ALERTS_MAX));
    }
    picture.push(String::new());
    let runs = list(overview, "runs");
    let open = number(overview, "open") as usize;
    let mut below = Vec::new();
    let mut shown = 0;
    // A line for what is left out, if anything is.
    let room = lines.saturating_sub(picture.len() + 2);
    let names = runs.iter().map(|run| text(run, "workflow").chars().count()).max().unwrap_or(0);
    let names = names.clamp(8, (columns / 4).max(8));
    for run in runs {
        let block = block(run, names, compact);
        if below.len() + block.len() > room {
            break;
        }
        below.extend(block);
        shown += 1;
    }
    if open == 0 {
        picture.push("no run is open".to_owned());
    } else {
        let title = format!(
            "{}  {}  {}  {}",
            padded("RUN", 10),
            padded("WORKFLOW", names),
            padded("PHASE", 9),
            "DONE"
        );
        picture.push(title);
    }
    picture.append(&mut below);
    if open > shown {
        picture.push(format!("and {} more", open - shown));
    }
    picture.truncate(lines);
    // Whatever a name or a message holds, the terminal gets it as text.
    let plain =
        |line: &String| line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    picture.iter().map(|line| cut(&plain(line), columns)).collect()
}

/// At most so many columns of the line's beginning.
fn cut(line: &str, columns: usize) -> String {
    use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};
    if line.width() <= columns {
        return line.to_owned();
    }
    let mut taken = 1;
    let mut kept: String = line
        .chars()
        .take_while(|c| {
            taken += c.width().unwrap_or(0);
            taken <= columns
        })
        .collect();
    kept.push('…');
    kept
}

fn head(overview: &Value) -> Vec<String> {
    let phases = overview.get("phases").and_then(Value::as_object);
    let phases: Vec<String> =
        phases.into_iter().flatten().map(|(phase, count)| format!("{count} {phase}")).collect();
    let clock = text(overview, "time").get(11..19).unwrap_or_default().to_owned();
    let (queue, journal, figures) = (&overview["queue"], &overview["journal"], &overview["figures"]);
    let waits = queue.get("longest_wait_seconds").and_then(Value::as_f64);
    let waits = waits.map_or_else(String::new, |seconds| format!(", longest {}", time(seconds)));
    let memory = used(overview, "memory_mib", "GiB", 1_024.0);
    let mut lines = vec![
        format!(
            "executing {clock} UTC  {}",
            if phases.is_empty() { "no runs".to_owned() } else { phases.join(", ") }
        ),
        format!(
            "{}  {}  {memory}",
            used(overview, "slots", "slots", 1.0),
            used(overview, "cpu_cores", "cores", 1.0)
        ),
        format!(
            "queue {}{waits}  journal {:.1} ms, at most {:.1}  designs/h {:.0}",
            number(queue, "depth"),
            number(journal, "append_ms_median"),
            number(journal, "append_ms_max"),
            number(figures, "designs_per_hour"),
        ),
        format!(
            "ended {}  success {}  errors {}",
            number(figures, "runs_ended"),
            percent(figures, "success_rate"),
            percent(figures, "error_rate")
        ),
    ];
    let backends: Vec<String> = list(overview, "backends")
        .iter()
        .map(|backend| {
            let jobs = number(backend, "jobs");
            format!("{} {} ({jobs} jobs)", text(backend, "backend"), text(backend, "breaker"))
        })
        .collect();
    if !backends.is_empty() {
        lines.push(format!("backends {}", backends.join(", ")));
    }
    lines
}

/// A run and, below it, the stages that run.
fn block(run: &Value, names: usize, compact: bool) -> Vec<String> {
    let done = number(run, "done");
    let mut lines = vec![format!(
        "{}  {}  {}  {} {:>3.0}%  {}  {}",
        padded(&shortened(text(run, "run"), 10), 10),
        padded(&shortened(text(run, "workflow"), names), names),
        padded(text(run, "phase"), 9),
        bar(done),
        (done * 100.0).floor(),
        time(number(run, "seconds")),
        text(run, "user"),
    )];
    for stage in list(run, "running").iter().filter(|_| !compact) {
        let attempt = number(stage, "attempt");
        let attempt = if attempt > 1.0 { format!(" attempt {attempt}") } else { String::new() };
        let done = stage.get("done").and_then(Value::as_f64);
        let done = done.map_or_else(String::new, |done| format!(" {:.0}%", done * 100.0));
        lines.push(format!(
            "  {} {}{done}{attempt}  {}",
            text(stage, "stage"),
            time(number(stage, "seconds")),
            text(stage, "message")
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use unicode_width::UnicodeWidthStr;

    fn overview(runs: usize) -> Value {
        let run = |i: usize| {
            json!({"run": format!("run-{i:06}"), "workflow": "a-workflow-with-a-long-name-\x1b[2J-indeed", "phase": "running",
                "user": "ada", "seconds": 61.0 * i as f64, "done": 0.525, "stages": 9,
                "running": [{"stage": "risk-aware-selection/cvar-calculation", "attempt": 2, "seconds": 12.0,
                    "done": 0.5, "message": "scenario 500 of 1000, and a message that goes on and on and on"}]})
        };
        json!({
            "time": "2026-11-23T14:05:06.000Z", "phases": {"running": runs, "succeeded": 7}, "open": runs,
            "runs": (0..runs.min(100)).map(run).collect::<Vec<_>>(),
            "slots": {"used": 2, "total": 4}, "cpu_cores": {"used": 2, "total": 8},
            "memory_mib": {"used": 2048, "total": 16384}, "queue": {"depth": 3, "longest_wait_seconds": 75.0},
            "backends": [{"backend": "simulator", "breaker": "open", "jobs": 1}],
            "figures": {"runs_ended": 7, "designs_per_hour": 1234.5, "success_rate": 0.875, "error_rate": null},
            "journal": {"append_ms_median": 1.25, "append_ms_max": 8.5},
            "alerts": ["the breaker of simulator is open", "b", "c", "d", "e", "f"],
        })
    }

    #[test]
    fn the_picture_fits_every_terminal_and_says_how_many_runs_it_leaves_out() {
        for columns in [20, 60, 80, 200] {
            for lines in [3, 10, 24, 60] {
                for runs in [0, 1, 5, 500] {
                    let picture = draw(&overview(runs), columns, lines, false);
                    assert!(picture.len() <= lines, "{lines} lines, got {}", picture.len());
                    assert!(picture.iter().all(|line| line.width() <= columns), "{columns}: {picture:#?}");
                    assert!(!picture.concat().contains('\x1b'));
                    let shown = picture.iter().filter(|line| line.starts_with("run-")).count();
                    if lines >= 24 && runs > shown {
                        let last = picture.last().unwrap();
                        assert!(last.starts_with(&format!("and {} more", runs - shown)), "{picture:#?}");
                    }
                }
            }
        }
    }

    #[test]
    fn eighty_columns_hold_bars_places_queue_figures_backends_and_alerts() {
        let picture = draw(&overview(2), 80, 24, false).join("\n");
        for part in [
            "14:05:06",
            "2 running, 7 succeeded",
            "slots █████░░░░░ 2/4",
            "cores ███░░░░░░░ 2/8",
            "2/16",
            "queue 3, longest 75s",
            "journal 1.2 ms",
            "success 87.5%",
            "errors -",
            "simulator open (1 jobs)",
            "! the breaker of simulator is open",
            "! and 2 more",
            "█████░░░░░  52%",
            "cvar-calculation 12s 50% attempt 2",
        ] {
            assert!(picture.contains(part), "{part} is not in\n{picture}");
        }
        let compact = draw(&overview(2), 80, 24, true).join("\n");
        assert!(compact.contains("run-000001") && !compact.contains("cvar-calculation"), "{compact}");
    }
}

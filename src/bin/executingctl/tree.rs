//! The supervision tree as people draw it: one line a child, indented under its supervisor.

use serde_json::Value;
use std::fmt::Write as _;

/// The tree as text, as wide as the terminal allows: child, state, restarts, mailbox, what it does now,
/// last exit.
pub fn draw(root: &Value) -> String {
    let mut lines = Vec::new();
    collect(root, "", "", &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = format!(
        "{:<width$}  {:<10}  {:>8}  {:>9}  {:>8}  {:>9}  {:<22}  LAST EXIT\n",
        "CHILD", "STATE", "RESTARTS", "MAILBOX", "OLDEST", "HANDLED", "NOW"
    );
    for (name, node) in lines {
        let word = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let restarts = restarts(node);
        let pad = width - name.chars().count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name}{:pad$}  {:<10}  {restarts:>8}  {:>9}  {:>8}  {:>9}  {:<22}  {}",
            "",
            word("state"),
            mailbox(node),
            of_mailbox(node, "oldest_ms").map_or("-".to_owned(), duration),
            of_mailbox(node, "handled").map_or("-".to_owned(), |handled| handled.to_string()),
            now(node),
            last_exit(node),
        );
    }
    text.trim_end().to_owned()
}

fn restarts(node: &Value) -> String {
    let own = node.get("restarts").and_then(Value::as_u64).unwrap_or_default();
    match node.get("supervision").filter(|supervision| !supervision.is_null()) {
        // Restarts of its children that count now, and how many are tolerated.
        Some(below) => format!("{own} ({}/{})", below["recent_restarts"], below["intensity"]),
        None => own.to_string(),
    }
}

fn of_mailbox(node: &Value, key: &str) -> Option<f64> {
    node.get("mailbox")?.get(key)?.as_f64()
}

fn mailbox(node: &Value) -> String {
    let Some(mailbox) = node.get("mailbox").filter(|mailbox| !mailbox.is_null()) else { return "-".into() };
    let control = mailbox.get("control_depth").and_then(Value::as_u64).unwrap_or_default();
    let first = format!("{}/{}", mailbox["depth"], mailbox["capacity"]);
    if control > 0 { format!("{first}+{control}") } else { first }
}

/// What it is busy with: a message, a wait, a silence, or nothing.
fn now(node: &Value) -> String {
    let at = |of: &str| node.get("mailbox").and_then(|mailbox| mailbox.get(of)).filter(|now| !now.is_null());
    let since = |now: &Value| duration(now.get("ms").and_then(Value::as_f64).unwrap_or_default());
    if let Some(waiting) = at("waiting") {
        return format!("waits for {} {}", waiting["for"].as_str().unwrap_or("?"), since(waiting));
    }
    if let Some(handling) = at("handling") {
        return format!("{} {}", handling["message"].as_str().unwrap_or("?"), since(handling));
    }
    match node.get("silent_ms").and_then(Value::as_f64) {
        Some(silent) if silent > 0.0 => format!("silent {}", duration(silent)),
        _ => "-".to_owned(),
    }
}

fn last_exit(node: &Value) -> String {
    let Some(exit) = node.get("last_exit").and_then(Value::as_str) else { return "-".to_owned() };
    match node.get("last_exit_seconds_ago").and_then(Value::as_f64) {
        Some(ago) => format!("{exit} ({} ago)", duration(ago * 1e3)),
        None => exit.to_owned(),
    }
}

/// Three digits and a unit.
fn duration(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => format!("{:.0}us", ms * 1e3),
        ms if ms < 1e3 => format!("{ms:.0}ms"),
        ms if ms < 6e4 => format!("{:.1}s", ms / 1e3),
        ms if ms < 3.6e6 => format!("{:.0}min", ms / 6e4),
        ms => format!("{:.0}h", ms / 3.6e6),
    }
}

fn collect<'v>(node: &'v Value, lead: &str, below: &str, lines: &mut Vec<(String, &'v Value)>) {
    let id = node.get("id").and_then(Value::as_str).unwrap_or("?");
    lines.push((format!("{lead}{id}"), node));
    let children: Vec<&Value> =
        node.get("children").and_then(Value::as_array).into_iter().flatten().collect();
    for (i, child) in children.iter().enumerate() {
        let last = i + 1 == children.len();
        let (branch, under) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        collect(child, &format!("{below}{branch}"), &format!("{below}{under}"), lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_child_has_a_line_under_its_supervisor_with_its_restarts() {
        let worker = json!({"id": "worker-1", "state": "running", "restarts": 3, "last_exit": "panicked: x",
            "last_exit_seconds_ago": 90.0,
            "mailbox": {"depth": 1, "capacity": 16, "control_depth": 2, "oldest_ms": 12.4, "handled": 7,
                "handling": {"message": "Execute", "ms": 0.2}, "waiting": null}, "children": []});
        let tree = json!({"id": "executing", "state": "running", "restarts": 0, "children": [
            {"id": "workers", "state": "running", "restarts": 0,
                "supervision": {"intensity": 20, "recent_restarts": 3}, "children": [worker]},
            {"id": "health", "state": "restarting", "restarts": 1, "children": []}]});
        let text = draw(&tree);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[2].starts_with("├─ workers") && lines[2].contains("0 (3/20)"), "{text}");
        assert!(lines[3].starts_with("│  └─ worker-1") && lines[3].contains("1/16+2"), "{text}");
        for word in ["12ms", "Execute 200us", "panicked: x (2min ago)"] {
            assert!(lines[3].contains(word), "no {word} in\n{text}");
        }
        assert!(lines[4].starts_with("└─ health") && lines[4].contains("restarting"), "{text}");
    }

    #[test]
    fn a_wait_is_told_before_the_message_that_waits() {
        let node = json!({"mailbox": {"waiting": {"for": "the journal", "ms": 1500.0},
            "handling": {"message": "Drive", "ms": 1.0}}});
        assert_eq!(now(&node), "waits for the journal 1.5s");
    }
}

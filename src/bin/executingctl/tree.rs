//! The supervision tree as people draw it: one line a child, indented under its supervisor.

use serde_json::Value;
use std::fmt::Write as _;

/// The tree as text; columns: child, state, restarts, mailbox, last exit.
pub fn draw(root: &Value) -> String {
    let mut lines = Vec::new();
    collect(root, "", "", &mut lines);
    let width = lines.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    let mut text = format!("{:<width$}  STATE       RESTARTS  MAILBOX    LAST EXIT\n", "CHILD");
    for (name, node) in lines {
        let word = |key: &str| node.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
        let restarts = node.get("restarts").and_then(Value::as_u64).unwrap_or_default();
        let mailbox = node
            .get("mailbox")
            .filter(|mailbox| !mailbox.is_null())
            .map_or("-".to_owned(), |mailbox| format!("{}/{}", mailbox["depth"], mailbox["capacity"]));
        let pad = width - name.chars().count();
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "{name}{:pad$}  {:<10}  {restarts:>8}  {mailbox:<9}  {}",
            "",
            word("state"),
            word("last_exit")
        );
    }
    text.trim_end().to_owned()
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
        let worker = json!({"id": "worker-1", "state": "running", "restarts": 3, "last_exit": "Panicked",
            "mailbox": {"depth": 1, "capacity": 16}, "children": []});
        let tree = json!({"id": "executing", "state": "running", "restarts": 0, "children": [
            {"id": "workers", "state": "running", "restarts": 0, "children": [worker]},
            {"id": "health", "state": "restarting", "restarts": 1, "children": []}]});
        let text = draw(&tree);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 5, "{text}");
        assert!(lines[2].starts_with("├─ workers"), "{text}");
        assert!(lines[3].starts_with("│  └─ worker-1") && lines[3].contains("1/16"), "{text}");
        assert!(lines[4].starts_with("└─ health") && lines[4].contains("restarting"), "{text}");
    }
}

//! The programme's `orchestrator-config.yaml` as settings: what is honoured, and what is not and said so.
//!
//! Rule: no key is swallowed. Everything that does not change what this version does is listed in
//! [`Settings::not_honoured`](super::Settings) and logged at start.

use super::{Settings, SettingsError};
use serde_json::Value;

/// Whether this text is the programme's format rather than ours.
pub(super) fn is_foreign(text: &str) -> bool {
    text.lines().any(|line| line.trim_end() == "execution:")
}

pub(super) fn read(text: &str, file: &str) -> Result<Settings, SettingsError> {
    let tree: Value =
        serde_saphyr::from_str(text).map_err(|error| SettingsError(format!("{file}: {error}")))?;
    let mut settings = Settings::default();
    let mut leaves = Vec::new();
    collect(&tree, String::new(), &mut leaves);
    for (key, value) in leaves {
        if !honour(&mut settings, &key, value) {
            settings.not_honoured.push(format!("{key}: {value}"));
        }
    }
    Ok(settings)
}

fn collect<'a>(value: &'a Value, path: String, into: &mut Vec<(String, &'a Value)>) {
    match value {
        Value::Object(map) => {
            for (key, child) in map {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                collect(child, path, into);
            }
        }
        _ => into.push((path, value)),
    }
}

/// Takes the key over if this version acts on it.
fn honour(settings: &mut Settings, key: &str, value: &Value) -> bool {
    match (key, value.as_u64(), value.as_str()) {
        ("resources.max_cpu_cores", Some(cores), _) => {
            settings.cpu_cores = u32::try_from(cores).unwrap_or(u32::MAX)
        }
        ("resources.max_memory_gb", Some(gib), _) => settings.memory_mib = gib.saturating_mul(1_024),
        ("monitoring.log_level", _, Some(level)) => settings.log = level.to_lowercase(),
        // True of this daemon whatever the file says, so it is honoured when it asks for it.
        ("monitoring.metrics_collection" | "security.audit_logging", _, _) => {
            return value == &Value::Bool(true);
        }
        ("resources.classical_backend", _, Some("cpu"))
        | ("resources.quantum_backend", _, Some("qasm_simulator")) => {}
        ("output.format", _, Some("json")) => {}
        _ => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_the_programmes_file_is_honoured_or_listed() {
        let text = include_str!("../../examples/ampel360/programme/orchestrator-config.yaml");
        let settings = read(text, "orchestrator-config.yaml").unwrap();
        let tree: Value = serde_saphyr::from_str(text).unwrap();
        let mut leaves = Vec::new();
        collect(&tree, String::new(), &mut leaves);
        assert_eq!(settings.cpu_cores, 8);
        assert_eq!(settings.memory_mib, 16 * 1_024);
        for key in ["security.encryption_at_rest", "output.retention_days", "security.certification.arp4754a"]
        {
            assert!(settings.not_honoured.iter().any(|line| line.starts_with(key)), "{key} is swallowed");
        }
        assert!(settings.not_honoured.len() < leaves.len());
    }
}

//! The programme's `orchestrator-config.yaml` as settings: what is honoured, and what is not and said so.
//!
//! Rule: no key is swallowed. Everything that does not change what this version does is listed in
//! [`Settings::not_honoured`](super::Settings) and logged at start; a value outside its range is an error.
//! docs/scheduling.md tells what each key comes to. Absent: keys of our own settings.

use super::{Settings, SettingsError};
use engine::definition::{Demand, StageKind, units};
use engine::taxonomy;
use serde_json::Value;

/// Whether this text is the programme's format rather than ours.
pub(super) fn is_foreign(text: &str) -> bool {
    text.lines().any(|line| line.trim_end() == "execution:")
}

pub(super) fn read(text: &str, file: &str) -> Result<Settings, SettingsError> {
    let tree: Value =
        serde_saphyr::from_str(text).map_err(|error| SettingsError(format!("{file}: {error}")))?;
    let mut reading = Reading::default();
    let mut leaves = Vec::new();
    collect(&tree, &mut Vec::new(), &mut leaves);
    let mut faults = Vec::new();
    for (path, value) in leaves {
        let key = path.join(".");
        let keys: Vec<&str> = path.iter().map(String::as_str).collect();
        match reading.honour(&keys, value) {
            Ok(Taken::Whole) => {}
            Ok(Taken::Not) => reading.settings.not_honoured.push(format!("{key}: {value}")),
            Ok(Taken::But(rest)) => reading.settings.not_honoured.push(format!("{key}: {rest}")),
            Err(expected) => faults.push(format!("{file}: {key}: expected {expected}, got {value}")),
        }
    }
    if !faults.is_empty() {
        return Err(SettingsError(faults.join("\nerror[EX-0022]: ")));
    }
    Ok(reading.finish())
}

fn collect<'a>(value: &'a Value, path: &mut Vec<String>, into: &mut Vec<(Vec<String>, &'a Value)>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, child) in map {
                path.push(key.clone());
                collect(child, path, into);
                path.pop();
            }
        }
        _ => into.push((path.clone(), value)),
    }
}

/// How much of a key is honoured.
enum Taken {
    Whole,
    Not,
    /// All but this.
    But(String),
}

/// Kinds whose results depend on level and weight of risk.
const RISK: [StageKind; 3] =
    [StageKind::CvarCalculation, StageKind::QaoaOptimization, StageKind::ResultAnalysis];

#[derive(Default)]
struct Reading {
    settings: Settings,
    /// Repeats after the first attempt, by `execution` and by `error_handling`.
    repeats: [Option<u32>; 2],
    never_repeats: bool,
}

/// A whole number in a range.
fn whole(value: &Value, low: u64, high: u64) -> Result<u64, String> {
    value.as_u64().filter(|n| (low..=high).contains(n)).ok_or_else(|| format!("{low} to {high}"))
}

/// Any number in a range, the upper end left out.
fn number(value: &Value, low: f64, below: f64) -> Result<f64, String> {
    let within = value.as_f64().filter(|n| (low..below).contains(n));
    within.ok_or_else(|| format!("{low} to below {below}"))
}

/// A year of minutes.
const MINUTES_MAX: f64 = 365.0 * 1_440.0;

fn minutes(value: &Value) -> Result<u64, String> {
    Ok((number(value, 0.001, MINUTES_MAX)? * 60_000.0).round() as u64)
}

fn gib(value: &Value) -> Result<u64, String> {
    Ok((number(value, 0.001, 1e6)? * 1_024.0).ceil() as u64)
}

fn texts(value: &Value) -> Result<Vec<&str>, String> {
    let items = value.as_array().ok_or("a list of names")?;
    items.iter().map(|item| item.as_str().ok_or_else(|| "a list of names".to_owned())).collect()
}

/// What of a list is not honoured.
fn all_but(rest: Vec<String>) -> Taken {
    if rest.is_empty() { Taken::Whole } else { Taken::But(rest.join(", ")) }
}

fn only(is_so: bool) -> Taken {
    if is_so { Taken::Whole } else { Taken::Not }
}

impl Reading {
    /// Takes the key over as far as this version acts on it.
    fn honour(&mut self, keys: &[&str], value: &Value) -> Result<Taken, String> {
        let settings = &mut self.settings;
        let defaults = &mut settings.defaults;
        match keys {
            ["execution", "max_parallel_workflows"] => {
                settings.scheduling.max_parallel_workflows = Some(whole(value, 1, 10_000)? as u32);
            }
            ["execution", "timeout_minutes"] => defaults.start_to_close_ms = Some(minutes(value)?),
            ["execution", "retry_attempts"] => self.repeats[0] = Some(whole(value, 0, 99)? as u32),
            ["execution", "workflow_types"] => {
                let known = |name: &&str| !crate::catalog::WORKFLOWS.iter().any(|(known, _)| known == name);
                let unknown = texts(value)?.into_iter().filter(known);
                return Ok(all_but(unknown.map(|name| format!("{name} is no built-in workflow")).collect()));
            }
            ["resources", "max_cpu_cores"] => settings.cpu_cores = whole(value, 1, 65_536)? as u32,
            ["resources", "max_memory_gb"] => settings.memory_mib = gib(value)?,
            ["resources", "quantum_shots"] => defaults.shots = Some(whole(value, 1, 10_000_000)?),
            ["resources", "classical_backend"] => return Ok(only(value == "cpu")),
            ["resources", "quantum_backend"] => return Ok(only(value == "qasm_simulator")),
            ["resources", "allocation", workflow, what] => return self.allocation(workflow, what, value),
            ["monitoring", "log_level"] => match value.as_str() {
                Some(level) => settings.log = level.to_lowercase(),
                None => return Err("a level such as INFO".to_owned()),
            },
            ["monitoring", "health_check_interval"] => {
                settings.health_check_seconds = whole(value, 1, super::HEALTH_CHECK_SECONDS_MAX)?;
            }
            // True of this daemon whatever the file says, so it is honoured when it asks for it.
            ["monitoring", "metrics_collection"] | ["security", "audit_logging"] => {
                return Ok(only(value == &Value::Bool(true)));
            }
            ["error_handling", "fallback_to_classical"] => match value.as_bool() {
                // What holds where nobody forbids it.
                Some(true) => {}
                Some(false) => {
                    let kinds = vec![StageKind::QaoaOptimization, StageKind::QuantumBackendSetup];
                    defaults.params.insert("fallback_to_classical".to_owned(), (kinds, false.into()));
                }
                None => return Err("true or false".to_owned()),
            },
            ["stages", name, what] => return self.stage(name, what, value),
            ["output", "format"] => return Ok(only(value == "json")),
            ["output", "retention_days"] => {
                settings.retention.finished_runs_days = number(value, 0.001, super::DAYS_MAX)?;
            }
            ["error_handling", "retry_on_failure"] => match value.as_bool() {
                Some(repeats) => self.never_repeats = !repeats,
                None => return Err("true or false".to_owned()),
            },
            ["error_handling", "max_retries"] => self.repeats[1] = Some(whole(value, 0, 99)? as u32),
            ["error_handling", "retry_delay_seconds"] => {
                defaults.backoff_ms = Some((number(value, 0.001, 86_400.0)? * 1_000.0).round() as u64);
            }
            ["error_handling", "error_types", class] => return kinds(class, value),
            _ => return Ok(Taken::Not),
        }
        Ok(Taken::Whole)
    }

    fn allocation(&mut self, workflow: &str, what: &str, value: &Value) -> Result<Taken, String> {
        let of = self.settings.defaults.workflows.entry(workflow.to_owned()).or_default();
        match what {
            "cpu_cores" => of.ceilings.cpu_cores = whole(value, 1, 65_536)? as u32,
            "memory_gb" => of.ceilings.memory_mib = gib(value)?,
            "quantum_shots" => {
                let shots = whole(value, 1, 10_000_000)?;
                of.ceilings = Demand { shots, ..of.ceilings.clone() };
                of.shots = Some(shots);
            }
            "priority" => {
                let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let priority = units::priority(&word).ok_or("critical, high, medium, low or 0 to 255")?;
                of.priority = Some(priority);
            }
            _ => return Ok(Taken::Not),
        }
        Ok(Taken::Whole)
    }

    fn stage(&mut self, name: &str, what: &str, value: &Value) -> Result<Taken, String> {
        let defaults = &mut self.settings.defaults;
        let mut give = |parameter: &str, kinds: &[StageKind], value: Value| {
            let of = defaults.stages.entry(name.to_owned()).or_default();
            of.params.insert(parameter.to_owned(), (kinds.to_vec(), value));
        };
        match what {
            "timeout_minutes" => {
                let limit = minutes(value)?;
                defaults.stages.entry(name.to_owned()).or_default().start_to_close_ms = Some(limit);
            }
            "max_configurations" => {
                let most = whole(value, 1, 1_000_000)?;
                give("list_max", &[StageKind::FeasibleSetGeneration], most.into());
                give("keep", &[StageKind::FeasibleSetGeneration], most.into());
            }
            "max_iterations" => {
                give("iterations", &[StageKind::QaoaOptimization], whole(value, 1, 10_000_000)?.into());
            }
            // Weaker than a run's own configuration file, so under names of their own.
            "cvar_alpha" => {
                let level = number(value, 0.0, 1.0)?;
                defaults.params.insert("cvar_level_default".to_owned(), (RISK.to_vec(), level.into()));
            }
            "risk_beta" => {
                let weight = number(value, 0.0, 1e9)?;
                defaults.params.insert("risk_weight_default".to_owned(), (RISK.to_vec(), weight.into()));
            }
            "optimizer" => return Ok(only(value == "qaoa")),
            "solver" => return Ok(only(value == "highs")),
            // It changes nothing to allow what is allowed; to forbid it is not known here.
            "enabled" => return Ok(only(value == &Value::Bool(true))),
            "checks" => {
                // What a stage of kind `validation` always checks.
                let made = [
                    "configuration_validity",
                    "constraint_compliance",
                    "certification_requirements",
                    "safety_criteria",
                ];
                let not = texts(value)?.into_iter().filter(|name| !made.contains(name));
                return Ok(all_but(not.map(str::to_owned).collect()));
            }
            _ => return Ok(Taken::Not),
        }
        Ok(Taken::Whole)
    }

    fn finish(mut self) -> Settings {
        let [by_execution, by_errors] = self.repeats;
        if let (Some(other), Some(wins)) = (by_execution, by_errors)
            && other != wins
        {
            let line =
                format!("execution.retry_attempts: {other} (error_handling.max_retries: {wins} holds)");
            self.settings.not_honoured.push(line);
        }
        let repeats = if self.never_repeats { Some(0) } else { by_errors.or(by_execution) };
        self.settings.defaults.attempts = repeats.map(|repeats| repeats + 1);
        self.settings
    }
}

/// Kinds of errors under a class: honoured where that is their class.
fn kinds(class: &str, value: &Value) -> Result<Taken, String> {
    let mut not = Vec::new();
    for name in texts(value)? {
        match taxonomy::class_of(name) {
            Some(known) if taxonomy::word(known) == class => {}
            Some(known) => not.push(format!("{name} is {}", taxonomy::word(known))),
            None => not.push(format!("{name} is no known kind")),
        }
    }
    Ok(all_but(not))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAMME: &str = include_str!("../../examples/ampel360/programme/orchestrator-config.yaml");

    fn leaves(tree: &Value) -> Vec<String> {
        let mut leaves = Vec::new();
        collect(tree, &mut Vec::new(), &mut leaves);
        leaves.into_iter().map(|(path, _)| path.join(".")).collect()
    }

    #[test]
    fn of_the_programmes_file_exactly_what_is_listed_is_not_honoured() {
        let settings = read(PROGRAMME, "orchestrator-config.yaml").unwrap();
        let tree: Value = serde_saphyr::from_str(PROGRAMME).unwrap();
        let listed: Vec<&str> =
            settings.not_honoured.iter().map(|line| line.split(": ").next().unwrap()).collect();
        let honoured: Vec<String> =
            leaves(&tree).into_iter().filter(|key| !listed.contains(&key.as_str())).collect();
        assert_eq!(
            honoured,
            [
                "error_handling.error_types.permanent",
                "error_handling.error_types.transient",
                "error_handling.fallback_to_classical",
                "error_handling.max_retries",
                "error_handling.retry_delay_seconds",
                "error_handling.retry_on_failure",
                "execution.max_parallel_workflows",
                "execution.retry_attempts",
                "execution.timeout_minutes",
                "execution.workflow_types",
                "monitoring.health_check_interval",
                "monitoring.log_level",
                "monitoring.metrics_collection",
                "output.format",
                "output.retention_days",
                "resources.allocation.feasible-enumeration.cpu_cores",
                "resources.allocation.feasible-enumeration.memory_gb",
                "resources.allocation.feasible-enumeration.priority",
                "resources.allocation.full-optimization.cpu_cores",
                "resources.allocation.full-optimization.memory_gb",
                "resources.allocation.full-optimization.priority",
                "resources.allocation.full-optimization.quantum_shots",
                "resources.allocation.risk-aware-selection.cpu_cores",
                "resources.allocation.risk-aware-selection.memory_gb",
                "resources.allocation.risk-aware-selection.priority",
                "resources.allocation.risk-aware-selection.quantum_shots",
                "resources.classical_backend",
                "resources.max_cpu_cores",
                "resources.max_memory_gb",
                "resources.quantum_backend",
                "resources.quantum_shots",
                "security.audit_logging",
                "stages.feasible-enumeration.enabled",
                "stages.feasible-enumeration.max_configurations",
                "stages.feasible-enumeration.timeout_minutes",
                "stages.risk-aware-selection.cvar_alpha",
                "stages.risk-aware-selection.enabled",
                "stages.risk-aware-selection.max_iterations",
                "stages.risk-aware-selection.optimizer",
                "stages.risk-aware-selection.risk_beta",
                "stages.validation.checks",
                "stages.validation.enabled",
            ]
        );
        for key in [
            "security.encryption_at_rest",
            "stages.feasible-enumeration.solver",
            "integration.organizational.approval_required",
        ] {
            assert!(listed.contains(&key), "{key} is swallowed");
        }
    }

    #[test]
    fn the_programmes_figures_become_defaults_and_ceilings() {
        let settings = read(PROGRAMME, "orchestrator-config.yaml").unwrap();
        assert_eq!((settings.cpu_cores, settings.memory_mib), (8, 16 * 1_024));
        assert_eq!(settings.scheduling.max_parallel_workflows, Some(3));
        assert_eq!((settings.retention.finished_runs_days, settings.health_check_seconds), (90.0, 30));
        let defaults = &settings.defaults;
        // Two retries after the first attempt, a minute apart.
        assert_eq!((defaults.attempts, defaults.backoff_ms), (Some(3), Some(60_000)));
        assert_eq!((defaults.start_to_close_ms, defaults.shots), (Some(7_200_000), Some(1_024)));
        let full = &defaults.workflows["full-optimization"];
        assert_eq!((full.ceilings.cpu_cores, full.ceilings.memory_mib), (6, 12 * 1_024));
        assert_eq!((full.shots, full.priority), (Some(2_048), Some(2)));
        let feasible = &defaults.stages["feasible-enumeration"];
        assert_eq!(feasible.start_to_close_ms, Some(1_800_000));
        assert_eq!(feasible.params["list_max"].1, 1_000);
        assert_eq!(defaults.stages["risk-aware-selection"].params["iterations"].1, 100);
        assert_eq!(defaults.params["cvar_level_default"].1, 0.95);
    }

    #[test]
    fn a_value_outside_its_range_is_an_error_with_key_and_range() {
        for (text, expected) in [
            (
                "execution:\n  max_parallel_workflows: 0",
                "execution.max_parallel_workflows: expected 1 to 10000, got 0",
            ),
            (
                "execution:\n  timeout_minutes: -5",
                "execution.timeout_minutes: expected 0.001 to below 525600, got -5",
            ),
            ("execution:\nresources: {allocation: {w: {priority: urgent}}}", "expected critical, high"),
            ("execution:\nstages: {x: {cvar_alpha: 1}}", "stages.x.cvar_alpha: expected 0 to below 1, got 1"),
            (
                "execution:\nerror_handling: {max_retries: two}",
                "error_handling.max_retries: expected 0 to 99",
            ),
        ] {
            let refused = read(text, "o.yaml").unwrap_err().0;
            assert!(refused.contains(expected), "{refused}");
        }
    }

    #[test]
    fn an_error_under_a_class_that_it_does_not_have_is_listed_with_its_class() {
        let text = "execution:\nerror_handling:\n  retry_on_failure: false\n  max_retries: 4\n  error_types:\n    transient: [network_timeout, constraint_violation, sunspots]\n";
        let settings = read(text, "o.yaml").unwrap();
        let listed = settings.not_honoured.join("\n");
        assert!(listed.contains("constraint_violation is permanent, sunspots is no known kind"), "{listed}");
        assert!(!listed.contains("network_timeout"));
        assert_eq!(settings.defaults.attempts, Some(1), "nothing is repeated");
    }
}

//! Risk figures and seed architecture of `ampel360_config.json` and `orchestrator-config.yaml`.

use super::{File, codes};
use crate::problem::Problem;
use crate::risk::{CvarLevel, RiskWeight};
use crate::scenarios::document::{Node, Reader};
use std::collections::BTreeMap;

/// The two risk figures, old words translated: `cvar_alpha` and `beta` or `risk_beta`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Risk {
    pub cvar_level: CvarLevel,
    pub risk_weight: RiskWeight,
}

/// What `ampel360_config.json` says that a run uses.
#[derive(Debug, Clone, PartialEq)]
pub struct Configuration {
    pub risk: Risk,
    /// The programme's seed architecture: subsystem to donor, `tail` to `N/A-BWB`.
    pub architecture: BTreeMap<String, String>,
}

/// Reads `ampel360_config.json`.
///
/// # Errors
/// Every problem of the risk figures and the architecture, with line and column.
pub fn read_configuration(file: File) -> Result<Configuration, Vec<Problem>> {
    let mut reader = Reader::new(file.name, codes::COMMON);
    let configuration = configuration(&mut reader, file.text);
    match configuration {
        Some(configuration) if reader.problems.is_empty() => Ok(configuration),
        _ => Err(reader.problems),
    }
}

fn configuration(reader: &mut Reader, text: &str) -> Option<Configuration> {
    let root = reader.parse(text)?;
    reader.keys(
        &root,
        "the programme's configuration",
        &["utcs_mi", "architecture", "constraints_paths", "capacity", "corridors_seed", "risk", "notes"],
        &["risk"],
    );
    let mut architecture = BTreeMap::new();
    if let Some(node) = root.get("architecture")
        && reader.keys(node, "`architecture`", &[], &[])
    {
        for entry in node.entries() {
            if let Some(donor) = reader.text(&entry.value, &format!("the donor of `{}`", entry.key)) {
                architecture.insert(entry.key.clone(), donor);
            }
        }
    }
    let node = root.get("risk")?;
    reader.keys(node, "`risk`", &["cvar_alpha", "beta"], &["cvar_alpha", "beta"]);
    let risk = risk(reader, node, "beta")?;
    Some(Configuration { risk, architecture })
}

/// Risk figures of the stage defaults in `orchestrator-config.yaml`; `None` where it states none.
///
/// # Errors
/// Figures that are out of range or no numbers.
pub fn orchestrator_risk(file: File) -> Result<Option<Risk>, Vec<Problem>> {
    let mut reader = Reader::new(file.name, codes::COMMON);
    let found = reader.parse(file.text).and_then(|root| {
        let stage = root.get("stages")?.get("risk-aware-selection")?.clone();
        stage.get("cvar_alpha")?;
        stage.get("risk_beta")?;
        risk(&mut reader, &stage, "risk_beta")
    });
    if reader.problems.is_empty() { Ok(found) } else { Err(reader.problems) }
}

fn risk(reader: &mut Reader, node: &Node, weight_key: &str) -> Option<Risk> {
    let mut figure = |key: &str| {
        let at = node.get(key)?;
        Some((reader.number(at, &format!("`{key}`"))?, at.at))
    };
    let level = figure("cvar_alpha");
    let weight = figure(weight_key);
    let (level, level_at) = level?;
    let (weight, weight_at) = weight?;
    let level =
        CvarLevel::new(level).map_err(|e| reader.problem(codes::RISK, level_at, e.to_string(), "")).ok();
    let weight =
        RiskWeight::new(weight).map_err(|e| reader.problem(codes::RISK, weight_at, e.to_string(), "")).ok();
    Some(Risk { cvar_level: level?, risk_weight: weight? })
}

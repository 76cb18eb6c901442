//! What the daemon embeds: the built-in workflows and the demo's inputs.

use actors::orchestrator::Catalog;
use engine::definition::Library;
use std::collections::BTreeMap;

/// Built-in workflows: name and YAML text.
pub const WORKFLOWS: [(&str, &str); 5] = [
    ("feasible-enumeration", include_str!("../config/workflows/feasible-enumeration.yaml")),
    ("risk-aware-selection", include_str!("../config/workflows/risk-aware-selection.yaml")),
    ("full-optimization", include_str!("../config/workflows/full-optimization.yaml")),
    ("validation-only", include_str!("../config/workflows/validation-only.yaml")),
    ("emergency-rollback", include_str!("../config/workflows/emergency-rollback.yaml")),
];

/// Inputs of the embedded example, by input name.
const EXAMPLE: [(&str, &str); 3] = [
    ("space", include_str!("../examples/h2-bwb/space.yaml")),
    ("scenarios", include_str!("../examples/h2-bwb/scenarios.yaml")),
    ("costs", include_str!("../examples/h2-bwb/costs.yaml")),
];

/// The library of built-in workflows.
pub fn library() -> Library {
    Library::new(WORKFLOWS)
}

/// Everything embedded.
pub fn catalog() -> Catalog {
    // The same parameters as examples/h2-bwb/full-optimization.yaml; tests/it compares.
    let example_params = BTreeMap::from([
        ("seed".to_owned(), 7.into()),
        ("cvar_level".to_owned(), 0.9.into()),
        ("risk_weight".to_owned(), 1.0.into()),
    ]);
    let example_inputs =
        EXAMPLE.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect();
    Catalog { library: library(), example_inputs, example_params }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_workflow_loads() {
        for (name, _) in WORKFLOWS {
            let loaded = engine::definition::load_builtin(name, &library(), &BTreeMap::new());
            assert!(loaded.is_ok(), "{name}: {loaded:?}");
        }
    }
}

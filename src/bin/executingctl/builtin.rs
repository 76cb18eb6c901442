//! The workflows that come with the program.

use engine::definition::Library;

/// Names and texts as shipped in config/workflows.
pub fn library() -> Library {
    Library::new([
        ("emergency-rollback", include_str!("../../../config/workflows/emergency-rollback.yaml")),
        ("feasible-enumeration", include_str!("../../../config/workflows/feasible-enumeration.yaml")),
        ("full-optimization", include_str!("../../../config/workflows/full-optimization.yaml")),
        ("risk-aware-selection", include_str!("../../../config/workflows/risk-aware-selection.yaml")),
        ("validation-only", include_str!("../../../config/workflows/validation-only.yaml")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workflow_that_comes_with_the_program_loads() {
        let library = library();
        for name in library.names() {
            let loaded = engine::definition::load_builtin(name, &library, &Default::default());
            assert!(loaded.is_ok(), "{name}: {loaded:?}");
        }
    }
}

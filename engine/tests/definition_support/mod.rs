//! What the definition tests share: the built-in library and short ways to load.
#![allow(dead_code, reason = "each test binary uses a part of it")]

use engine::definition::{Library, LoadRequest, Loaded, Problem, load as load_request};
use std::collections::BTreeMap;

pub type Params = BTreeMap<String, serde_json::Value>;

pub fn library() -> Library {
    Library::new([
        ("feasible-enumeration", include_str!("../../../config/workflows/feasible-enumeration.yaml")),
        ("risk-aware-selection", include_str!("../../../config/workflows/risk-aware-selection.yaml")),
        ("full-optimization", include_str!("../../../config/workflows/full-optimization.yaml")),
        ("validation-only", include_str!("../../../config/workflows/validation-only.yaml")),
        ("emergency-rollback", include_str!("../../../config/workflows/emergency-rollback.yaml")),
    ])
}

pub fn params(given: &[(&str, serde_json::Value)]) -> Params {
    given.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

pub fn load_with(text: &str, workflow: Option<&str>, params: &Params) -> Result<Loaded, Vec<Problem>> {
    load_request(LoadRequest { text, file: "file.yaml", workflow, library: &library(), params })
}

pub fn load(text: &str, workflow: Option<&str>) -> Result<Loaded, Vec<Problem>> {
    load_with(text, workflow, &Params::new())
}

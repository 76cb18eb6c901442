//! Workflow definitions: from YAML in either form to one flat, checked [`Definition`].

mod problem;
mod spec;
pub use problem::Problem;
pub use spec::*;

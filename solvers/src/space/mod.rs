//! Design spaces: the model, its reader, and what may be asked of one design.

mod model;
pub use model::*;

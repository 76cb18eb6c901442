//! Design spaces: the model, its reader, and what may be asked of one design.
//!
//! Rule: reading reports every problem at once; what was read can be searched without further checks.
//! Start at [`read`] and [`DesignSpace`]; [`forms`] is the integer form that searches use.

mod codes;
mod decimal;
mod designs;
mod exact;
mod fields;
mod model;
mod reader;
mod rules;
mod tree;

pub use codes::{CODES, explain};
pub use decimal::{DecimalError, SCALE_MAX};
pub use designs::DesignError;
pub use exact::{ExactError, Form, forms, objective as objective_form};
pub use fields::{NAME_BYTES_MAX, PROBLEMS_MAX};
pub use model::*;
pub use reader::{DECISIONS_MAX, FILE_BYTES_MAX, OPTIONS_MAX, TUPLES_MAX, read};
pub use tree::{ALIAS_NODES_MAX, DEPTH_MAX, NODES_MAX};

//! Whether a space has a design at all.

use super::searchable;
use crate::enumeration::plan::Plan;
use crate::enumeration::search::Search;
use crate::enumeration::sinks::First;
use crate::enumeration::{EnumerationError, order};
use crate::space::{Design, DesignSpace};
use std::sync::atomic::AtomicBool;

/// Whether a space has a design at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Any {
    Design(Design),
    None,
    /// The nodes were spent before either was certain.
    Unknown,
}

/// Looks for some feasible design with at most about `nodes_max` inner nodes.
///
/// # Errors
/// As [`enumerate`].
pub fn any(space: &DesignSpace, nodes_max: u64) -> Result<Any, EnumerationError> {
    match searchable(space)? {
        0..=64 => first::<1>(space, nodes_max),
        65..=128 => first::<2>(space, nodes_max),
        129..=256 => first::<4>(space, nodes_max),
        _ => first::<16>(space, nodes_max),
    }
}

fn first<const W: usize>(space: &DesignSpace, nodes_max: u64) -> Result<Any, EnumerationError> {
    let plan: Plan<W> = Plan::new(space, order::order(space), false)?;
    if plan.dead {
        return Ok(Any::None);
    }
    let stop = AtomicBool::new(false);
    let mut search = Search::new(&plan, &stop);
    search.nodes_max = nodes_max;
    let mut sink = First { design: None };
    let whole = search.walk(0, &mut sink);
    Ok(match (sink.design, whole) {
        (Some(design), _) => Any::Design(design),
        (None, true) => Any::None,
        (None, false) => Any::Unknown,
    })
}

//! Values of an attribute that `same` and `distinct` count, numbered by depth.

use super::NONE;
use crate::enumeration::bits::Bits;
use crate::space::{Attribute, DesignSpace};
use std::collections::BTreeMap;

/// Values of an attribute that `same` and `distinct` count, by depth.
#[derive(Debug)]
pub(in crate::enumeration) struct Classes<const W: usize> {
    /// `class[depth][option]`, [`NONE`] for options without the attribute or decisions not concerned.
    pub class: Vec<Vec<u32>>,
    /// `members[depth][class]`.
    pub members: Vec<Vec<Bits<W>>>,
    /// Options at a depth that have any class.
    pub any: Vec<Bits<W>>,
    /// Depths after this one that can still bring a class.
    pub later: Vec<u32>,
    pub count: usize,
    pub limit: Limit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::enumeration) enum Limit {
    Same { max: u32 },
    Distinct { min: u32, max: u32 },
}

/// Equal values get equal numbers: attributes are compared by value.
pub(super) fn class_key(value: &Attribute) -> String {
    match value {
        Attribute::Number(n) => format!("n{n}"),
        Attribute::Text(s) => format!("t{s}"),
        Attribute::Flag(b) => format!("f{b}"),
    }
}

pub(super) fn classes<const W: usize>(
    space: &DesignSpace,
    order: &[usize],
    canonical: &[Vec<u16>],
    attribute: &str,
    decisions: &[usize],
    limit: Limit,
) -> Classes<W> {
    let mut ids: BTreeMap<String, u32> = BTreeMap::new();
    let mut class = Vec::with_capacity(order.len());
    for (k, &d) in order.iter().enumerate() {
        let concerned = decisions.contains(&d);
        let mut row = Vec::with_capacity(canonical[k].len());
        for &o in &canonical[k] {
            let value = space.decisions[d].options[usize::from(o)].attributes.get(attribute);
            row.push(match value {
                Some(value) if concerned => {
                    let next = ids.len() as u32;
                    *ids.entry(class_key(value)).or_insert(next)
                }
                _ => NONE,
            });
        }
        class.push(row);
    }
    let mut members = Vec::with_capacity(order.len());
    let mut any = Vec::with_capacity(order.len());
    for row in &class {
        let mut by_class = vec![Bits::EMPTY; ids.len()];
        let mut all = Bits::EMPTY;
        for (o, &c) in row.iter().enumerate() {
            if c != NONE {
                by_class[c as usize].insert(o);
                all.insert(o);
            }
        }
        members.push(by_class);
        any.push(all);
    }
    let later = (0..order.len())
        .map(|k| any[k + 1..].iter().filter(|bits| !bits.is_empty()).count() as u32)
        .collect();
    Classes { class, members, any, later, count: ids.len(), limit }
}

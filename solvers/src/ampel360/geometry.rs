//! Geometry requirements, design by design: met where the files state both figures, else not evaluated.

use super::Programme;
use crate::space::{Attribute, DesignOption};
use serde::{Deserialize, Serialize};

/// What can be said of one requirement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeometryStatus {
    Met,
    NotMet,
    /// A figure that the requirement needs is stated nowhere. This is no pass.
    NotEvaluated,
}

/// One requirement for one design.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GeometryItem {
    /// Such as `evacuation_compliance.ninety_second_rule`.
    pub requirement: String,
    pub status: GeometryStatus,
    pub reason: String,
}

/// Requirement, the figures it needs of the chosen parts, and the demand that no file states.
type Needs = (&'static str, &'static [(&'static str, &'static [&'static str])], &'static str);

const NEEDS: [Needs; 4] = [
    (
        "cryogenic_volume_margin",
        &[("fuselage", &["geometry_volume_cryogenic", "volume_cryogenic"])],
        "the margin for the centre of gravity",
    ),
    (
        "gear_compatibility.keel_depth_check",
        &[
            ("fuselage", &["geometry_keel_depth", "keel_depth"]),
            ("landing_gear", &["geometry_keel_depth", "keel_depth"]),
        ],
        "how the two depths must relate",
    ),
    (
        "gear_compatibility.gear_bay_span_check",
        &[
            ("fuselage", &["geometry_gear_bay_span", "gear_bay_span"]),
            ("landing_gear", &["geometry_gear_bay_span", "gear_bay_span"]),
        ],
        "how the two spans must relate",
    ),
    (
        "evacuation_compliance.bwb_doors_passages",
        &[("cabin", &["doors", "geometry_doors"])],
        "how many doors and passages are needed",
    ),
];

const NINETY_SECONDS: &str = "evacuation_compliance.ninety_second_rule";

impl Programme {
    /// Every geometry requirement for `design`, in the order of the file.
    pub fn geometry(&self, design: &[u16]) -> Vec<GeometryItem> {
        let mut items: Vec<GeometryItem> = self
            .geometry_flags
            .iter()
            .map(|requirement| {
                let (status, reason) = self.judge(requirement, design);
                GeometryItem { requirement: requirement.clone(), status, reason }
            })
            .collect();
        if let (Some(bin), Some(cabin)) = (self.chosen("capacity", design), self.chosen("cabin", design)) {
            items.push(GeometryItem {
                requirement: "passenger_binning".into(),
                status: GeometryStatus::NotEvaluated,
                reason: match cabin.attributes.get("passenger_capacity") {
                    Some(Attribute::Number(seats)) => format!(
                        "the cabin of donor {} states {} passengers; its doors and evacuation with {} are \
                         stated nowhere",
                        cabin.id,
                        seats.to_f64(),
                        bin.id
                    ),
                    _ => format!("the cabin of donor {} states no passenger_capacity", cabin.id),
                },
            });
        }
        items
    }

    fn chosen(&self, decision: &str, design: &[u16]) -> Option<&DesignOption> {
        let position = self.space.decisions.iter().position(|d| d.name == decision)?;
        self.space.decisions[position].options.get(usize::from(*design.get(position)?))
    }

    fn judge(&self, requirement: &str, design: &[u16]) -> (GeometryStatus, String) {
        use GeometryStatus::*;
        if requirement == NINETY_SECONDS {
            let time = self
                .chosen("cabin", design)
                .and_then(|cabin| Some((cabin.id.clone(), cabin.attributes.get("evacuation_time")?)));
            return match (time, self.evacuation_max) {
                (Some((donor, Attribute::Number(time))), Some(max)) => {
                    let met = time.to_f64() <= max.to_f64();
                    (
                        if met { Met } else { NotMet },
                        format!(
                            "the cabin of donor {donor} states {} s, the limit is {} s",
                            time.to_f64(),
                            max.to_f64()
                        ),
                    )
                }
                (_, None) => (NotEvaluated, "`evacuation_time_max` is not stated".into()),
                _ => (NotEvaluated, "the chosen cabin states no evacuation_time".into()),
            };
        }
        let Some((_, figures, demand)) = NEEDS.iter().find(|(name, ..)| *name == requirement) else {
            return (NotEvaluated, "no check is known for this requirement".into());
        };
        for (subsystem, names) in *figures {
            let stated = self
                .chosen(subsystem, design)
                .is_some_and(|option| names.iter().any(|name| option.attributes.contains_key(*name)));
            if !stated {
                let donor = self.chosen(subsystem, design).map_or("?", |o| o.id.as_str());
                let figure = names.last().copied().unwrap_or_default();
                return (NotEvaluated, format!("the {subsystem} of donor {donor} states no {figure}"));
            }
        }
        (NotEvaluated, format!("the files do not state {demand}"))
    }
}

//! All designs by expectation and CVaR, with the frontier and the designs that matter marked.

use super::PlotError;
use super::frame::{
    BLUE, GREEN, GREY, PURPLE, SIZE, VERMILION, chart, drawing, finite, legend, range, scale, titled,
};
use plotters::prelude::*;

/// Most designs drawn one by one. More become unreadable and megabytes of SVG; then every n-th is drawn.
const POINTS_MAX: usize = 4000;

/// What a marked design is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    Chosen,
    RiskNeutral,
    Qaoa,
}

/// A marked design: its index among those plotted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    pub kind: MarkKind,
    pub index: usize,
}

/// Expectation against CVaR of all designs, the frontier as a line, marks on top.
///
/// `expected` and `cvar` by design; `frontier` holds indices by rising expectation. Beyond 4,000 designs
/// the cloud shows an even choice of them; frontier and marks are always drawn.
///
/// # Errors
/// Nothing to plot, figures that are not finite, an index beyond the designs.
pub fn e_cvar_cloud(
    expected: &[f64],
    cvar: &[f64],
    frontier: &[usize],
    marks: &[Mark],
    level_percent: f64,
    unit: &str,
) -> Result<String, PlotError> {
    finite("the expectations", expected)?;
    finite("the CVaR figures", cvar)?;
    let count = expected.len();
    if cvar.len() != count {
        return Err(drawing(format!("{count} expectations stand against {} CVaR figures", cvar.len())));
    }
    if frontier.iter().chain(marks.iter().map(|m| &m.index)).any(|&i| i >= count) {
        return Err(drawing(format!("an index lies beyond the {count} designs")));
    }
    let (factor, word) = scale(expected.iter().chain(cvar).copied());
    let at = |i: usize| (expected[i] / factor, cvar[i] / factor);
    let (left, right) = range(expected.iter().map(|e| e / factor), 0.06);
    let (bottom, top) = range(cvar.iter().map(|c| c / factor), 0.12);
    let every = count.div_ceil(POINTS_MAX);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let mut chart = chart(
            &area,
            "Feasible designs: expectation and risk",
            (left, right, titled("Expected cost", word, unit)),
            (bottom, top, titled(&format!("CVaR at level {level_percent} % of cost"), word, unit)),
        )?;
        let label = match every {
            1 => format!("{count} feasible designs"),
            n => format!("one in {n} of {count} feasible designs"),
        };
        chart
            .draw_series((0..count).step_by(every).map(|i| Circle::new(at(i), 3, GREY.mix(0.5).filled())))
            .map_err(drawing)?
            .label(label)
            .legend(|(x, y)| Circle::new((x + 13, y), 3, GREY.mix(0.5).filled()));
        chart
            .draw_series(LineSeries::new(frontier.iter().map(|&i| at(i)), BLUE.stroke_width(2)).point_size(4))
            .map_err(drawing)?
            .label("frontier: none better in both")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 26, y)], BLUE.stroke_width(2)));
        let mut marks = marks.to_vec();
        marks.sort_by_key(|m| m.kind);
        for mark in marks {
            let point = at(mark.index);
            // Shapes of different size, so that two marks on one design both stay visible.
            match mark.kind {
                MarkKind::Chosen => chart
                    .draw_series([Circle::new(point, 13, VERMILION.stroke_width(3))])
                    .map_err(drawing)?
                    .label("chosen")
                    .legend(|(x, y)| Circle::new((x + 13, y), 7, VERMILION.stroke_width(3))),
                MarkKind::RiskNeutral => chart
                    .draw_series([TriangleMarker::new(point, 9, GREEN.filled())])
                    .map_err(drawing)?
                    .label("risk-neutral choice")
                    .legend(|(x, y)| TriangleMarker::new((x + 13, y), 7, GREEN.filled())),
                MarkKind::Qaoa => chart
                    .draw_series([Cross::new(point, 8, PURPLE.stroke_width(4))])
                    .map_err(drawing)?
                    .label("QAOA's pick")
                    .legend(|(x, y)| Cross::new((x + 13, y), 6, PURPLE.stroke_width(4))),
            };
        }
        legend(&mut chart, SeriesLabelPosition::UpperLeft)?;
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

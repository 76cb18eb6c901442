//! All designs by expectation and CVaR; beside them the frontier, large, with the designs that matter.
//!
//! Few designs are near the frontier, and it is the part that a person chooses from: it gets a panel with
//! its own axes. No design lies below a frontier, so the legend stands there.

use super::PlotError;
use super::frame::{
    Area, BLUE, Canvas, GREEN, GREY, PURPLE, VERMILION, chart_with, drawing, finite, legend, range, scale,
    titled,
};
use plotters::prelude::*;

/// Most designs drawn one by one in a panel. More become unreadable and megabytes of SVG; then every n-th
/// is drawn.
const POINTS_MAX: usize = 2500;
/// Width and height in pixels, and the width of the panel with all designs.
const SIZE: (u32, u32) = (1320, 620);
const OVERVIEW_WIDTH: u32 = 470;
/// Shares of the frontier's extent left free beside it: where designs that it beats are seen, and below,
/// where the legend stands.
const LEFT: f64 = 0.12;
const ABOVE: f64 = 0.3;
const BELOW: f64 = 0.45;
/// Where the frontier has no extent, the panel shows this share of the extent of all designs.
const EXTENT_MIN: f64 = 0.05;

/// Least share of the overview's axes that the frame round the frontier takes.
const FRAME_MIN: f64 = 0.08;

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

/// Indices of the frontier and of the corners of its convex hull, each by rising expectation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frontier<'a> {
    pub all: &'a [usize],
    pub corners: &'a [usize],
}

/// A part of the plane: from left to right, from bottom to top.
#[derive(Debug, Clone, Copy)]
struct Window {
    x: (f64, f64),
    y: (f64, f64),
}

impl Window {
    fn holds(&self, (x, y): (f64, f64)) -> bool {
        (self.x.0..=self.x.1).contains(&x) && (self.y.0..=self.y.1).contains(&y)
    }

    /// Its outline, widened where it would be lost among the marks of the whole.
    fn framed(&self, whole: Window) -> [(f64, f64); 5] {
        let wide = |part: (f64, f64), whole: (f64, f64)| {
            let lacking = ((whole.1 - whole.0) * FRAME_MIN - (part.1 - part.0)).max(0.0) / 2.0;
            ((part.0 - lacking).max(whole.0), (part.1 + lacking).min(whole.1))
        };
        let (x, y) = (wide(self.x, whole.x), wide(self.y, whole.y));
        [(x.0, y.0), (x.1, y.0), (x.1, y.1), (x.0, y.1), (x.0, y.0)]
    }
}

/// Extent of some figures with `below` and `above` of it added, or a share of `whole` if they are all equal.
fn extent(
    values: impl Iterator<Item = f64> + Clone,
    whole: (f64, f64),
    (below, above): (f64, f64),
) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let least = (whole.1 - whole.0) * EXTENT_MIN;
    let span = if high - low > 1e-6 * least { high - low } else { least };
    (low - span * below, high + span * above)
}

/// Expectation against CVaR: all designs in a small panel, the frontier and its neighbourhood in a large
/// one, marks in both.
///
/// `expected` and `cvar` by design. Beyond 2,500 designs a panel shows an even choice of them; frontier and
/// marks are always drawn. A mark outside the large panel is named so in its legend.
///
/// # Errors
/// Nothing to plot, figures that are not finite, an index beyond the designs.
pub fn e_cvar_frontier(
    expected: &[f64],
    cvar: &[f64],
    frontier: Frontier,
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
    if frontier.all.is_empty() {
        return Err(PlotError::Empty { what: "the frontier" });
    }
    let indices = frontier.all.iter().chain(frontier.corners).chain(marks.iter().map(|m| &m.index));
    if indices.copied().any(|i| i >= count) {
        return Err(drawing(format!("an index lies beyond the {count} designs")));
    }
    let (factor, word) = scale(expected.iter().chain(cvar).copied());
    let at = |i: usize| (expected[i] / factor, cvar[i] / factor);
    let whole = Window {
        x: range(expected.iter().map(|e| e / factor), 0.06),
        y: range(cvar.iter().map(|c| c / factor), 0.06),
    };
    let window = Window {
        x: extent(frontier.all.iter().map(|&i| at(i).0), whole.x, (LEFT, ABOVE)),
        y: extent(frontier.all.iter().map(|&i| at(i).1), whole.y, (BELOW, ABOVE)),
    };
    let titles = |axis: &str| titled(axis, word, unit);
    let cvar_title = format!("CVaR at level {level_percent} % of cost");
    let near: Vec<usize> = (0..count).filter(|&i| window.holds(at(i))).collect();
    let mut marks = marks.to_vec();
    marks.sort_by_key(|m| m.kind);
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE).map_err(drawing)?;
        let (left, right) = area.split_horizontally(OVERVIEW_WIDTH);
        let every = count.div_ceil(POINTS_MAX);
        let label = match every {
            1 => format!("{count} feasible designs"),
            n => format!("one in {n} of {count} feasible designs"),
        };
        let mut overview = panel(&left, &label, whole, (titles("Expected cost"), titles(&cvar_title)), 5)?;
        overview.draw_series((0..count).step_by(every).map(|i| dot(at(i)))).map_err(drawing)?;
        let line = frontier.all.iter().map(|&i| at(i));
        overview.draw_series(LineSeries::new(line, BLUE.stroke_width(2))).map_err(drawing)?;
        overview
            .draw_series(DashedLineSeries::new(window.framed(whole), 5, 4, BLACK.stroke_width(1)))
            .map_err(drawing)?;
        for mark in &marks {
            draw_mark(&mut overview, mark.kind, at(mark.index), 0.6, None)?;
        }

        let title = "The frontier: designs that none beats in both";
        let mut zoom = panel(&right, title, window, (titles("Expected cost"), titles(&cvar_title)), 8)?;
        let every = near.len().div_ceil(POINTS_MAX).max(1);
        let label = match every {
            1 => format!("{} of {count} feasible designs", near.len()),
            n => format!("one in {n} of the {} feasible designs here", near.len()),
        };
        zoom.draw_series(near.iter().step_by(every).map(|&i| dot(at(i))))
            .map_err(drawing)?
            .label(label)
            .legend(|(x, y)| dot((x + 13, y)));
        let hull = LineSeries::new(frontier.corners.iter().map(|&i| at(i)), BLUE.stroke_width(2));
        zoom.draw_series(hull).map_err(drawing)?;
        // White first, so that the dots below do not show through the rings.
        let white = frontier.all.iter().map(|&i| Circle::new(at(i), 5, WHITE.filled()));
        zoom.draw_series(white).map_err(drawing)?;
        zoom.draw_series(frontier.all.iter().map(|&i| Circle::new(at(i), 5, BLUE.stroke_width(2))))
            .map_err(drawing)?
            .label(format!("frontier, {}", designs(frontier.all.len())))
            .legend(|(x, y)| Circle::new((x + 13, y), 5, BLUE.stroke_width(2)));
        zoom.draw_series(frontier.corners.iter().map(|&i| Circle::new(at(i), 5, BLUE.filled())))
            .map_err(drawing)?
            .label(format!("of these the choice for some risk weight, {}", frontier.corners.len()))
            .legend(|(x, y)| Circle::new((x + 13, y), 5, BLUE.filled()));
        for mark in &marks {
            let outside = if window.holds(at(mark.index)) { "" } else { " (outside this panel)" };
            draw_mark(&mut zoom, mark.kind, at(mark.index), 1.0, Some(outside))?;
        }
        legend(&mut zoom, SeriesLabelPosition::LowerLeft)?;
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

fn panel<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    window: Window,
    titles: (String, String),
    x_labels: usize,
) -> Result<Canvas<'a, 'b>, PlotError> {
    let (x, y) = (window.x, window.y);
    chart_with(area, title, (x.0, x.1, titles.0), (y.0, y.1, titles.1), x_labels)
}

fn designs(count: usize) -> String {
    if count == 1 { "1 design".into() } else { format!("{count} designs") }
}

fn dot<C>(at: C) -> Circle<C, i32> {
    Circle::new(at, 3, GREY.mix(0.5).filled())
}

/// Shapes of different size, so that two marks on one design both stay visible. `outside` names the mark
/// in the legend, with a word where its design lies outside the panel.
fn draw_mark(
    chart: &mut Canvas,
    kind: MarkKind,
    point: (f64, f64),
    size: f64,
    outside: Option<&str>,
) -> Result<(), PlotError> {
    let sized = |pixels: f64| (pixels * size).round() as i32;
    let shown = outside.is_none_or(str::is_empty).then_some(point);
    let named = |name: &str| format!("{name}{}", outside.unwrap_or_default());
    match kind {
        MarkKind::Chosen => chart
            .draw_series(shown.map(|p| Circle::new(p, sized(13.0), VERMILION.stroke_width(3))))
            .map_err(drawing)?
            .label(named("chosen"))
            .legend(|(x, y)| Circle::new((x + 13, y), 7, VERMILION.stroke_width(3))),
        MarkKind::RiskNeutral => chart
            .draw_series(shown.map(|p| TriangleMarker::new(p, sized(9.0), GREEN.filled())))
            .map_err(drawing)?
            .label(named("risk-neutral choice"))
            .legend(|(x, y)| TriangleMarker::new((x + 13, y), 7, GREEN.filled())),
        MarkKind::Qaoa => chart
            .draw_series(shown.map(|p| Cross::new(p, sized(8.0), PURPLE.stroke_width(4))))
            .map_err(drawing)?
            .label(named("QAOA's pick"))
            .legend(|(x, y)| Cross::new((x + 13, y), 6, PURPLE.stroke_width(4))),
    };
    Ok(())
}

//! What all plots share: size, colours, axes, legible numbers.

use super::PlotError;
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

/// Width and height in pixels; wide enough for axis labels of six digits.
pub(super) const SIZE: (u32, u32) = (960, 600);
pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const VERMILION: RGBColor = RGBColor(213, 94, 0);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const PURPLE: RGBColor = RGBColor(204, 121, 167);
pub(super) const GREY: RGBColor = RGBColor(120, 120, 120);
const INK: RGBColor = RGBColor(40, 40, 40);

pub(super) type Canvas<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
pub(super) type Area<'b> = DrawingArea<SVGBackend<'b>, plotters::coord::Shift>;

pub(super) fn drawing(error: impl std::fmt::Display) -> PlotError {
    PlotError::Drawing { reason: error.to_string() }
}

pub(super) fn finite(what: &'static str, values: &[f64]) -> Result<(), PlotError> {
    if values.is_empty() {
        return Err(PlotError::Empty { what });
    }
    if values.iter().any(|v| !v.is_finite()) {
        return Err(PlotError::NotFinite { what });
    }
    Ok(())
}

/// Least and greatest value with a margin; never an empty range.
pub(super) fn range(values: impl Iterator<Item = f64> + Clone, margin: f64) -> (f64, f64) {
    let low = values.clone().fold(f64::INFINITY, f64::min);
    let high = values.fold(f64::NEG_INFINITY, f64::max);
    let span = high - low;
    let pad = if span > low.abs().max(high.abs()) * 1e-9 {
        span * margin
    } else {
        low.abs().max(high.abs()).max(1.0) * 0.01
    };
    (low - pad, high + pad)
}

/// The power of a thousand in which figures are written, and its word: `3.55` of `10^9`.
pub(super) fn scale(values: impl Iterator<Item = f64>) -> (f64, &'static str) {
    let greatest = values.map(f64::abs).fold(0.0, f64::max);
    match greatest {
        g if g >= 1e9 => (1e9, "billion "),
        g if g >= 1e6 => (1e6, "million "),
        g if g >= 1e4 => (1e3, "thousand "),
        _ => (1.0, ""),
    }
}

/// Axis title with the unit: `Cost [million USD]`.
pub(super) fn titled(what: &str, scale: &str, unit: &str) -> String {
    match format!("{scale}{unit}").trim() {
        "" => what.to_string(),
        unit => format!("{what} [{unit}]"),
    }
}

pub(super) fn chart<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    x: (f64, f64, String),
    y: (f64, f64, String),
) -> Result<Canvas<'a, 'b>, PlotError> {
    chart_with(area, title, x, y, 9)
}

/// As [`chart`] with about `x_labels` numbers along the x axis.
pub(super) fn chart_with<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    x: (f64, f64, String),
    y: (f64, f64, String),
    x_labels: usize,
) -> Result<Canvas<'a, 'b>, PlotError> {
    area.fill(&WHITE).map_err(drawing)?;
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 22).into_font().color(&INK))
        .margin(16)
        .x_label_area_size(56)
        .y_label_area_size(84)
        .build_cartesian_2d(x.0..x.1, y.0..y.1)
        .map_err(drawing)?;
    let digits = |low: f64, high: f64| {
        let step = (high - low) / 8.0;
        (-step.log10().floor()).clamp(0.0, 12.0) as usize
    };
    let (x_digits, y_digits) = (digits(x.0, x.1), digits(y.0, y.1));
    chart
        .configure_mesh()
        .x_desc(x.2)
        .y_desc(y.2)
        .x_labels(x_labels)
        .y_labels(9)
        .x_label_formatter(&move |v| format!("{v:.x_digits$}"))
        .y_label_formatter(&move |v| format!("{v:.y_digits$}"))
        .label_style(("sans-serif", 15).into_font().color(&INK))
        .axis_desc_style(("sans-serif", 17).into_font().color(&INK))
        .light_line_style(WHITE)
        .bold_line_style(BLACK.mix(0.12))
        .axis_style(INK)
        .draw()
        .map_err(drawing)?;
    Ok(chart)
}

pub(super) fn legend<'a, 'b: 'a>(
    chart: &mut Canvas<'a, 'b>,
    position: SeriesLabelPosition,
) -> Result<(), PlotError> {
    chart
        .configure_series_labels()
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.25))
        .label_font(("sans-serif", 15).into_font().color(&INK))
        .margin(10)
        .legend_area_size(34)
        .draw()
        .map_err(drawing)
}

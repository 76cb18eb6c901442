//! How QAOA's expectation falls with its iterations.

use super::PlotError;
use super::frame::{BLUE, GREEN, SIZE, VERMILION, chart, drawing, finite, legend, range, scale, titled};
use plotters::prelude::*;

/// Expectation of the objective by iteration (from 0), the best so far, and the exact optimum.
///
/// # Errors
/// Nothing to plot, or figures that are not finite.
pub fn convergence(
    expectations: &[f64],
    exact_optimum: Option<f64>,
    unit: &str,
) -> Result<String, PlotError> {
    finite("the list of iterations", expectations)?;
    finite("the exact optimum", &[exact_optimum.unwrap_or(0.0)])?;
    let all = || expectations.iter().copied().chain(exact_optimum);
    let (factor, word) = scale(all());
    let (bottom, top) = range(all().map(|e| e / factor), 0.12);
    let last = expectations.len().saturating_sub(1).max(1) as f64;
    let mut least = f64::INFINITY;
    let best: Vec<(f64, f64)> = expectations
        .iter()
        .enumerate()
        .map(|(i, &e)| {
            least = least.min(e);
            (i as f64, least / factor)
        })
        .collect();
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let mut chart = chart(
            &area,
            "Convergence of QAOA",
            (0.0, last, "Iteration".into()),
            (bottom, top, titled("Expectation of the objective", word, unit)),
        )?;
        let points: Vec<(f64, f64)> =
            expectations.iter().enumerate().map(|(i, &e)| (i as f64, e / factor)).collect();
        chart
            .draw_series(points.iter().map(|&p| Circle::new(p, 3, BLUE.filled())))
            .map_err(drawing)?
            .label("expectation")
            .legend(|(x, y)| Circle::new((x + 13, y), 3, BLUE.filled()));
        chart
            .draw_series(LineSeries::new(best, VERMILION.stroke_width(2)))
            .map_err(drawing)?
            .label("best so far")
            .legend(|(x, y)| PathElement::new([(x, y), (x + 26, y)], VERMILION.stroke_width(2)));
        if let Some(exact) = exact_optimum {
            let level = exact / factor;
            chart
                .draw_series(DashedLineSeries::new(
                    [(0.0, level), (last, level)],
                    8,
                    6,
                    GREEN.stroke_width(2),
                ))
                .map_err(drawing)?
                .label("exact optimum")
                .legend(|(x, y)| {
                    EmptyElement::at((x, y))
                        + PathElement::new([(0, 0), (10, 0)], GREEN.stroke_width(2))
                        + PathElement::new([(16, 0), (26, 0)], GREEN.stroke_width(2))
                });
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

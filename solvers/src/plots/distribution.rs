//! How the costs of one or two designs spread over the scenarios, with their tails marked.

use super::PlotError;
use super::frame::{BLUE, SIZE, VERMILION, chart, drawing, finite, legend, range, scale, titled};
use crate::risk::{CvarLevel, Losses};
use plotters::prelude::*;

/// Bars of a histogram; the Freedman-Diaconis rule asks for about as many at 1,000 scenarios.
const BARS: usize = 40;

/// One design's costs.
#[derive(Debug, Clone, Copy)]
pub struct Series<'a> {
    /// Such as `chosen` or `risk-neutral choice`.
    pub label: &'a str,
    pub costs: &'a [f64],
    pub probability: &'a [f64],
}

/// Histogram of the costs of `chosen` and, where given, of `other`, with value at risk and CVaR marked.
///
/// # Errors
/// Nothing to plot, or costs or probabilities that are none.
pub fn cost_distribution(
    chosen: Series,
    other: Option<Series>,
    level: CvarLevel,
    unit: &str,
) -> Result<String, PlotError> {
    let all: Vec<Series> = [Some(chosen), other].into_iter().flatten().collect();
    for series in &all {
        finite("the costs", series.costs)?;
    }
    let costs = || all.iter().flat_map(|s| s.costs.iter().copied());
    let (factor, word) = scale(costs());
    let (low, high) = range(costs().map(|c| c / factor), 0.02);
    let width = (high - low) / BARS as f64;
    let mut drawn = Vec::new();
    for series in &all {
        let losses = Losses::new(series.costs, series.probability).map_err(drawing)?;
        let mut bars = vec![0.0; BARS];
        for (cost, probability) in series.costs.iter().zip(series.probability) {
            let bar = ((cost / factor - low) / width) as usize;
            bars[bar.min(BARS - 1)] += 100.0 * probability;
        }
        let (value_at_risk, cvar) = losses.both(level);
        drawn.push((series.label, bars, value_at_risk / factor, cvar / factor));
    }
    let top = drawn.iter().flat_map(|(_, bars, ..)| bars.iter().copied()).fold(0.0, f64::max) * 1.35;
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        let mut chart = chart(
            &area,
            "Cost over the scenarios",
            (low, high, titled("Cost", word, unit)),
            (0.0, top, "Share of probability per bar [%]".into()),
        )?;
        let worst = 100.0 * (1.0 - level.get());
        for (position, (label, bars, value_at_risk, cvar)) in drawn.iter().enumerate() {
            let colour = [BLUE, VERMILION][position];
            // The first is filled, the second an outline: told apart without colour too.
            if position == 0 {
                chart
                    .draw_series(bars.iter().enumerate().map(|(i, &height)| {
                        let left = low + i as f64 * width;
                        Rectangle::new([(left, 0.0), (left + width, height)], colour.mix(0.35).filled())
                    }))
                    .map_err(drawing)?
                    .label(label.to_string())
                    .legend(move |(x, y)| {
                        Rectangle::new([(x, y - 6), (x + 26, y + 6)], colour.mix(0.35).filled())
                    });
            } else {
                let outline: Vec<(f64, f64)> = bars
                    .iter()
                    .enumerate()
                    .flat_map(|(i, &height)| {
                        let left = low + i as f64 * width;
                        [(left, height), (left + width, height)]
                    })
                    .collect();
                chart
                    .draw_series(LineSeries::new(outline, colour.stroke_width(2)))
                    .map_err(drawing)?
                    .label(label.to_string())
                    .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(2)));
            }
            chart
                .draw_series(DashedLineSeries::new(
                    [(*value_at_risk, 0.0), (*value_at_risk, top)],
                    6,
                    5,
                    colour.stroke_width(2),
                ))
                .map_err(drawing)?
                .label(format!("VaR {} %, {label}", 100.0 * level.get()))
                .legend(move |(x, y)| {
                    EmptyElement::at((x, y))
                        + PathElement::new([(0, 0), (10, 0)], colour.stroke_width(2))
                        + PathElement::new([(16, 0), (26, 0)], colour.stroke_width(2))
                });
            chart
                .draw_series(LineSeries::new([(*cvar, 0.0), (*cvar, top)], colour.stroke_width(3)))
                .map_err(drawing)?
                .label(format!("CVaR, mean of the worst {:.4} %, {label}", worst).replace(".0000", ""))
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(3)));
        }
        legend(&mut chart, SeriesLabelPosition::UpperRight)?;
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

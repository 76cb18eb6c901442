//! How the costs of one or two designs spread over the scenarios, with their tails marked.

use super::PlotError;
use super::frame::{Area, BLUE, SIZE, VERMILION, chart, drawing, finite, legend, range, scale, titled};
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

/// Height of a panel in pixels.
const PANEL_HEIGHT: u32 = 560;

/// Histograms of the costs of `chosen` against each of `others` (such as the runner-up and the risk-neutral
/// choice), a panel each on the same axis, with value at risk and CVaR marked. Without others, of `chosen`
/// alone.
///
/// # Errors
/// Nothing to plot, or costs or probabilities that are none.
pub fn cost_distribution(
    chosen: Series,
    others: &[Series],
    level: CvarLevel,
    unit: &str,
) -> Result<String, PlotError> {
    let all: Vec<Series> = [&[chosen], others].concat();
    for series in &all {
        finite("the costs", series.costs)?;
    }
    let costs = || all.iter().flat_map(|s| s.costs.iter().copied());
    let (factor, word) = scale(costs());
    let axis = range(costs().map(|c| c / factor), 0.02);
    let drawn: Result<Vec<Histogram>, PlotError> =
        all.iter().map(|series| Histogram::new(series, factor, axis, level)).collect();
    let drawn = drawn?;
    let panels: Vec<Vec<&Histogram>> = match &drawn[..] {
        [] => Vec::new(),
        [only] => vec![vec![only]],
        [chosen, others @ ..] => others.iter().map(|other| vec![chosen, other]).collect(),
    };
    let mut text = String::new();
    {
        let height = PANEL_HEIGHT * panels.len() as u32;
        let area = SVGBackend::with_string(&mut text, (SIZE.0, height)).into_drawing_area();
        for (area, histograms) in area.split_evenly((panels.len(), 1)).iter().zip(&panels) {
            panel(area, histograms, axis, &titled("Cost", word, unit), level)?;
        }
        area.present().map_err(drawing)?;
    }
    Ok(text)
}

/// A series as it is drawn.
struct Histogram {
    label: String,
    /// Percent of probability by bar.
    bars: Vec<f64>,
    value_at_risk: f64,
    cvar: f64,
}

impl Histogram {
    fn new(series: &Series, factor: f64, axis: (f64, f64), level: CvarLevel) -> Result<Self, PlotError> {
        let losses = Losses::new(series.costs, series.probability).map_err(drawing)?;
        let mut bars = vec![0.0; BARS];
        for (cost, probability) in series.costs.iter().zip(series.probability) {
            let bar = ((cost / factor - axis.0) / (axis.1 - axis.0) * BARS as f64) as usize;
            bars[bar.min(BARS - 1)] += 100.0 * probability;
        }
        let (value_at_risk, cvar) = losses.both(level);
        Ok(Histogram {
            label: series.label.to_string(),
            bars,
            value_at_risk: value_at_risk / factor,
            cvar: cvar / factor,
        })
    }
}

fn panel(
    area: &Area,
    histograms: &[&Histogram],
    (low, high): (f64, f64),
    x_title: &str,
    level: CvarLevel,
) -> Result<(), PlotError> {
    let width = (high - low) / BARS as f64;
    let highest = histograms.iter().flat_map(|h| h.bars.iter().copied()).fold(0.0, f64::max);
    // Room above the bars for the legend.
    let top = highest * 1.5;
    let names: Vec<&str> = histograms.iter().map(|h| h.label.as_str()).collect();
    let mut chart = chart(
        area,
        &format!("Cost over the scenarios: {}", names.join(" and ")),
        (low, high, x_title.to_string()),
        (0.0, top, "Share of probability per bar [%]".into()),
    )?;
    let percent = |share: f64| {
        let text = format!("{:.4}", 100.0 * share);
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    };
    for (position, histogram) in histograms.iter().enumerate() {
        let colour = if position == 0 { BLUE } else { VERMILION };
        let Histogram { label, bars, value_at_risk, cvar } = histogram;
        // The first is filled, the second an outline: told apart without colour too.
        if position == 0 {
            chart
                .draw_series(bars.iter().enumerate().map(|(i, &height)| {
                    let left = low + i as f64 * width;
                    Rectangle::new([(left, 0.0), (left + width, height)], colour.mix(0.35).filled())
                }))
                .map_err(drawing)?
                .label(label.clone())
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
                .label(label.clone())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(2)));
        }
        // The chosen design's lines are wider and lie below, so that both are seen where they coincide.
        let (dash, full) = if position == 0 { (4, 8) } else { (2, 3) };
        // The lines end at the bars, so that they do not run through the legend.
        let reach = highest * 1.06;
        chart
            .draw_series(DashedLineSeries::new(
                [(*value_at_risk, 0.0), (*value_at_risk, reach)],
                6,
                5,
                colour.stroke_width(dash),
            ))
            .map_err(drawing)?
            .label(format!("VaR {} %, {label}", percent(level.get())))
            .legend(move |(x, y)| {
                EmptyElement::at((x, y))
                    + PathElement::new([(0, 0), (10, 0)], colour.stroke_width(dash))
                    + PathElement::new([(16, 0), (26, 0)], colour.stroke_width(dash))
            });
        chart
            .draw_series(LineSeries::new([(*cvar, 0.0), (*cvar, reach)], colour.stroke_width(full)))
            .map_err(drawing)?
            .label(format!("CVaR, mean of the worst {} %, {label}", percent(1.0 - level.get())))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 26, y)], colour.stroke_width(full)));
    }
    legend(&mut chart, SeriesLabelPosition::UpperRight)
}

//! Stops a search in time and shows how far it is on a terminal.

use indicatif::{ProgressBar, ProgressStyle};
use solvers::enumeration::{Flow, Observer, Progress};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// A bar appears only for what takes longer than this.
const SHOW_AFTER: Duration = Duration::from_secs(1);

/// Steps of the bar.
const STEPS: u64 = 1000;

/// The clock that the library does not have.
#[derive(Debug)]
pub struct Watch {
    started: Instant,
    seconds_max: Option<f64>,
    terminal: bool,
    bar: Option<ProgressBar>,
}

impl Watch {
    pub fn new(seconds_max: Option<f64>) -> Self {
        Watch { started: Instant::now(), seconds_max, terminal: std::io::stderr().is_terminal(), bar: None }
    }

    /// Seconds since the watch was made.
    pub fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub fn over(&self) -> bool {
        self.seconds_max.is_some_and(|max| self.seconds() >= max)
    }

    /// Takes the bar away.
    pub fn done(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    fn show(&mut self, progress: &Progress) {
        if !self.terminal || self.started.elapsed() < SHOW_AFTER {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{bar:30} {percent}% {msg} {elapsed}");
            ProgressBar::new(STEPS).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position((progress.fraction() * STEPS as f64) as u64);
        let of = match (progress.total, progress.estimate) {
            (Some(total), _) => format!(" of {total}"),
            (None, Some(guess)) => format!(" (a guess: {:.1e} in all)", guess.designs),
            (None, None) => String::new(),
        };
        bar.set_message(format!("{} designs{of}", progress.found));
    }
}

impl Observer for Watch {
    fn progress(&mut self, progress: &Progress) -> Flow {
        self.show(progress);
        if self.over() { Flow::Stop } else { Flow::Continue }
    }
}

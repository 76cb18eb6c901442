//! Which method does it, and how one confirms the other.
//!
//! Rule: the methods give the same bytes: the diagram reads decisions in the order of the search, so equal
//! ranks are equal designs. A diagram that is given up is told in the notes, and the search does it.

use super::diagram::{Bounds, Diagram, NoDiagram};
use super::run::{Joined, Run, below, draw};
use super::search::Search;
use super::sinks::Counter;
use super::{EnumerationError, Flow, Method, Mode, Observer, Outcome, diverse};
use rand_chacha::ChaCha8Rng;
use rand_core::SeedableRng;
use std::sync::atomic::AtomicBool;

/// Searches that are estimated below this take less than a second and need no diagram.
const SHORT_SEARCH_NODES: f64 = (1u64 << 24) as f64;

/// A diagram may try this share of the estimated nodes of the search before it is given up: a move costs
/// some ten nodes, so a vain attempt adds a few hundredths to the search.
const DIAGRAM_SHARE: f64 = 1.0 / 256.0;

/// Parts of a diagram that are counted by the search too.
const SPOTS: u64 = 16;

/// Largest such part, in designs and in nodes of the search: some 20 ms, the time between two looks.
const SPOT_DESIGNS_MAX: u128 = 1_000_000;
const SPOT_NODES_MAX: u64 = 1_000_000;

/// Why a diagram was given up.
enum Unfinished {
    TooLarge(String),
    Stopped,
}

impl<const W: usize> Run<'_, W> {
    fn build(
        &self,
        joined: &mut Joined,
        order: &[usize],
        moves_max: u64,
        observer: &mut dyn Observer,
    ) -> Result<Result<Diagram, Unfinished>, EnumerationError> {
        let bounds = Bounds { bytes_max: self.options.diagram_bytes_max, moves_max };
        let mut stopped = false;
        let progress = self.progress(joined, 3);
        let n = self.plan.len();
        let built = Diagram::build(self.space, order, bounds, &mut |depth| {
            let share = Some(depth as f64 / n as f64);
            let at = super::Progress {
                units_done: depth as u64,
                units: n as u64,
                estimated_share: share,
                ..progress
            };
            stopped = observer.progress(&at) == Flow::Stop;
            !stopped
        });
        match built {
            Ok(diagram) => {
                joined.diagram_bytes = diagram.bytes;
                Ok(Ok(diagram))
            }
            Err(NoDiagram::TooLarge(what)) => Ok(Err(Unfinished::TooLarge(what))),
            Err(NoDiagram::Stopped) => Ok(Err(Unfinished::Stopped)),
            Err(NoDiagram::Error(error)) => Err(error),
        }
    }

    /// The whole answer from a diagram, if that is the way to go.
    pub fn by_diagram(
        &self,
        joined: &mut Joined,
        observer: &mut dyn Observer,
    ) -> Result<Option<Outcome>, EnumerationError> {
        let ranked = matches!(self.options.mode, Mode::Best { .. });
        let moves_max = match self.options.method {
            Method::Diagram => u64::MAX,
            Method::Auto if !ranked => match &self.probes {
                Some(probes) if probes.total.nodes > SHORT_SEARCH_NODES => {
                    (probes.total.nodes * DIAGRAM_SHARE) as u64
                }
                _ => return Ok(None),
            },
            _ => return Ok(None),
        };
        if self.options.mode == Mode::List || self.options.resume.is_some() {
            return Ok(None);
        }
        // Equal objectives come in the order of the diagram, which must then be the canonical one.
        let canonical: Vec<usize> = (0..self.plan.len()).collect();
        let order = if ranked { &canonical } else { &self.plan.order };
        let diagram = match self.build(joined, order, moves_max, observer)? {
            Ok(diagram) => diagram,
            Err(Unfinished::TooLarge(why)) => {
                joined.notes.push(format!("{why}; the search does it"));
                return Ok(None);
            }
            Err(Unfinished::Stopped) => {
                joined.notes.push("the decision diagram was stopped".to_string());
                return self.outcome(std::mem::take(joined), false).map(Some);
            }
        };
        let mut done = Joined::default();
        done.notes = std::mem::take(&mut joined.notes);
        done.diagram_bytes = diagram.bytes;
        done.count = diagram.count();
        done.nodes = diagram.nodes;
        done.method = Some("by a layered decision diagram");
        match self.options.mode {
            Mode::Best { k } => {
                let k = usize::try_from(k).unwrap_or(usize::MAX);
                let best = diagram.best(self.space, k)?;
                let least = self.plan.objective.as_ref().map_or(0, |o| o.least);
                let best = best.into_iter().map(|(cost, design)| (cost - least, design)).collect();
                let best = self.ranked(best)?;
                let count = best.len() as u128;
                return Ok(Some(Outcome {
                    count,
                    best,
                    method: "exact shortest paths in a layered decision diagram".to_string(),
                    ..self.outcome(done, true)?
                }));
            }
            Mode::Sample { k, seed } => self.draw_from(&diagram, &mut done, k, seed),
            Mode::Diverse { k, seed } => self.draw_from(&diagram, &mut done, diverse::pool(k), seed),
            Mode::Count | Mode::List => {}
        }
        if self.options.confirm {
            self.spot_check(&diagram, &mut done, observer)?;
        }
        self.outcome(done, true).map(Some)
    }

    fn draw_from(&self, diagram: &Diagram, done: &mut Joined, k: u64, seed: u64) {
        for rank in draw(done.count, k, seed) {
            self.packing.push(&diagram.design(rank), &mut done.found.rows);
        }
    }

    /// Confirms a count or complete list of the search by a diagram, if that was asked.
    pub fn confirm(
        &self,
        joined: &mut Joined,
        whole: bool,
        observer: &mut dyn Observer,
    ) -> Result<(), EnumerationError> {
        if !self.options.confirm || !whole || matches!(self.options.mode, Mode::Best { .. }) {
            return Ok(());
        }
        match self.build(joined, &self.plan.order, u64::MAX, observer)? {
            Ok(diagram) if diagram.count() == joined.count => {
                joined.confirmed_by.push("layered decision diagram".to_string());
                Ok(())
            }
            Ok(diagram) => {
                Err(EnumerationError::MethodsDiffer { search: joined.count, diagram: diagram.count() })
            }
            Err(unfinished) => {
                let why = match unfinished {
                    Unfinished::TooLarge(why) => why,
                    Unfinished::Stopped => "it was stopped".to_string(),
                };
                joined.notes.push(format!("the count is not confirmed: {why}"));
                Ok(())
            }
        }
    }

    /// Counts some parts of the diagram again by the search: those round random designs.
    fn spot_check(
        &self,
        diagram: &Diagram,
        done: &mut Joined,
        observer: &mut dyn Observer,
    ) -> Result<(), EnumerationError> {
        let mut random = ChaCha8Rng::seed_from_u64(0);
        let never = AtomicBool::new(false);
        let mut search = Search::new(&self.plan, &never);
        let mut count = |prefix: &[u16]| {
            search.nodes_max = search.nodes + SPOT_NODES_MAX;
            let mut counter = Counter::default();
            search.walk_unit(prefix, &mut counter).then_some(u128::from(counter.count))
        };
        let same = |search: u128, diagram: u128| match search == diagram {
            true => Ok(()),
            false => Err(EnumerationError::MethodsDiffer { search, diagram }),
        };
        if done.count <= SPOT_DESIGNS_MAX
            && let Some(all) = count(&[])
        {
            same(all, done.count)?;
            done.confirmed_by.push("depth-first search".to_string());
            return Ok(());
        }
        let (mut parts, mut designs) = (0, 0u128);
        for _ in 0..SPOTS {
            if observer.progress(&self.progress(done, 3)) == Flow::Stop {
                done.notes.push("the count is not confirmed: it was stopped".to_string());
                return Ok(());
            }
            let rank = below(&mut random, done.count);
            let small = (0..self.plan.len()).map(|depth| diagram.prefix(rank, depth));
            for (prefix, expected) in small.filter(|part| part.1 <= SPOT_DESIGNS_MAX) {
                if let Some(found) = count(&prefix) {
                    same(found, expected)?;
                    parts += 1;
                    designs += found;
                    break;
                }
            }
        }
        if parts == 0 {
            done.notes.push("no random part was small enough for the search to confirm".to_owned());
        } else {
            done.confirmed_by.push(format!("search of {parts} random parts with {designs} designs together"));
        }
        Ok(())
    }
}

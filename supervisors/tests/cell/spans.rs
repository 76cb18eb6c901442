//! The sender's span travels with the message; queue and handling time are recorded by kind.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use supervisors::{ActorSpec, AskError, TellError};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::Attributes;
use tracing::{Event, Id, Subscriber, info, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::actor::{Later, Note, Seen, act, hold, in_virtual_time, puppet, settle};

/// Every event with the spans round it, outermost first, each with its fields.
#[derive(Clone, Default)]
struct Events(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!(" {}={value:?}", field.name());
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Events {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        let mut text = Text(attributes.metadata().name().to_owned());
        attributes.record(&mut text);
        ctx.span(id).unwrap().extensions_mut().insert(text);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        if event.metadata().target() != "scene" {
            return;
        }
        let spans = ctx.event_scope(event).into_iter().flat_map(|scope| scope.from_root());
        let spans: Vec<String> =
            spans.map(|span| span.extensions().get::<Text>().unwrap().0.clone()).collect();
        self.0.lock().unwrap().push(spans.join(" > "));
    }
}

/// The spans round an event in a handler, told from within a span `run` and from without.
fn spans_in_handler(level: LevelFilter, spec: ActorSpec) -> Vec<String> {
    // tracing keeps one greatest level for the whole program, of whichever subscriber came last.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let events = Events::default();
    let subscriber = tracing_subscriber::registry().with(level).with(events.clone());
    tracing::subscriber::with_default(subscriber, || {
        in_virtual_time(async {
            let (actor, _top) = puppet(spec);
            info_span!("run", id = 7).in_scope(|| {
                actor.tell(act(|_, _| info!(target: "scene", "in the handler"))).unwrap();
            });
            actor.tell(act(|_, _| info!(target: "scene", "of nobody"))).unwrap();
            settle().await;
        });
    });
    events.0.lock().unwrap().clone()
}

#[test]
fn a_handler_runs_in_a_span_of_its_own_below_the_senders() {
    let seen = spans_in_handler(LevelFilter::TRACE, ActorSpec::new("puppet", 4).kind("any"));
    let handle = "handle actor=puppet message=\"Do\"";
    assert_eq!(seen, [format!("run id=7 > {handle}"), handle.to_owned()]);
}

#[test]
fn where_the_level_leaves_out_the_handlers_span_it_runs_in_the_senders() {
    let seen = spans_in_handler(LevelFilter::INFO, ActorSpec::new("puppet", 4));
    assert_eq!(seen, ["run id=7", ""]);
}

#[test]
fn a_bare_cell_carries_no_span() {
    assert_eq!(spans_in_handler(LevelFilter::TRACE, ActorSpec::new("puppet", 4).bare()), ["", ""]);
}

/// What was recorded, by metric and labels.
#[derive(Clone, Default)]
struct Book(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

struct Series {
    book: Book,
    name: String,
}

impl Series {
    fn note(&self, value: f64) {
        self.book.0.lock().unwrap().entry(self.name.clone()).or_default().push(value);
    }
}

impl CounterFn for Series {
    fn increment(&self, value: u64) {
        self.note(value as f64);
    }
    fn absolute(&self, _: u64) {
        unreachable!("nobody sets a counter");
    }
}

impl HistogramFn for Series {
    fn record(&self, value: f64) {
        self.note(value);
    }
}

impl Book {
    fn series(&self, key: &Key) -> Arc<Series> {
        let labels: Vec<String> =
            key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(Series { book: self.clone(), name: format!("{} {}", key.name(), labels.join(",")) })
    }

    fn take(&self, name: &str) -> Vec<f64> {
        self.0.lock().unwrap().remove(name).unwrap_or_default()
    }
}

impl Recorder for Book {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.series(key))
    }
    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }
    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.series(key))
    }
}

#[test]
fn queue_and_handling_times_and_refusals_are_recorded_by_kind_and_not_by_id() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        in_virtual_time(async {
            let (actor, _top) = puppet(ActorSpec::new("puppet-17", 2).kind("puppet"));
            actor.tell(hold(Duration::from_secs(3))).unwrap();
            let later = actor.ask(Later(Duration::from_secs(2)), Duration::from_secs(60));
            assert_eq!(actor.tell(Note(1)), Err(TellError::Busy));
            assert_eq!(actor.ask(Seen, Duration::from_secs(1)).await, Err(AskError::Busy));
            later.await.unwrap();
            actor.ask(Seen, Duration::from_secs(1)).await.unwrap();
        });
    });
    let near = |seconds: Vec<f64>, expected: &[f64]| {
        assert_eq!(seconds.len(), expected.len(), "{seconds:?}");
        for (seen, expected) in seconds.iter().zip(expected) {
            assert!((seen - expected).abs() < 0.01, "{seconds:?}");
        }
    };
    near(book.take("actor_queue_seconds actor=puppet"), &[0.0, 3.0, 0.0]);
    // The hold itself took no time in its handler; the answer from a future took its two seconds.
    near(book.take("actor_handling_seconds actor=puppet"), &[0.0, 2.0, 0.0]);
    assert_eq!(book.take("actor_busy_refusals_total actor=puppet"), [1.0, 1.0]);
}

#[test]
fn a_bare_cell_records_nothing() {
    let book = Book::default();
    metrics::with_local_recorder(&book, || {
        in_virtual_time(async {
            let (actor, _top) = puppet(ActorSpec::new("puppet", 1).bare());
            actor.tell(Note(1)).unwrap();
            assert_eq!(actor.tell(Note(2)), Err(TellError::Busy));
            settle().await;
        });
    });
    assert_eq!(book.0.lock().unwrap().keys().filter(|name| name.starts_with("actor_")).count(), 0);
}

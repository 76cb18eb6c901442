//! Side by side, in one run: this project's actors, kameo's and ractor's. Every round is printed.
//!
//! `cargo run --release --bin bench-actors [-- ROUNDS]`; with `--features spans` the sender's span
//! travels with the message on all sides, and a subscriber and a metrics recorder are installed.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

use bench_actors::{kameo_side, on_one_thread, ours, ractor_side};

const NO_TIMEOUT: Duration = Duration::MAX;
const TIMEOUT: Duration = Duration::from_secs(5);

/// Rows of one measure: its unit, whether more is better, and every round of every side.
struct Table {
    title: &'static str,
    unit: &'static str,
    more_is_better: bool,
    rows: BTreeMap<&'static str, Vec<f64>>,
}

impl Table {
    fn new(title: &'static str, unit: &'static str, more_is_better: bool) -> Self {
        Table { title, unit, more_is_better, rows: BTreeMap::new() }
    }

    fn add(&mut self, side: &'static str, value: f64) {
        self.rows.entry(side).or_default().push(value);
    }

    fn median(&self, side: &str) -> f64 {
        let mut values = self.rows[side].clone();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn print(&self) {
        println!("\n{} [{}]", self.title, self.unit);
        for (side, values) in &self.rows {
            let rounds: Vec<String> = values.iter().map(|value| format!("{value:>9.3}")).collect();
            println!("  {side:<32} {}   median {:>9.3}", rounds.join(" "), self.median(side));
        }
        let mut theirs: Vec<&str> =
            self.rows.keys().copied().filter(|side| !side.starts_with("ours")).collect();
        theirs.sort_by(|a, b| self.median(a).total_cmp(&self.median(b)));
        for side in self.rows.keys().filter(|side| side.starts_with("ours")) {
            let ratios: Vec<String> = theirs
                .iter()
                .map(|other| {
                    let (mine, other_median) = (self.median(side), self.median(other));
                    let ratio = if self.more_is_better { mine / other_median } else { other_median / mine };
                    format!("{ratio:.2}x {other}")
                })
                .collect();
            println!("  {side}: {}", ratios.join(", "));
        }
    }
}

const WORDS: &str = "\
What is compared:
  ours         supervised by a supervisor (restart with mailbox and state kept, backoff, ordered stop),
               bounded mailbox shared by all clones, control lane, death watch; handlers are functions
  ours full    the same, and every message carries its sender's span, its queue time and its handling
               time are timed (two clock readings) and recorded, and what is handled now can be seen
  kameo 0.22   handlers are futures; bounded or unbounded mailbox; supervision where the row says so
  ractor 0.16  handlers are futures; unbounded mailboxes and a signal and a stop channel per actor;
               supervision by ractor-supervisor 0.2 for the restart
All on one current-thread runtime, but the rows `from another thread` (the sender is an OS thread, the
actor's thread polls). `tell` uses what never waits: tell, try_send, cast.";

fn main() {
    let rounds: usize = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(5);
    // Printing a panic takes longer than the restart: no side prints.
    std::panic::set_hook(Box::new(|_| {}));
    println!("{WORDS}");
    let spans = cfg!(feature = "spans");
    if spans {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(tracing_subscriber::filter::LevelFilter::INFO);
        tracing::subscriber::set_global_default(subscriber).expect("the first");
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        metrics::set_global_recorder(recorder).expect("the first");
        println!(
            "With spans on all sides, a subscriber at level info, a Prometheus recorder, in an info span."
        );
    } else {
        println!(
            "Without a subscriber and without a metrics recorder; kameo and ractor built without spans."
        );
    }
    let span = tracing::info_span!("run", run = 7);
    let _entered = span.enter();

    let mut tell = Table::new("tell, 200,000 at once", "million messages/s", true);
    let mut bursts = Table::new("tell, bursts of 64", "million messages/s", true);
    let mut across = Table::new("tell from another thread", "million messages/s", true);
    let mut ask = Table::new("ask, one after the other", "us per round trip", false);
    let mut ask_timed = Table::new("ask with a timeout of 5 s", "us per round trip", false);
    let mut spawn = Table::new("spawn until it can answer", "thousand actors/s", true);
    let mut restart = Table::new("panic to started again, p50", "us", false);
    let mut restart_p99 = Table::new("panic to started again, p99", "us", false);
    let us = |rate: f64| 1e6 / rate;
    for round in 0..rounds {
        for (side, bare) in [("ours bare", true), ("ours full", false)] {
            tell.add(side, on_one_thread(ours::tell(bare)) / 1e6);
            bursts.add(side, on_one_thread(ours::tell_in_bursts(bare)) / 1e6);
            across.add(side, on_one_thread(ours::tell_across(bare)) / 1e6);
            ask.add(side, us(on_one_thread(ours::ask(bare, NO_TIMEOUT))));
            ask_timed.add(side, us(on_one_thread(ours::ask(bare, TIMEOUT))));
            spawn.add(side, on_one_thread(ours::spawn(bare)) / 1e3);
            let took = on_one_thread(ours::panic_to_restarted(bare));
            restart.add(side, took[took.len() / 2] as f64 / 1e3);
            restart_p99.add(side, took[took.len() * 99 / 100] as f64 / 1e3);
        }
        for (side, bounded) in [("kameo bounded", true), ("kameo unbounded", false)] {
            tell.add(side, on_one_thread(kameo_side::tell(bounded)) / 1e6);
            bursts.add(side, on_one_thread(kameo_side::tell_in_bursts(bounded)) / 1e6);
            across.add(side, on_one_thread(kameo_side::tell_across(bounded)) / 1e6);
        }
        ask.add("kameo", us(on_one_thread(kameo_side::ask(None))));
        ask_timed.add("kameo", us(on_one_thread(kameo_side::ask(Some(TIMEOUT)))));
        spawn.add("kameo", on_one_thread(kameo_side::spawn(false)) / 1e3);
        spawn.add("kameo supervised", on_one_thread(kameo_side::spawn(true)) / 1e3);
        let took = on_one_thread(kameo_side::panic_to_restarted());
        restart.add("kameo supervised", took[took.len() / 2] as f64 / 1e3);
        restart_p99.add("kameo supervised", took[took.len() * 99 / 100] as f64 / 1e3);

        tell.add("ractor", on_one_thread(ractor_side::tell()) / 1e6);
        bursts.add("ractor", on_one_thread(ractor_side::tell_in_bursts()) / 1e6);
        across.add("ractor", on_one_thread(ractor_side::tell_across()) / 1e6);
        ask.add("ractor", us(on_one_thread(ractor_side::ask(None))));
        ask_timed.add("ractor", us(on_one_thread(ractor_side::ask(Some(TIMEOUT)))));
        spawn.add("ractor", on_one_thread(ractor_side::spawn(false)) / 1e3);
        spawn.add("ractor linked", on_one_thread(ractor_side::spawn(true)) / 1e3);
        let took = on_one_thread(ractor_side::panic_to_restarted(round));
        restart.add("ractor-supervisor", took[took.len() / 2] as f64 / 1e3);
        restart_p99.add("ractor-supervisor", took[took.len() * 99 / 100] as f64 / 1e3);
    }
    for table in [tell, bursts, across, ask, ask_timed, spawn, restart, restart_p99] {
        table.print();
    }
    memory(rounds);
}

/// The other program of this package, once per kind and round.
fn memory(rounds: usize) {
    let mut resident = Table::new("memory per idle actor, resident", "bytes", false);
    let mut allocated = Table::new("memory per idle actor, allocated", "bytes", false);
    let mut blocks = Table::new("memory per idle actor, allocations alive", "blocks", false);
    let Ok(me) = std::env::current_exe() else { return };
    let program = me.with_file_name("memory");
    for _ in 0..rounds {
        for kind in ["ours-bare", "ours-full", "kameo", "kameo-supervised", "ractor", "ractor-linked"] {
            let output = match Command::new(&program).arg(kind).output() {
                Ok(output) if output.status.success() => output,
                other => {
                    println!("\nNo memory of {kind}: {other:?} (build all binaries of the package)");
                    return;
                }
            };
            let text = String::from_utf8_lossy(&output.stdout);
            let mut numbers = text.split_whitespace().filter_map(|word| word.parse::<f64>().ok());
            for table in [&mut resident, &mut allocated, &mut blocks] {
                table.add(kind, numbers.next().unwrap_or(f64::NAN));
            }
        }
    }
    for table in [resident, allocated, blocks] {
        table.print();
    }
}

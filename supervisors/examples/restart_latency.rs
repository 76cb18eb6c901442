//! How long a restart takes: from the panic in a handler to `started` of the next life, and to the
//! first answer. And how soon a killed process is seen. Prints microseconds; asserts nothing.
//!
//! `cargo run --release -p supervisors --example restart_latency`

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use supervisors::process::{SpawnRequest, Spawner};
use supervisors::{Intensity, Strategy, SupervisorSpec, actor_child, start};

const ROUNDS: usize = 2_000;
const KILLS: usize = 200;
const PATIENCE: Duration = Duration::from_secs(5);

type Clock = Arc<Mutex<Vec<Instant>>>;

struct Fragile {
    panicked: Clock,
    started: Clock,
}

fn note(clock: &Clock) {
    clock.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
}

impl actix::Actor for Fragile {
    type Context = actix::Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        note(&self.started);
    }
}

impl actix::Supervised for Fragile {}

struct Break;

impl actix::Message for Break {
    type Result = ();
}

impl actix::Handler<Break> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Break, _: &mut Self::Context) {
        note(&self.panicked);
        // No hook, no backtrace: their cost is not the supervisor's.
        std::panic::resume_unwind(Box::new("broken"));
    }
}

struct Ask;

impl actix::Message for Ask {
    type Result = ();
}

impl actix::Handler<Ask> for Fragile {
    type Result = ();

    fn handle(&mut self, _: Ask, _: &mut Self::Context) {}
}

fn print(what: &str, mut micros: Vec<f64>) {
    micros.sort_by(f64::total_cmp);
    let at = |share: f64| micros[((micros.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:.1} us, p99 {:.1} us, worst {:.1} us", at(0.5), at(0.99), at(1.0));
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    actix::System::new().block_on(async {
        let (panicked, started) = (Clock::default(), Clock::default());
        let (breaks, starts) = (panicked.clone(), started.clone());
        let (actor, child) =
            actor_child("fragile", 16, move || Fragile { panicked: breaks.clone(), started: starts.clone() });
        let intensity = Intensity { restarts: u32::MAX, period: Duration::from_secs(1) };
        let (top, _end) = start(SupervisorSpec::new("top", Strategy::OneForOne, intensity, vec![child]));
        actor.ask(Ask, PATIENCE).await?;
        let mut answered = Vec::new();
        for _ in 0..ROUNDS {
            actor.tell(Break)?;
            let ask = actor.ask(Ask, PATIENCE);
            ask.await?;
            answered.push(Instant::now());
        }
        let panics = panicked.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let starts = started.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let since = |ends: &[Instant]| -> Vec<f64> {
            panics.iter().zip(ends).map(|(from, to)| (*to - *from).as_secs_f64() * 1e6).collect()
        };
        print("panic to started", since(&starts[1..]));
        print("panic to next answer", since(&answered));
        top.shutdown().await;

        let spawner = Spawner::start()?;
        let (mut spawned, mut seen) = (Vec::new(), Vec::new());
        for _ in 0..KILLS {
            let began = Instant::now();
            let request = SpawnRequest {
                program: "/bin/sleep".into(),
                args: vec!["1000".into()],
                ..SpawnRequest::default()
            };
            let process = spawner.spawn(request).await?;
            spawned.push(began.elapsed().as_secs_f64() * 1e6);
            let began = Instant::now();
            process.killer().kill_group();
            process.exit.await;
            seen.push(began.elapsed().as_secs_f64() * 1e6);
        }
        print("process spawned", spawned);
        print("SIGKILL to exit seen", seen);
        Ok(())
    })
}

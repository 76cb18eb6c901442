//! The same random histories on Erlang's own `supervisor` and on ours, compared after every operation:
//! the answer, which children there are in which state and of which type, the counts, whether the
//! supervisor lives, and why it ended.
//!
//! `SEQUENCES=n` for another number of histories, `SEED=n` for one of them, printed. Where the two are
//! known to differ is written in docs/supervision-cases.md. Needs `erl` and `erlc`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;
use supervisors::{
    AutoShutdown, ChildError, ChildSpec, ChildState, Exit, Intensity, Refusal, Restart, Running, Started,
    Starter, Strategy, SupervisorRef, SupervisorSpec, start,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::random::Random;

const SEQUENCES_DEFAULT: u64 = 10_000;
const OPERATIONS: usize = 12;
/// Longer than any run of this test, so that every restart counts on both sides.
const PERIOD: Duration = Duration::from_secs(1_000_000);

/// What a child's next starts do.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Ok,
    Ignore,
    Fail(u32),
    Raise(u32),
    Forever,
}

#[derive(Debug, Clone, Copy)]
struct Kid {
    id: usize,
    restart: Restart,
    significant: bool,
    is_supervisor: bool,
    mode: Mode,
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Mode(usize, Mode),
    Exit(usize, &'static str),
    Start(Kid),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
}

#[derive(Debug)]
struct History {
    strategy: Strategy,
    restarts: u32,
    auto: AutoShutdown,
    template: Kid,
    kids: Vec<Kid>,
    ops: Vec<Op>,
}

fn kid(random: &mut Random, id: usize, auto: AutoShutdown, may_fail: bool) -> Kid {
    let restart = *random.pick(&[Restart::Permanent, Restart::Transient, Restart::Temporary]);
    // One in fifty is not allowed, to compare the refusals.
    let allowed = auto != AutoShutdown::Never && restart != Restart::Permanent;
    let significant = if allowed { random.chance(50) } else { random.chance(2) };
    let mode = match random.below(20) {
        0 if may_fail => Mode::Fail(1),
        1 => Mode::Ignore,
        _ => Mode::Ok,
    };
    Kid { id, restart, significant, is_supervisor: random.chance(20), mode }
}

fn history(random: &mut Random) -> History {
    let strategy =
        *random.pick(&[Strategy::OneForOne, Strategy::OneForAll, Strategy::RestForOne, Strategy::Dynamic]);
    let auto =
        *random.pick(&[AutoShutdown::Never, AutoShutdown::AnySignificant, AutoShutdown::AllSignificant]);
    let hanging = random.chance(5) && matches!(strategy, Strategy::OneForOne | Strategy::Dynamic);
    let restarts = if hanging { 1_000_000 } else { *random.pick(&[0, 1, 2, 5, 50]) };
    let template = kid(random, 0, auto, false);
    let kids = match strategy {
        Strategy::Dynamic => Vec::new(),
        _ => (0..=random.below(4)).map(|id| kid(random, id, auto, true)).collect(),
    };
    let mut fresh = if strategy == Strategy::Dynamic { 0 } else { 10 };
    let mut ops = Vec::new();
    for _ in 0..OPERATIONS {
        let id = random.below(5);
        ops.push(match random.below(20) {
            0..=8 => {
                let reasons = ["normal", "shutdown", "{shutdown,x}", "crash", "crash", "kill"];
                Op::Exit(id, random.pick::<&str>(&reasons))
            }
            9..=11 => {
                let some = 1 + u32::try_from(random.below(3)).unwrap();
                let modes = [Mode::Ok, Mode::Ignore, Mode::Fail(some), Mode::Fail(some), Mode::Raise(some)];
                let mut mode = *random.pick(&modes);
                if strategy == Strategy::Dynamic && mode == Mode::Ignore {
                    // OTP 25 keeps a child that ignores its restart as `undefined`; later ones forget it.
                    mode = Mode::Ok;
                }
                Op::Mode(id, mode)
            }
            12..=14 if strategy == Strategy::Dynamic => {
                fresh += 1;
                let mode = kid(random, 0, auto, true).mode;
                Op::Start(Kid { id: fresh - 1, mode, ..template })
            }
            12 | 13 => Op::Start(kid(random, id, auto, true)),
            14 => {
                fresh += 1;
                Op::Start(kid(random, fresh - 1, auto, true))
            }
            15 | 16 => Op::Terminate(id),
            17 | 18 => Op::Restart(id),
            _ => Op::Delete(id),
        });
    }
    if strategy == Strategy::Dynamic {
        ops.insert(0, Op::Start(Kid { id: fresh, mode: Mode::Ok, ..template }));
        ops.insert(1, Op::Start(Kid { id: fresh + 1, mode: Mode::Ok, ..template }));
    }
    if hanging {
        // Only one child hangs, and its mode is left alone from then on.
        let id = if strategy == Strategy::Dynamic { fresh } else { 0 };
        ops.truncate(4);
        ops.push(Op::Mode(id, Mode::Forever));
        ops.push(Op::Exit(id, "kill"));
        for _ in 0..3 {
            let same = Kid { id, mode: Mode::Forever, ..template };
            let choices = [Op::Restart(id), Op::Delete(id), Op::Start(same), Op::Terminate(id)];
            let op = *random.pick(&choices);
            if strategy != Strategy::Dynamic || !matches!(op, Op::Start(_)) {
                ops.push(op);
            }
        }
    }
    History { strategy, restarts, auto, template, kids, ops }
}

// The history as an Erlang term.

fn restart_word(restart: Restart) -> &'static str {
    match restart {
        Restart::Permanent => "permanent",
        Restart::Transient => "transient",
        Restart::Temporary => "temporary",
    }
}

fn mode_term(mode: Mode) -> String {
    match mode {
        Mode::Ok => "ok".to_owned(),
        Mode::Ignore => "ignore".to_owned(),
        Mode::Fail(times) => format!("{{fail,{times}}}"),
        Mode::Raise(times) => format!("{{raise,{times}}}"),
        Mode::Forever => "forever".to_owned(),
    }
}

fn kid_term(kid: &Kid) -> String {
    let Kid { id, restart, significant, is_supervisor, mode } = kid;
    let kind = if *is_supervisor { "supervisor" } else { "worker" };
    format!("{{{id},{},{significant},{kind},{}}}", restart_word(*restart), mode_term(*mode))
}

fn op_term(op: &Op) -> String {
    match op {
        Op::Mode(id, mode) => format!("{{mode,{id},{}}}", mode_term(*mode)),
        Op::Exit(id, reason) => format!("{{exit,{id},{reason}}}"),
        Op::Start(kid) => format!("{{start,{}}}", kid_term(kid)),
        Op::Terminate(id) => format!("{{terminate,{id}}}"),
        Op::Restart(id) => format!("{{restart,{id}}}"),
        Op::Delete(id) => format!("{{delete,{id}}}"),
    }
}

fn term(history: &History) -> String {
    let strategy = match history.strategy {
        Strategy::OneForOne => "one_for_one",
        Strategy::OneForAll => "one_for_all",
        Strategy::RestForOne => "rest_for_one",
        Strategy::Dynamic => "simple_one_for_one",
    };
    let auto = match history.auto {
        AutoShutdown::Never => "never",
        AutoShutdown::AnySignificant => "any_significant",
        AutoShutdown::AllSignificant => "all_significant",
    };
    let kids: Vec<String> = history.kids.iter().map(kid_term).collect();
    let ops: Vec<String> = history.ops.iter().map(op_term).collect();
    let (kids, ops) = (kids.join(","), ops.join(","));
    let template = kid_term(&history.template);
    format!("{{{strategy},{},{auto},{template},[{kids}],[{ops}]}}.", history.restarts)
}

// Erlang's side.

struct Beam {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _folder: tempfile::TempDir,
}

impl Beam {
    /// `None` where Erlang is not installed.
    fn start() -> Option<Beam> {
        Command::new("erl").arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status().ok()?;
        let folder = tempfile::tempdir().unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/model/oracle.erl");
        let compiled = Command::new("erlc").arg("-o").arg(folder.path()).arg(source).status().ok()?;
        assert!(compiled.success());
        let mut process = Command::new("erl")
            .args(["-noshell", "+S", "1", "-kernel", "logger_level", "none", "-pa"])
            .arg(folder.path())
            .args(["-s", "oracle", "main"])
            .env("ERL_CRASH_DUMP_BYTES", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        Some(Beam { process, input, output, _folder: folder })
    }

    fn play(&mut self, history: &History) -> Vec<String> {
        writeln!(self.input, "{}", term(history)).unwrap();
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line.trim_end().split(';').map(str::to_owned).collect()
    }
}

impl Drop for Beam {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

// Our side.

#[derive(Clone, Default)]
struct Stage {
    modes: Rc<RefCell<BTreeMap<usize, Mode>>>,
    exits: Rc<RefCell<BTreeMap<usize, oneshot::Sender<Exit>>>>,
}

struct Puppet {
    id: usize,
    stage: Stage,
}

impl Starter for Puppet {
    fn start(&mut self, _generation: u64) -> LocalBoxFuture<'_, Result<Started, String>> {
        async move {
            let (id, exits) = (self.id, self.stage.exits.clone());
            let mode = self.stage.modes.borrow().get(&id).copied().unwrap_or(Mode::Ok);
            let set = |mode| self.stage.modes.borrow_mut().insert(id, mode);
            match mode {
                Mode::Ignore => return Ok(Started::Ignore),
                Mode::Forever => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    return Err("told".to_owned());
                }
                Mode::Fail(times) if times > 0 => {
                    set(Mode::Fail(times - 1));
                    return Err("told".to_owned());
                }
                Mode::Raise(times) if times > 0 => {
                    set(Mode::Raise(times - 1));
                    // Without the panic hook's noise.
                    std::panic::resume_unwind(Box::new("told"));
                }
                _ => {}
            }
            let (done, exit) = oneshot::channel();
            let (stop, stopped) = oneshot::channel::<()>();
            exits.borrow_mut().insert(id, done);
            let end = move |exit| {
                let done = exits.borrow_mut().remove(&id);
                // Err: the supervisor is gone.
                let _ = done.map(|done| done.send(exit));
            };
            let end_after_stop = end.clone();
            tokio::task::spawn_local(async move {
                if stopped.await.is_ok() {
                    end_after_stop(Exit::Shutdown);
                }
            });
            Ok(Started::Running(Running::new(exit, stop, move || end(Exit::Killed))))
        }
        .boxed_local()
    }
}

fn spec(stage: &Stage, kid: &Kid) -> ChildSpec {
    let puppet = Puppet { id: kid.id, stage: stage.clone() };
    let mut spec =
        ChildSpec::new(kid.id.to_string(), puppet).restart(kid.restart).significant(kid.significant);
    spec.is_supervisor = kid.is_supervisor;
    spec
}

/// One virtual millisecond: everything that can happen has happened.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

async fn play(history: &History) -> Vec<String> {
    let stage = Stage::default();
    for kid in &history.kids {
        stage.modes.borrow_mut().insert(kid.id, kid.mode);
    }
    let intensity = Intensity { restarts: history.restarts, period: PERIOD };
    let kids = history.kids.iter().map(|kid| spec(&stage, kid)).collect();
    let (top, mut end) =
        start(SupervisorSpec::new("top", history.strategy, intensity, kids).auto_shutdown(history.auto));
    let template_is_bad = history.strategy == Strategy::Dynamic
        && history.template.significant
        && (history.auto == AutoShutdown::Never || history.template.restart == Restart::Permanent);
    if template_is_bad {
        // Ours has no template: the spec is refused at the first start_child.
        let answer = top.start_child(spec(&stage, &history.template)).await;
        assert!(matches!(answer, Err(ChildError::BadSpec(_))), "{answer:?}");
        return vec!["dead bad_spec".to_owned()];
    }
    let hangs = || stage.modes.borrow().values().any(|&mode| mode == Mode::Forever);
    settle().await;
    let mut seen = vec![observe(&top, &mut end, history.strategy, hangs(), "ok").await];
    for op in &history.ops {
        if seen.last().unwrap().starts_with("dead") {
            return seen;
        }
        let result = perform(op, &stage, &top, history.strategy).await;
        settle().await;
        seen.push(observe(&top, &mut end, history.strategy, hangs(), result).await);
    }
    if !seen.last().unwrap().starts_with("dead") {
        top.shutdown().await;
        seen.push(observe(&top, &mut end, history.strategy, hangs(), "ok").await);
    }
    seen
}

async fn perform(op: &Op, stage: &Stage, top: &SupervisorRef, strategy: Strategy) -> &'static str {
    let set = |id: usize, mode| {
        stage.modes.borrow_mut().insert(id, mode);
    };
    match op {
        Op::Mode(id, mode) => {
            set(*id, *mode);
            "ok"
        }
        Op::Exit(id, reason) => {
            let exit = match *reason {
                "normal" => Exit::Normal,
                "shutdown" => Exit::Shutdown,
                "{shutdown,x}" => Exit::ShutdownBecause("x".to_owned()),
                "kill" => Exit::Killed,
                crash => Exit::Error(crash.to_owned()),
            };
            let done = stage.exits.borrow_mut().remove(id);
            match done {
                Some(done) => done.send(exit).map_or("none", |()| "ok"),
                None => "none",
            }
        }
        Op::Start(kid) => {
            if strategy == Strategy::Dynamic || top.which_child(&kid.id.to_string()).await.is_err() {
                set(kid.id, kid.mode);
            }
            result(top.start_child(spec(stage, kid)).await)
        }
        Op::Terminate(id) => result(top.terminate_child(&id.to_string()).await),
        Op::Restart(id) => result(top.restart_child(&id.to_string()).await),
        Op::Delete(id) => result(top.delete_child(&id.to_string()).await),
    }
}

fn result(answer: Result<(), ChildError>) -> &'static str {
    match answer {
        Ok(()) => "ok",
        Err(ChildError::Refused(refusal)) => match refusal {
            Refusal::AlreadyRunning(_) => "already_started",
            Refusal::AlreadyPresent(_) => "already_present",
            Refusal::Restarting(_) => "restarting",
            Refusal::Running(_) => "running",
            Refusal::NotFound(_) => "not_found",
            Refusal::Dynamic(_) => "simple",
            other => panic!("{other}"),
        },
        Err(ChildError::StartFailed { .. }) => "start_error",
        Err(ChildError::BadSpec(_)) => "bad_spec",
        Err(ChildError::SupervisorGone(_)) => "gone",
        Err(other) => panic!("{other}"),
    }
}

async fn observe(
    top: &SupervisorRef,
    end: &mut JoinHandle<Exit>,
    strategy: Strategy,
    hangs: bool,
    result: &str,
) -> String {
    let (Ok(children), Ok(counts)) = (top.which_children().await, top.count_children().await) else {
        return match end.await.unwrap() {
            // Erlang does not tell the two apart, see the page.
            Exit::Shutdown | Exit::Escalated(_) => "dead shutdown".to_owned(),
            Exit::StartFailed { child, .. } => format!("dead failed_to_start {child}"),
            Exit::Error(_) => "dead bad_spec".to_owned(),
            other => format!("dead {other:?}"),
        };
    };
    let dynamic = strategy == Strategy::Dynamic;
    let mut shown: Vec<String> = children
        .iter()
        .map(|child| {
            let (id, state) = match child.state {
                ChildState::Running => (child.id.as_str(), "up"),
                ChildState::Restarting if dynamic => ("?", "restarting"),
                ChildState::Restarting => (child.id.as_str(), "restarting"),
                ChildState::Undefined => (child.id.as_str(), "undefined"),
            };
            format!("{id}:{state}:{}", if child.is_supervisor { "supervisor" } else { "worker" })
        })
        .collect();
    shown.sort();
    let specs = if dynamic { "-".to_owned() } else { counts.specs.to_string() };
    let numbers = if dynamic && hangs {
        // Erlang counts wrongly there, see oracle.erl.
        "-".to_owned()
    } else {
        format!("{}/{}/{}", counts.active, counts.supervisors, counts.workers)
    };
    format!("{result}|{}|{specs}/{numbers}", shown.join(","))
}

fn ours(history: &History) -> Vec<String> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, play(history))
}

#[test]
fn after_every_operation_the_supervisor_of_erlang_and_this_one_agree() {
    let Some(mut beam) = Beam::start() else {
        println!("skipped: erl is not installed");
        return;
    };
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let seeds = match number("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SEQUENCES").unwrap_or(SEQUENCES_DEFAULT),
    };
    let (mut compared, mut differing) = (0_usize, Vec::new());
    let mut ends = BTreeMap::<String, u64>::new();
    for seed in seeds {
        let history = history(&mut Random(seed));
        let (theirs, ours) = (beam.play(&history), ours(&history));
        compared += theirs.len();
        *ends.entry(theirs.last().unwrap().clone()).or_default() += 1;
        if theirs != ours {
            let at = theirs.iter().zip(&ours).take_while(|(theirs, ours)| theirs == ours).count();
            differing.push(format!(
                "SEED={seed} operation {at} of {}\n  erlang {:?}\n  ours   {:?}\n  before {:?}",
                term(&history),
                theirs.get(at),
                ours.get(at),
                at.checked_sub(1).map(|before| &theirs[before]),
            ));
        }
    }
    println!("{compared} observations compared; ends: {ends:?}");
    assert!(
        differing.is_empty(),
        "{} differ:\n{}",
        differing.len(),
        differing[..differing.len().min(5)].join("\n")
    );
}

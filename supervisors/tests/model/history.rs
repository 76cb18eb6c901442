//! Random histories for two supervisors, and how they are told to Erlang: as a term.

use supervisors::{AutoShutdown, Restart, Strategy};

use crate::random::Random;

const OPERATIONS: usize = 12;

/// What a child's next starts do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mode {
    Ok,
    Ignore,
    Fail(u32),
    Raise(u32),
    Forever,
}

#[derive(Debug, Clone, Copy)]
pub struct Kid {
    pub id: usize,
    pub restart: Restart,
    pub significant: bool,
    pub is_supervisor: bool,
    pub mode: Mode,
}

#[derive(Debug, Clone, Copy)]
pub enum Op {
    Mode(usize, Mode),
    Exit(usize, &'static str),
    Start(Kid),
    Terminate(usize),
    Restart(usize),
    Delete(usize),
}

#[derive(Debug)]
pub struct History {
    pub strategy: Strategy,
    pub restarts: u32,
    pub auto: AutoShutdown,
    pub template: Kid,
    pub kids: Vec<Kid>,
    pub ops: Vec<Op>,
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

pub fn history(random: &mut Random) -> History {
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

pub fn term(history: &History) -> String {
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

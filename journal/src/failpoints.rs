//! Failpoints: named places where a drill kills, fails, delays or panics the real program.
//!
//! Rule: without the feature `failpoints` the macros are nothing and no name is in the program. With it a
//! program obeys its environment: `EXECUTING_FAILPOINTS="journal.before-sync=kill@3;worker.begin=panic"`.
//! Every name stands in [`NAMES`]; a test compares the list with the code.
//!
//! Actions: `kill` (SIGKILL to itself), `panic`, `delay(MS)`, and where the point stands before something the
//! disk does, `error` (EIO) and `full` (ENOSPC). `@N` means the N-th time (1 if absent), `@N+` from the N-th
//! time on. The name `io.*` stands for all places before disk operations, counted together.
//! `EXECUTING_FAILPOINTS_HITS=FILE` appends every name that was passed. A wrong plan ends the program.
//!
//! Why not a library: docs/decisions/0027.

/// A place in the program.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {
        $crate::failpoints::pass($name)
    };
}

/// A place in the program; nothing in this build.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint {
    ($name:literal) => {{}};
}

/// A place before a disk operation: `std::io::Result<()>`, an error if the drill wants one.
#[cfg(feature = "failpoints")]
#[macro_export]
macro_rules! failpoint_io {
    ($name:literal) => {
        $crate::failpoints::pass_io($name)
    };
}

/// A place before a disk operation; always `Ok` in this build.
#[cfg(not(feature = "failpoints"))]
#[macro_export]
macro_rules! failpoint_io {
    ($name:literal) => {
        ::std::io::Result::Ok(())
    };
}

/// Milliseconds by which a drill moves the wall clock; zero in this build.
#[cfg(not(feature = "failpoints"))]
pub const fn wall_step_ms() -> i64 {
    0
}

#[cfg(feature = "failpoints")]
pub use enabled::{NAMES, pass, pass_io, wall_step_ms};

#[cfg(feature = "failpoints")]
mod enabled {
    use std::collections::BTreeMap;
    use std::fs::{File, OpenOptions};
    use std::io::{self, Write};
    use std::sync::{Mutex, OnceLock, PoisonError};
    use std::time::Duration;

    include!("failpoints/names.rs");

    /// Stands for every place before a disk operation.
    const ANY_IO: &str = "io.*";
    /// Exit code of a program whose plan cannot be read: invalid.
    const EXIT_INVALID: i32 = 8;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Action {
        Kill,
        Panic,
        Delay(u64),
        Error,
        Full,
    }

    #[derive(Debug, PartialEq, Eq)]
    struct Step {
        name: String,
        action: Action,
        nth: u64,
        onwards: bool,
    }

    struct Plan {
        steps: Vec<Step>,
        counts: Mutex<BTreeMap<&'static str, u64>>,
        hits: Option<Mutex<File>>,
    }

    fn parse(text: &str) -> Result<Vec<Step>, String> {
        let mut steps = Vec::new();
        for part in text.split(';').filter(|part| !part.trim().is_empty()) {
            let (name, rest) =
                part.trim().split_once('=').ok_or(format!("expected NAME=ACTION[@N], got `{part}`"))?;
            if name != ANY_IO && !NAMES.contains(&name) {
                return Err(format!("there is no failpoint `{name}`"));
            }
            let (action, times) = rest.split_once('@').unwrap_or((rest, "1"));
            let (number, onwards) = times.strip_suffix('+').map_or((times, false), |number| (number, true));
            let nth = number.parse().map_err(|_| format!("expected a number after @, got `{times}`"))?;
            let action = match action {
                "kill" => Action::Kill,
                "panic" => Action::Panic,
                "error" => Action::Error,
                "full" => Action::Full,
                other => {
                    let delay = other.strip_prefix("delay(").and_then(|rest| rest.strip_suffix(')'));
                    let ms = delay.and_then(|ms| ms.parse().ok());
                    Action::Delay(ms.ok_or(format!("there is no action `{other}`"))?)
                }
            };
            steps.push(Step { name: name.to_owned(), action, nth, onwards });
        }
        Ok(steps)
    }

    fn leave(why: &str) -> ! {
        eprintln!("error: EXECUTING_FAILPOINTS: {why}");
        std::process::exit(EXIT_INVALID)
    }

    fn plan() -> &'static Plan {
        static PLAN: OnceLock<Plan> = OnceLock::new();
        PLAN.get_or_init(|| {
            let text = std::env::var("EXECUTING_FAILPOINTS").unwrap_or_default();
            let steps = parse(&text).unwrap_or_else(|why| leave(&why));
            let hits = std::env::var_os("EXECUTING_FAILPOINTS_HITS").map(|path| {
                let opened = OpenOptions::new().create(true).append(true).open(path);
                Mutex::new(opened.unwrap_or_else(|error| leave(&format!("the file of hits: {error}"))))
            });
            Plan { steps, counts: Mutex::default(), hits }
        })
    }

    impl Plan {
        fn note(&self, line: &str) {
            if let Some(file) = &self.hits {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                // One write of one line, so that a kill leaves whole lines.
                if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
                    eprintln!("a hit could not be noted: {error}");
                }
            }
        }

        fn count(&self, name: &'static str) -> u64 {
            let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
            let count = counts.entry(name).or_default();
            *count += 1;
            *count
        }
    }

    fn due(name: &'static str, io: bool) -> Option<Action> {
        let plan = plan();
        plan.note(name);
        let count = plan.count(name);
        let of_all = if io { plan.count(ANY_IO) } else { 0 };
        plan.steps.iter().find_map(|step| {
            let count = match step.name.as_str() {
                own if own == name => count,
                ANY_IO if io => of_all,
                _ => return None,
            };
            (count == step.nth || (step.onwards && count > step.nth)).then_some(step.action)
        })
    }

    fn act(name: &'static str, action: Action) -> io::Result<()> {
        plan().note(&format!("{action:?} {name}"));
        match action {
            Action::Kill => {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::this(), nix::sys::signal::SIGKILL);
                loop {
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            Action::Panic => panic!("failpoint {name}"),
            Action::Delay(ms) => {
                std::thread::sleep(Duration::from_millis(ms));
                Ok(())
            }
            Action::Error => Err(io::Error::from_raw_os_error(nix::libc::EIO)),
            Action::Full => Err(io::Error::from_raw_os_error(nix::libc::ENOSPC)),
        }
    }

    /// What `failpoint!` calls.
    pub fn pass(name: &'static str) {
        if let Some(action) = due(name, false)
            && let Err(error) = act(name, action)
        {
            leave(&format!("{name} is no disk operation and cannot fail with {error}"));
        }
    }

    /// What `failpoint_io!` calls.
    ///
    /// # Errors
    /// EIO or ENOSPC, if the plan says so.
    pub fn pass_io(name: &'static str) -> io::Result<()> {
        due(name, true).map_or(Ok(()), |action| act(name, action))
    }

    /// Milliseconds by which `EXECUTING_WALL_STEP_MS` moves the wall clock.
    pub fn wall_step_ms() -> i64 {
        let text = std::env::var("EXECUTING_WALL_STEP_MS").unwrap_or_default();
        if text.is_empty() { 0 } else { text.parse().unwrap_or_else(|_| leave("the wall step is a number")) }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_is_read_and_a_wrong_one_is_refused() {
            let step = |name: &str, action, nth, onwards| Step { name: name.into(), action, nth, onwards };
            assert_eq!(
                parse("journal.before-sync=error@3+;worker.begin=delay(20)").unwrap(),
                [
                    step("journal.before-sync", Action::Error, 3, true),
                    step("worker.begin", Action::Delay(20), 1, false)
                ]
            );
            for wrong in ["journal.nowhere=kill", "worker.begin=burn", "worker.begin", "worker.begin=kill@x"]
            {
                assert!(parse(wrong).is_err(), "{wrong}");
            }
        }
    }
}

//! Which process a pid means: pids are used again, the pair of pid and start time is not.

use std::fs;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Start time of a process in clock ticks since boot (field 22 of `/proc/PID/stat`), also of one
/// that ended and was not waited for. `None` if there is no such process.
#[must_use]
pub fn start_time_of(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    start_time_in(&stat)
}

/// The second field is the program's name in parentheses, which may itself contain blanks and
/// parentheses; so the fields are counted from the last `)`.
fn start_time_in(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    // `rest` begins with field 3.
    rest.split_whitespace().nth(22 - 3)?.parse().ok()
}

/// Kills the process group led by `pid` if that is still the process that started at
/// `start_time_ticks`; for recovery after the death of the daemon that spawned it. False: it is
/// gone (or not ours to kill), and nothing was done.
pub fn kill_leftover(pid: u32, start_time_ticks: u64) -> bool {
    signal_group(pid, start_time_ticks, Signal::SIGKILL)
}

pub(super) fn signal_group(pid: u32, start_time_ticks: u64, signal: Signal) -> bool {
    start_time_of(pid) == Some(start_time_ticks) && signal_group_unchecked(pid, signal)
}

/// Only while the group's leader was not waited for, so that its id cannot be used again.
pub(super) fn signal_group_unchecked(pid: u32, signal: Signal) -> bool {
    // 0 and 1 would mean our own group and everything.
    match i32::try_from(pid) {
        Ok(pid) if pid > 1 => killpg(Pid::from_raw(pid), signal).is_ok(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::start_time_in;

    #[test]
    fn a_program_name_with_blanks_and_parentheses_does_not_shift_the_fields() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 10";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in("7 (short) S 1"), None);
    }
}

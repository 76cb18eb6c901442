//! Talking to systemd: READY, STATUS, WATCHDOG, STOPPING. Does nothing where there is no systemd.
//!
//! Rule: the watchdog is fed from the healthy main loop and never from a path that waits for a disk.

use sd_notify::NotifyState;
use std::time::Duration;

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd could not be told.");
    }
}

/// Recovery is done and the socket answers.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// The daemon is on its way out.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Feeds the watchdog twice per interval for as long as the main loop runs.
pub async fn feed_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut ticks = tokio::time::interval((interval / 2).max(Duration::from_millis(50)));
    loop {
        ticks.tick().await;
        notify(&[NotifyState::Watchdog]);
    }
}

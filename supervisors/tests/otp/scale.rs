//! OTP's cases of scale. The time of this thread is measured, not the time on the wall, and compared
//! with itself: what is quadratic would take a hundred times as long per child.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use supervisors::{ChildSpec, Restart, Running, Started, Starter, Strategy};
use tokio::sync::oneshot;

use crate::patient;
use crate::support::in_virtual_time;

/// Stops at once, and costs as little as a child can.
struct Light;

impl Starter for Light {
    fn start(&mut self, _generation: u64) -> futures::future::LocalBoxFuture<'_, Result<Started, String>> {
        let (done, exit) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        tokio::task::spawn_local(async move {
            let _ = stopped.await;
            let _ = done.send(supervisors::Exit::Shutdown);
        });
        Box::pin(async { Ok(Started::Running(Running::new(exit, stop, || {}))) })
    }
}

fn busy() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

/// Time of this thread to start `count` children, and to stop them.
fn measure(strategy: Strategy, restart: Restart, count: usize) -> [f64; 2] {
    in_virtual_time(async {
        let child = |n: usize| ChildSpec::new(n.to_string(), Light).restart(restart);
        let began = busy();
        let top = if strategy == Strategy::Dynamic {
            let (top, _end) = patient(strategy, vec![]).await;
            for n in 0..count {
                top.start_child(child(n)).await.unwrap();
            }
            top
        } else {
            patient(strategy, (0..count).map(child).collect()).await.0
        };
        assert_eq!(top.count_children().await.unwrap().active, count);
        let up = busy();
        top.shutdown().await;
        [(up - began).as_secs_f64(), (busy() - up).as_secs_f64()]
    })
}

/// The larger number costs at most `allowed` times as much as the smaller one.
fn grows(strategy: Strategy, restart: Restart, [few, many]: [usize; 2], allowed: f64) {
    // Twice, to have the first touch of everything behind.
    measure(strategy, restart, few);
    let (small, large) = (measure(strategy, restart, few), measure(strategy, restart, many));
    println!("{strategy:?}: {few} children {small:?} s, {many} children {large:?} s");
    for (small, large) in small.into_iter().zip(large) {
        assert!(large <= small * allowed, "{large} s is more than {allowed} times {small} s");
    }
}

#[test]
fn simple_one_for_one_scale_many_temporary_children() {
    grows(Strategy::Dynamic, Restart::Temporary, [1_000, 10_000], 50.0);
}

/// OTP allows ten times the linear time.
#[test]
fn scale_start_stop_many_children() {
    for strategy in [Strategy::OneForOne, Strategy::OneForAll, Strategy::Dynamic] {
        grows(strategy, Restart::Permanent, [1_000, 100_000], 100.0 * 10.0);
    }
}

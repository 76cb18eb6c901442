//! Death watch.

use std::time::Duration;

use futures::FutureExt;
use supervisors::{ActorSpec, Backoff, Exit, Restart};

use crate::actor::{Puppet, act, in_virtual_time, puppet, settle, under};

#[test]
fn a_watch_tells_the_exit_of_this_incarnation_and_not_of_the_next() {
    in_virtual_time(async {
        let (actor, top) = puppet(ActorSpec::new("puppet", 4));
        settle().await;
        let (first, also) = (actor.watch(), actor.clone().watch());
        actor.tell(act(|_, _| panic!("boom"))).unwrap();
        assert_eq!(first.await, Exit::Panicked("boom".into()));
        assert_eq!(also.await, Exit::Panicked("boom".into()));
        settle().await;
        let mut second = Box::pin(actor.watch());
        assert_eq!(second.as_mut().now_or_never(), None);
        top.terminate_child("puppet").await.unwrap();
        assert_eq!(second.await, Exit::Shutdown);
        // Down: at once.
        assert_eq!(actor.watch().now_or_never(), Some(Exit::Shutdown));
    });
}

#[test]
fn a_watch_before_the_first_start_waits_for_its_end() {
    in_virtual_time(async {
        let (actor, top) = puppet(ActorSpec::new("puppet", 4));
        let mut watch = Box::pin(actor.watch());
        settle().await;
        assert_eq!(watch.as_mut().now_or_never(), None);
        top.shutdown().await;
        assert_eq!(watch.await, Exit::Shutdown);
    });
}

#[test]
fn a_watch_on_an_actor_that_rests_tells_the_last_exit() {
    in_virtual_time(async {
        let (actor, child) = ActorSpec::new("puppet", 4).child(Puppet::default);
        let rest = Duration::from_secs(60);
        let backoff = Backoff { first: rest, factor: 1, max: rest, jitter: 0.0 };
        let (_top, _end) = under(3, child.backoff(backoff));
        settle().await;
        actor.tell(act(|_, _| panic!("boom"))).unwrap();
        settle().await;
        assert_eq!(actor.watch().now_or_never(), Some(Exit::Panicked("boom".into())));
    });
}

#[test]
fn a_watch_sees_a_kill_and_a_child_that_ends_by_itself() {
    in_virtual_time(async {
        let (actor, child) = ActorSpec::new("puppet", 4).child(Puppet::default);
        let (top, _end) = under(3, child.restart(Restart::Temporary));
        settle().await;
        let watch = actor.watch();
        actor.tell(act(|_, ctx| actix::ActorContext::stop(ctx))).unwrap();
        assert_eq!(watch.await, Exit::Normal);
        drop(top);

        let (actor, child) = ActorSpec::new("puppet", 4).child(Puppet::default);
        let child = child.shutdown(supervisors::Shutdown::Brutal);
        let (top, _end) = under(3, child);
        settle().await;
        let watch = actor.watch();
        top.terminate_child("puppet").await.unwrap();
        assert_eq!(watch.await, Exit::Killed);
    });
}

#[test]
fn an_actor_that_never_ran_says_so() {
    let (actor, child) = ActorSpec::new("puppet", 4).child(Puppet::default);
    let before = actor.watch();
    drop(child);
    let never = Exit::Error("the actor never ran".into());
    assert_eq!(before.now_or_never(), Some(never.clone()));
    assert_eq!(actor.watch().now_or_never(), Some(never));
}

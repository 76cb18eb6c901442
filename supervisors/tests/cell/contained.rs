//! Panics that would abort the process if one of them got out. Each scene runs in a process of its
//! own, so that an abort fails one test and not the runner.

use std::process::Command;
use std::time::Duration;

use actix::prelude::*;
use supervisors::{ActorSpec, AskError, Exit, Restart};

use crate::actor::{Note, PATIENCE, Puppet, Seen, act, hold, in_virtual_time, puppet, settle, under};

/// Panics in its `Drop`.
struct Bomb(&'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("{}", self.0);
    }
}

#[derive(Message)]
#[rtype(result = "()")]
struct Armed(#[allow(dead_code)] Bomb);

impl Handler<Armed> for Puppet {
    type Result = ();
    fn handle(&mut self, _: Armed, _: &mut Context<Self>) {}
}

struct Reply(#[allow(dead_code)] Bomb);

#[derive(Message)]
#[rtype(result = "Reply")]
struct AskForBomb;

impl Handler<AskForBomb> for Puppet {
    type Result = MessageResult<AskForBomb>;
    fn handle(&mut self, _: AskForBomb, _: &mut Context<Self>) -> Self::Result {
        MessageResult(Reply(Bomb("the reply")))
    }
}

#[derive(Message)]
#[rtype(result = "u8")]
struct PanicApart;

impl Handler<PanicApart> for Puppet {
    type Result = ResponseFuture<u8>;
    fn handle(&mut self, _: PanicApart, _: &mut Context<Self>) -> Self::Result {
        Box::pin(async { panic!("in a future of its own task") })
    }
}

/// The role of the child process; prints `survived` when the process and the supervision did.
fn play(scene: &str) {
    in_virtual_time(async {
        if scene == "factory" || scene == "payload in factory" {
            let mut calls = 0;
            let armed = scene != "factory";
            let (actor, child) = ActorSpec::new("puppet", 8).child(move || {
                calls += 1;
                if calls == 1 {
                    if armed {
                        std::panic::panic_any(Bomb("payload"));
                    }
                    panic!("factory");
                }
                Puppet::default()
            });
            let (_top, _end) = under(3, child);
            assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![]));
            return;
        }
        if scene == "restarting"
            || scene == "payload in restarting"
            || scene == "started"
            || scene == "payload in started"
        {
            let act_now: fn() = match scene {
                "restarting" | "started" => || panic!("told to"),
                _ => || std::panic::panic_any(Bomb("payload")),
            };
            let in_restarting = scene.ends_with("restarting");
            let mut first = true;
            let (actor, child) = ActorSpec::new("puppet", 8).child(move || {
                let mut puppet = Puppet::default();
                if std::mem::take(&mut first) {
                    let place = if in_restarting { &mut puppet.restarting } else { &mut puppet.starting };
                    *place = Some(act_now);
                }
                puppet
            });
            let (_top, _end) = under(3, child);
            if in_restarting {
                settle().await;
                assert_eq!(actor.ask(act(|_, _| panic!("boom")), PATIENCE).await, Err(AskError::Lost));
            }
            assert_eq!(actor.ask(Seen, PATIENCE).await, Ok(vec![]));
            return;
        }
        if let Some(place) = scene.strip_prefix("end: ") {
            let (actor, child) = ActorSpec::new("puppet", 8).child(Puppet::default);
            let (top, end) = under(3, child.restart(Restart::Temporary));
            let place = place.to_owned();
            let with_boom = place.ends_with(" after a panic");
            let watch = actor.watch();
            actor
                .tell(act(move |puppet, _| {
                    let boom: fn() = || panic!("told to");
                    match place.trim_end_matches(" after a panic") {
                        "stopping" => puppet.stopping = Some(boom),
                        "stopped" => puppet.stopped = Some(boom),
                        "drop" => puppet.dropped = Some(boom),
                        "stopped with payload" => {
                            puppet.stopped = Some(|| std::panic::panic_any(Bomb("payload")));
                        }
                        "stopped and drop" => {
                            puppet.stopped = Some(boom);
                            puppet.dropped = Some(boom);
                        }
                        other => unreachable!("{other}"),
                    }
                    assert!(!with_boom, "boom");
                }))
                .unwrap();
            settle().await;
            if !with_boom {
                top.terminate_child("puppet").await.unwrap();
            }
            assert_ne!(watch.await, Exit::Killed);
            top.shutdown().await;
            assert_eq!(end.await.unwrap(), Exit::Shutdown);
            return;
        }
        let (actor, top) = puppet(ActorSpec::new("puppet", 8));
        settle().await;
        match scene {
            "handler" => actor.tell(act(|_, _| panic!("boom"))).unwrap(),
            "payload in handler" => actor.tell(act(|_, _| std::panic::panic_any(Bomb("payload")))).unwrap(),
            "spawned future" => {
                let boom = act(|_, ctx| {
                    ctx.spawn(actix::fut::wrap_future(async { panic!("in a future") }));
                });
                actor.tell(boom).unwrap();
            }
            "drop of a spawned future" => {
                let arm = act(|_, ctx| {
                    let bomb = Bomb("the future");
                    ctx.spawn(actix::fut::wrap_future(async move {
                        std::future::pending::<()>().await;
                        drop(bomb);
                    }));
                });
                actor.tell(arm).unwrap();
                actor.tell(act(|_, _| panic!("boom"))).unwrap();
            }
            "future of its own task" => {
                assert_eq!(actor.ask(PanicApart, PATIENCE).await, Err(AskError::Lost));
            }
            "drop of a handled message" => actor.tell(Armed(Bomb("the message"))).unwrap(),
            "drop of a lost message" => {
                actor.tell(hold(Duration::from_secs(3600))).unwrap();
                settle().await;
                for _ in 0..3 {
                    actor.tell(Armed(Bomb("the message"))).unwrap();
                    actor.tell_control(Armed(Bomb("the message"))).unwrap();
                }
                top.terminate_child("puppet").await.unwrap();
                top.restart_child("puppet").await.unwrap();
            }
            "drop of a skipped message" => {
                actor.tell(hold(Duration::from_secs(1))).unwrap();
                settle().await;
                drop(actor.ask(Armed(Bomb("the message")), PATIENCE));
                tokio::time::sleep(Duration::from_secs(2)).await;
                assert_eq!(actor.restarts(), 0, "nobody handled it, so nobody failed");
            }
            "drop of a reply" => actor.tell(AskForBomb).unwrap(),
            other => unreachable!("{other}"),
        }
        settle().await;
        // Alive, with a mailbox that is not clogged.
        for n in 0..8 {
            actor.tell(Note(n)).unwrap();
        }
        settle().await;
        assert_eq!(actor.ask(Seen, PATIENCE).await, Ok((0..8).collect()));
        assert_eq!(actor.mailbox().depth, 0);
    });
    println!("survived {scene}");
}

#[test]
#[ignore = "a role that other tests run as a process"]
fn role() {
    // Payloads whose drop panics abort in the default hook's way of printing, not in ours.
    std::panic::set_hook(Box::new(|_| {}));
    let scene = std::env::var("SCENE").unwrap();
    play(&scene);
    println!("survived {scene}");
}

fn survives(scene: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["contained::role", "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .env("SCENE", scene)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("survived {scene}")),
        "{scene}: {:?}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

macro_rules! contained {
    ($($name:ident: $scene:literal),* $(,)?) => {
        $(#[test] fn $name() { survives($scene); })*
    };
}

contained! {
    a_panic_in_a_handler_is_contained: "handler",
    a_payload_that_panics_in_its_drop_is_contained: "payload in handler",
    a_panic_in_a_spawned_future_is_contained: "spawned future",
    a_panic_in_the_drop_of_a_spawned_future_is_contained: "drop of a spawned future",
    a_panic_in_a_future_of_its_own_task_is_contained: "future of its own task",
    a_panic_in_the_drop_of_a_handled_message_is_contained: "drop of a handled message",
    panics_in_the_drops_of_lost_messages_are_contained: "drop of a lost message",
    a_panic_in_the_drop_of_a_skipped_message_is_contained: "drop of a skipped message",
    a_panic_in_the_drop_of_a_reply_is_contained: "drop of a reply",
    a_panic_in_the_factory_is_contained: "factory",
    a_payload_in_the_factory_is_contained: "payload in factory",
    a_panic_in_started_is_contained: "started",
    a_payload_in_started_is_contained: "payload in started",
    a_panic_in_restarting_is_contained: "restarting",
    a_payload_in_restarting_is_contained: "payload in restarting",
    a_panic_in_stopping_is_contained: "end: stopping",
    a_panic_in_stopped_is_contained: "end: stopped",
    a_payload_in_stopped_is_contained: "end: stopped with payload",
    a_panic_in_the_drop_of_the_actor_is_contained: "end: drop",
    a_panic_in_stopping_after_a_panic_is_contained: "end: stopping after a panic",
    a_panic_in_stopped_after_a_panic_is_contained: "end: stopped after a panic",
    a_panic_in_drop_after_a_panic_is_contained: "end: drop after a panic",
    panics_in_stopped_and_drop_are_contained: "end: stopped and drop",
}

//! Tests: what was given up (receivers, a life) has no say in what came after it.

use std::task::{Context, Poll};

use actix::{Actor, Handler, Message};
use futures::FutureExt;
use futures::task::noop_waker_ref;

use super::actor_ref::ActorRef;
use super::actor_spec::ActorSpec;
use super::lanes::{Lane, Receivers};
use crate::{Exit, TellError};

struct Nobody;

impl Actor for Nobody {
    type Context = actix::Context<Self>;
}

struct Word;

impl Message for Word {
    type Result = ();
}

impl Handler<Word> for Nobody {
    type Result = ();
    fn handle(&mut self, _: Word, _: &mut actix::Context<Self>) {}
}

fn actor(capacity: usize) -> (ActorRef<Nobody>, Receivers<Nobody>) {
    ActorRef::new(&ActorSpec::new("nobody", capacity))
}

/// How many messages these receivers get, and whether they may hope for more.
fn received(receivers: &mut Receivers<Nobody>) -> (usize, bool) {
    let cx = &mut Context::from_waker(noop_waker_ref());
    let mut count = 0;
    loop {
        match receivers.poll_next(cx) {
            Poll::Ready(Some((Lane::Ordinary | Lane::Control, _parcel))) => count += 1,
            Poll::Ready(None) => return (count, false),
            Poll::Pending => return (count, true),
        }
    }
}

#[test]
fn receivers_that_were_given_up_get_nothing_of_what_is_told_later() {
    let (actor, mut old) = actor(8);
    assert_eq!(received(&mut old), (0, true));
    let mut new = actor.reopen();
    actor.tell(Word).unwrap();
    actor.tell_control(Word).unwrap();
    assert_eq!(received(&mut old), (0, false));
    assert_eq!(received(&mut new), (2, true));
}

#[test]
fn a_message_that_given_up_receivers_drop_makes_no_room_in_the_new_mailbox() {
    let (actor, mut old) = actor(1);
    actor.tell(Word).unwrap();
    let held = old.poll_next(&mut Context::from_waker(noop_waker_ref()));
    let _new = actor.reopen();
    actor.tell(Word).unwrap();
    drop((held, old));
    assert_eq!(actor.tell(Word), Err(TellError::Busy));
}

#[test]
fn what_is_handed_on_goes_to_the_new_receivers_alone_and_in_order() {
    let (actor, old) = actor(8);
    for _ in 0..3 {
        actor.tell(Word).unwrap();
    }
    let mut new = old.handed_on();
    actor.tell(Word).unwrap();
    assert_eq!(received(&mut new), (4, true));
}

#[test]
fn the_end_of_a_life_that_was_given_up_does_not_end_the_next_one() {
    let (actor, _receivers) = actor(8);
    let lives = &actor.0.lives;
    let old = lives.begin();
    lives.end(old, &Exit::Unkillable);
    let new = lives.begin();
    let mut watch = std::pin::pin!(actor.watch());
    lives.end(old, &Exit::Normal);
    assert_eq!(watch.as_mut().now_or_never(), None);
    lives.end(new, &Exit::Shutdown);
    assert_eq!(watch.as_mut().now_or_never(), Some(Exit::Shutdown));
}

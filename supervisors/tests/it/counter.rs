//! An actor that counts, and panics wherever it is told to.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;

/// Where the next panic is to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Started,
    Stopped,
    Restarting,
    Dropped,
}

#[derive(Clone, Default)]
pub struct Watch {
    pub log: Rc<RefCell<Vec<&'static str>>>,
    pub panic_in: Rc<RefCell<Vec<Place>>>,
}

impl Watch {
    pub fn happened(&self) -> String {
        std::mem::take(&mut *self.log.borrow_mut()).join(" ")
    }

    pub fn panic_next_in(&self, place: Place) {
        self.panic_in.borrow_mut().push(place);
    }

    fn reached(&self, place: Place, word: &'static str) {
        self.log.borrow_mut().push(word);
        let position = self.panic_in.borrow().iter().position(|&at| at == place);
        if let Some(position) = position {
            self.panic_in.borrow_mut().remove(position);
            panic!("told to panic in {place:?}");
        }
    }
}

pub struct Counter {
    pub count: u32,
    pub watch: Watch,
}

impl Actor for Counter {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Context<Self>) {
        self.watch.reached(Place::Started, "started");
    }

    fn stopped(&mut self, _: &mut Context<Self>) {
        self.watch.reached(Place::Stopped, "stopped");
    }
}

impl Supervised for Counter {
    fn restarting(&mut self, _: &mut Context<Self>) {
        self.watch.reached(Place::Restarting, "restarting");
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.watch.reached(Place::Dropped, "dropped");
    }
}

macro_rules! message {
    ($name:ty => $result:ty, $handler:expr) => {
        impl Message for $name {
            type Result = $result;
        }
        impl Handler<$name> for Counter {
            type Result = MessageResult<$name>;
            fn handle(&mut self, message: $name, ctx: &mut Context<Self>) -> Self::Result {
                let handler: fn(&mut Counter, $name, &mut Context<Counter>) -> $result = $handler;
                MessageResult(handler(self, message, ctx))
            }
        }
    };
}

pub struct Inc;
pub struct Get;
pub struct Boom;
pub struct BoomInFuture;
pub struct StopYourself;
pub struct WaitThenInc(pub Duration);

message!(Inc => u32, |counter, _, _| { counter.count += 1; counter.count });
message!(Get => u32, |counter, _, _| counter.count);
message!(Boom => (), |_, _, _| panic!("boom"));
message!(BoomInFuture => (), |_, _, ctx| {
    ctx.spawn(actix::fut::wrap_future(async { panic!("boom in a future") }));
});
message!(StopYourself => (), |_, _, ctx| ctx.stop());
message!(WaitThenInc => (), |_, message: WaitThenInc, ctx| {
    let wait = actix::fut::wrap_future::<_, Counter>(tokio::time::sleep(message.0));
    ctx.wait(wait.map(|(), counter, _| counter.count += 100));
});

/// Answers after a while, from a future.
pub struct Slow(pub Duration);

impl Message for Slow {
    type Result = u32;
}

impl Handler<Slow> for Counter {
    type Result = ResponseActFuture<Self, u32>;

    fn handle(&mut self, message: Slow, _: &mut Context<Self>) -> Self::Result {
        let wait = actix::fut::wrap_future::<_, Counter>(tokio::time::sleep(message.0));
        Box::pin(wait.map(|(), counter, _| counter.count))
    }
}

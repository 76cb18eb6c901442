//! A world for orders: a journal, vendors with faults, crashes, a clock, all under one seed.
//!
//! Rule: the judge sees the journal, the calls and the vendors' books, and nothing of the machine.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

pub mod judge;
pub mod vendor;
pub mod world;

use quantum::backends::order::{Command, Decision, End, Input, Memo, Order, Refusal};
use quantum::backends::{JobEvent, Wanted};

/// Counted random numbers (splitmix64).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// What the world drives: the order, or a mutant of it.
pub trait Machine: Clone {
    fn wanted(&self, time_ms: u64, wanted: Wanted) -> Self;
    fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal>;
    fn recover(&self, now_ms: u64, random: u64) -> Decision;
    fn apply(&mut self, time_ms: u64, event: &JobEvent);
    fn remember(&mut self, memo: Memo);
    fn end(&self) -> Option<End>;
    /// A last chance to alter what is performed.
    fn performs(&self, command: Command) -> Command {
        command
    }
}

/// The order itself.
#[derive(Clone)]
pub struct Sound(pub Option<Order>);

impl Machine for Sound {
    fn wanted(&self, time_ms: u64, wanted: Wanted) -> Self {
        Self(Some(Order::wanted(time_ms, wanted)))
    }
    fn decide(&self, now_ms: u64, random: u64, input: Input) -> Result<Decision, Refusal> {
        self.0.as_ref().unwrap().decide(now_ms, random, input)
    }
    fn recover(&self, now_ms: u64, random: u64) -> Decision {
        self.0.as_ref().unwrap().recover(now_ms, random)
    }
    fn apply(&mut self, time_ms: u64, event: &JobEvent) {
        self.0.as_mut().unwrap().apply(time_ms, event);
    }
    fn remember(&mut self, memo: Memo) {
        self.0.as_mut().unwrap().remember(memo);
    }
    fn end(&self) -> Option<End> {
        self.0.as_ref().unwrap().end().cloned()
    }
}

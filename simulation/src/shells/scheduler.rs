//! Stands for `actors/src/scheduler.rs` and `actors/src/resources.rs`: the queue of asks and the ledger.

use super::{FIRST_RUN, Mail, RESOURCES, SCHEDULER, error};
use crate::Mutant;
use crate::judge::Verdict;
use crate::world::World;
use engine::definition::{Attempt, StageIndex};
use engine::placement::{Ask, Ledger};
use engine::run::{ErrorClass, Input};

#[derive(Debug)]
pub struct Waiting {
    ask: Ask,
    attempt: Attempt,
    run: u32,
    turn: u64,
}

impl World {
    pub fn scheduler(&mut self, mail: Mail) -> Verdict {
        match mail {
            Mail::Enqueue { ask, attempt, run, turn } => {
                if let Err(never) = self.daemon.ledger.can_ever_fit(&ask.demand) {
                    let why = error("EX-0507", &never.to_string(), ErrorClass::Permanent);
                    let input = Input::PlacementFailed { stage: StageIndex(ask.key.1), attempt, error: why };
                    self.control(FIRST_RUN + run as usize, Mail::Drive { input, ticket: None });
                    return Ok(());
                }
                self.daemon.queue.insert(ask.key.clone(), Waiting { ask, attempt, run, turn });
                self.place();
            }
            Mail::Withdraw(key) => drop(self.daemon.queue.remove(&key)),
            Mail::WithdrawRun(run) => self.daemon.queue.retain(|(holder, _), _| *holder != run),
            Mail::Freed => self.place(),
            Mail::Answered(run) => {
                if self.daemon.missing.remove(&run) && self.daemon.missing.is_empty() {
                    self.place();
                }
            }
            Mail::Placement(grants) => {
                self.daemon.asking = false;
                for grant in grants {
                    let Some(waiting) = self.daemon.queue.remove(&grant.key) else {
                        // Withdrawn while it was being granted: the lease goes straight back.
                        self.control(RESOURCES, Mail::Release(grant.key));
                        continue;
                    };
                    let (stage, attempt) = (StageIndex(grant.key.1), waiting.attempt);
                    let input = Input::Placed { stage, attempt, placed_on: grant.lease.place };
                    let actor = FIRST_RUN + waiting.run as usize;
                    if !self.calm && self.random.percent(2) {
                        self.count("placements doubled");
                        self.control(actor, Mail::Placed { input: input.clone(), turn: waiting.turn });
                    }
                    self.control(actor, Mail::Placed { input, turn: waiting.turn });
                }
                if self.daemon.look_again {
                    self.place();
                }
            }
            other => return Err(format!("the scheduler cannot hear {other:?}")),
        }
        Ok(())
    }

    fn place(&mut self) {
        if self.daemon.asking {
            self.daemon.look_again = true;
            return;
        }
        if self.daemon.queue.is_empty() {
            return;
        }
        if !self.daemon.missing.is_empty() && self.mutant != Mutant::PlacesBeforeAllHaveAsked {
            return;
        }
        (self.daemon.asking, self.daemon.look_again) = (true, false);
        let asks = self.daemon.queue.values().map(|waiting| waiting.ask.clone()).collect();
        let now_ms = self.clock();
        self.mail(RESOURCES, Mail::Place { asks, now_ms });
    }

    pub fn resources(&mut self, mail: Mail) -> Verdict {
        match mail {
            Mail::Place { mut asks, now_ms } => {
                let grants = match self.mutant {
                    Mutant::GrantsTwice => {
                        let mut fresh = Ledger::new(self.daemon.ledger.capacity().clone());
                        fresh.place(&mut asks, now_ms)
                    }
                    _ => self.daemon.ledger.place(&mut asks, now_ms),
                };
                if !grants.is_empty() && !std::mem::replace(&mut self.daemon.has_granted, true) {
                    let leases = grants.iter().map(|grant| grant.key.clone()).collect();
                    self.judge.first_leases(&leases, now_ms)?;
                }
                self.mail(SCHEDULER, Mail::Placement(grants));
            }
            Mail::Release(key) => {
                if self.daemon.ledger.release(&key) {
                    self.control(SCHEDULER, Mail::Freed);
                }
            }
            Mail::ReleaseRun(run) => {
                if self.daemon.ledger.release_run(&run) > 0 {
                    self.control(SCHEDULER, Mail::Freed);
                }
            }
            other => return Err(format!("the ledger cannot hear {other:?}")),
        }
        Ok(())
    }
}

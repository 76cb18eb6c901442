//! The frames of one segment, up to its end or to the first place that is not the next frame.
//!
//! Rule: such a place is read twice, the second time after the evidence against it was gathered, because a writer at
//! work may have finished the frame in between. Only then it is called damage, or an unfinished write.
//! Start at [`SegmentScan::run`].

use std::io;

use super::window::Window;
use super::{Problem, StoreScan, Tail, Visitor};
use crate::frame::{self, ALIGNMENT, ChainState, FrameFault, FrameHeader, FrameKind, HEADER_BYTES};
use crate::record::{Head, Position, SNAPSHOTS_STREAM};
use crate::snapshot::Confirmation;

pub(super) struct SegmentScan<'a> {
    pub window: Window<'a>,
    pub name: &'a str,
    pub last: bool,
    /// Where this segment should end is unknown, because the next one's header is damaged.
    pub next_unreadable: bool,
    pub limit: Option<Position>,
    pub marked: Head,
    pub keep_going: bool,
    pub after_gap: bool,
    pub end: u64,
}

impl SegmentScan<'_> {
    pub(super) fn run<V: Visitor>(
        &mut self,
        state: &mut ChainState,
        scan: &mut StoreScan,
        visit: &mut V,
    ) -> io::Result<()> {
        // What spoke against an offset when it was first found wanting. A writer at work may have finished
        // the frame before that evidence was written, so the offset is read once more after it.
        let mut suspect: Option<Suspect> = None;
        loop {
            let fault = match self.step(state, scan, visit)? {
                Step::Frame => continue,
                Step::Superseded => break,
                Step::Fault(fault) => fault,
            };
            let nonzero = self.window.last_nonzero(self.end)?;
            let (proof, later) = match suspect {
                Some(Suspect { offset, proof, later }) if offset == self.end => (proof, later),
                _ => {
                    let later = match nonzero {
                        Some(_) => self.later_frame(self.end + ALIGNMENT as u64)?,
                        None => None,
                    };
                    let proof = self.is_damage(&fault, state.position, nonzero.is_some())?;
                    if proof || nonzero.is_some() {
                        suspect = Some(Suspect { offset: self.end, proof, later });
                        self.window.forget();
                        continue;
                    }
                    (proof, later)
                }
            };
            if !proof {
                if let Some(nonzero) = nonzero {
                    self.leftover(scan, nonzero, &fault);
                }
                return Ok(());
            }
            if let FrameFault::Newer { found } = fault {
                scan.newer = scan.newer.or(Some(found));
            }
            scan.problems.push(Problem {
                segment: self.name.to_owned(),
                offset: self.end,
                position: state.position + 1,
                what: match nonzero {
                    None => format!("the segment ends here, though later records were durable ({fault})"),
                    Some(_) => fault.to_string(),
                },
            });
            self.after_gap = true;
            let Some((offset, header)) = later.filter(|_| self.keep_going) else {
                return Ok(());
            };
            self.end = offset;
            *state = ChainState {
                position: header.first - 1,
                hash: header.before,
                incarnation: header.incarnation,
                time_ms: header.time_ms,
            };
        }
        if let Some(nonzero) = self.window.last_nonzero(self.end)? {
            self.leftover(scan, nonzero, &FrameFault::NoMagic);
        }
        Ok(())
    }

    /// Whether anything proves that the faulty place held a durable frame.
    fn is_damage(&mut self, fault: &FrameFault, position: Position, nonzero: bool) -> io::Result<bool> {
        if matches!(fault, FrameFault::StreamBroken(_) | FrameFault::NotAsMarked | FrameFault::Newer { .. }) {
            return Ok(true);
        }
        if self.limit.is_some_and(|limit| position >= limit) {
            return Ok(false);
        }
        if self.next_unreadable {
            return Ok(nonzero);
        }
        if !self.last || self.marked.position > position {
            return Ok(true);
        }
        Ok(nonzero && self.durable_behind(position)?)
    }

    /// Bytes behind the last frame that were never acknowledged.
    fn leftover(&self, scan: &mut StoreScan, nonzero: u64, fault: &FrameFault) {
        let bytes = nonzero + 1 - self.end;
        if self.last {
            scan.tail = Some(Tail {
                segment: self.name.to_owned(),
                offset: self.end,
                bytes,
                what: fault.to_string(),
            });
        } else {
            scan.notes.push(format!(
                "{}: {bytes} bytes at {} were never acknowledged; the next segment goes on without them",
                self.name, self.end
            ));
        }
    }

    fn step<V: Visitor>(
        &mut self,
        state: &mut ChainState,
        scan: &mut StoreScan,
        visit: &mut V,
    ) -> io::Result<Step> {
        let (header, body) = match self.window.frame(self.end)? {
            Ok(found) => found,
            Err(fault) => return Ok(Step::Fault(fault)),
        };
        if let Err(fault) = frame::check_body(&header, body) {
            return Ok(Step::Fault(fault));
        }
        if header.kind == FrameKind::Retired {
            return Ok(Step::Fault(FrameFault::HeaderNonsense(
                "names of retired streams stand in snapshots only",
            )));
        }
        if header.kind == FrameKind::Records && self.limit.is_some_and(|limit| header.first > limit) {
            return Ok(Step::Superseded);
        }
        if let Err(fault) = frame::check_follows(&header, state) {
            return Ok(Step::Fault(fault));
        }
        let mut views = Vec::with_capacity(header.records as usize);
        let walked = frame::walk(&header, body, |view| {
            views.push(view);
            Ok(())
        });
        let next = match walked {
            Ok(next) => next,
            Err(fault) => return Ok(Step::Fault(fault)),
        };
        for view in &views {
            if view.position == self.marked.position && view.hash != self.marked.hash {
                return Ok(Step::Fault(FrameFault::NotAsMarked));
            }
            if view.stream == SNAPSHOTS_STREAM {
                match Confirmation::parse(view.kind, view.schema, view.payload) {
                    Ok(confirmed) => scan.confirmed = Some(confirmed),
                    Err(fault) => return Ok(Step::Fault(fault)),
                }
            }
            if let Err(fault) = visit.record(self.end, view, self.after_gap) {
                return Ok(Step::Fault(fault));
            }
        }
        scan.records += u64::from(header.records);
        *state = next;
        self.end += header.frame_bytes() as u64;
        Ok(Step::Frame)
    }

    /// The first sound frame at or behind `from`, wherever it belongs in the chain.
    fn later_frame(&mut self, mut from: u64) -> io::Result<Option<(u64, FrameHeader)>> {
        loop {
            let bytes = self.window.get(from, HEADER_BYTES)?;
            if bytes.len() < HEADER_BYTES {
                return Ok(None);
            }
            if bytes[..4] == frame::MAGIC
                && let Ok(header) = frame::parse_header(bytes)
            {
                let length = header.frame_bytes();
                let frame = self.window.get(from, length)?;
                if frame.len() == length && frame::check_body(&header, &frame[HEADER_BYTES..]).is_ok() {
                    return Ok(Some((from, header)));
                }
            }
            from += ALIGNMENT as u64;
        }
    }

    /// Whether a sound frame in the rest of the segment says that a record behind `position` was durable.
    fn durable_behind(&mut self, position: Position) -> io::Result<bool> {
        // From the faulty frame itself: if its bytes are sound, its own word counts.
        let mut from = self.end;
        while let Some((offset, header)) = self.later_frame(from)? {
            if header.durable > position {
                return Ok(true);
            }
            from = offset + header.frame_bytes() as u64;
        }
        Ok(false)
    }
}

/// A place that is not the next frame, and what was found out about it.
struct Suspect {
    offset: u64,
    proof: bool,
    /// The next sound frame.
    later: Option<(u64, FrameHeader)>,
}

enum Step {
    Frame,
    /// A sound frame that the next segment replaces.
    Superseded,
    Fault(FrameFault),
}

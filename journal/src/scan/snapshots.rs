//! One snapshot: read from its first frame to its BLAKE3, or believed by its sidecar.
//!
//! Rule: it must hold together and end where its header says. Whether it is the truth, the chain behind it says.
//! Start at [`read_snapshot`].

use std::io;

use super::sidecars::{last_hash, load_sidecar};
use super::window::{WINDOW_BYTES, Window};
use super::{Problem, Reading, StoreScan, Visitor};
use crate::disk::Disk;
use crate::frame::{self, ChainState, FrameFault, FrameKind};
use crate::record::{CHAIN_START, Head, Position};
use crate::sidecar::SidecarHead;
use crate::snapshot::{SNAPSHOT_HEADER_BYTES, SnapshotHeader, fingerprints, snapshot_name};

type SnapshotRead = Result<(SnapshotHeader, u64, [u8; 32]), Problem>;

/// Reads a snapshot, or believes its sidecar; gives its header, length and BLAKE3. A problem is noted too.
pub(super) fn read_snapshot<V: Visitor>(
    disk: &dyn Disk,
    number: u64,
    reading: Reading,
    scan: &mut StoreScan,
    visitor: &mut V,
) -> io::Result<SnapshotRead> {
    let name = snapshot_name(number);
    let file = disk.open_read(&name)?;
    let len = file.len()?;
    let mut window = Window::new(file.as_ref(), len);
    let problem = |scan: &mut StoreScan, offset: u64, position: Position, fault: &FrameFault| {
        if let FrameFault::Newer { found } = fault {
            scan.newer = scan.newer.or(Some(*found));
        }
        let problem = Problem { segment: name.clone(), offset, position, what: fault.to_string() };
        scan.problems.push(problem.clone());
        Ok(Err(problem))
    };
    let header = match SnapshotHeader::parse(window.get(0, SNAPSHOT_HEADER_BYTES as usize)?, number) {
        Ok(header) => header,
        Err(fault) => return problem(scan, 0, 1, &fault),
    };
    visitor.snapshot(number, &snapshot_name(number));
    if reading.believe
        && let Some(sidecar) = load_sidecar(disk, &snapshot_name(number))?
        && sidecar.head.number == number
        && sidecar.head.bytes == len
        && sidecar.head.end == header.state
        && (sidecar.head.last_frame == 0 || last_hash(file.as_ref(), sidecar.head.last_frame)?.is_some())
    {
        if let Err(fault) = visitor.sidecar(&sidecar) {
            return problem(scan, 0, 1, &fault);
        }
        scan.records += sidecar.head.records;
        scan.believed += 1;
        return Ok(Ok((header, len, sidecar.head.digest)));
    }
    let (mut at, mut last, mut records) =
        (SNAPSHOT_HEADER_BYTES, ChainState { position: 0, ..header.state }, 0);
    last.hash = CHAIN_START;
    while at < len {
        match snapshot_frame(&mut window, at, &header, &last, scan.mark.mark.head, visitor)? {
            Ok((length, next, count)) => {
                at += length;
                last = next;
                records += count;
            }
            Err(fault) => return problem(scan, at, last.position + 1, &fault),
        }
    }
    let mut hasher = blake3::Hasher::new();
    let mut at = 0;
    while at < len {
        let part = window.get(at, WINDOW_BYTES)?;
        if part.is_empty() {
            return problem(scan, at, 1, &FrameFault::CutOff);
        }
        hasher.update(part);
        at += part.len() as u64;
    }
    let digest = *hasher.finalize().as_bytes();
    scan.records += records;
    visitor.passed(Head { position: header.state.position, hash: header.state.hash });
    let head = SidecarHead {
        number,
        first: 1,
        before: CHAIN_START,
        end: header.state,
        last_frame: 0,
        own_frame: 0,
        records,
        bytes: len,
        digest,
    };
    visitor.sealed(&snapshot_name(number), head);
    Ok(Ok((header, len, digest)))
}

/// One frame of a snapshot: its length, where the chain stands behind it, how many records it holds.
fn snapshot_frame<V: Visitor>(
    window: &mut Window<'_>,
    at: u64,
    snapshot: &SnapshotHeader,
    last: &ChainState,
    marked: Head,
    visitor: &mut V,
) -> io::Result<Result<(u64, ChainState, u64), FrameFault>> {
    let (header, body) = match window.frame(at)? {
        Ok(found) => found,
        Err(fault) => return Ok(Err(fault)),
    };
    let visited = (|| {
        frame::check_body(&header, body)?;
        match header.kind {
            FrameKind::WriterOpened => return Err(FrameFault::HeaderNonsense("no writer opens a snapshot")),
            FrameKind::Retired => {
                visitor.retired(&fingerprints(&body[..header.body_bytes as usize])?);
                return Ok((*last, 0));
            }
            FrameKind::Records => {}
        }
        if header.first <= last.position
            || header.first + u64::from(header.records) > snapshot.state.position + 1
        {
            return Err(FrameFault::PositionGap { expected: last.position + 1, found: header.first });
        }
        if header.first == last.position + 1 && header.before != last.hash {
            return Err(FrameFault::ChainBroken);
        }
        let mut views = Vec::with_capacity(header.records as usize);
        let next = frame::walk(&header, body, |view| {
            views.push(view);
            Ok(())
        })?;
        if next.position == snapshot.state.position && next.hash != snapshot.state.hash {
            return Err(FrameFault::ChainBroken);
        }
        for view in &views {
            if view.position == marked.position && view.hash != marked.hash {
                return Err(FrameFault::NotAsMarked);
            }
            visitor.record(at, view, false)?;
        }
        Ok((next, u64::from(header.records)))
    })();
    Ok(visited.map(|(next, records)| (header.frame_bytes() as u64, next, records)))
}

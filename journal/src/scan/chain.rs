//! One candidate for the truth: a snapshot and the segments behind it, or all segments from the first.
//!
//! Rule: each segment must follow the one before, the head mark must not know more than the last one shows, and the
//! chain must confirm the snapshot and no other. Start at [`scan_from`].

use super::frames::SegmentScan;
use super::sidecars::believe;
use super::snapshots::read_snapshot;
use super::window::Window;
use super::{Names, Problem, Reading, ScanError, ScannedSegment, StoreScan, Visitor, failed};
use crate::disk::Disk;
use crate::frame::ChainState;
use crate::mark::{self, MarkFound};
use crate::record::CHAIN_START;
use crate::segment::{
    FORMAT_PLAIN, FORMAT_SNAPSHOT, SEGMENT_HEADER_BYTES, SegmentFault, SegmentHeader, segment_name,
};
use crate::sidecar::{SidecarHead, sidecar_name};
use crate::snapshot::{SnapshotHeader, snapshot_name};

/// Reads the snapshot `candidate` and the segments behind it, or all segments if there is no candidate.
pub(super) fn scan_from<V: Visitor>(
    disk: &dyn Disk,
    reading: Reading,
    mark: MarkFound,
    found: &Names,
    candidate: Option<u64>,
    mut visitor: V,
) -> Result<(StoreScan, V), ScanError> {
    let numbers: Vec<u64> = found
        .segments
        .iter()
        .copied()
        .filter(|number| candidate.is_none_or(|from| *number >= from))
        .collect();
    let mut scan = StoreScan {
        segments: Vec::new(),
        newest: None,
        format: if candidate.is_some() { FORMAT_SNAPSHOT } else { FORMAT_PLAIN },
        snapshot: candidate,
        state: ChainState { position: 0, hash: CHAIN_START, incarnation: mark.mark.incarnation, time_ms: 0 },
        records: 0,
        believed: 0,
        problems: Vec::new(),
        newer: None,
        foreign: None,
        tail: None,
        notes: Vec::new(),
        unfinished: found.unfinished.clone(),
        leftovers: leftovers(found, candidate),
        poisoned: false,
        confirmed: None,
        mark,
    };
    if mark.damaged {
        scan.notes.push(format!(
            "{} is damaged in part; it is only a witness and is written anew",
            mark::MARK_NAME
        ));
    }
    // The chain's incarnation starts at 0; the mark's only bounds the next writer's from below.
    let mut state = ChainState { incarnation: 0, ..scan.state };
    let mut content = None;
    if let Some(number) = candidate {
        let name = snapshot_name(number);
        let read = read_snapshot(disk, number, reading, &mut scan, &mut visitor).map_err(failed(&name))?;
        match read {
            Ok((header, bytes, digest)) => {
                state = header.state;
                content = Some((header, bytes, digest));
            }
            Err(Problem { .. }) if !reading.keep_going => return Ok((scan, visitor)),
            Err(_) => {}
        }
    }

    // Headers first: each says where the segment before it ends.
    let mut headers = Vec::new();
    for number in numbers {
        let name = segment_name(number);
        let file = disk.open_read(&name).map_err(failed(&name))?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES as usize];
        let read = file.read_at(0, &mut bytes).map_err(failed(&name))?;
        // Opened again when its turn comes: a long journal has more segments than a process may have files.
        headers.push((number, SegmentHeader::parse(&bytes[..read], number)));
    }
    scan.poisoned = headers.last().is_some_and(|(number, ..)| mark.mark.poisoned_segment == *number);

    let mut after_gap = !scan.problems.is_empty();
    for at in 0..headers.len() {
        let (number, header) = &headers[at];
        let name = segment_name(*number);
        let newest = at + 1 == headers.len();
        let file = if reading.writable && newest { disk.open(&name) } else { disk.open_read(&name) };
        let file = file.map_err(failed(&name))?;
        let next_header = headers.get(at + 1).map(|(_, next)| next.as_ref());
        let next_first = next_header.map(|next| next.map(|next| next.first));
        let len = file.len().map_err(failed(&name))?;
        let fault = match header {
            Ok(header) if header.first != state.position + 1 && !after_gap => Some(format!(
                "the segment begins at position {}, but {} comes next: a segment or the end of one is missing",
                header.first,
                state.position + 1
            )),
            Ok(header) if header.before != state.hash && !after_gap => {
                Some("the chain is broken: the segment does not follow the one before".to_owned())
            }
            Ok(header) if header.incarnation < state.incarnation || header.time_ms < state.time_ms => {
                Some("the segment is older than the one before it".to_owned())
            }
            Ok(_) => None,
            Err(fault) => {
                match fault {
                    SegmentFault::Newer { found } => scan.newer = scan.newer.or(Some(*found)),
                    SegmentFault::Foreign => scan.foreign = scan.foreign.or_else(|| Some(name.clone())),
                    _ => {}
                }
                Some(fault.to_string())
            }
        };
        if let Some(what) = fault {
            scan.problems.push(Problem {
                segment: name.clone(),
                offset: 0,
                position: state.position + 1,
                what,
            });
            after_gap = true;
            if !reading.keep_going {
                break;
            }
        }
        if let Ok(header) = header {
            scan.format = scan.format.max(header.format);
            state = ChainState {
                position: header.first - 1,
                hash: header.before,
                incarnation: header.incarnation,
                time_ms: header.time_ms,
            };
        }
        let (first, state_before, made_by) = (state.position + 1, state.hash, state.incarnation);
        visitor.segment(*number, &name, first);
        if let (true, Ok(header), Some(Ok(next)), false) = (reading.believe, header, next_header, after_gap) {
            let believed = believe(disk, &name, file.as_ref(), header, next).map_err(failed(&name))?;
            if let Some((sidecar, confirmed)) = believed {
                if let Err(fault) = visitor.sidecar(&sidecar) {
                    // Its hash fits, so this is no accident; reading everything will tell.
                    scan.problems.push(Problem {
                        segment: name.clone(),
                        offset: 0,
                        position: first,
                        what: fault.to_string(),
                    });
                    break;
                }
                state = sidecar.head.end;
                scan.records += sidecar.head.records;
                scan.believed += 1;
                scan.confirmed = confirmed.or(scan.confirmed);
                scan.segments.push(ScannedSegment {
                    number: *number,
                    before: state_before,
                    incarnation: made_by,
                    end: len,
                    len,
                });
                continue;
            }
        }
        // Records behind this one stand in a later segment, or were never acknowledged.
        let limit = match next_first {
            Some(Ok(first)) => Some(first - 1),
            Some(Err(_)) => None,
            None if scan.poisoned => Some(mark.mark.head.position),
            None => None,
        };
        let mut segment = SegmentScan {
            window: Window::new(file.as_ref(), len),
            name: &name,
            last: next_first.is_none(),
            next_unreadable: matches!(next_first, Some(Err(_))),
            limit,
            marked: mark.mark.head,
            keep_going: reading.keep_going,
            after_gap,
            end: SEGMENT_HEADER_BYTES,
        };
        let before = scan.records;
        segment.run(&mut state, &mut scan, &mut visitor).map_err(failed(&name))?;
        after_gap = segment.after_gap;
        let end = segment.end;
        if let (Ok(header), false, true) = (header, newest, scan.problems.is_empty()) {
            let head = SidecarHead {
                number: *number,
                first: header.first,
                before: header.before,
                end: state,
                last_frame: 0,
                own_frame: 0,
                records: scan.records - before,
                bytes: 0,
                digest: [0; 32],
            };
            visitor.sealed(&name, head);
        }
        if newest {
            scan.newest = Some(file);
        }
        scan.segments.push(ScannedSegment {
            number: *number,
            before: state_before,
            incarnation: made_by,
            end,
            len,
        });
        if !scan.problems.is_empty() && !reading.keep_going {
            break;
        }
    }
    scan.state = ChainState { incarnation: state.incarnation.max(scan.state.incarnation), ..state };
    if scan.problems.is_empty() && mark.mark.head.position > state.position {
        let last = scan.segments.last();
        scan.problems.push(Problem {
            segment: last.map_or_else(|| segment_name(1), |last| segment_name(last.number)),
            offset: last.map_or(0, |last| last.end),
            position: state.position + 1,
            what: format!(
                "the head mark says that position {} was durable, but the journal ends at {}",
                mark.mark.head.position, state.position
            ),
        });
    }
    confirm(&mut scan, candidate, content);
    Ok((scan, visitor))
}

/// Whether the chain confirms the snapshot that was read, and no other.
fn confirm(scan: &mut StoreScan, candidate: Option<u64>, content: Option<(SnapshotHeader, u64, [u8; 32])>) {
    if !scan.problems.is_empty() {
        return;
    }
    let (number, what) = match (scan.confirmed, candidate) {
        (None, None) => return,
        (None, Some(number)) => (
            number,
            "no record of the chain behind it confirms this snapshot, and nothing older is there".to_owned(),
        ),
        (Some(said), candidate) if candidate != Some(said.number) => (
            said.number,
            format!(
                "the chain says that {} stands for all that is older, and it is missing",
                snapshot_name(said.number)
            ),
        ),
        (Some(said), _) => {
            let Some((header, bytes, digest)) = content else { return };
            if (said.position, said.hash) != (header.state.position, header.state.hash)
                || (said.bytes, said.digest) != (bytes, digest)
            {
                (said.number, "the snapshot is not the one that the chain confirms".to_owned())
            } else {
                return;
            }
        }
    };
    scan.problems.push(Problem { segment: snapshot_name(number), offset: 0, position: 1, what });
}

/// What a snapshot stands for, and what never became anything.
fn leftovers(found: &Names, candidate: Option<u64>) -> Vec<String> {
    let replaced = found.segments.iter().filter(|number| candidate.is_some_and(|from| **number < from));
    let snapshots = found.snapshots.iter().filter(|number| candidate != Some(**number));
    let mut names: Vec<String> = replaced
        .map(|number| segment_name(*number))
        .chain(snapshots.map(|number| snapshot_name(*number)))
        .collect();
    let there = |sidecar: &&String| {
        found
            .segments
            .iter()
            .map(|number| segment_name(*number))
            .chain(found.snapshots.iter().map(|number| snapshot_name(*number)))
            .any(|file| sidecar_name(&file) == **sidecar && !names.contains(&file))
    };
    let orphans: Vec<String> = found.sidecars.iter().filter(|sidecar| !there(sidecar)).cloned().collect();
    names.extend(orphans);
    names
}

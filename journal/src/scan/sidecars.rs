//! What an index sidecar says of a sealed file, and whether it is believed.
//!
//! Rule: a sidecar is believed only if everything agrees that is cheap to ask: the headers around its file, the last
//! frame and the newest confirmation of a snapshot in it. Otherwise the file itself is read.

use std::io;

use crate::disk::{Disk, DiskFile};
use crate::frame::{self, FrameHeader, HEADER_BYTES};
use crate::record::SNAPSHOTS_STREAM;
use crate::segment::SegmentHeader;
use crate::sidecar::{Sidecar, sidecar_name};
use crate::snapshot::Confirmation;

pub(super) fn load_sidecar(disk: &dyn Disk, file: &str) -> io::Result<Option<Sidecar>> {
    let sidecar = match disk.open_read(&sidecar_name(file)) {
        Ok(sidecar) => sidecar,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut bytes = vec![0; usize::try_from(sidecar.len()?).unwrap_or(0)];
    let read = sidecar.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(Sidecar::parse(bytes))
}

type Believed = (Sidecar, Option<Confirmation>);

/// The sidecar of a sealed segment, if it agrees with everything that is cheap to ask.
pub(super) fn believe(
    disk: &dyn Disk,
    name: &str,
    file: &dyn DiskFile,
    header: &SegmentHeader,
    next: &SegmentHeader,
) -> io::Result<Option<Believed>> {
    let Some(sidecar) = load_sidecar(disk, name)? else { return Ok(None) };
    let head = sidecar.head;
    let agrees = (head.number, head.first, head.before) == (header.number, header.first, header.before)
        && (head.end.position + 1, head.end.hash) == (next.first, next.before)
        && head.end.incarnation <= next.incarnation
        && head.end.time_ms <= next.time_ms;
    if !agrees {
        return Ok(None);
    }
    if head.last_frame > 0 && last_hash(file, head.last_frame)? != Some(head.end.hash) {
        return Ok(None);
    }
    let mut confirmed = None;
    if head.own_frame > 0 {
        confirmed = confirmation_at(file, head.own_frame)?;
        if confirmed.is_none() {
            return Ok(None);
        }
    }
    Ok(Some((sidecar, confirmed)))
}

fn frame_at(file: &dyn DiskFile, offset: u64) -> io::Result<Option<(FrameHeader, Vec<u8>)>> {
    let mut bytes = vec![0; HEADER_BYTES];
    if file.read_at(offset, &mut bytes)? < HEADER_BYTES {
        return Ok(None);
    }
    let Ok(header) = frame::parse_header(&bytes) else { return Ok(None) };
    let mut body = vec![0; header.frame_bytes() - HEADER_BYTES];
    let read = file.read_at(offset + HEADER_BYTES as u64, &mut body)?;
    if read < body.len() || frame::check_body(&header, &body).is_err() {
        return Ok(None);
    }
    Ok(Some((header, body)))
}

/// The chain hash behind the frame at `offset`, if a sound frame is there.
pub(super) fn last_hash(file: &dyn DiskFile, offset: u64) -> io::Result<Option<[u8; 32]>> {
    let Some((header, body)) = frame_at(file, offset)? else { return Ok(None) };
    Ok(frame::walk(&header, &body, |_| Ok(())).ok().map(|state| state.hash))
}

fn confirmation_at(file: &dyn DiskFile, offset: u64) -> io::Result<Option<Confirmation>> {
    let Some((header, body)) = frame_at(file, offset)? else { return Ok(None) };
    let mut confirmed = None;
    let walked = frame::walk(&header, &body, |view| {
        if view.stream == SNAPSHOTS_STREAM {
            confirmed = Some(Confirmation::parse(view.kind, view.schema, view.payload)?);
        }
        Ok(())
    });
    Ok(walked.ok().and(confirmed))
}

//! The format of a file of a rescued dump:
//!
//! | Bytes | Content |
//! |---|---|
//! | 8 | `CDRESCUE` |
//! | 4 | version of the format, little endian |
//! | 4 | length of the header, little endian |
//! | 32 | SHA-256 of the header |
//! | … | the header, JSON; contains length and SHA-256 of the body |
//! | … | the body |
//! | 16 each | marks: an id, little endian, and the first half of the SHA-256 of its 8 bytes |
//!
//! A mark is appended when an id is reserved, and the last complete mark counts. A mark that a
//! crash cut was never used.

use std::io;

use bytes::Bytes;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::audit::{Actor, ActorKind, Change, Origin};
use coredock_domain::coredumps::coredump::{Chip, ReportedVersion};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::identity::device::DeviceClaim;
use coredock_domain::ids::{DeviceKey, ModelCode};
use coredock_domain::intake::receive::Delivery;
use coredock_domain::intake::spool::RescuedDump;
use coredock_domain::timestamp::Timestamp;
use serde::{Deserialize, Serialize};

const MAGIC: &[u8; 8] = b"CDRESCUE";
const VERSION: u32 = 1;
const PREFIX: usize = 8 + 4 + 4 + 32;
const MARK: usize = 16;

#[derive(Serialize, Deserialize)]
struct Header {
    device: String,
    /// The model which the token of the device named; absent without a token, and in files of
    /// versions without authentication.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    chip: String,
    firmware_version: String,
    received_at_micros: i64,
    actor: String,
    correlation_id: String,
    remote_address: Option<String>,
    length: u64,
    sha256: String,
}

pub(super) struct Decoded {
    pub(super) dump: RescuedDump,
    /// Offset of the next mark.
    pub(super) end: u64,
}

/// Why a file cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unreadable {
    /// A newer version of Coredock wrote it.
    Newer,
    Damaged(&'static str),
}

/// The bytes before the body.
pub(super) fn head(dump: &RescuedDump) -> io::Result<Vec<u8>> {
    let Delivery { device, chip, firmware_version, body, change } = &dump.delivery;
    let header = serde_json::to_vec(&Header {
        device: device.key.to_string(),
        model: device.model.as_ref().map(ToString::to_string),
        chip: chip.as_str().to_owned(),
        firmware_version: firmware_version.as_str().to_owned(),
        received_at_micros: change.at.micros(),
        actor: change.origin.actor.subject.clone(),
        correlation_id: change.origin.correlation_id.clone(),
        remote_address: change.origin.remote_address.clone(),
        length: body.length(),
        sha256: body.sha256().to_string(),
    })?;
    let length = u32::try_from(header.len()).map_err(io::Error::other)?;
    let mut head = Vec::with_capacity(PREFIX + header.len());
    head.extend_from_slice(MAGIC);
    head.extend_from_slice(&VERSION.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(Sha256Digest::of(&header).bytes());
    head.extend_from_slice(&header);
    Ok(head)
}

/// Length of the whole file.
pub(super) fn size(head: &[u8], dump: &RescuedDump) -> u64 {
    let mark = dump.id.map_or(0, |_| MARK);
    head.len() as u64 + dump.delivery.body.length() + mark as u64
}

/// The bytes appended for an id.
pub(super) fn mark(id: i64) -> [u8; MARK] {
    let id = id.to_le_bytes();
    let mut mark = [0; MARK];
    mark[..8].copy_from_slice(&id);
    mark[8..].copy_from_slice(&Sha256Digest::of(&id).bytes()[..8]);
    mark
}

/// Reads a whole file.
pub(super) fn decode(file: Vec<u8>) -> Result<Decoded, Unreadable> {
    let file = Bytes::from(file);
    let (header, body_at) = decode_header(&file)?;
    let cut = Unreadable::Damaged("it ends before the end of its body");
    let body_end =
        usize::try_from(header.length).ok().and_then(|length| body_at.checked_add(length));
    let Some(body_end) = body_end.filter(|end| *end <= file.len()) else { return Err(cut) };
    let body = ArtifactBody::from(file.slice(body_at..body_end));
    if body.sha256().to_string() != header.sha256 {
        return Err(Unreadable::Damaged("the SHA-256 of its body is not that of its header"));
    }
    let ids: Vec<i64> =
        file[body_end..].as_chunks::<MARK>().0.iter().map_while(read_mark).collect();
    let delivery = delivery(header, body);
    let delivery = delivery.ok_or(Unreadable::Damaged("its header has invalid values"))?;
    let end = body_end + ids.len() * MARK;
    Ok(Decoded { dump: RescuedDump { delivery, id: ids.last().copied() }, end: end as u64 })
}

/// The header and the offset of the body.
fn decode_header(file: &[u8]) -> Result<(Header, usize), Unreadable> {
    let cut = || Unreadable::Damaged("it ends within its header");
    let (magic, rest) = file.split_first_chunk::<8>().ok_or_else(cut)?;
    if magic != MAGIC {
        return Err(Unreadable::Damaged("it does not begin with CDRESCUE"));
    }
    let (version, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    if u32::from_le_bytes(*version) > VERSION {
        return Err(Unreadable::Newer);
    }
    let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let (sha256, rest) = rest.split_first_chunk::<32>().ok_or_else(cut)?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let header = rest.get(..length).ok_or_else(cut)?;
    if Sha256Digest::of(header).bytes() != sha256 {
        return Err(Unreadable::Damaged("the SHA-256 of its header is wrong"));
    }
    let unreadable = |_| Unreadable::Damaged("its header cannot be read");
    Ok((serde_json::from_slice(header).map_err(unreadable)?, PREFIX + length))
}

fn delivery(header: Header, body: ArtifactBody) -> Option<Delivery> {
    let actor = Actor { subject: header.actor, name: None, kind: ActorKind::Device };
    let origin = Origin {
        actor,
        correlation_id: header.correlation_id,
        remote_address: header.remote_address,
    };
    let model = match &header.model {
        Some(code) => Some(ModelCode::parse(code)?),
        None => None,
    };
    Some(Delivery {
        device: DeviceClaim { key: DeviceKey::parse(&header.device)?, model },
        chip: Chip::parse(&header.chip)?,
        firmware_version: ReportedVersion::parse(&header.firmware_version)?,
        body,
        change: Change { at: Timestamp::from_micros(header.received_at_micros), origin },
    })
}

fn read_mark(bytes: &[u8; MARK]) -> Option<i64> {
    let (id, _) = bytes.split_first_chunk::<8>()?;
    let id = i64::from_le_bytes(*id);
    (*bytes == mark(id)).then_some(id)
}

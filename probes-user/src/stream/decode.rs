//! Bytes from the kernel or from a file to events. Bytes are input: every length and kind is checked.

use std::fmt;

use probes_common::block::BlockRequest;
use probes_common::event::{
    DataReady, Exec, Exit, Fork, Header, Kind, Migrate, Payload, SockState, Switch, SysEnter,
    SysExit, WaitWake, Wakeup, Waking,
};
use probes_common::runqueue::RunDelay;
use probes_common::tcp::{
    Handshake, Packet, SkbDrop, SockError, TcpDestroy, TcpReset, TcpRetransmit, TcpState,
    TcpSynack, TcpTimer,
};
use probes_common::uring::{UringDone, UringOverflow};

use super::item::{Body, Event};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than a header, or fewer than the header says.
    Short {
        have: usize,
        want: usize,
    },
    UnknownKind(u16),
    /// The header's length is not that of its kind.
    Length {
        kind: Kind,
        said: u16,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::Short { have, want } => {
                write!(f, "a record of {want} bytes has only {have}")
            }
            DecodeError::UnknownKind(kind) => write!(f, "a record of unknown kind {kind}"),
            DecodeError::Length { kind, said } => {
                write!(
                    f,
                    "a {} record says {said} bytes, not {}",
                    kind.name(),
                    kind.record_len()
                )
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes one record; bytes after it (the ring's rounding) are ignored.
///
/// # Errors
/// See [`DecodeError`]. Nothing is read beyond `bytes`.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let header: Header = read(bytes, 0)?;
    let kind = Kind::from_number(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
    if usize::from(header.len) != kind.record_len() {
        return Err(DecodeError::Length {
            kind,
            said: header.len,
        });
    }
    let body = match kind {
        Kind::Waking => Body::Waking(payload::<Waking>(bytes)?),
        Kind::Wakeup => Body::Wakeup(payload::<Wakeup>(bytes)?),
        Kind::Switch => Body::Switch(payload::<Switch>(bytes)?),
        Kind::Fork => Body::Fork(payload::<Fork>(bytes)?),
        Kind::Exec => Body::Exec(payload::<Exec>(bytes)?),
        Kind::Exit => Body::Exit(payload::<Exit>(bytes)?),
        Kind::Migrate => Body::Migrate(payload::<Migrate>(bytes)?),
        Kind::RunDelay => Body::RunDelay(payload::<RunDelay>(bytes)?),
        Kind::SysEnter => Body::SysEnter(payload::<SysEnter>(bytes)?),
        Kind::SysExit => Body::SysExit(payload::<SysExit>(bytes)?),
        Kind::SockState => Body::SockState(payload::<SockState>(bytes)?),
        Kind::DataReady => Body::DataReady(payload::<DataReady>(bytes)?),
        Kind::WaitWake => Body::WaitWake(payload::<WaitWake>(bytes)?),
        Kind::TcpState => Body::TcpState(payload::<TcpState>(bytes)?),
        Kind::TcpRetransmit => Body::TcpRetransmit(payload::<TcpRetransmit>(bytes)?),
        Kind::TcpSynack => Body::TcpSynack(payload::<TcpSynack>(bytes)?),
        Kind::TcpReset => Body::TcpReset(payload::<TcpReset>(bytes)?),
        Kind::TcpDestroy => Body::TcpDestroy(payload::<TcpDestroy>(bytes)?),
        Kind::SockError => Body::SockError(payload::<SockError>(bytes)?),
        Kind::TcpTimer => Body::TcpTimer(payload::<TcpTimer>(bytes)?),
        Kind::SkbDrop => Body::SkbDrop(payload::<SkbDrop>(bytes)?),
        Kind::Packet => Body::Packet(payload::<Packet>(bytes)?),
        Kind::Handshake => Body::Handshake(payload::<Handshake>(bytes)?),
        Kind::BlockRequest => Body::BlockRequest(payload::<BlockRequest>(bytes)?),
        Kind::UringDone => Body::UringDone(payload::<UringDone>(bytes)?),
        Kind::UringOverflow => Body::UringOverflow(payload::<UringOverflow>(bytes)?),
    };
    Ok(Event { header, body })
}

fn payload<P: Payload>(bytes: &[u8]) -> Result<P, DecodeError> {
    read(bytes, size_of::<Header>())
}

/// Only for the record types: integers without padding, so that any bytes are a value.
fn read<T: Copy>(bytes: &[u8], at: usize) -> Result<T, DecodeError> {
    let want = at + size_of::<T>();
    if bytes.len() < want {
        return Err(DecodeError::Short {
            have: bytes.len(),
            want,
        });
    }
    // SAFETY: in bounds, unaligned read, every bit pattern is valid (see Payload).
    Ok(unsafe { bytes.as_ptr().add(at).cast::<T>().read_unaligned() })
}

/// The bytes of an event as the kernel sent them.
pub fn encode(event: &Event) -> Vec<u8> {
    fn both<P: Payload>(header: &Header, payload: &P) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size_of::<Header>() + size_of::<P>());
        // SAFETY: repr(C) integers without padding, read as bytes.
        unsafe {
            bytes.extend_from_slice(std::slice::from_raw_parts(
                std::ptr::from_ref(header).cast(),
                size_of::<Header>(),
            ));
            bytes.extend_from_slice(std::slice::from_raw_parts(
                std::ptr::from_ref(payload).cast(),
                size_of::<P>(),
            ));
        }
        bytes
    }
    let header = &event.header;
    match &event.body {
        Body::Waking(p) => both(header, p),
        Body::Wakeup(p) => both(header, p),
        Body::Switch(p) => both(header, p),
        Body::Fork(p) => both(header, p),
        Body::Exec(p) => both(header, p),
        Body::Exit(p) => both(header, p),
        Body::Migrate(p) => both(header, p),
        Body::RunDelay(p) => both(header, p),
        Body::SysEnter(p) => both(header, p),
        Body::SysExit(p) => both(header, p),
        Body::SockState(p) => both(header, p),
        Body::DataReady(p) => both(header, p),
        Body::WaitWake(p) => both(header, p),
        Body::TcpState(p) => both(header, p),
        Body::TcpRetransmit(p) => both(header, p),
        Body::TcpSynack(p) => both(header, p),
        Body::TcpReset(p) => both(header, p),
        Body::TcpDestroy(p) => both(header, p),
        Body::SockError(p) => both(header, p),
        Body::TcpTimer(p) => both(header, p),
        Body::SkbDrop(p) => both(header, p),
        Body::Packet(p) => both(header, p),
        Body::Handshake(p) => both(header, p),
        Body::BlockRequest(p) => both(header, p),
        Body::UringDone(p) => both(header, p),
        Body::UringOverflow(p) => both(header, p),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind) -> Header {
        let len = kind.record_len() as u16;
        Header {
            ktime: 7,
            kind: kind as u16,
            len,
            cpu: 1,
            pid: 2,
            tgid: 3,
            phase: 4,
            again: 0,
        }
    }

    fn bytes(kind: Kind) -> Vec<u8> {
        let filler = (0..kind.record_len())
            .map(|i| (i * 7) as u8)
            .collect::<Vec<u8>>();
        let mut bytes = filler;
        let head = Event {
            header: header(kind),
            body: Body::Exit(Exit { pid: 0, tgid: 0 }),
        };
        bytes[..size_of::<Header>()].copy_from_slice(&encode(&head)[..size_of::<Header>()]);
        bytes
    }

    #[test]
    fn every_kind_survives_decode_and_encode() {
        for kind in Kind::ALL {
            let original = bytes(*kind);
            assert_eq!(
                encode(&decode(&original).unwrap()),
                original,
                "{}",
                kind.name()
            );
        }
    }

    #[test]
    fn every_truncation_is_an_error_and_nothing_else() {
        for kind in Kind::ALL {
            let original = bytes(*kind);
            for len in 0..original.len() {
                assert!(matches!(
                    decode(&original[..len]),
                    Err(DecodeError::Short { .. })
                ));
            }
        }
    }

    #[test]
    fn unknown_kinds_and_wrong_lengths_are_refused() {
        let mut foreign = bytes(Kind::Switch);
        foreign[8..10].copy_from_slice(&999u16.to_ne_bytes());
        assert_eq!(decode(&foreign), Err(DecodeError::UnknownKind(999)));
        let mut long = bytes(Kind::Switch);
        long[10..12].copy_from_slice(&500u16.to_ne_bytes());
        assert_eq!(
            decode(&long),
            Err(DecodeError::Length {
                kind: Kind::Switch,
                said: 500
            })
        );
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes in proptest::collection::vec(0u8.., 0..400)) {
            let _outcome = decode(&bytes);
        }

        #[test]
        fn damaged_headers_never_read_past_the_end(kind in 0u16..60, len in 0u16.., size in 0usize..300) {
            let mut bytes = vec![0xa5; size.max(12)];
            bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
            bytes[10..12].copy_from_slice(&len.to_ne_bytes());
            let _outcome = decode(&bytes);
        }
    }
}

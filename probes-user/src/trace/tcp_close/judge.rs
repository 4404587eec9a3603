//! The claims about time: what close() waits for, and what goes on after it.

use serde_json::json;

use super::cause::{FIN_WAIT1, FIN_WAIT2};
use super::evidence::{CaseView, FIN, RST};
use super::lab::{HOLD, LINGER_LONG, LINGER_SHORT};
use super::marks::{Close, Closed, Got, Read, Wrote, when};
use super::verdict::{Blocked, Judged, errno, inconclusive, needed, span};

/// The closer's `snd_una` when it began to close, and when its FIN was acknowledged.
fn acknowledged(view: &CaseView<'_>) -> Result<(u64, u32), Blocked> {
    let (Some((_, begin)), Some((at, end))) =
        (view.came_to(&[FIN_WAIT1]), view.came_to(&[FIN_WAIT2]))
    else {
        return Err(inconclusive(format!(
            "case {}: no change to FIN_WAIT1 and FIN_WAIT2 was told",
            view.log.label
        )));
    };
    Ok((at, end.snap.snd_una.wrapping_sub(begin.snap.snd_una)))
}

fn unsent(view: &CaseView<'_>) -> Result<Close, Blocked> {
    let close: Close = needed(view)?;
    if close.unsent_bytes == 0 {
        return Err(inconclusive(format!(
            "case {}: nothing was unacknowledged at close()",
            view.log.label
        )));
    }
    Ok(close)
}

/// Payload that reached the peer's kernel for the first time after `since`.
fn sent_after(view: &CaseView<'_>, since: u64) -> u64 {
    let Some(ends) = view.ends else { return 0 };
    let mut next: Option<u32> = None;
    let mut bytes = 0;
    for (time, packet) in view.packets(u8::MAX) {
        if packet.source_port != ends.closer {
            continue;
        }
        let end = packet.seq.wrapping_add(u32::from(packet.payload));
        let new = next.map_or(u32::from(packet.payload), |next| end.wrapping_sub(next));
        // A resend brings nothing new.
        if new > i32::MAX as u32 {
            continue;
        }
        if time >= since {
            bytes += u64::from(new.min(u32::from(packet.payload)));
        }
        next = Some(end);
    }
    bytes
}

pub fn drain(views: &[CaseView<'_>]) -> Result<Judged, Blocked> {
    let [view] = views else {
        return Err(inconclusive("a case is missing"));
    };
    let (close, closed) = (unsent(view)?, needed::<Closed>(view)?);
    let (wrote, got) = (needed::<Wrote>(view)?, needed::<Got>(view)?);
    let read = when::<Read>(view.log).unwrap_or_default();
    let (_, advanced) = acknowledged(view)?;
    let before = closed.ended < read;
    let whole = (got.bytes, got.checksum, got.errno) == (wrote.bytes, wrote.checksum, 0);
    let resets = view.packets(RST).count();
    let late = sent_after(view, closed.ended);
    let holds = before
        && whole
        && resets == 0
        && closed.errno == 0
        && u64::from(advanced) >= close.unsent_bytes;
    let says = format!(
        "close() returned after {} with {} of {} bytes unacknowledged, {} the peer began to read; then {late} bytes \
         went out, snd_una advanced by {advanced}, the peer read {} bytes{} and {}; {resets} RSTs",
        span(closed.took()),
        close.unsent_bytes,
        wrote.bytes,
        if before { "before" } else { "after" },
        got.bytes,
        if whole { " (checksum right)" } else { "" },
        errno(got.errno),
    );
    Ok(Judged {
        holds,
        says,
        numbers: vec![
            ("close_ns", json!(closed.took())),
            ("unacked_at_close_bytes", json!(close.unsent_bytes)),
            ("sent_after_close_bytes", json!(late)),
            ("acked_after_close_bytes", json!(advanced)),
            ("written_bytes", json!(wrote.bytes)),
            ("read_bytes", json!(got.bytes)),
        ],
    })
}

/// close() may return early: the kernel counts in jiffies, which lag behind the clock where a machine stalls.
const EARLY: f64 = 0.75;
/// Nor at once when a processor is long in coming; the peer's data would keep it for ever.
const LATE: f64 = 5.0;

pub fn linger(views: &[CaseView<'_>]) -> Result<Judged, Blocked> {
    let [acked, expires, nonblocking] = views else {
        return Err(inconclusive("a case is missing"));
    };
    for view in views {
        unsent(view)?;
        if view.by_closer(FIN) == 0 {
            return Err(inconclusive(format!(
                "case {}: no FIN was seen",
                view.log.label
            )));
        }
    }
    let in_time = needed::<Closed>(acked)?;
    let (fin_acked, _) = acknowledged(acked)?;
    let waits = in_time.took() >= HOLD.as_nanos() as u64
        && in_time.ended >= fin_acked
        && in_time.took() < LINGER_LONG.as_nanos() as u64;
    let late = needed::<Closed>(expires)?;
    let gives_up = late.ended < acknowledged(expires)?.0;
    let share = late.took() as f64 / LINGER_SHORT.as_nanos() as f64;
    let expired = gives_up && (EARLY..LATE).contains(&share);
    let (wrote, got) = (needed::<Wrote>(expires)?, needed::<Got>(expires)?);
    let contrast = needed::<Closed>(nonblocking)?;
    let unimpressed = contrast.took() as f64 >= EARLY * LINGER_SHORT.as_nanos() as f64;
    let says = format!(
        "with n = {} and a peer that reads after {} ms close() took {} and returned {} the FIN was acknowledged; with \
         n = {} and a peer that does not read it took {} and said {}, and later the peer read {} of {} bytes; a \
         non-blocking socket's close() {} ({})",
        LINGER_LONG.as_secs(),
        HOLD.as_millis(),
        span(in_time.took()),
        if in_time.ended >= fin_acked {
            "after"
        } else {
            "before"
        },
        LINGER_SHORT.as_secs(),
        span(late.took()),
        match late.errno {
            0 => "nothing of it".to_owned(),
            code => errno(code),
        },
        got.bytes,
        wrote.bytes,
        if unimpressed {
            "blocks just so"
        } else {
            "does not block"
        },
        span(contrast.took()),
    );
    Ok(Judged {
        holds: waits && expired,
        says,
        numbers: vec![
            ("close_acked_ns", json!(in_time.took())),
            (
                "fin_acked_to_return_ns",
                json!(in_time.ended.saturating_sub(fin_acked)),
            ),
            ("close_expired_ns", json!(late.took())),
            ("close_expired_errno", json!(late.errno)),
            ("close_nonblocking_ns", json!(contrast.took())),
            ("close_nonblocking_errno", json!(contrast.errno)),
            ("read_after_expiry_bytes", json!(got.bytes)),
        ],
    })
}

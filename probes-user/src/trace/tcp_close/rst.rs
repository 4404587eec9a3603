//! The claims about resets: who gets one, when, and what it costs the receiver.

use serde_json::json;

use super::cause::{CLOSE, Cause, FIN_WAIT1, TIME_WAIT};
use super::evidence::{CaseView, FIN, RST};
use super::marks::{Answer, Close, Closed, Got, Left, Read, Wrote, told};
use super::verdict::{Blocked, Judged, errno, inconclusive, needed, span};

/// Every witness of one deliberate reset must tell the same story before it is judged.
fn one_story(view: &CaseView<'_>, cause: Cause, counter: &str) -> Result<(), Blocked> {
    let label = &view.log.label;
    let (resets, counted) = (view.by_closer(RST), view.log.counter(counter));
    if counted != resets {
        return Err(inconclusive(format!(
            "case {label}: {resets} RSTs by the closer, {counter} says {counted}"
        )));
    }
    match view.resets_by_closer().find(|sent| sent.cause != cause) {
        Some(other) => Err(inconclusive(format!(
            "case {label}: a RST that was to be \"{}\" is \"{}\"",
            cause.words(),
            other.cause.words()
        ))),
        None => Ok(()),
    }
}

/// The control: without the cause the closer says FIN, and this is seen.
fn ends_by_fin(view: &CaseView<'_>) -> Result<(), Blocked> {
    let (fins, resets) = (view.by_closer(FIN), view.by_closer(RST));
    let got: Got = needed(view)?;
    if fins == 0 || got.errno != 0 {
        let label = &view.log.label;
        return Err(inconclusive(format!(
            "case {label}: {fins} FINs, {resets} RSTs, the peer read {}",
            errno(got.errno)
        )));
    }
    Ok(())
}

pub fn unread(views: &[CaseView<'_>]) -> Result<Judged, Blocked> {
    let [all, one, none] = views else {
        return Err(inconclusive("a case is missing"));
    };
    ends_by_fin(none)?;
    let mut holds = none.by_closer(RST) == 0;
    let mut told = Vec::new();
    let mut numbers = Vec::new();
    let keys = [
        ("all_unread_bytes", "all_resets_count", "all_fins_count"),
        ("one_unread_bytes", "one_resets_count", "one_fins_count"),
    ];
    for (view, keys) in [all, one].into_iter().zip(keys) {
        one_story(view, Cause::UnreadData, "TcpExtTCPAbortOnClose")?;
        let (close, got) = (needed::<Close>(view)?, needed::<Got>(view)?);
        let (resets, fins) = (view.by_closer(RST), view.by_closer(FIN));
        let differs = view
            .resets_by_closer()
            .find(|sent| u64::from(sent.unread) != close.unread_bytes);
        if let Some(sent) = differs {
            return Err(inconclusive(format!(
                "case {}: {} bytes unread by FIONREAD, {} by the socket's numbers",
                view.log.label, close.unread_bytes, sent.unread
            )));
        }
        holds &= (resets, fins) == (1, 0) && got.errno == libc::ECONNRESET;
        told.push(format!(
            "with {} {} unread {resets} RST and {fins} FIN (the peer reads {})",
            close.unread_bytes,
            if close.unread_bytes == 1 {
                "byte"
            } else {
                "bytes"
            },
            errno(got.errno)
        ));
        numbers.push((keys.0, json!(close.unread_bytes)));
        numbers.push((keys.1, json!(resets)));
        numbers.push((keys.2, json!(fins)));
    }
    told.push(format!(
        "with all read {} RST and {} FIN",
        none.by_closer(RST),
        none.by_closer(FIN)
    ));
    numbers.push(("none_resets_count", json!(none.by_closer(RST))));
    numbers.push(("none_fins_count", json!(none.by_closer(FIN))));
    Ok(Judged {
        holds,
        says: told.join(", "),
        numbers,
    })
}

pub fn linger_zero(views: &[CaseView<'_>]) -> Result<Judged, Blocked> {
    let [idle, unsent, off] = views else {
        return Err(inconclusive("a case is missing"));
    };
    ends_by_fin(off)?;
    if !needed::<Left>(off)?.states.contains(&TIME_WAIT) {
        return Err(inconclusive(
            "an ordinary close left no TIME_WAIT to be seen",
        ));
    }
    let mut holds = true;
    for view in [idle, unsent] {
        // The kernel counts this abort among those with data lost.
        one_story(view, Cause::LingerZero, "TcpExtTCPAbortOnData")?;
        let (closed, left) = (needed::<Closed>(view)?, needed::<Left>(view)?);
        let inside = view.resets_by_closer().all(|sent| {
            (closed.began..=closed.ended).contains(&sent.ktime) && sent.pid == closed.tid
        });
        holds &= (view.by_closer(RST), view.by_closer(FIN)) == (1, 0)
            && inside
            && left.states.is_empty()
            && view.came_to(&[FIN_WAIT1, TIME_WAIT]).is_none();
    }
    let (close, closed) = (needed::<Close>(unsent)?, needed::<Closed>(idle)?);
    if close.unsent_bytes == 0 {
        return Err(inconclusive("nothing was unsent when it was to be"));
    }
    let (wrote, got) = (needed::<Wrote>(unsent)?, needed::<Got>(unsent)?);
    let says = format!(
        "{} RST and {} FIN inside close() ({}), and nothing left of the socket where an ordinary close leaves \
         TIME_WAIT; with {} bytes unsent {} RST, and the peer reads {} of {} bytes, then {}",
        idle.by_closer(RST),
        idle.by_closer(FIN),
        span(closed.took()),
        close.unsent_bytes,
        unsent.by_closer(RST),
        got.bytes,
        wrote.bytes,
        errno(got.errno)
    );
    Ok(Judged {
        holds,
        says,
        numbers: vec![
            ("resets_count", json!(idle.by_closer(RST))),
            ("fins_count", json!(idle.by_closer(FIN))),
            ("close_ns", json!(closed.took())),
            ("unsent_bytes", json!(close.unsent_bytes)),
            ("lost_bytes", json!(wrote.bytes.saturating_sub(got.bytes))),
        ],
    })
}

pub fn discard(views: &[CaseView<'_>]) -> Result<Judged, Blocked> {
    let [read_first, write_first] = views else {
        return Err(inconclusive("a case is missing"));
    };
    for view in views {
        one_story(view, Cause::LingerZero, "TcpExtTCPAbortOnData")?;
        let label = &view.log.label;
        if (view.by_closer(RST), view.received()) != (1, 1) {
            return Err(inconclusive(format!(
                "case {label}: {} RSTs sent and {} received",
                view.by_closer(RST),
                view.received()
            )));
        }
        let read: Read = needed(view)?;
        if read.state != CLOSE {
            return Err(inconclusive(format!(
                "case {label}: the peer was not reset when it read (state {})",
                read.state
            )));
        }
    }
    let (wrote, got) = (needed::<Wrote>(read_first)?, needed::<Got>(read_first)?);
    let (beside, answer) = (needed::<Got>(write_first)?, told::<Answer>(write_first.log));
    let right = got.bytes == wrote.bytes && got.checksum == wrote.checksum;
    let says = format!(
        "{} bytes lay unread when the RST had arrived: the peer then read {} of them{} and after them {}; a write first \
         gives {}, and {} bytes are read all the same, then {}",
        wrote.bytes,
        got.bytes,
        if right { " (checksum right)" } else { "" },
        errno(got.errno),
        answer.map_or("no answer".to_owned(), |answer| errno(answer.errno)),
        beside.bytes,
        errno(beside.errno)
    );
    Ok(Judged {
        holds: got.bytes == 0 && got.errno == libc::ECONNRESET && beside.bytes == 0,
        says,
        numbers: vec![
            ("received_before_reset_bytes", json!(wrote.bytes)),
            ("read_after_reset_bytes", json!(got.bytes)),
            ("then_errno", json!(got.errno)),
            ("read_after_write_bytes", json!(beside.bytes)),
        ],
    })
}

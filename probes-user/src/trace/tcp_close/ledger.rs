//! The tables of a lab run: how each close went, every RST with its cause, and what was provoked.

use serde_json::{Value, json};

use super::cause::Cause;
use super::evidence::{CaseView, Names, Sent};
use super::marks::{Close, Closed, Got, Lacking, Provoked, Wrote, told};
use super::verdict::errno;
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::trace::scripted::Cases;

pub fn of_lab(cases: &Cases, names: &Names) -> Ledger {
    let views: Vec<CaseView<'_>> = cases.logs().map(|log| CaseView::new(log, names)).collect();
    Ledger {
        tables: vec![closes(&views), resets(&views), causes(&views, names)],
        remarks: remarks(&views, names),
        timeline: Vec::new(),
    }
}

fn closes(views: &[CaseView<'_>]) -> Table {
    let mut table = Table::new(
        "closes",
        "close() of one end, and what the other end got",
        &[
            ("case", "case"),
            ("linger_s", "linger s"),
            ("unsent_bytes", "unsent"),
            ("unread_bytes", "unread"),
            ("close_us", "close µs"),
            ("wrote_bytes", "written"),
            ("got_bytes", "peer read"),
            ("then", "and then"),
            ("left", "FIN / RST"),
        ],
    );
    for view in views {
        let (Some(close), Some(closed)) = (told::<Close>(view.log), told::<Closed>(view.log))
        else {
            continue;
        };
        let (wrote, got) = (told::<Wrote>(view.log), told::<Got>(view.log));
        table.rows.push(vec![
            json!(view.log.label),
            json!(close.linger_s),
            json!(close.unsent_bytes),
            json!(close.unread_bytes),
            json!(closed.took() / 1000),
            json!(wrote.map(|wrote| wrote.bytes)),
            json!(got.map(|got| got.bytes)),
            json!(got.map(|got| errno(got.errno))),
            json!(format!(
                "{} / {}",
                view.by_closer(super::evidence::FIN),
                view.by_closer(super::evidence::RST)
            )),
        ]);
    }
    table
}

fn resets(views: &[CaseView<'_>]) -> Table {
    let mut table = Table::new(
        "resets",
        "every RST, and why it was sent",
        &[
            ("case", "case"),
            ("cause", "cause"),
            ("unread_bytes", "unread"),
            ("told_by", "told by"),
        ],
    );
    for view in views {
        for sent in &view.sent {
            table.rows.push(row(&view.log.label, sent));
        }
    }
    table
}

fn row(label: &str, sent: &Sent) -> Vec<Value> {
    vec![
        json!(label),
        json!(sent.cause.words()),
        json!(sent.unread),
        json!(told_by(sent)),
    ]
}

/// The kernel's own reason, where it says more than that a state was left; else the function.
fn told_by(sent: &Sent) -> Option<&str> {
    let reason = sent.reason.as_deref();
    let vague = |reason: &&str| !["TCP_STATE", "INVALID_SYN"].contains(reason);
    reason.filter(vague).or(sent.function.as_deref())
}

/// What a script meant against what was found. `untold` is right where the kernel has no word for it.
fn causes(views: &[CaseView<'_>], names: &Names) -> Table {
    let mut table = Table::new(
        "causes",
        "resets provoked, and found",
        &[
            ("case", "case"),
            ("provoked", "provoked"),
            ("found", "found"),
            ("agrees", "agrees"),
            ("wire_count", "on wire"),
            ("nstat_count", "nstat"),
            ("event_count", "told"),
        ],
    );
    for view in views {
        let Some(provoked) = told::<Provoked>(view.log) else {
            continue;
        };
        let found: Vec<Cause> = view.sent.iter().map(|sent| sent.cause).collect();
        let [wire, counted, entries] = view.counts();
        table.rows.push(vec![
            json!(view.log.label),
            json!(provoked.cause.map_or("none", slug)),
            json!(match found.as_slice() {
                [] => "none".to_owned(),
                several => several
                    .iter()
                    .map(|cause| slug(*cause))
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
            json!(agrees(provoked.cause, &found, names) && view.counts_agree()),
            json!(wire),
            json!(counted),
            json!(entries),
        ]);
    }
    table.detailed()
}

fn agrees(provoked: Option<Cause>, found: &[Cause], names: &Names) -> bool {
    match provoked {
        None => found.is_empty(),
        Some(cause) => {
            let untold = names.reasons.is_empty()
                && matches!(cause, Cause::NoSocket | Cause::TimeWait)
                && found.contains(&Cause::Untold);
            found.contains(&cause) || untold
        }
    }
}

pub fn slug(cause: Cause) -> &'static str {
    match cause {
        Cause::UnreadData => "unread-data",
        Cause::LingerZero => "linger-zero",
        Cause::Linger2 => "linger2",
        Cause::KilledUnread => "killed-unread",
        Cause::KilledLingerZero => "killed-linger-zero",
        Cause::Disconnect => "disconnect",
        Cause::ListenerClosed => "listener-closed",
        Cause::Destroyed => "destroyed",
        Cause::SilentPeer => "silent-peer",
        Cause::OrphanTimeout => "orphan-timeout",
        Cause::Memory => "memory",
        Cause::DataAfterClose => "data-after-close",
        Cause::TimeWait => "time-wait",
        Cause::QueueFull => "queue-full",
        Cause::BadRequest => "bad-request",
        Cause::NotAsked => "not-asked",
        Cause::BadAnswer => "bad-answer",
        Cause::NoSocket => "no-socket",
        Cause::BadSegment => "bad-segment",
        Cause::Untold => "untold",
        Cause::Unknown => "unknown",
    }
}

fn remarks(views: &[CaseView<'_>], names: &Names) -> Vec<String> {
    let mut remarks = Vec::new();
    if names.reasons.is_empty() && !views.is_empty() {
        remarks.push(
            "This kernel gives no reason for a reset and tells of none without a full socket: for those the RST on \
             the wire is the evidence, and its cause stays untold."
                .to_owned(),
        );
    }
    let mut lacking: Vec<String> = views
        .iter()
        .filter_map(|view| told::<Lacking>(view.log))
        .map(|its| format!("This kernel has no {} (errno {}).", its.what, its.errno))
        .collect();
    lacking.dedup();
    remarks.extend(lacking);
    remarks
}

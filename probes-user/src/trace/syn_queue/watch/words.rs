//! What the watch says in words: which evidence there is, which queue was full, and what helps.

use super::Namespace;
use super::listeners::Listener;
use super::tables::{Limit, Row, View};
use crate::trace::tcp::flow::Flow;
use crate::trace::tcp::queues::{
    COOKIES_FAILED, FULL_COOKIES, FULL_DROP, LISTEN_DROPS, OVERFLOWS, SYNCOOKIES,
};

/// Listeners of which something is said.
const MOST: usize = 20;

pub fn remarks(view: &View<'_>, rows: &[Row<'_>]) -> Vec<String> {
    let mut remarks = vec![evidence(view)];
    if rows.is_empty() {
        remarks.push("No such listener.".to_owned());
    }
    let told = rows.iter().flat_map(|row| of_listener(view, row));
    remarks.extend(told.take(MOST));
    for (netns, its) in &view.namespaces {
        remarks.extend(of_namespace(*netns, its));
    }
    remarks
}

fn evidence(view: &View<'_>) -> String {
    let lengths = match (view.functions, view.timers) {
        (true, _) => "tcp_conn_request at every SYN",
        (false, true) => {
            "the timers of requests as they are queued, and a list about once a second"
        }
        (false, false) => "a list about once a second: what was between two lists is not seen",
    };
    let cookies = match view.cookies {
        true => "the functions that make and check them",
        false => "the namespace's counters, by listener only where there is but one",
    };
    format!("Lengths by {lengths}; cookies by {cookies}.")
}

fn name(its: &Listener, flow: &Flow) -> String {
    match &flow.owner {
        Some(owner) => format!("{} ({}[{}])", its.ends.local, owner.comm, owner.pid),
        None => its.ends.local.to_string(),
    }
}

/// How to have more room.
fn remedy(limit: Limit) -> String {
    let Limit { length, knob } = limit;
    match knob {
        "backlog" => format!("raise the backlog that the program gives to listen() ({length})"),
        "somaxconn" => format!(
            "raise net.core.somaxconn ({length}), and the backlog given to listen() if that is no \
             more; then have the program listen again"
        ),
        _ => format!("raise net.ipv4.tcp_max_syn_backlog (three quarters of it are {length})"),
    }
}

fn of_listener(view: &View<'_>, (its, flow): &Row<'_>) -> Vec<String> {
    let mut told = Vec::new();
    let (name, accept) = (name(its, flow), view.accept_limit(its));
    // It is full when one more than its limit waits.
    if u64::from(its.waiting_most) > accept.length {
        told.push(format!(
            "{name}: its accept queue was full ({} of {}): it accepts too slowly; call accept() more often, add \
             workers, or {}.",
            its.waiting_most,
            accept.length,
            remedy(accept)
        ));
    }
    let namespace = view.namespaces.get(&its.ends.netns);
    let cookies = namespace.and_then(|its| its.last.knob(SYNCOOKIES));
    if let Some(limit) = view.half_open_limit(its)
        && its.half_open_most >= limit.length
        && limit.length > 0
    {
        let effect = match cookies {
            Some(0) => "SYNs beyond it were dropped; set net.ipv4.tcp_syncookies 1, or",
            _ => "connections beyond it got cookies; to do without them,",
        };
        told.push(format!(
            "{name}: its SYN queue was full ({} of {}): {effect} {}.",
            its.half_open_most,
            limit.length,
            remedy(limit)
        ));
    }
    told
}

/// What is known of the namespace alone.
fn of_namespace(netns: u32, its: &Namespace) -> Vec<String> {
    let mut told = Vec::new();
    let mut tell = |count: u64, words: &str| {
        if count > 0 {
            told.push(format!("netns {netns}: {count} {words}"));
        }
    };
    tell(
        its.grown(OVERFLOWS),
        "times an accept queue was full (ListenOverflows).",
    );
    tell(
        its.grown(FULL_DROP),
        "SYNs were dropped by a full SYN queue (TCPReqQFullDrop).",
    );
    tell(
        its.grown(FULL_COOKIES),
        "SYNs got a cookie because of a full SYN queue (TCPReqQFullDoCookies).",
    );
    tell(
        its.grown(COOKIES_FAILED),
        "ACKs had no valid cookie (SyncookiesFailed): late, or forged.",
    );
    let explained = its.grown(OVERFLOWS) + its.grown(FULL_DROP);
    let rest = its.grown(LISTEN_DROPS).saturating_sub(explained);
    tell(
        rest,
        "more packets were dropped by listeners (ListenDrops): without cookies, by tcp_max_syn_backlog.",
    );
    told
}

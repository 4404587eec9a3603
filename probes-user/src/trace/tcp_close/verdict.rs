//! From cases to findings: each family is judged by itself, and the sentence is about both.
//!
//! A case counts only when its evidence is whole: the script came to its end, every RST was counted alike on
//! the wire, by the namespace and by events, and the hook that stayed silent has spoken in a control.

use serde_json::{Map, Value};

use super::evidence::{CaseView, Names};
use super::{judge, rst};
use crate::claims_of;
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::trace::scripted::Cases;
use crate::trace::{Ending, LabOptions};

pub const FAMILIES: [&str; 2] = ["v4", "v6"];
/// Without these a verdict is none the worse.
const NOT_USED: &[&str] = &["SockError", "SkbDrop", "TcpTimer"];

pub type Blocked = (ClaimResult, String);

/// What one family's cases say.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judged {
    pub holds: bool,
    pub says: String,
    pub numbers: Vec<(&'static str, Value)>,
}

type Judge = fn(&[CaseView<'_>]) -> Result<Judged, Blocked>;

pub struct Question {
    pub claim: Claim,
    /// Its cases without family; the judge gets them in this order.
    pub cases: &'static [&'static str],
    pub judge: Judge,
}

pub static QUESTIONS: [Question; 5] = [
    Question {
        claim: Claim {
            id: "tcp-close/drains-in-background",
            number: "v4_sent_after_close_bytes",
            statement: "close() returns at once; what the peer has not taken yet still goes out afterwards and is \
                acknowledged.",
            holds_if: "with bytes unacknowledged at close(): it returns before the peer reads its first byte, the peer \
                then reads every byte (count and checksum) and an end of file, snd_una advances after close() by at \
                least the bytes that were unacknowledged, and no RST is sent",
            refuted_if: "close() returns only after the peer has begun to read, or the peer misses a byte, or a RST is \
                sent",
        },
        cases: &["drain"],
        judge: judge::drain,
    },
    Question {
        claim: Claim {
            id: "tcp-close/unread-data-resets",
            number: "v4_one_resets_count",
            statement: "close() with received data unread sends a RST instead of a FIN.",
            holds_if: "with all of 1000 received bytes unread, and with 1 of them: the closer sends 1 RST and no FIN; \
                with all bytes read it sends 1 FIN and no RST",
            refuted_if: "the closer sends a FIN, or no RST, with bytes unread",
        },
        cases: &["unread/all", "unread/one", "unread/none"],
        judge: rst::unread,
    },
    Question {
        claim: Claim {
            id: "tcp-close/linger-zero-resets",
            number: "v4_resets_count",
            statement: "close() with SO_LINGER {1, 0} sends a RST at once and leaves no TIME_WAIT.",
            holds_if: "idle, and with bytes unsent: 1 RST and no FIN from the closer, sent inside close(), and nothing is \
                left of its socket; the same close without SO_LINGER leaves a TIME_WAIT entry",
            refuted_if: "a FIN, no RST, a RST outside close(), or something left of the socket",
        },
        cases: &["linger-zero/idle", "linger-zero/unsent", "linger-zero/off"],
        judge: rst::linger_zero,
    },
    Question {
        claim: Claim {
            id: "tcp-close/reset-discards-peer-buffer",
            number: "v4_read_after_reset_bytes",
            statement: "A RST makes its receiver lose the data that it had received and not yet read: read gives \
                ECONNRESET.",
            holds_if: "with 1000 bytes received and unread when the RST arrives, the first read gives ECONNRESET and no \
                byte is ever read",
            refuted_if: "a byte received before the RST can be read after it",
        },
        cases: &["discard/read", "discard/write-first"],
        judge: rst::discard,
    },
    Question {
        claim: Claim {
            id: "tcp-close/linger-blocks",
            number: "v4_close_expired_ns",
            statement: "close() with SO_LINGER {1, n} blocks until the peer has acknowledged the data, or n seconds have \
                passed.",
            holds_if: "with n = 20 and a peer that reads 300 ms later: close() takes at least that, returns after the FIN \
                is acknowledged and before 20 s; with n = 1 and a peer that does not read: it takes 0.75 s to 5 s and \
                returns before the FIN is acknowledged",
            refuted_if: "close() returns before the acknowledgement and before 0.75 n, or it goes on for more than 5 n, \
                or past the acknowledgement for n seconds",
        },
        cases: &["linger/acked", "linger/expires", "linger/nonblocking"],
        judge: judge::linger,
    },
];

pub static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

fn label(case: &str, family: &str) -> String {
    format!("{case}/{family}")
}

/// Settles what these options ask for whole.
pub fn judge(cases: &Cases, names: &Names, options: &LabOptions, ending: &Ending) -> Vec<Finding> {
    QUESTIONS
        .iter()
        .filter_map(|question| {
            let whole = |family: &&&str| {
                let mut labels = question.cases.iter().map(|case| label(case, family));
                labels.all(|label| options.wants(&label))
            };
            let families: Vec<&str> = FAMILIES.iter().filter(whole).copied().collect();
            (!families.is_empty()).then(|| settle(question, &families, cases, names, ending))
        })
        .collect()
}

fn settle(
    question: &Question,
    families: &[&str],
    cases: &Cases,
    names: &Names,
    ending: &Ending,
) -> Finding {
    let mut numbers = Map::new();
    let all = |numbers: &mut Map<String, Value>| {
        if let Some(blocked) = ending.blocks(NOT_USED) {
            return Err(blocked);
        }
        let mut judged = Vec::new();
        for family in families {
            let one = family_of(question, family, cases, names, ending)
                .map_err(|(result, why)| (result, format!("{family}: {why}")))?;
            let named = one.numbers.iter();
            numbers.extend(named.map(|(key, value)| (format!("{family}_{key}"), value.clone())));
            judged.push((*family, one));
        }
        Ok(together(&judged))
    };
    let (result, because) = match all(&mut numbers) {
        Ok(settled) => settled,
        Err(blocked) => blocked,
    };
    Finding {
        id: question.claim.id.to_owned(),
        result,
        statement: question.claim.statement.to_owned(),
        because,
        numbers,
    }
}

fn together(judged: &[(&str, Judged)]) -> Blocked {
    let result = match judged.iter().all(|(_, one)| one.holds) {
        true => ClaimResult::Holds,
        false => ClaimResult::Refuted,
    };
    let because = match judged {
        [(_, one), (_, other)] if one.says == other.says => {
            format!("over IPv4 and IPv6: {}", one.says)
        }
        several => {
            let each = several
                .iter()
                .map(|(family, one)| format!("{family}: {}", one.says));
            each.collect::<Vec<_>>().join("; ")
        }
    };
    (result, because)
}

fn family_of(
    question: &Question,
    family: &str,
    cases: &Cases,
    names: &Names,
    ending: &Ending,
) -> Result<Judged, Blocked> {
    let mut views = Vec::new();
    for case in question.cases {
        let label = label(case, family);
        let Some(log) = cases.find(&label) else {
            let why = match ending.interrupted {
                true => "interrupted before",
                false => "the lab never came to",
            };
            return Err(inconclusive(format!("{why} case {label}")));
        };
        if log.ended_at.is_none() {
            return Err(inconclusive(format!("case {label} has no end")));
        }
        let view = CaseView::new(log, names);
        if !view.counts_agree() {
            let [wire, counted, told] = view.counts();
            return Err(inconclusive(format!(
                "case {label}: {wire} RSTs on the wire, {counted} counted by the namespace, {told} told by events"
            )));
        }
        if view.states().next().is_none() {
            return Err(inconclusive(format!(
                "case {label}: inet_sock_set_state told nothing of the closer"
            )));
        }
        views.push(view);
    }
    (question.judge)(&views)
}

pub fn inconclusive(why: impl Into<String>) -> Blocked {
    (ClaimResult::Inconclusive, why.into())
}

/// A mark that the case must have.
pub fn needed<T: super::marks::Told>(view: &CaseView<'_>) -> Result<T, Blocked> {
    let missing = || {
        inconclusive(format!(
            "case {}: the script said nothing of {:?}",
            view.log.label,
            T::NAME
        ))
    };
    super::marks::told(view.log).ok_or_else(missing)
}

/// `0.02 ms`, `1.01 s`
pub fn span(ns: u64) -> String {
    match ns {
        0..1_000_000_000 => format!("{}.{:02} ms", ns / 1_000_000, ns % 1_000_000 / 10_000),
        _ => format!(
            "{}.{:02} s",
            ns / 1_000_000_000,
            ns % 1_000_000_000 / 10_000_000
        ),
    }
}

pub fn errno(code: i32) -> String {
    let name = match code {
        0 => "end of file",
        libc::ECONNRESET => "ECONNRESET",
        libc::EPIPE => "EPIPE",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::ECONNABORTED => "ECONNABORTED",
        libc::ECONNREFUSED => "ECONNREFUSED",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;

//! From the facts of the cases to findings. Pure; a claim whose cases were not asked for has none.

use serde_json::{Map, Value, json};

use super::claims::CLAIMS;
use super::facts::{Facts, Transfer};
use super::kinds;
use crate::evidence::{Claim, ClaimResult, Finding};

/// By label: facts, or what keeps the case from being judged.
pub type Cases = Vec<(String, Result<Facts, String>)>;

/// Result, reason, numbers; an error is what keeps it from being settled.
pub type Judged = Result<(ClaimResult, String, Map<String, Value>), String>;

/// Cases that a claim needs, and what they say.
type Rule = (&'static [&'static str], fn(&[&Facts], &Evidence) -> Judged);

const RULES: [Rule; CLAIMS.len()] = [
    (&["warm/read-write", "warm/sendfile"], twice),
    (&["warm/sendfile", "warm/read-write"], nothing),
    (&["warm/sendfile", "warm/read-write"], halves),
    (&["kinds/in-fd"], kinds::into),
    (&["kinds/out-fd"], kinds::out),
    (&["warm/msg-zerocopy", "warm/sendfile"], falls_back),
];

/// Which hooks there were beyond those that are needed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// `tcp_sendmsg_locked` by function probe: bytes by kind of memory.
    pub functions: bool,
    /// By tracepoint: turns of its loop.
    pub turns: bool,
}

pub fn judge(
    cases: &Cases,
    asked: impl Fn(&str) -> bool,
    blocked: Option<&(ClaimResult, String)>,
    evidence: &Evidence,
) -> Vec<Finding> {
    let all = CLAIMS.iter().zip(RULES);
    let wanted = all.filter(|(_, (labels, _))| labels.iter().all(|label| asked(label)));
    wanted
        .map(|(claim, (labels, rule))| {
            let judged = match blocked {
                Some((result, why)) => Ok((*result, why.clone(), Map::new())),
                None => facts(cases, labels).and_then(|facts| rule(&facts, evidence)),
            };
            finding(claim, judged)
        })
        .collect()
}

fn facts<'a>(cases: &'a Cases, labels: &[&str]) -> Result<Vec<&'a Facts>, String> {
    let one = |label: &&str| {
        let found = cases.iter().find(|(own, _)| own == label);
        let (_, facts) = found.ok_or_else(|| format!("the lab never came to case {label}"))?;
        facts.as_ref().map_err(String::clone)
    };
    labels.iter().map(one).collect()
}

fn finding(claim: &Claim, judged: Judged) -> Finding {
    let (result, because, numbers) = match judged {
        Ok(judged) => judged,
        Err(why) => (ClaimResult::Inconclusive, why, Map::new()),
    };
    Finding {
        id: claim.id.to_owned(),
        result,
        statement: claim.statement.to_owned(),
        because,
        numbers,
    }
}

fn transfers<'a>(facts: &[&'a Facts]) -> Result<[&'a Transfer; 2], String> {
    let mut both = Vec::new();
    for facts in facts {
        match facts {
            Facts::Transfer(transfer) => match transfer.fault() {
                Some(fault) => return Err(fault),
                None => both.push(transfer.as_ref()),
            },
            Facts::Absent(why) => return Err(why.clone()),
            Facts::Kinds { .. } | Facts::First(_) => {
                return Err("a case is not what it should be".to_owned());
            }
        }
    }
    <[&Transfer; 2]>::try_from(both).map_err(|_| "a case is missing".to_owned())
}

fn settled(holds: bool) -> ClaimResult {
    match holds {
        true => ClaimResult::Holds,
        false => ClaimResult::Refuted,
    }
}

/// What a second and third witness say of a transfer.
fn witnesses(transfer: &Transfer, evidence: &Evidence, numbers: &mut Map<String, Value>) -> String {
    let copies = transfer.copies();
    numbers.insert("sender_pages_count".to_owned(), json!(copies.sender_pages));
    let mut says = vec![format!("{} pages were allocated", copies.sender_pages)];
    if evidence.functions {
        let (user, page) = (copies.asked_user_bytes, copies.asked_page_bytes);
        numbers.insert("asked_user_bytes".to_owned(), json!(user));
        numbers.insert("asked_page_bytes".to_owned(), json!(page));
        says.push(format!(
            "TCP was given {user} bytes of user memory and {page} of pages"
        ));
    } else if evidence.turns {
        let (user, page) = (copies.turns_user, copies.turns_page);
        numbers.insert("turns_user_count".to_owned(), json!(user));
        numbers.insert("turns_page_count".to_owned(), json!(page));
        says.push(format!(
            "TCP took {user} pieces of user memory and {page} of pages"
        ));
    }
    says.join(", ")
}

fn twice(facts: &[&Facts], evidence: &Evidence) -> Judged {
    let [own, control] = transfers(facts)?;
    if control.sent_in_file() == 0 {
        return Err("with sendfile no byte was seen in a page of the file either".to_owned());
    }
    let size = own.source.size;
    let (read, wrote) = (
        own.counted.sending.calls("read").returned,
        own.counted.sending.calls("write").returned,
    );
    if own.sent.sent.in_own_memory != Some(true) {
        return Err("the reader's memory does not hold the file's end".to_owned());
    }
    if (read, wrote) != (size, size) {
        return Err(format!(
            "read() returned {read} and write() {wrote} of {size} bytes"
        ));
    }
    let mut numbers = Map::new();
    numbers.insert("read_bytes".to_owned(), json!(read));
    numbers.insert("written_bytes".to_owned(), json!(wrote));
    numbers.insert(
        "left_in_file_pages_bytes".to_owned(),
        json!(own.sent_in_file()),
    );
    numbers.insert(
        "left_in_kernel_memory_bytes".to_owned(),
        json!(own.to_kernel()),
    );
    let says = format!(
        "read() returned {read} bytes (derived: copied to user), write() took {wrote}; {} of {} bytes left in \
         memory that the kernel allocated for them, {} in pages of the file; {}",
        own.to_kernel(),
        own.copies().sent_bytes,
        own.sent_in_file(),
        witnesses(own, evidence, &mut numbers),
    );
    let holds = own.to_kernel() >= size && own.sent_in_file() == 0;
    Ok((settled(holds), says, numbers))
}

fn nothing(facts: &[&Facts], evidence: &Evidence) -> Judged {
    let [own, control] = transfers(facts)?;
    if control.to_kernel() == 0 {
        return Err("with read and write no byte was seen in copied memory either".to_owned());
    }
    let moving = ["read", "write", "send", "recv", "splice", "io_uring_enter"];
    let others: u64 = moving
        .iter()
        .map(|family| own.counted.sending.calls(family).entries)
        .sum();
    let (bytes, file) = (own.copies().sent_bytes, own.sent_in_file());
    let mut numbers = Map::new();
    numbers.insert("left_in_file_pages_bytes".to_owned(), json!(file));
    numbers.insert("left_elsewhere_bytes".to_owned(), json!(bytes - file));
    numbers.insert("other_calls_count".to_owned(), json!(others));
    let says = format!(
        "{file} of {bytes} bytes left in pages of the file itself, {} of them also arrived in those; {others} calls \
         that read or write; {}",
        own.received_in_file(),
        witnesses(own, evidence, &mut numbers),
    );
    let holds = file == bytes && others == 0;
    Ok((settled(holds), says, numbers))
}

fn halves(facts: &[&Facts], _: &Evidence) -> Judged {
    let [own, other] = transfers(facts)?;
    let (few, many) = (own.mode_switches(), other.mode_switches());
    if few == 0 || many == 0 {
        return Err("no system call was counted".to_owned());
    }
    let share = few as f64 / many as f64;
    let switched = |of: &Transfer| of.voluntary + of.involuntary;
    let (mine, theirs) = (switched(own), switched(other));
    let says = format!(
        "{few} mode switches instead of {many} ({share:.2}) for the same {} MiB in pieces of 64 KiB; context switches \
         are another thing: {mine} with sendfile(), {theirs} with read() and write()",
        own.source.size >> 20,
    );
    let mut numbers = Map::new();
    numbers.insert("sendfile_mode_switches_count".to_owned(), json!(few));
    numbers.insert("read_write_mode_switches_count".to_owned(), json!(many));
    numbers.insert("share_ratio".to_owned(), json!(share));
    numbers.insert("sendfile_context_switches_count".to_owned(), json!(mine));
    numbers.insert(
        "read_write_context_switches_count".to_owned(),
        json!(theirs),
    );
    Ok((settled((0.45..=0.55).contains(&share)), says, numbers))
}

fn falls_back(facts: &[&Facts], _: &Evidence) -> Judged {
    let [own, control] = transfers(facts)?;
    if control.on_delivery() > control.condensable() {
        return Err(format!(
            "with sendfile only {} of {} bytes were seen to arrive in the file's pages",
            control.received_in_file(),
            control.source.size
        ));
    }
    let sent = &own.sent.sent;
    if sent.completed != sent.zero_copy_sends || sent.completed == 0 {
        return Err(format!(
            "{} of {} sends completed",
            sent.completed, sent.zero_copy_sends
        ));
    }
    let copies = own.copies();
    let lent = copies.sent_file_bytes + copies.sent_anon_bytes;
    let kept = copies.received_file_bytes + copies.received_anon_bytes;
    let holds = sent.copied == sent.completed && lent == copies.sent_bytes && kept == 0;
    let says = format!(
        "{} of {} completions say SO_EE_CODE_ZEROCOPY_COPIED; {lent} of {} bytes left in the sender's pages, {kept} \
         arrived in them",
        sent.copied, sent.completed, copies.sent_bytes,
    );
    let mut numbers = Map::new();
    numbers.insert("sends_count".to_owned(), json!(sent.zero_copy_sends));
    numbers.insert("copied_count".to_owned(), json!(sent.copied));
    numbers.insert("left_in_own_pages_bytes".to_owned(), json!(lent));
    numbers.insert("arrived_in_own_pages_bytes".to_owned(), json!(kept));
    Ok((settled(holds), says, numbers))
}

//! Which kinds of descriptor sendfile() takes, against what the notes say.

use serde_json::{Map, Value, json};

use super::facts::Facts;
use super::judge::{Evidence, Judged};
use crate::evidence::ClaimResult;
use crate::evidence::ledger::Table;
use crate::lab::transfer::kinds::Tried;

pub fn errno(code: i32) -> String {
    let name = match code {
        libc::EINVAL => "EINVAL",
        libc::ESPIPE => "ESPIPE",
        libc::EBADF => "EBADF",
        libc::EACCES => "EACCES",
        libc::ENODEV => "ENODEV",
        libc::EIO => "EIO",
        libc::EPERM => "EPERM",
        libc::EPIPE => "EPIPE",
        libc::EAGAIN => "EAGAIN",
        libc::EISDIR => "EISDIR",
        libc::ENXIO => "ENXIO",
        libc::ENOTCONN => "ENOTCONN",
        libc::EDESTADDRREQ => "EDESTADDRREQ",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        other => return format!("errno {other}"),
    };
    name.to_owned()
}

fn answer(tried: &Tried) -> String {
    match (tried.errno, tried.moved) {
        (0, moved) => format!("{moved} bytes"),
        (code, _) => errno(code),
    }
}

/// The script's own list, if the kernel counted the same calls.
fn tried<'a>(facts: &[&'a Facts]) -> Result<&'a [Tried], String> {
    let [Facts::Kinds { tried, counted }] = facts else {
        return Err("a case is not what it should be".to_owned());
    };
    let row = counted.sending.calls("sendfile");
    let failed = tried.iter().filter(|tried| tried.errno != 0).count() as u64;
    if (row.entries, row.failed) != (tried.len() as u64, failed) {
        return Err(format!(
            "the script made {} calls of which {failed} failed, the kernel counted {} and {}",
            tried.len(),
            row.entries,
            row.failed
        ));
    }
    Ok(tried)
}

fn list(of: &[&Tried]) -> String {
    let all: Vec<&str> = of.iter().map(|tried| tried.kind.as_str()).collect();
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.join(", "),
    }
}

fn numbers(tried: &[Tried]) -> Map<String, Value> {
    let accepted = tried.iter().filter(|tried| tried.moved > 0).count();
    let mut numbers = Map::new();
    numbers.insert("kinds_count".to_owned(), json!(tried.len()));
    numbers.insert("accepted_count".to_owned(), json!(accepted));
    numbers
}

pub fn into(facts: &[&Facts], _: &Evidence) -> Judged {
    let all = tried(facts)?;
    let plain = all.iter().filter(|tried| tried.is_file);
    if let Some(refused) = plain.clone().find(|tried| tried.moved == 0) {
        return Err(format!(
            "even {} was refused: {}",
            refused.kind,
            answer(refused)
        ));
    }
    let accepted = all.iter().filter(|tried| tried.moved > 0);
    let unmapped: Vec<&Tried> = accepted
        .filter(|tried| tried.mmap_errno != 0 || tried.is_socket || tried.kind == "pipe")
        .collect();
    let refused: Vec<String> = all
        .iter()
        .filter(|tried| tried.errno != 0)
        .map(|tried| format!("{} {}", tried.kind, answer(tried)))
        .collect();
    let says = format!(
        "moved bytes although it cannot be mapped: {}; refused: {}",
        list(&unmapped),
        refused.join(", ")
    );
    let result = match unmapped.is_empty() {
        true => ClaimResult::Holds,
        false => ClaimResult::Refuted,
    };
    let mut numbers = numbers(all);
    numbers.insert(
        "not_mappable_accepted_count".to_owned(),
        json!(unmapped.len()),
    );
    Ok((result, says, numbers))
}

pub fn out(facts: &[&Facts], _: &Evidence) -> Judged {
    let all = tried(facts)?;
    let tcp = all.iter().find(|tried| tried.kind == "TCP socket");
    if tcp.is_none_or(|tried| tried.moved == 0) {
        return Err("even a TCP socket took no byte".to_owned());
    }
    let others: Vec<&Tried> = all
        .iter()
        .filter(|tried| tried.moved > 0 && !tried.is_socket)
        .collect();
    let result = match others.is_empty() {
        true => ClaimResult::Holds,
        false => ClaimResult::Refuted,
    };
    let mut numbers = numbers(all);
    numbers.insert("not_sockets_accepted_count".to_owned(), json!(others.len()));
    Ok((
        result,
        format!("took bytes and are no sockets: {}", list(&others)),
        numbers,
    ))
}

/// What the notes say of a kind: in_fd must be a file, out_fd a socket.
pub fn table(cases: &[(&str, &[Tried])]) -> Table {
    let mut table = Table::new(
        "sendfile_kinds",
        "What sendfile() takes, of 512 bytes asked for",
        &[
            ("side", "side"),
            ("kind", "kind"),
            ("sendfile", "sendfile"),
            ("mmap", "mmap"),
            ("notes", "notes"),
            ("agrees", "agrees"),
        ],
    );
    for (side, tried) in cases {
        for tried in *tried {
            let expected = match *side {
                "in_fd" => tried.is_file,
                _ => tried.is_socket,
            };
            let mapped = match tried.mmap_errno {
                0 => "yes".to_owned(),
                code => errno(code),
            };
            table.rows.push(vec![
                json!(side),
                json!(tried.kind),
                json!(answer(tried)),
                json!(mapped),
                json!(if expected { "may" } else { "must not" }),
                json!(expected || tried.moved == 0),
            ]);
        }
    }
    table
}

//! The ledger: a line for each way to send the file, and what sendfile() said to each kind of descriptor.

use serde_json::{Value, json};

use super::facts::{Facts, Transfer};
use super::judge::Cases;
use super::kinds;
use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::lab::transfer::first::First;

pub fn of(cases: &Cases) -> Ledger {
    let whole: Vec<(&str, &Facts)> = cases
        .iter()
        .filter_map(|(label, facts)| Some((label.as_str(), facts.as_ref().ok()?)))
        .collect();
    let tried: Vec<_> = whole
        .iter()
        .filter_map(|(label, facts)| match facts {
            Facts::Kinds { tried, .. } => Some((label.trim_start_matches("kinds/"), tried)),
            _ => None,
        })
        .map(|(side, tried)| {
            (
                if side == "in-fd" { "in_fd" } else { "out_fd" },
                tried.as_slice(),
            )
        })
        .collect();
    Ledger {
        tables: vec![
            methods(&whole),
            costs(&whole),
            read_ahead(&whole),
            kinds::table(&tried),
            checks(&whole),
        ],
        remarks: remarks(&whole),
        timeline: Vec::new(),
    }
}

fn of_transfers<'a>(whole: &'a [(&str, &Facts)]) -> impl Iterator<Item = &'a Transfer> {
    whole.iter().filter_map(|(_, facts)| match facts {
        Facts::Transfer(transfer) => Some(transfer.as_ref()),
        _ => None,
    })
}

/// Rounded to two places: for a person, and exact enough.
fn share(part: u64, whole: u64) -> Value {
    if whole == 0 {
        return Value::Null;
    }
    json!((part as f64 / whole as f64 * 100.0).round() / 100.0)
}

fn methods(whole: &[(&str, &Facts)]) -> Table {
    let mut table = Table::new(
        "methods",
        "How often the CPU copied each byte, and what was lent instead",
        &[
            ("method", "method"),
            ("to_user_ratio", "to user"),
            ("to_kernel_ratio", "to kernel"),
            ("on_delivery_ratio", "on delivery"),
            ("to_receiver_ratio", "to receiver"),
            ("sum_ratio", "sum"),
            ("lent_pages_count", "pages lent"),
            ("new_pages_count", "pages new"),
            ("note", "so"),
        ],
    );
    for transfer in of_transfers(whole) {
        let copies = transfer.copies();
        let size = transfer.source.size;
        let parts = [
            transfer.to_user(),
            transfer.to_kernel(),
            transfer.on_delivery(),
            copies.received_bytes,
        ];
        let mut row = vec![json!(transfer.label)];
        row.extend(parts.map(|part| share(part, size)));
        row.push(share(parts.iter().sum(), size));
        row.push(json!(
            (copies.sent_file_bytes + copies.sent_anon_bytes).div_ceil(4096)
        ));
        row.push(json!(copies.sender_pages));
        row.push(json!(note(transfer)));
        table.rows.push(row);
    }
    for (label, facts) in whole {
        if let Facts::Absent(_) = facts {
            let mut row = vec![json!(label)];
            row.resize(8, Value::Null);
            row.push(json!("not there"));
            table.rows.push(row);
        }
    }
    table
}

fn note(transfer: &Transfer) -> &'static str {
    let lent = transfer.copies().sent_file_bytes + transfer.copies().sent_anon_bytes > 0;
    match (lent, transfer.on_delivery() <= transfer.condensable()) {
        (false, _) => "copied",
        (true, true) => "zero copy",
        (true, false) => "became a copy",
    }
}

fn costs(whole: &[(&str, &Facts)]) -> Table {
    let mut table = Table::new(
        "costs",
        "What it cost the sender",
        &[
            ("method", "method"),
            ("syscalls_count", "syscalls"),
            ("mode_switches_count", "mode sw."),
            ("voluntary_count", "slept"),
            ("involuntary_count", "preempted"),
            ("user_faults_count", "faults"),
            ("kernel_faults_count", "in kernel"),
            ("storage_bytes", "from disk"),
            ("cpu_us_per_mib", "CPU µs/MiB"),
            ("wall_ms", "ms"),
        ],
    );
    for transfer in of_transfers(whole) {
        let copies = transfer.copies();
        let witness = &transfer.sent.witness;
        let spent = witness.cpu_ns + transfer.sent.sent.worker_cpu_ns.unwrap_or(0);
        let cpu = spent as f64 / 1000.0 / (transfer.source.size as f64 / 1_048_576.0);
        table.rows.push(vec![
            json!(transfer.label),
            json!(transfer.calls()),
            json!(transfer.mode_switches()),
            json!(transfer.voluntary),
            json!(transfer.involuntary),
            json!(copies.faults_user),
            json!(copies.faults_kernel),
            json!(witness.io.map(|io| io.read_bytes)),
            json!(cpu.round()),
            json!((transfer.wall_ns() as f64 / 1e5).round() / 10.0),
        ]);
    }
    table
}

fn read_ahead(whole: &[(&str, &Facts)]) -> Table {
    let mut table = Table::new(
        "read_ahead",
        "Of a cold file, after its first piece was asked for (by mincore)",
        &[
            ("by", "by"),
            ("asked_pages_count", "pages asked"),
            ("resident_pages_count", "pages in memory"),
        ],
    );
    for (_, facts) in whole {
        if let Facts::First(all) = facts {
            let row = |first: &First| {
                vec![
                    json!(first.by),
                    json!(first.asked_pages),
                    json!(first.resident_pages),
                ]
            };
            table.rows.extend(all.iter().map(row));
        }
    }
    table
}

/// Everything that was counted twice, with who counted.
fn checks(whole: &[(&str, &Facts)]) -> Table {
    let mut table = Table::new(
        "checks",
        "Counted twice",
        &[
            ("method", "method"),
            ("check", "counts"),
            ("agrees", "agrees"),
        ],
    )
    .detailed();
    for transfer in of_transfers(whole) {
        for check in transfer.checks() {
            let cells = vec![
                json!(transfer.label),
                json!(check.told()),
                json!(check.agrees()),
            ];
            table.rows.push(cells);
        }
    }
    table
}

fn remarks(whole: &[(&str, &Facts)]) -> Vec<String> {
    let mut remarks = Vec::new();
    for transfer in of_transfers(whole) {
        let sent = &transfer.sent.sent;
        if sent.zero_copy_sends > 0 {
            let told = match sent.tells {
                Some(true) => format!("{} of {} completions say so", sent.copied, sent.completed),
                _ => "completions of this kernel do not tell".to_owned(),
            };
            let copied = transfer.on_delivery();
            remarks.push(format!(
                "{}: zero copy became a copy on lo for {} of {} bytes ({told})",
                transfer.label, copied, transfer.source.size
            ));
        } else if transfer.on_delivery() > 0 {
            remarks.push(format!(
                "{}: {} of {} bytes were copied on delivery: small packets that waited for the receiver were moved \
                 together (skb_condense)",
                transfer.label,
                transfer.on_delivery(),
                transfer.source.size
            ));
        }
    }
    for (label, facts) in whole {
        if let Facts::Absent(why) = facts {
            remarks.push(format!("{label}: not there: {why}"));
        }
    }
    let in_memory = |transfer: &&Transfer| {
        transfer.label.starts_with("warm/") && transfer.source.kind == "memfd"
    };
    if of_transfers(whole).any(|transfer| in_memory(&transfer)) {
        remarks.push("the file of warm/ lies in memory, not on ext4".to_owned());
    }
    if of_transfers(whole).next().is_some() {
        remarks.push(
            "\"to user\" is derived from what read() returned; \"to kernel\", \"on delivery\" and \"lent\" are seen \
             by whose pages packets held"
                .to_owned(),
        );
    }
    remarks
}

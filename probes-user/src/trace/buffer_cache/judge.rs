//! The claims, and what settles them.

use probes_common::pages::{Count, owner};
use serde_json::json;

use crate::claims_of;
use crate::evidence::Claim;
use crate::lab::pages::FsName;
use crate::trace::pages::settle::{Judged, Question, Verdict, near};
use crate::trace::pages::steps::{Case, INSERTED, Sums, Who};
use crate::trace::pages::witness;

pub static QUESTIONS: [Question; 2] = [
    Question {
        claim: Claim {
            id: "buffer-cache/file-write-grows-cache",
            number: "ext4_file_pages_count",
            statement: "dd to a file on a mounted file system grows Cached, not Buffers.",
            holds_if: "pages of the file that come in while it is written, by the lab and by dd, equal bytes / 4096 within \
                2 %, and pages of its device that the writer brings in are at most 2 % of that",
            refuted_if: "the file's pages differ by more, or the writer brings in more device pages",
        },
        on: &[FsName::Ext4, FsName::Xfs],
        judge: file,
    },
    Question {
        claim: Claim {
            id: "buffer-cache/device-read-grows-buffers",
            number: "raw_device_pages_count",
            statement: "dd from a block device grows Buffers, not Cached.",
            holds_if: "pages of the device that come in while it is read, by the lab and by dd, equal bytes / 4096 within \
                2 %, those within the read calls and those read ahead together, and no page of it counts as a file's",
            refuted_if: "the device's pages differ by more, or count as a file's",
        },
        on: &[FsName::Raw],
        judge: device,
    },
];

pub static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

/// The lab's own step, and dd's where there is one.
fn both<'a>(case: &'a Case, own: &str, dd: &str) -> Result<Vec<(&'static str, Sums<'a>)>, String> {
    let first = case
        .step(own)
        .ok_or_else(|| format!("the step {own} is missing"))?;
    let mut all = vec![("the lab", first)];
    all.extend(case.step(dd).map(|sums| ("dd", sums)));
    Ok(all)
}

/// `; Buffers of /proc/meminfo: 3 counted, 3 said`
fn meminfo(sums: &Sums<'_>) -> String {
    let told: Vec<String> = witness::of(sums)
        .iter()
        .take(2)
        .map(|its| {
            format!(
                "{}{}",
                its.told(),
                if its.agrees { "" } else { " (it differs)" }
            )
        })
        .collect();
    told.join(", ")
}

fn file(case: &Case) -> Verdict {
    let steps = both(case, "write", "dd-write")?;
    let (mut holds, mut said, mut numbers) = (true, Vec::new(), Vec::new());
    for (who, sums) in &steps {
        let pages = sums.step.did.pages;
        let came_in = sums.count(Who::Actor, Count::inserted_write);
        let metadata = sums.device(Who::Actor, &INSERTED);
        let dirtied = sums.count(Who::Actor, Count::dirtied);
        holds &= near(came_in, pages) && sums.inserted() == came_in && 50 * metadata <= pages;
        said.push(format!(
            "{who} wrote {pages} pages: {came_in} of the file came in ({dirtied} dirtied), {metadata} of the device; {}",
            meminfo(sums)
        ));
        if numbers.is_empty() {
            numbers.extend([
                ("file_pages_count", json!(came_in)),
                ("device_pages_count", json!(metadata)),
                (
                    "folios_count",
                    json!(sums.count(Who::Actor, Count::insert_events)),
                ),
                ("cached_count", json!(sums.step.memory.files())),
                ("buffers_count", json!(sums.step.memory.buffers)),
            ]);
        }
    }
    Ok(Judged {
        holds,
        says: said.join("; "),
        numbers,
    })
}

fn device(case: &Case) -> Verdict {
    let steps = both(case, "read", "dd-read")?;
    let (mut holds, mut said, mut numbers) = (true, Vec::new(), Vec::new());
    for (who, sums) in &steps {
        let pages = sums.step.did.pages;
        let asked = sums.count(Who::Actor, Count::inserted_read);
        let ahead = sums.counts(Who::Actor, &[Count::inserted_sync, Count::inserted_async]);
        let as_file: u64 = sums
            .step
            .pages
            .rows
            .iter()
            .filter(|row| row.owner == owner::FILE && row.dev == sums.subject.dev)
            .map(|row| INSERTED.iter().map(|count| row.get(*count)).sum::<u64>())
            .sum();
        holds &= near(asked + ahead, pages) && as_file == 0;
        said.push(format!(
            "{who} read {pages} pages: {asked} came in within the calls and {ahead} ahead of them, {as_file} as a file's; {}",
            meminfo(sums)
        ));
        if numbers.is_empty() {
            numbers.extend([
                ("device_pages_count", json!(asked + ahead)),
                ("within_calls_count", json!(asked)),
                ("ahead_count", json!(ahead)),
                ("cached_count", json!(sums.step.memory.files())),
                ("buffers_count", json!(sums.step.memory.buffers)),
            ]);
        }
    }
    Ok(Judged {
        holds,
        says: said.join("; "),
        numbers,
    })
}

//! The claims, and what settles them.

use probes_common::pages::Count;
use serde_json::json;

use super::script::AGAIN;
use crate::claims_of;
use crate::evidence::Claim;
use crate::lab::pages::{FsName, PAGE};
use crate::trace::pages::settle::{Judged, Question, Verdict, near, percent};
use crate::trace::pages::steps::{Case, Sums, Who};

const ALL: &[FsName] = &FsName::ALL;
const AHEAD: [Count; 2] = [Count::inserted_sync, Count::inserted_async];
const USED: [Count; 2] = [Count::missed_sync, Count::missed_async];
const UNUSED: [Count; 2] = [Count::unused_sync, Count::unused_async];

pub static QUESTIONS: [Question; 5] = [
    Question {
        claim: Claim {
            id: "page-cache/cold-misses-all",
            number: "ext4_hit_ratio",
            statement: "Reading a file that is not in the page cache misses on every page asked for, read-ahead or not: \
                a single pass has no hits.",
            holds_if: "read by the lab and by dd, each from a cold start: of the pages asked for, which equal bytes / \
                4096, none was there that had been used before (hit ratio 0 %), and the pages that came in equal them \
                within 2 %",
            refuted_if: "a page asked for is a hit",
        },
        on: ALL,
        judge: cold,
    },
    Question {
        claim: Claim {
            id: "page-cache/warm-hits-all",
            number: "ext4_hit_ratio",
            statement: "Reading the same file again finds every page in the cache.",
            holds_if: "the second pass, by the lab and by dd, asks for bytes / 4096 pages, hits on all (100 %), and \
                brings in none",
            refuted_if: "a page is missed or comes in",
        },
        on: ALL,
        judge: warm,
    },
    Question {
        claim: Claim {
            id: "page-cache/mmap-faults",
            number: "ext4_inserted_by_fault_count",
            statement: "Through mmap a page comes into the cache by a page fault; faults on what is there are minor and \
                bring in nothing.",
            holds_if: "touching every page of the mapped file from a cold start: all its pages (within 2 %) come in by \
                faults, at least one fault is major by the task's own count; touching them again in a new mapping: no \
                page comes in, no fault is major, at least one is minor",
            refuted_if: "from a cold start pages come in otherwise, or again some come in or a fault is major",
        },
        on: ALL,
        judge: mapped,
    },
    Question {
        claim: Claim {
            id: "page-cache/read-ahead",
            number: "ext4_used_count",
            statement: "A sequential reader finds its next pages read ahead, first by the call that misses (synchronous), \
                then in time (asynchronous); one that stops leaves pages nobody asked for; a random one gets none.",
            holds_if: "sequential pass: pages ahead of both kinds, most of all pages asynchronous, and all of them used; \
                a reader that stops after 1 MiB: pages ahead left over, as many deleted unused, and in memory (mincore) \
                as many as came in; with POSIX_FADV_RANDOM: exactly the pages asked for come in",
            refuted_if: "no read-ahead in sequence, pages of it unused after a whole pass, none left over after the \
                stop, or read-ahead at random",
        },
        on: ALL,
        judge: ahead,
    },
    Question {
        claim: Claim {
            id: "page-cache/write-back",
            number: "ext4_dirtied_count",
            statement: "write() dirties pages and writes nothing to the device; fsync() writes them in its caller, the \
                flusher those that others dirtied.",
            holds_if: "writing N pages: the writer dirties N (within 2 %) and sends no request in write(); fsync: by its \
                end all bytes were requested (within 2 %), by the caller or before it by the flusher, the last after \
                the last page was dirtied; syncfs after 1 MiB more: at least 98 % of it requested by a kworker; at most \
                2 % dirtied by another (a flusher that cannot write a page yet marks it dirty again)",
            refuted_if: "write() itself sends requests, pages are dirtied by another, or the flusher does not write",
        },
        on: ALL,
        judge: write_back,
    },
];

pub static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

fn step<'a>(case: &'a Case, name: &str) -> Result<Sums<'a>, String> {
    case.step(name)
        .ok_or_else(|| format!("the step {name} is missing"))
}

/// The lab's own pass, and dd's where there is one.
fn passes<'a>(
    case: &'a Case,
    own: &str,
    dd: &str,
) -> Result<Vec<(&'static str, Sums<'a>)>, String> {
    let mut passes = vec![("read", step(case, own)?)];
    passes.extend(case.step(dd).map(|sums| ("dd", sums)));
    for (who, sums) in &passes {
        if sums.asked() != sums.step.did.pages {
            return Err(format!(
                "{who}: {} pages asked for, {} read",
                sums.asked(),
                sums.step.did.pages
            ));
        }
    }
    Ok(passes)
}

fn cold(case: &Case) -> Verdict {
    let passes = passes(case, "cold", "dd-cold")?;
    let mut said = Vec::new();
    for (who, sums) in &passes {
        if !near(sums.inserted(), sums.asked()) {
            return Err(format!(
                "{who}: {} pages came in, {} were asked for",
                sums.inserted(),
                sums.asked()
            ));
        }
        said.push(format!(
            "{who} asked for {} pages, {} hits, {} came in",
            sums.asked(),
            sums.hits(),
            sums.inserted()
        ));
    }
    let own = &passes[0].1;
    Ok(Judged {
        holds: passes.iter().all(|(_, sums)| sums.hits() == 0),
        says: said.join(", "),
        numbers: vec![
            ("asked_count", json!(own.asked())),
            ("hit_ratio", json!(own.hit_ratio())),
            ("inserted_count", json!(own.inserted())),
            (
                "missed_in_call_count",
                json!(own.count(Who::Actor, Count::missed_in_call)),
            ),
            ("first_use_count", json!(own.counts(Who::Actor, &USED))),
        ],
    })
}

fn warm(case: &Case) -> Verdict {
    let passes = passes(case, "warm", "dd-warm")?;
    // The control on the same hooks: from a cold start they did see misses.
    if step(case, "cold")?.missed() == 0 {
        return Err("the cold pass shows no miss".to_owned());
    }
    let said: Vec<String> = passes
        .iter()
        .map(|(who, sums)| {
            format!(
                "{who} asked for {} pages, {} hits, {} came in",
                sums.asked(),
                sums.hits(),
                sums.inserted()
            )
        })
        .collect();
    let own = &passes[0].1;
    Ok(Judged {
        holds: passes
            .iter()
            .all(|(_, sums)| sums.missed() == 0 && sums.inserted() == 0),
        says: said.join(", "),
        numbers: vec![
            ("asked_count", json!(own.asked())),
            ("hit_ratio", json!(own.hit_ratio())),
            ("inserted_count", json!(own.inserted())),
        ],
    })
}

fn mapped(case: &Case) -> Verdict {
    let (cold, warm) = (step(case, "map-cold")?, step(case, "map-warm")?);
    let by_fault = cold.count(Who::Actor, Count::inserted_fault);
    let pages = cold.step.did.pages;
    let comes_in = near(by_fault, pages) && cold.inserted() == by_fault;
    let (first, again) = (cold.step.io, warm.step.io);
    let holds = comes_in
        && first.major_faults > 0
        && warm.inserted() == 0
        && again.major_faults == 0
        && again.minor_faults > 0;
    let says = format!(
        "cold, {by_fault} of {pages} pages came in by faults ({} major, {} minor); again, {} came in ({} major, {} minor)",
        first.major_faults,
        first.minor_faults,
        warm.inserted(),
        again.major_faults,
        again.minor_faults,
    );
    Ok(Judged {
        holds,
        says,
        numbers: vec![
            ("inserted_by_fault_count", json!(by_fault)),
            (
                "faults_missed_count",
                json!(cold.count(Who::Actor, Count::faults_missed)),
            ),
            ("major_faults_count", json!(first.major_faults)),
            ("minor_faults_count", json!(first.minor_faults)),
            ("again_inserted_count", json!(warm.inserted())),
            ("again_minor_faults_count", json!(again.minor_faults)),
        ],
    })
}

fn ahead(case: &Case) -> Verdict {
    let (whole, stop) = (step(case, "cold")?, step(case, "stop")?);
    let (forget, random) = (step(case, "forget")?, step(case, "random")?);
    let [sync, later] = AHEAD.map(|count| whole.count(Who::Actor, count));
    let used = whole.counts(Who::Actor, &USED);
    let in_sequence = sync > 0 && 2 * later > whole.asked() && used == sync + later;
    let left = stop
        .counts(Who::Actor, &AHEAD)
        .saturating_sub(stop.counts(Who::Actor, &USED));
    let unused = forget.counts(Who::All, &UNUSED);
    let stopped = left > 0 && unused == left && stop.inserted() == stop.step.resident;
    let scattered = random.inserted() == random.asked();
    let says = format!(
        "in sequence {sync} pages ahead in the missing call and {later} in time, {used} used; after the stop {left} left \
         over, {unused} deleted unused, {} in memory of {} that came in; at random {} came in for {} asked",
        stop.step.resident,
        stop.inserted(),
        random.inserted(),
        random.asked(),
    );
    Ok(Judged {
        holds: in_sequence && stopped && scattered,
        says,
        numbers: vec![
            ("sync_count", json!(sync)),
            ("async_count", json!(later)),
            ("used_count", json!(used)),
            ("left_over_count", json!(left)),
            ("deleted_unused_count", json!(unused)),
            (
                "random_ahead_count",
                json!(random.counts(Who::Actor, &AHEAD)),
            ),
        ],
    })
}

/// At most 2 %.
fn few(part: u64, of: u64) -> bool {
    50 * part <= of
}

fn write_back(case: &Case) -> Verdict {
    let (write, fsync) = (step(case, "write")?, step(case, "fsync")?);
    let bytes = Count::written_back_bytes;
    let pages = write.step.did.pages;
    let dirtied = write.count(Who::Actor, Count::dirtied);
    let by_others = write.count(Who::Others, Count::dirtied);
    let in_write = write.count(Who::Actor, bytes);
    let caller = fsync.count(Who::Actor, bytes);
    let others = step(case, "written")?.count(Who::Others, bytes);
    if dirtied == 0 {
        return Err("no page was seen to be dirtied".to_owned());
    }
    let last = |sums: &Sums<'_>| sums.time(Who::All, Count::last_written_back_ns);
    let dirty_until = write.time(Who::Actor, Count::last_dirtied_ns);
    let in_order = last(&fsync).or(last(&write)) >= dirty_until;
    let whole = near(caller + others, write.step.did.bytes);
    let mut holds =
        near(dirtied, pages) && few(by_others, pages) && in_write == 0 && whole && in_order;
    let mut says = format!(
        "write() of {pages} pages dirtied {dirtied} and requested {in_write} bytes; fsync() {caller} in its caller, others \
         {others}"
    );
    let mut numbers = vec![
        ("dirtied_count", json!(dirtied)),
        ("requested_in_write_bytes", json!(in_write)),
        ("requested_in_fsync_bytes", json!(caller)),
        ("requested_by_others_bytes", json!(others)),
    ];
    if case.subject.fs != FsName::Raw {
        let (again, both) = (step(case, "rewrite")?, step(case, "rewritten")?);
        let kworkers = |count| -> u64 {
            let rows = both.rows(Who::Others);
            rows.filter(|row| row.comm.starts_with("kworker"))
                .map(|row| row.get(count))
                .sum()
        };
        let (written, dirtied_by_it) = (kworkers(bytes), kworkers(Count::dirtied));
        holds &= written as f64 >= 0.98 * AGAIN as f64 && few(dirtied_by_it, AGAIN / PAGE);
        holds &= again.count(Who::Actor, Count::dirtied) >= AGAIN / PAGE;
        says += &format!(
            "; of {AGAIN} bytes more a kworker requested {written} at syncfs() ({} of them dirtied by the writer)",
            percent(again.count(Who::Actor, Count::dirtied) as f64 * PAGE as f64 / AGAIN as f64)
        );
        numbers.push(("requested_by_flusher_bytes", json!(written)));
    }
    Ok(Judged {
        holds,
        says,
        numbers,
    })
}

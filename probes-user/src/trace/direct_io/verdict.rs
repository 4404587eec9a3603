//! The claims, and from cases to findings: each file system by itself, the sentence about all of them.

use serde_json::{Map, Value};

use super::evidence::View;
use super::judge::{self, Answer, Judged};
use super::marks::{self, HOT, Hot};
use super::{FILE_SYSTEMS, HOT_CASE, INDIRECT_CASE};
use crate::claims_of;
use crate::evidence::{Claim, ClaimResult, Finding};
use crate::trace::pages::steps::lacking;
use crate::trace::scripted::{CaseLog, Cases};
use crate::trace::{Ending, LabOptions};

enum Judge {
    /// On each file system.
    File(fn(&View) -> Answer),
    /// Also on files as ext3 made them.
    Files(fn(&View) -> Answer),
    Hot(fn(&[Hot]) -> Answer),
}

struct Question {
    claim: Claim,
    judge: Judge,
}

static QUESTIONS: [Question; 5] = [
    Question {
        claim: Claim {
            id: "direct-io/bypasses-cache",
            number: "ext4_direct_inserted_count",
            statement: "Reading a file with O_DIRECT puts none of its pages into the page cache.",
            holds_if: "on ext4 and xfs: no page is inserted for the inode by a stream with O_DIRECT (event), and \
                none is in memory afterwards (mincore); the same stream without it inserts as many pages as the \
                file has, within 2% (control)",
            refuted_if: "a page of the file is inserted, or is in memory afterwards",
        },
        judge: Judge::File(judge::bypasses),
    },
    Question {
        claim: Claim {
            id: "direct-io/no-read-ahead",
            number: "ext4_direct_fetched_bytes",
            statement: "With O_DIRECT the kernel reads nothing ahead: the disk is asked for the bytes of the \
                calls and no others.",
            holds_if: "the disk's own count of bytes is that of two sequential reads, to the byte; buffered the \
                same reads bring in more pages than they ask for (control)",
            refuted_if: "the disk reads another number of bytes",
        },
        judge: Judge::File(judge::read_ahead),
    },
    Question {
        claim: Claim {
            id: "direct-io/no-merge",
            number: "ext4_queued_merged_count",
            statement: "With O_DIRECT every read is a request of the disk of its own; neighbouring reads are not \
                merged.",
            holds_if: "32 neighbouring reads of a page are 32 requests and none merged, both one after the other \
                and queued in one call of io_uring_enter; the disk has read exactly their bytes",
            refuted_if: "fewer requests than reads, or merges, in either",
        },
        judge: Judge::File(judge::merges),
    },
    Question {
        claim: Claim {
            id: "direct-io/no-silent-fallback",
            number: "ext4-indirect_quiet_count",
            statement: "What cannot be done past the cache fails: no call on a file opened with O_DIRECT goes \
                through the page cache without a word.",
            holds_if: "of calls with an odd address or length, into a hole, at the end, into a hole of a file \
                without extents and (with CAP_SYS_RESOURCE) on a file whose data are journalled (ext4), each \
                either fails or inserts no page; of each file one is refused and one succeeds (control)",
            refuted_if: "one succeeds, and pages are inserted for the file",
        },
        judge: Judge::Files(judge::fallbacks),
    },
    Question {
        claim: Claim {
            id: "direct-io/protects-hot-pages",
            number: "hot_direct_once_left_count",
            statement: "Hot files stay in memory beside a stream with O_DIRECT that is larger than memory, and \
                do not beside the same stream without it.",
            holds_if: "of 64 hot files read once, and read twice, at least 99% of the pages are in memory after a \
                stream with O_DIRECT (memory limited by a control group); of files read once at most half are \
                after a buffered stream",
            refuted_if: "less is left with O_DIRECT, or more than half of files read once without it",
        },
        judge: Judge::Hot(judge::protects),
    },
];

pub static CLAIMS: [Claim; QUESTIONS.len()] = claims_of!(QUESTIONS);

pub fn judge(cases: &Cases, asked: &LabOptions, ending: &Ending) -> Vec<Finding> {
    let all = QUESTIONS.iter().filter_map(|question| {
        let labels: Vec<&str> = match question.judge {
            Judge::File(_) => FILE_SYSTEMS.iter().map(|fs| fs.name()).collect(),
            Judge::Files(_) => {
                let all = FILE_SYSTEMS.iter().map(|fs| fs.name());
                all.chain([INDIRECT_CASE]).collect()
            }
            Judge::Hot(_) => vec![HOT_CASE],
        };
        let wanted: Vec<&str> = labels.into_iter().filter(|its| asked.wants(its)).collect();
        (!wanted.is_empty()).then(|| settle(question, &wanted, cases, ending))
    });
    all.collect()
}

fn settle(question: &Question, labels: &[&str], cases: &Cases, ending: &Ending) -> Finding {
    let mut numbers = Map::new();
    let (result, because) = match ending.blocks(&[]) {
        Some(blocked) => blocked,
        None => together(question, labels, cases, ending, &mut numbers),
    };
    Finding {
        id: question.claim.id.to_owned(),
        result,
        statement: question.claim.statement.to_owned(),
        because,
        numbers,
    }
}

fn together(
    question: &Question,
    labels: &[&str],
    cases: &Cases,
    ending: &Ending,
    numbers: &mut Map<String, Value>,
) -> (ClaimResult, String) {
    let (mut said, mut judged, mut refuted) = (Vec::new(), 0, false);
    for label in labels {
        let inconclusive = |why: String| (ClaimResult::Inconclusive, format!("{label}: {why}"));
        let Some(log) = cases.find(label).filter(|log| log.ended_at.is_some()) else {
            return inconclusive(match ending.interrupted {
                true => "interrupted before its end".to_owned(),
                false => "the case did not come to its end".to_owned(),
            });
        };
        if let Some((_, why)) = lacking(log) {
            said.push(format!("{label}: {why}"));
            continue;
        }
        match one(question, log) {
            Ok(its) => {
                judged += 1;
                refuted |= !its.holds;
                said.push(format!("{label}: {}", its.says));
                let named = its.numbers.into_iter();
                numbers.extend(named.map(|(key, value)| (format!("{label}_{key}"), value)));
            }
            Err(why) => return inconclusive(why),
        }
    }
    let result = match (judged, refuted) {
        (0, _) => ClaimResult::Unsupported,
        (_, true) => ClaimResult::Refuted,
        _ => ClaimResult::Holds,
    };
    (result, said.join("; "))
}

fn one(question: &Question, log: &CaseLog) -> Result<Judged, String> {
    match question.judge {
        Judge::File(judge) | Judge::Files(judge) => {
            let view = View::of(log).ok_or("the script said of no file")?;
            for step in &view.case.steps {
                if let Some(why) = step.pages.overflow() {
                    return Err(format!("step \"{}\": {why}", step.name));
                }
            }
            judge(&view)
        }
        Judge::Hot(judge) => judge(&marks::all::<Hot>(log, HOT)),
    }
}

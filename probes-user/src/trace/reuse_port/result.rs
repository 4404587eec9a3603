//! One case and what the kernel showed of it: each sample's connections found again, and the counts compared.

use std::collections::{BTreeMap, HashMap};

use super::marks::{BIND, Bound, REACHED, Reached, SAMPLE, Sample};
use super::samples::counts;
use super::tuples::Tuple;
use crate::stream::Mark;
use crate::trace::herd::checks::Check;
use crate::trace::scripted::CaseLog;

/// What was seen in one phase.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// In order; with the socket that was made ready by it, where the kernel tells.
    pub established: Vec<(Tuple, Option<u64>)>,
    /// The newest connection with a pointer owns it.
    pub by_sock: HashMap<u64, usize>,
}

#[derive(Debug, Clone)]
pub struct SampleResult {
    pub sample: Sample,
    /// None = the script did not come to its end, or says nonsense.
    pub reached: Option<Vec<u8>>,
    /// Tuples of the sample that the kernel established once, and connections of other tuples or again.
    pub found: u64,
    pub odd: u64,
    /// Sockets made ready, by tuple.
    pub ready: Vec<Option<u64>>,
}

#[derive(Debug, Clone)]
pub struct CaseResult {
    pub label: String,
    pub ended: bool,
    pub samples: Vec<SampleResult>,
    pub binds: Vec<Bound>,
    pub checks: Vec<Check>,
}

impl SampleResult {
    pub fn counts(&self) -> Vec<u64> {
        counts(self.reached.as_deref().unwrap_or_default())
    }

    fn new(mark: &Mark, ends: &[Reached], seen: &BTreeMap<u32, Seen>) -> Option<SampleResult> {
        let sample: Sample = serde_json::from_value(mark.data.clone()).ok()?;
        let phase = u32::try_from(mark.data.get("phase")?.as_u64()?).ok()?;
        let reached = ends.iter().find(|its| its.phase == phase);
        let reached = reached
            .and_then(Reached::decoded)
            .filter(|sockets| sockets.len() == sample.count as usize);
        let tuples = (0..sample.count).map(|index| sample.tuple(index));
        let index: HashMap<Tuple, usize> = tuples.zip(0..).collect();
        let mut result = SampleResult {
            reached,
            found: 0,
            odd: 0,
            ready: vec![None; sample.count as usize],
            sample,
        };
        let mut met = vec![false; result.ready.len()];
        for (tuple, ready) in seen.get(&phase).map_or(&[][..], |seen| &seen.established) {
            match index.get(tuple) {
                Some(at) if !met[*at] => {
                    met[*at] = true;
                    result.found += 1;
                    result.ready[*at] = *ready;
                }
                _ => result.odd += 1,
            }
        }
        Some(result)
    }
}

impl CaseResult {
    pub fn new(log: &CaseLog, seen: &BTreeMap<u32, Seen>, tells_ready: bool) -> CaseResult {
        let parsed = |mark: &Mark| serde_json::from_value(mark.data.clone()).ok();
        let ends: Vec<Reached> = log.named(REACHED).filter_map(parsed).collect();
        let samples = log
            .named(SAMPLE)
            .filter_map(|mark| SampleResult::new(mark, &ends, seen));
        let samples: Vec<SampleResult> = samples.collect();
        let parsed = |mark: &Mark| serde_json::from_value(mark.data.clone()).ok();
        CaseResult {
            label: log.label.clone(),
            ended: log.ended_at.is_some(),
            checks: if samples.is_empty() {
                Vec::new()
            } else {
                checks(log, &samples, tells_ready)
            },
            samples,
            binds: log.named(BIND).filter_map(parsed).collect(),
        }
    }
}

fn checks(log: &CaseLog, samples: &[SampleResult], tells_ready: bool) -> Vec<Check> {
    let sum = |count: fn(&SampleResult) -> u64| samples.iter().map(count).sum::<u64>();
    let accepted = sum(|its| its.counts().iter().sum());
    let mut checks = vec![
        Check {
            what: "connections",
            counts: vec![
                ("asked for", sum(|its| its.sample.count.into())),
                ("accepted", accepted),
                ("established in the kernel", sum(|its| its.found + its.odd)),
                ("TcpPassiveOpens", log.counter("TcpPassiveOpens")),
                ("TcpActiveOpens", log.counter("TcpActiveOpens")),
            ],
            binding: true,
        },
        Check {
            what: "tuples",
            counts: vec![
                ("asked for", sum(|its| its.sample.count.into())),
                ("established once", sum(|its| its.found)),
            ],
            binding: true,
        },
    ];
    if tells_ready {
        checks.push(Check {
            what: "socket of each connection",
            counts: vec![
                ("accepted", accepted),
                ("made ready in the kernel alike", alike(samples)),
            ],
            binding: true,
        });
    }
    checks
}

/// Connections whose socket, as the kernel made it ready, is the one that accepted: one pointer for each index, and
/// no pointer for two.
fn alike(samples: &[SampleResult]) -> u64 {
    let (mut index_of, mut pointer_of) = (HashMap::new(), HashMap::new());
    let mut alike = 0;
    for sample in samples {
        let reached = sample.reached.iter().flatten();
        for (index, pointer) in reached.zip(&sample.ready) {
            let Some(pointer) = pointer else { continue };
            let same = *index_of.entry(*pointer).or_insert(*index) == *index
                && *pointer_of.entry(*index).or_insert(*pointer) == *pointer;
            alike += u64::from(same);
        }
    }
    alike
}

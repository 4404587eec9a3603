//! The stream of a scripted lab, sorted by case: what a fold over whole cases begins from.
//!
//! An event belongs to a case by its network namespace, which the case has to itself; an event that tells none
//! belongs to the case during which it happened.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::evidence::Ledger;
use crate::lab::script::{CASE, CASE_END, CaseMark};
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::{Ending, Fold, Outcome};

/// One case of a lab, or one run of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CaseLog {
    pub label: String,
    pub netns: u32,
    /// As they stood in the namespace when the script began.
    pub sysctls: BTreeMap<String, String>,
    pub begun_at: u64,
    /// None = the script did not come to its end.
    pub ended_at: Option<u64>,
    /// The script's own, without its first and last.
    pub marks: Vec<Mark>,
    pub events: Vec<Event>,
    /// What the namespace counted from begin to end, by nstat name; what did not grow is left out.
    pub counters: BTreeMap<String, u64>,
}

impl CaseLog {
    pub fn named(&self, name: &str) -> impl Iterator<Item = &Mark> {
        self.marks.iter().filter(move |mark| mark.name == name)
    }

    /// A field of the first mark of this name.
    pub fn said(&self, name: &str, field: &str) -> Option<&Value> {
        self.named(name).find_map(|mark| mark.data.get(field))
    }

    /// 0 when it did not grow. That this kernel has such a counter is for the script to see to.
    pub fn counter(&self, name: &str) -> u64 {
        self.counters.get(name).copied().unwrap_or_default()
    }

    pub fn sysctl(&self, name: &str) -> Option<&str> {
        self.sysctls.get(name).map(String::as_str)
    }
}

/// Sorts items into cases, in order of their begin.
#[derive(Debug, Clone, Default)]
pub struct Cases(Vec<CaseLog>);

impl Cases {
    pub fn item(&mut self, item: &Item) {
        match item {
            Item::Mark(mark) => self.mark(mark),
            Item::Event(event) => {
                let netns = netns_of(&event.body);
                let case = match netns {
                    0 => self.0.last_mut(),
                    netns => self.0.iter_mut().rev().find(|case| case.netns == netns),
                };
                if let Some(case) = case {
                    case.events.push(*event);
                }
            }
        }
    }

    fn mark(&mut self, mark: &Mark) {
        if mark.name == CASE {
            let Ok(begin) = serde_json::from_value::<CaseMark>(mark.data.clone()) else {
                return;
            };
            self.0.push(CaseLog {
                label: begin.label,
                netns: begin.netns,
                sysctls: begin.sysctls,
                begun_at: mark.ktime,
                ..CaseLog::default()
            });
            return;
        }
        let Some(case) = self.0.last_mut() else {
            return;
        };
        if mark.name == CASE_END {
            case.ended_at = Some(mark.ktime);
            case.counters = serde_json::from_value(mark.data.clone()).unwrap_or_default();
        } else {
            case.marks.push(mark.clone());
        }
    }

    /// The last run of each case.
    pub fn logs(&self) -> impl Iterator<Item = &CaseLog> {
        let last = |(at, case): &(usize, &CaseLog)| {
            let later = self.0.iter().skip(at + 1);
            !later.into_iter().any(|other| other.label == case.label)
        };
        self.0.iter().enumerate().filter(last).map(|(_, case)| case)
    }

    /// The run that was begun last.
    pub fn last(&self) -> Option<&CaseLog> {
        self.0.last()
    }

    /// Labels of the cases that were run more than once, each once.
    pub fn repeated(&self) -> Vec<&str> {
        let runs = |label: &str| self.0.iter().filter(|case| case.label == label).count();
        let labels = self.logs().map(|case| case.label.as_str());
        labels.filter(|label| runs(label) > 1).collect()
    }

    /// For the reader of a report whose lab was not run in one go.
    pub fn remark(&self) -> Option<String> {
        let repeated = self.repeated();
        let told = || {
            format!(
                "run again because events were missing: {}",
                repeated.join(", ")
            )
        };
        (!repeated.is_empty()).then(told)
    }

    pub fn find(&self, label: &str) -> Option<&CaseLog> {
        self.0.iter().rev().find(|case| case.label == label)
    }
}

/// The fold of a trace that judges whole cases and has nothing to tell before they have ended.
pub struct JudgedAtEnd {
    cases: Cases,
    judge: fn(&[&CaseLog], &Ending) -> Outcome,
}

impl JudgedAtEnd {
    pub fn by(judge: fn(&[&CaseLog], &Ending) -> Outcome) -> JudgedAtEnd {
        JudgedAtEnd {
            cases: Cases::default(),
            judge,
        }
    }
}

impl Fold for JudgedAtEnd {
    fn item(&mut self, item: &Item) {
        self.cases.item(item);
    }

    fn interim(&self) -> Ledger {
        Ledger::default()
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let logs: Vec<&CaseLog> = self.cases.logs().collect();
        (self.judge)(&logs, ending)
    }
}

/// 0 = the event does not tell.
pub fn netns_of(body: &Body) -> u32 {
    match body {
        Body::SockState(its) => its.netns,
        Body::TcpState(its) => its.id.netns,
        Body::TcpRetransmit(its) => its.id.netns,
        Body::TcpSynack(its) => its.id.netns,
        Body::TcpReset(its) => its.id.netns,
        Body::TcpDestroy(its) => its.id.netns,
        Body::SockError(its) => its.id.netns,
        Body::TcpTimer(its) => its.id.netns,
        Body::SkbDrop(its) => its.id.netns,
        Body::Packet(its) => its.netns,
        Body::Handshake(its) => its.id.netns,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use probes_common::event::{Header, Kind};
    use probes_common::tcp::{Packet, TcpState};
    use serde_json::json;

    use super::*;

    fn mark(ktime: u64, name: &str, data: Value) -> Item {
        Item::Mark(Mark {
            ktime,
            name: name.to_owned(),
            data,
        })
    }

    fn event(ktime: u64, kind: Kind, body: Body) -> Item {
        let header = Header {
            ktime,
            kind: kind as u16,
            ..Header::default()
        };
        Item::Event(Event { header, body })
    }

    fn state(netns: u32) -> Body {
        let mut state = TcpState::default();
        state.id.netns = netns;
        Body::TcpState(state)
    }

    #[test]
    fn events_go_to_their_namespaces_case_even_when_late() {
        let mut cases = Cases::default();
        let begin =
            |label: &str, netns: u32| json!({ "label": label, "netns": netns, "sysctls": {} });
        for item in [
            mark(1, CASE, begin("a", 7)),
            event(2, Kind::TcpState, state(7)),
            mark(3, CASE_END, json!({ "TcpInSegs": 4 })),
            mark(4, CASE, begin("b", 8)),
            event(5, Kind::TcpState, state(7)),
            event(6, Kind::Packet, Body::Packet(Packet::default())),
            event(7, Kind::TcpState, state(9)),
            mark(8, "seen", json!({ "errno": 110 })),
        ] {
            cases.item(&item);
        }
        let (a, b) = (cases.find("a").unwrap(), cases.find("b").unwrap());
        assert_eq!((a.events.len(), b.events.len()), (2, 1));
        assert_eq!(
            (a.counter("TcpInSegs"), a.ended_at, b.ended_at),
            (4, Some(3), None)
        );
        assert_eq!(b.said("seen", "errno"), Some(&json!(110)));
    }

    #[test]
    fn of_a_case_that_was_run_again_the_last_run_counts() {
        let mut cases = Cases::default();
        for (time, netns) in [(1, 7), (2, 8)] {
            let data = json!({ "label": "a", "netns": netns, "sysctls": {} });
            cases.item(&mark(time, CASE, data));
        }
        let netns: Vec<u32> = cases.logs().map(|case| case.netns).collect();
        assert_eq!(netns, [8]);
    }
}

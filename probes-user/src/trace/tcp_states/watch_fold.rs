//! The fold of a watch: a line for every connection that has ended, and the sockets there are.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::{peers, tables};
use crate::evidence::{Ledger, Table};
use crate::kernel::tcp::{LISTEN, SYN_RECV, state_name};
use crate::stream::Item;
use crate::trace::tcp::flow::{Flow, Role};
use crate::trace::tcp::flows::Flows;
use crate::trace::tcp::shown::Shown;
use crate::trace::{Context, Ending, Fold, Outcome};

/// Ended connections kept with all they were; older ones are kept as sums.
const KEEP: usize = 20_000;
/// Owners that are counted apart.
const OWNERS: usize = 4096;

pub struct WatchFold {
    flows: Flows,
    shown: Shown,
    ended: VecDeque<Flow>,
    ended_count: u64,
    /// Up to when closed connections were shown by the last interval.
    told: Cell<u64>,
    owners: Owners,
    faults: u64,
    first_fault: Option<String>,
    now: u64,
    begun: Option<u64>,
}

type Owners = BTreeMap<(u32, String), Counts>;

#[derive(Debug, Default, Clone, Copy)]
struct Counts {
    active: u64,
    passive: u64,
    older: u64,
    acked: u64,
    received: u64,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        WatchFold {
            flows: Flows::default(),
            shown: Shown::of(&context.options),
            ended: VecDeque::new(),
            ended_count: 0,
            told: Cell::new(0),
            owners: BTreeMap::new(),
            faults: 0,
            first_fault: None,
            now: 0,
            begun: None,
        }
    }

    fn ended(&mut self, flow: Flow) {
        if flow.is_listener() || !self.shown.shows(&flow, &self.flows) {
            return;
        }
        if let Some(fault) = flow.faults.first() {
            self.faults += 1;
            if self.first_fault.is_none() {
                self.first_fault =
                    Some(format!("{}→{}: {fault}", flow.ends.local, flow.ends.remote));
            }
        }
        count(&mut self.owners, &flow);
        self.ended_count += 1;
        if self.ended.len() == KEEP {
            self.ended.pop_front();
        }
        self.ended.push_back(flow);
    }

    /// Those closed after that time, in order.
    fn closed_since<'a>(&'a self, open: &[&'a Flow], told: u64) -> Vec<&'a Flow> {
        let all = self.ended.iter().chain(open.iter().copied());
        let mut closed: Vec<&Flow> = all
            .filter(|flow| !flow.is_listener() && flow.closed.is_some_and(|at| at > told))
            .collect();
        closed.sort_by_key(|flow| (flow.closed, flow.ends));
        closed
    }

    fn open(&self) -> Vec<&Flow> {
        let shown = |flow: &&Flow| self.shown.shows(flow, &self.flows);
        self.flows.open().filter(shown).collect()
    }

    fn states(&self, open: &[&Flow]) -> Table {
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for flow in open {
            let since = flow.path.last().and_then(|step| step.since);
            let span = since.map_or(0, |since| self.now.saturating_sub(since));
            let entry = counts.entry(state_name(flow.state())).or_default();
            *entry = (entry.0 + 1, entry.1.max(span));
        }
        if !self.shown.of_processes {
            for (_, request) in self.flows.half_open() {
                let span = self.now.saturating_sub(request.since);
                let entry = counts.entry(state_name(SYN_RECV)).or_default();
                *entry = (entry.0 + 1, entry.1.max(span));
            }
        }
        let columns = [
            ("state", "state"),
            ("sockets_count", "sockets"),
            ("longest_ms", "longest ms"),
        ];
        let mut table = Table::new("states", "Sockets by state now", &columns);
        for (state, (count, span)) in counts {
            table
                .rows
                .push(vec![json!(state), json!(count), json!(span as f64 / 1e6)]);
        }
        table
    }

    fn owners(&self, open: &[&Flow]) -> Table {
        let mut owners = self.owners.clone();
        for flow in open.iter().filter(|flow| flow.closed.is_some()) {
            count(&mut owners, flow);
        }
        let columns = [
            ("pid", "pid"),
            ("process", "process"),
            ("active_count", "active"),
            ("passive_count", "passive"),
            ("older_count", "older"),
            ("acked_bytes", "acked"),
            ("received_bytes", "received"),
        ];
        let mut table = Table::new("owners", "Closed connections by owner", &columns);
        for ((pid, process), counts) in &owners {
            let known = *pid != 0;
            table.rows.push(vec![
                json!(known.then_some(pid)),
                json!(known.then_some(process)),
                json!(counts.active),
                json!(counts.passive),
                json!(counts.older),
                json!(counts.acked),
                json!(counts.received),
            ]);
        }
        table
    }

    fn ledger(&self, told: u64) -> Ledger {
        let open = self.open();
        let closed = self.closed_since(&open, told);
        let [connections, lives] = tables::connections(&closed, self.now);
        let [by_peer, trips] = peers::peers(&closed);
        let all = self.ended.iter().chain(open.iter().copied());
        let log = peers::log(all, told, self.begun.unwrap_or_default());
        let mut remarks = Vec::new();
        let listeners = open.iter().filter(|flow| flow.state() == LISTEN).count();
        let waiting = open.iter().filter(|flow| flow.closed.is_some()).count();
        let connected = open.len() - listeners - waiting;
        remarks.push(format!(
            "{} connections were closed, {waiting} of them are in TIME_WAIT; {connected} are open; \
             {listeners} listeners",
            self.ended_count + waiting as u64
        ));
        let left = self.ended_count.saturating_sub(KEEP as u64);
        if left > 0 {
            remarks.push(format!("of the first {left} of them only sums are kept"));
        }
        if let Some(first) = &self.first_fault {
            remarks.push(format!(
                "{} connections have events that do not follow from one another; the first: {first}",
                self.faults
            ));
        }
        Ledger {
            tables: vec![
                connections,
                lives,
                by_peer,
                trips,
                log,
                self.owners(&open),
                self.states(&open),
                tables::open(open, self.now),
            ],
            remarks,
            timeline: Vec::new(),
        }
    }
}

fn count(owners: &mut Owners, flow: &Flow) {
    let owner = flow.owner.as_ref();
    let owner = owner.map_or((0, String::new()), |its| (its.pid, its.comm.clone()));
    if owners.len() >= OWNERS && !owners.contains_key(&owner) {
        return;
    }
    let counts = owners.entry(owner).or_default();
    match flow.role {
        Role::Active => counts.active += 1,
        Role::Passive => counts.passive += 1,
        Role::Unknown | Role::Listener => counts.older += 1,
    }
    counts.acked += flow.snap.bytes_acked;
    counts.received += flow.snap.bytes_received;
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        self.now = self.now.max(item.ktime());
        self.begun.get_or_insert(self.now);
        self.flows.item(item);
        for flow in self.flows.take_done() {
            self.ended(flow);
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger(self.told.replace(self.now))
    }

    fn finish(self: Box<Self>, ending: &Ending) -> Outcome {
        let mut ledger = self.ledger(0);
        let lost: u64 = ending.lost.values().sum();
        if lost > 0 {
            let remark = format!("records lost, so that numbers are too low: {lost}");
            ledger.remarks.insert(0, remark);
        }
        for (hook, why) in &ending.missing {
            let remark = format!("{hook} did not attach ({why}): what rests on it is missing");
            ledger.remarks.insert(0, remark);
        }
        Outcome {
            findings: Vec::new(),
            ledger,
        }
    }
}

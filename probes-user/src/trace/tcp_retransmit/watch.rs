//! The fold of a watch: every resend of somebody's sockets, with cause, back-off step, next wait and owner.
//!
//! Only of a command that is operated on (`--drop`) losses are known ([`Losses`]); else what a resend is tied to is
//! its socket, by its ends. An owner may be found after the resend (the list of sockets is made now and then), so it is looked up when printed.

use std::collections::{BTreeMap, VecDeque};

use serde::Deserialize;
use serde_json::{Value, json};

use super::cause::{By, Cause, classify};
use super::ledger::KEYS;
use super::losses::Losses;
use super::rules::ms;
use super::seq::before;
use crate::evidence::{Ledger, Table};
use crate::kernel::tcp::{SYN_SENT, state_name};
use crate::stream::{Body, Event, Item};
use crate::trace::tcp::ends::Ends;
use crate::trace::tcp::flow::Owner;
use crate::trace::tcp::flows::Flows;
use crate::trace::{Context, Ending, Fold, Outcome, Symbol};

/// Resends that are kept one by one.
const KEPT: usize = 64;
/// Sockets that are kept; of a busy server the rest is counted together.
const SOCKETS: usize = 10_000;
/// `TCP_RTO_MAX`, ms.
const RTO_MAX_MS: f64 = 120_000.0;

/// Of what the watch wrote into [`Context::options`].
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Options {
    of_processes: bool,
    states: Vec<String>,
    jiffy_ns: Option<u64>,
    drop: Vec<String>,
}

#[derive(Debug, Clone, Copy)]
struct One {
    time: u64,
    ends: Ends,
    cause: Cause,
    by: By,
    state: u8,
    backoff: u8,
    bytes: u32,
    /// The same first byte had been sent again before.
    again: bool,
    rto: u32,
    srtt_us: u32,
    err: i32,
}

#[derive(Debug, Clone)]
struct Socket {
    counts: BTreeMap<Cause, u64>,
    total: u64,
    last: One,
    deepest: u8,
    /// The highest byte that was sent again.
    until: u32,
    owner: Option<Owner>,
}

pub struct WatchFold {
    flows: Flows,
    symbols: Vec<Symbol>,
    options: Options,
    begun: Option<u64>,
    sockets: BTreeMap<Ends, Socket>,
    last: VecDeque<One>,
    /// Of sockets beyond [`SOCKETS`].
    uncounted: u64,
    losses: Option<Losses>,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        let options: Options = serde_json::from_value(context.options.clone()).unwrap_or_default();
        let losses = (!options.drop.is_empty()).then(|| Losses::new(options.drop.clone()));
        WatchFold {
            flows: Flows::default(),
            symbols: context.symbols.clone(),
            options,
            losses,
            begun: None,
            sockets: BTreeMap::new(),
            last: VecDeque::new(),
            uncounted: 0,
        }
    }

    fn event(&mut self, event: &Event) {
        let time = event.header.ktime;
        self.begun.get_or_insert(time);
        if let Some(losses) = &mut self.losses {
            losses.event(event);
        }
        match &event.body {
            Body::TcpRetransmit(its) => {
                let (cause, by) = classify(its, &self.symbols);
                let one = One {
                    time,
                    ends: Ends::of(&its.id),
                    cause,
                    by,
                    state: its.id.state,
                    backoff: its.snap.backoff,
                    bytes: its.end_seq.wrapping_sub(its.seq),
                    again: false,
                    rto: its.snap.rto,
                    srtt_us: its.snap.srtt_us,
                    err: its.err,
                };
                self.count(one, its.seq, its.end_seq);
            }
            Body::TcpSynack(its) => {
                let one = One {
                    time,
                    ends: Ends::of(&its.id),
                    cause: Cause::SynAck,
                    by: By::Segment,
                    state: its.id.state,
                    backoff: u8::try_from(its.num_timeout).unwrap_or(u8::MAX),
                    bytes: 1,
                    again: its.num_retrans > 0,
                    rto: 0,
                    srtt_us: 0,
                    err: 0,
                };
                self.count(one, 0, 1);
            }
            _ => {}
        }
    }

    fn count(&mut self, mut one: One, start: u32, end: u32) {
        if self.sockets.len() >= SOCKETS && !self.sockets.contains_key(&one.ends) {
            self.uncounted += 1;
            return;
        }
        let socket = self.sockets.entry(one.ends).or_insert_with(|| Socket {
            counts: BTreeMap::new(),
            total: 0,
            last: one,
            deepest: 0,
            until: start,
            owner: None,
        });
        one.again |= before(start, socket.until);
        if before(socket.until, end) {
            socket.until = end;
        }
        *socket.counts.entry(one.cause).or_default() += 1;
        socket.total += 1;
        socket.deepest = socket.deepest.max(one.backoff);
        socket.last = one;
        self.last.push_back(one);
        if self.last.len() > KEPT {
            self.last.pop_front();
        }
    }

    /// Owners of those sockets that have ended, before they are forgotten.
    fn remember(&mut self) {
        for flow in self.flows.take_done() {
            if let Some(socket) = self.sockets.get_mut(&flow.ends)
                && flow.owner.is_some()
            {
                socket.owner = flow.owner;
            }
        }
    }

    fn owner(&self, ends: &Ends, socket: &Socket) -> Option<Owner> {
        let live = self.flows.at(ends).and_then(|flow| flow.owner.clone());
        let of_listener = || {
            let mut listeners = self.flows.listeners_of(ends);
            listeners.find_map(|flow| flow.owner.clone())
        };
        live.or_else(|| socket.owner.clone()).or_else(of_listener)
    }

    fn wanted(&self, socket: &Socket, owner: Option<&Owner>) -> bool {
        let states = &self.options.states;
        let state = state_name(socket.last.state);
        let target = owner.is_some_and(|owner| self.flows.names().is_target(owner.pid));
        (states.is_empty() || states.iter().any(|name| name == state))
            && (!self.options.of_processes || target)
    }

    fn ledger(&self) -> Ledger {
        let owned: BTreeMap<&Ends, (&Socket, Option<Owner>)> = self
            .sockets
            .iter()
            .map(|(ends, socket)| (ends, (socket, self.owner(ends, socket))))
            .filter(|(_, (socket, owner))| self.wanted(socket, owner.as_ref()))
            .collect();
        let mut sorted: Vec<_> = owned.iter().collect();
        sorted.sort_by_key(|(ends, (socket, _))| (u64::MAX - socket.total, **ends));
        let mut ledger = Ledger {
            tables: vec![causes(owned.values().map(|(socket, _)| *socket))],
            ..Ledger::default()
        };
        ledger.tables.push(self.of_sockets(&sorted));
        let last = self.last.iter().filter_map(|one| {
            let (_, owner) = owned.get(&one.ends)?;
            Some(self.row(one, owner.as_ref()))
        });
        ledger.tables.push(table_of_resends(last.collect()));
        if let Some(losses) = &self.losses {
            let owner = |ends: &Ends| self.owner(ends, self.sockets.get(ends)?);
            let begun = self.begun.unwrap_or_default();
            ledger
                .tables
                .push(losses.table(&self.symbols, begun, owner));
            ledger.remarks.extend(losses.remarks());
        }
        if self.uncounted > 0 {
            let many = format!(
                "{} resends of further sockets are not in the tables",
                self.uncounted
            );
            ledger.remarks.push(many);
        }
        if owned.is_empty() {
            ledger.remarks.push("nothing was sent again".to_owned());
        }
        ledger
    }

    fn of_sockets(&self, sorted: &[(&&Ends, &(&Socket, Option<Owner>))]) -> Table {
        let columns = [
            ("local", "local"),
            ("remote", "remote"),
            ("owner", "owner"),
            ("pid", "pid"),
            ("resends_count", "resends"),
            ("causes", "causes"),
            ("backoff_step_max", "step"),
            ("next_ms", "next ms"),
        ];
        let mut table = Table::new("sockets", "Sockets by resends", &columns);
        for (ends, (socket, owner)) in sorted {
            let causes: Vec<String> = socket
                .counts
                .iter()
                .map(|(cause, count)| format!("{} {count}", cause.name()))
                .collect();
            table.rows.push(vec![
                json!(ends.local.to_string()),
                json!(ends.remote.to_string()),
                owner.as_ref().map_or(Value::Null, |its| json!(its.comm)),
                owner.as_ref().map_or(Value::Null, |its| json!(its.pid)),
                json!(socket.total),
                json!(causes.join(", ")),
                json!(socket.deepest),
                self.next(&socket.last),
            ]);
        }
        table
    }

    fn row(&self, one: &One, owner: Option<&Owner>) -> Vec<Value> {
        let begun = self.begun.unwrap_or(one.time);
        vec![
            json!(ms(one.time.saturating_sub(begun))),
            json!(one.cause.name()),
            json!(one.by.name()),
            json!(state_name(one.state)),
            json!(one.backoff),
            json!(one.bytes),
            json!(one.again),
            self.next(one),
            json!(one.srtt_us),
            json!(one.err),
            owner.map_or(Value::Null, |its| json!(its.comm)),
            json!(one.ends.local.to_string()),
            json!(one.ends.remote.to_string()),
        ]
    }

    /// The wait that the kernel begins with this resend: twice the last one after a time-out. Of a SYN it depends
    /// on a setting of the namespace, and of a request nothing is told.
    fn next(&self, one: &One) -> Value {
        let Some(jiffy) = self.options.jiffy_ns else {
            return Value::Null;
        };
        let rto = ms(u64::from(one.rto).saturating_mul(jiffy));
        match one.cause {
            Cause::SynAck | Cause::Syn => Value::Null,
            _ if one.state == SYN_SENT || one.rto == 0 => Value::Null,
            Cause::Rto => json!((2.0 * rto).min(RTO_MAX_MS)),
            _ => json!(rto),
        }
    }
}

fn causes<'a>(sockets: impl Iterator<Item = &'a Socket>) -> Table {
    let columns: Vec<(&str, &str)> = KEYS.into_iter().zip(Cause::ALL.map(Cause::name)).collect();
    let mut table = Table::new("causes", "Resends by cause", &columns);
    let mut sums = [0_u64; Cause::ALL.len()];
    for socket in sockets {
        for (sum, cause) in sums.iter_mut().zip(Cause::ALL) {
            *sum += socket.counts.get(&cause).copied().unwrap_or_default();
        }
    }
    table.rows.push(sums.map(|sum| json!(sum)).to_vec());
    table
}

fn table_of_resends(rows: Vec<Vec<Value>>) -> Table {
    let columns = [
        ("at_ms", "at ms"),
        ("cause", "cause"),
        ("by", "told by"),
        ("state", "state"),
        ("backoff_step", "step"),
        ("bytes", "bytes"),
        ("again", "again"),
        ("next_ms", "next ms"),
        ("srtt_us", "srtt µs"),
        ("err", "err"),
        ("owner", "owner"),
        ("local", "local"),
        ("remote", "remote"),
    ];
    let mut table = Table::new("resends", "The last resends", &columns);
    table.rows = rows;
    table
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        self.flows.item(item);
        if let Item::Event(event) = item {
            self.event(event);
        }
        self.remember();
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(self: Box<Self>, _: &Ending) -> Outcome {
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}

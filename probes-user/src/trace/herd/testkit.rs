//! Streams written by hand: a scene's workers wait, connections come, somebody is woken.
//!
//! The script keeps the workers' own counts as a lab would, so that a test has to break them on purpose.

use probes_common::event::{
    Exit, Fork, Header, Kind, STACK_DEPTH, SWITCH_NEXT_WATCHED, SWITCH_PREV_WATCHED, SockState,
    Switch, SysEnter, SysExit, Wakeup, Waking,
};

use super::calls;
use super::marks::{
    Arrival, ConnectMark, HerdMark, ListenerMark, RegistrationMark, SceneEndMark, SceneMark,
    TaskMark, Variant, WorkerCount, WorkerId,
};
use super::symbols;
use crate::evidence::{ClaimResult, Finding};
use crate::stream::{Body, Event, Item};
use crate::trace::{Context, Ending, Mode, Outcome, Symbol, Trace, find};

pub const PORT: u16 = 8080;
pub const CLIENT: u32 = 90;
/// Pid of the worker with index 0.
pub const FIRST: u32 = 101;
const INTERRUPT: &str = "asm_sysvec_apic_timer_interrupt";

pub const CHILD: &[&str] = &[
    "try_to_wake_up",
    "__wake_up_common",
    "sock_def_readable",
    "tcp_child_process",
    "tcp_v4_rcv",
];
pub const CASCADE: &[&str] = &[
    "try_to_wake_up",
    "ep_autoremove_wake_function",
    "ep_done_scan",
    "do_epoll_wait",
];
pub const TIMER: &[&str] = &[
    "try_to_wake_up",
    "hrtimer_wakeup",
    "__hrtimer_run_queues",
    INTERRUPT,
];
pub const LOCK: &[&str] = &[
    "try_to_wake_up",
    "__wake_up_common",
    "release_sock",
    "inet_csk_accept",
];

pub fn symbols() -> Vec<Symbol> {
    let names = symbols::NAMES.iter().copied().chain([INTERRUPT]);
    names
        .enumerate()
        .map(|(at, name)| {
            let start = 0xffff_0000_0000 + 0x1000 * at as u64;
            Symbol {
                name: name.to_owned(),
                start,
                end: start + 0x1000,
            }
        })
        .collect()
}

/// Return addresses in these functions; names that the classifier does not know lie outside all ranges.
pub fn frames(names: &[&str]) -> (u32, [u64; STACK_DEPTH]) {
    let known = symbols();
    let mut stack = [0; STACK_DEPTH];
    for (slot, name) in stack.iter_mut().zip(names) {
        *slot = known
            .iter()
            .find(|symbol| symbol.name == *name)
            .map_or(0xdead, |symbol| symbol.start + 0x10);
    }
    (names.len() as u32, stack)
}

#[derive(Debug, Clone, Copy)]
pub struct Conn {
    pub sock: u64,
    pub client_port: u16,
}

#[derive(Debug, Default)]
pub struct Script {
    pub items: Vec<Item>,
    pub now: u64,
    pub phase: u32,
    /// The CPU of the next events.
    pub cpu: u32,
    scene: u32,
    variant: Option<Variant>,
    arrival: Option<Arrival>,
    workers: u32,
    made: u32,
    ports: u16,
    pub counts: Vec<WorkerCount>,
    pub complete: bool,
    /// Sockets are reused round robin among so many; 0 = never.
    pub reuse: u64,
}

impl Script {
    pub fn new() -> Script {
        Script {
            now: 1_000_000,
            complete: true,
            ..Script::default()
        }
    }

    pub fn event(&mut self, kind: Kind, pid: u32, body: Body) {
        self.now += 1_000;
        let header = Header {
            ktime: self.now,
            kind: kind as u16,
            len: 0,
            cpu: self.cpu,
            pid,
            tgid: pid,
            phase: self.phase,
            again: 0,
        };
        self.items.push(Item::Event(Event { header, body }));
    }

    pub fn mark(&mut self, mark: HerdMark) {
        self.now += 1_000;
        self.items.push(Item::Mark(mark.to_mark(self.now).unwrap()));
    }

    /// The mark, then every worker enters its waiting call and sleeps, in order.
    pub fn scene(&mut self, variant: Variant, arrival: Arrival, workers: u32) -> &mut Script {
        self.variant = Some(variant);
        self.arrival = Some(arrival);
        self.workers = workers;
        self.made = 0;
        self.counts = vec![WorkerCount::default(); workers as usize];
        let mark = SceneMark {
            scene: self.scene,
            variant,
            arrival,
            workers: (0..workers)
                .map(|index| WorkerId {
                    pid: self.pid(index),
                    index,
                    account: None,
                })
                .collect(),
            client: CLIENT,
            port: PORT,
            connections: 0,
            burst: 1,
            accept_delay_ns: 0,
        };
        self.mark(HerdMark::Scene(mark));
        for index in 0..workers {
            let pid = self.pid(index);
            self.runs(pid).waits(pid);
        }
        self
    }

    pub fn pid(&self, index: u32) -> u32 {
        FIRST + 100 * self.scene + index
    }

    fn index(&self, pid: u32) -> usize {
        (pid - self.pid(0)) as usize
    }

    /// The call in which this variant waits.
    pub fn call(&self) -> u32 {
        match self.variant {
            Some(Variant::Accept) => calls::ACCEPT4,
            Some(Variant::PollAccept | Variant::Poll) => calls::POLL,
            Some(Variant::Select) => calls::SELECT,
            _ => calls::EPOLL_WAIT,
        }
    }

    pub fn enters(&mut self, pid: u32, nr: u32) -> &mut Script {
        self.event(
            Kind::SysEnter,
            pid,
            Body::SysEnter(SysEnter {
                nr,
                _pad: 0,
                args: [0; 4],
            }),
        );
        self
    }

    /// Enters its waiting call and sleeps there.
    pub fn waits(&mut self, pid: u32) -> &mut Script {
        let call = self.call();
        self.enters(pid, call).sleeps(pid)
    }

    pub fn switch(&mut self, prev: u32, next: u32, prev_state: u32, flags: u32) -> &mut Script {
        let watched = SWITCH_PREV_WATCHED | SWITCH_NEXT_WATCHED;
        self.event(
            Kind::Switch,
            prev,
            Body::Switch(Switch {
                prev,
                next,
                prev_state,
                flags: flags | watched,
            }),
        );
        self
    }

    pub fn sleeps(&mut self, pid: u32) -> &mut Script {
        self.switch(pid, 0, 1, 0)
    }

    pub fn runs(&mut self, pid: u32) -> &mut Script {
        self.switch(0, pid, 0, 0)
    }

    pub fn returns(&mut self, pid: u32, nr: u32, ret: i64) -> &mut Script {
        let worker = self.index(pid);
        if nr == self.call() {
            self.counts[worker].returns += 1;
        }
        let exit = SysExit {
            fd_port: PORT,
            fd_state: calls::LISTEN,
            ..exit(nr, ret)
        };
        self.event(Kind::SysExit, pid, Body::SysExit(exit));
        self
    }

    /// One connection: phase, mark, ESTABLISHED.
    pub fn connect(&mut self) -> Conn {
        self.phase += 1;
        self.connect_in_phase()
    }

    pub fn connect_in_phase(&mut self) -> Conn {
        self.ports += 1;
        let client_port = 40_000 + self.ports;
        let number = u64::from(self.ports);
        let sock = 0x5000_0000
            + 0x100
                * if self.reuse > 0 {
                    number % self.reuse
                } else {
                    number
                };
        if self.variant.is_some() {
            let mark = ConnectMark {
                scene: self.scene,
                index: self.made,
                phase: self.phase,
                client_port,
                connected_at: self.now + 5_000,
            };
            self.mark(HerdMark::Connect(mark));
        }
        self.made += 1;
        let conn = Conn { sock, client_port };
        self.established(conn);
        conn
    }

    pub fn established(&mut self, conn: Conn) {
        let state = SockState {
            sock: conn.sock,
            netns: 1,
            family: 2,
            old: 3,
            new: 1,
            local_port: PORT,
            remote_port: conn.client_port,
            _pad: 0,
            local_addr: [0; 16],
            remote_addr: [0; 16],
        };
        self.event(Kind::SockState, CLIENT, Body::SockState(state));
    }

    /// `sched_waking` with a stack, in the context of `current`.
    pub fn waking(
        &mut self,
        current: u32,
        target: u32,
        conn: u64,
        names: &[&str],
        flags: u32,
    ) -> &mut Script {
        let (depth, stack) = frames(names);
        let waking = Waking {
            target,
            flags,
            conn,
            depth,
            _pad: 0,
            stack,
        };
        self.event(Kind::Waking, current, Body::Waking(waking));
        self
    }

    pub fn wakeup(&mut self, target: u32) -> &mut Script {
        self.event(Kind::Wakeup, 0, Body::Wakeup(Wakeup { target, new: 0 }));
        self
    }

    /// Woken by the connection, in the client's softirq.
    pub fn woken(&mut self, target: u32, conn: Conn) -> &mut Script {
        self.waking(CLIENT, target, conn.sock, CHILD, 0)
            .wakeup(target)
    }

    pub fn accepts(&mut self, pid: u32, conn: Conn) -> &mut Script {
        let worker = self.index(pid);
        self.counts[worker].accepted += 1;
        self.counts[worker].ports.push(conn.client_port);
        if self.call() == calls::ACCEPT4 {
            self.counts[worker].returns += 1;
        }
        let exit = SysExit {
            fd_port: PORT,
            fd_state: calls::LISTEN,
            new_sock: conn.sock,
            new_local_port: PORT,
            new_remote_port: conn.client_port,
            ..exit(calls::ACCEPT4, 7)
        };
        self.event(Kind::SysExit, pid, Body::SysExit(exit));
        self
    }

    pub fn finds_nothing(&mut self, pid: u32) -> &mut Script {
        let worker = self.index(pid);
        self.counts[worker].eagain += 1;
        self.enters(pid, calls::ACCEPT4);
        let exit = SysExit {
            fd_port: PORT,
            fd_state: calls::LISTEN,
            ..exit(calls::ACCEPT4, calls::EAGAIN)
        };
        self.event(Kind::SysExit, pid, Body::SysExit(exit));
        self
    }

    /// A woken worker that gets the connection and waits again.
    pub fn wins(&mut self, pid: u32, conn: Conn) -> &mut Script {
        self.runs(pid);
        if self.call() != calls::ACCEPT4 {
            let call = self.call();
            self.returns(pid, call, 1).enters(pid, calls::ACCEPT4);
        }
        self.accepts(pid, conn).waits(pid)
    }

    /// A woken worker that comes too late and waits again.
    pub fn loses(&mut self, pid: u32) -> &mut Script {
        let call = self.call();
        if call == calls::ACCEPT4 {
            return self.looks(pid);
        }
        self.runs(pid)
            .returns(pid, call, 1)
            .finds_nothing(pid)
            .waits(pid)
    }

    /// A woken worker that looks, sees nothing and sleeps on inside the same call.
    pub fn looks(&mut self, pid: u32) -> &mut Script {
        self.runs(pid).sleeps(pid)
    }

    /// One connection that wakes these workers; the first of them gets it.
    pub fn herd(&mut self, woken: &[u32]) -> Conn {
        let conn = self.connect();
        for index in woken {
            self.woken(self.pid(*index), conn);
        }
        for (place, index) in woken.iter().enumerate() {
            let pid = self.pid(*index);
            if place == 0 {
                self.wins(pid, conn)
            } else {
                self.loses(pid)
            };
        }
        conn
    }

    pub fn registers(&mut self, pid: u32, operation: u64, events: u32) -> &mut Script {
        let mut call = exit(calls::EPOLL_CTL, 0);
        call.args[1] = operation;
        call.epoll_events = events;
        call.fd_port = PORT;
        call.fd_state = calls::LISTEN;
        self.enters(pid, calls::EPOLL_CTL);
        self.event(Kind::SysExit, pid, Body::SysExit(call));
        self
    }

    /// The scene's end with the workers' own counts.
    pub fn end(&mut self) -> &mut Script {
        let mark = SceneEndMark {
            scene: self.scene,
            made: u64::from(self.made),
            workers: self.counts.clone(),
            complete: self.complete,
        };
        self.mark(HerdMark::SceneEnd(mark));
        self.scene += 1;
        self
    }

    pub fn task(&mut self, pid: u32, comm: &str, syscall: Option<u32>) -> &mut Script {
        let comm = comm.to_owned();
        self.mark(HerdMark::Task(TaskMark {
            pid,
            tgid: pid,
            ppid: 1,
            comm,
            asleep: true,
            syscall,
        }));
        self
    }

    pub fn listener(&mut self, sockets: u32) -> &mut Script {
        self.mark(HerdMark::Listener(ListenerMark {
            port: PORT,
            sockets,
            address: "0.0.0.0".to_owned(),
        }));
        self
    }

    pub fn registration(&mut self, pid: u32, events: u32) -> &mut Script {
        self.mark(HerdMark::Registration(RegistrationMark {
            pid,
            port: PORT,
            events,
        }));
        self
    }

    pub fn forks(&mut self, parent: u32, child: u32, comm: &str) -> &mut Script {
        let mut name = [0; 16];
        name[..comm.len()].copy_from_slice(comm.as_bytes());
        let fork = Fork {
            parent,
            child,
            child_tgid: child,
            _pad: 0,
            comm: name,
        };
        self.event(Kind::Fork, parent, Body::Fork(fork));
        self
    }

    pub fn exits(&mut self, pid: u32) -> &mut Script {
        self.event(Kind::Exit, pid, Body::Exit(Exit { pid, tgid: pid }));
        self
    }

    /// A watch has no workers' own counts: room for pids from `FIRST` on.
    pub fn watch(workers: u32) -> Script {
        Script {
            counts: vec![WorkerCount::default(); workers as usize],
            ..Script::new()
        }
    }
}

fn exit(nr: u32, ret: i64) -> SysExit {
    SysExit {
        nr,
        epoll_events: 0,
        ret,
        args: [0; 4],
        fd_sock: 0x4000_0000,
        new_sock: 0,
        fd_port: 0,
        fd_state: 0,
        new_local_port: 0,
        new_remote_port: 0,
    }
}

pub fn context(trace: &str, mode: Mode) -> Context {
    Context {
        trace: trace.to_owned(),
        mode,
        options: serde_json::Value::Null,
        symbols: symbols(),
        attached: Vec::new(),
        enums: Default::default(),
        timeline: None,
    }
}

pub fn fold(context: &Context, items: &[Item], ending: &Ending) -> Outcome {
    let trace: &dyn Trace = find(&context.trace).unwrap();
    let mut fold = trace.fold(context);
    items.iter().for_each(|item| fold.item(item));
    fold.finish(ending)
}

pub fn lab(trace: &str, script: &Script) -> Outcome {
    fold(
        &context(trace, Mode::Lab),
        &script.items,
        &Ending::default(),
    )
}

pub fn watch(script: &Script) -> Outcome {
    fold(
        &context("epoll-herd", Mode::Watch),
        &script.items,
        &Ending::default(),
    )
}

pub fn finding<'a>(outcome: &'a Outcome, id: &str) -> &'a Finding {
    outcome
        .findings
        .iter()
        .find(|finding| finding.id == id)
        .unwrap()
}

pub fn result(outcome: &Outcome, id: &str) -> ClaimResult {
    finding(outcome, id).result
}

/// A cell of a table, by column key.
pub fn cell(outcome: &Outcome, table: &str, row: usize, key: &str) -> serde_json::Value {
    let table = outcome
        .ledger
        .tables
        .iter()
        .find(|its| its.id == table)
        .unwrap();
    let column = table
        .columns
        .iter()
        .position(|column| column.key == key)
        .unwrap();
    table.rows[row][column].clone()
}

//! What is measured beside what, and which ratios are wanted.

use std::path::Path;

use crate::inside::On;
use crate::load::Kind;
use crate::measure::{Contender, How};
use crate::tool::{Ready, Tool};

pub const EMPTY: &str = "empty program";

/// A ratio that is wanted: this contender, or what it adds to `less`, at most so many times that one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Goal {
    pub of: &'static str,
    pub less: Option<&'static str>,
    pub to: &'static str,
    pub most: f64,
}

#[derive(Debug)]
pub struct Plan {
    pub id: &'static str,
    pub title: &'static str,
    /// What must be known to read the numbers.
    pub remark: &'static str,
    pub load: Kind,
    pub contenders: Vec<Contender>,
    pub goals: Vec<Goal>,
}

const fn goal(of: &'static str, to: &'static str, most: f64) -> Goal {
    Goal {
        of,
        less: None,
        to,
        most,
    }
}

/// What one adds to the other.
const fn more(of: &'static str, less: &'static str, most: f64) -> Goal {
    Goal {
        of,
        less: Some(less),
        to: EMPTY,
        most,
    }
}

fn inside(name: &'static str, programs: &[On]) -> Contender {
    Contender {
        name,
        how: How::Inside(programs.to_vec(), 1),
        warm: 0,
    }
}

fn tool(name: &'static str, package: &'static str, line: &'static str, argv: &[&str]) -> Contender {
    let (program, args) = argv.split_first().unwrap_or((&name, &[]));
    Contender {
        name,
        how: How::Tool(Tool {
            program: program.into(),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            ready: Ready::Line(line),
            package,
            many_keys: false,
        }),
        warm: 0,
    }
}

/// A one-liner; its own first line comes from BEGIN, which runs when everything is attached.
fn bpftrace(name: &'static str, program: &str) -> Contender {
    let program = format!("BEGIN {{ printf(\"attached\\n\"); }} {program}");
    let argv = ["bpftrace", "-B", "line", "-e", &program];
    tool(name, "bpftrace", "attached\n", &argv).on_a_terminal()
}

impl Contender {
    /// A terminal ends its lines with a carriage return.
    fn on_a_terminal(mut self) -> Contender {
        if let How::Tool(tool) = &mut self.how {
            tool.ready = Ready::Line("attached\r\n");
        }
        self
    }

    /// With so many operations before it is measured, for the keys that they make.
    fn warm(mut self, operations: u64) -> Contender {
        self.warm = operations;
        if let How::Tool(tool) = &mut self.how {
            tool.many_keys = true;
        }
        self
    }
}

/// A trace of ours, watching; if there is such a trace.
fn ours(probes: &Path, name: &'static str, args: &[&str]) -> Contender {
    let trace = name.trim_start_matches("probes ");
    let known = probes_user::trace::TRACES.iter();
    if !known.map(|its| its.name()).any(|known| known == trace) {
        return Contender {
            name,
            how: How::None("there is no such trace yet"),
            warm: 0,
        };
    }
    let more = ["-d", "1h", "--ready-file"];
    let argv = std::iter::once(&trace).chain(args).chain(&more);
    Contender {
        name,
        how: How::Tool(Tool {
            program: probes.to_owned(),
            args: argv.map(|arg| (*arg).to_owned()).collect(),
            ready: Ready::File,
            package: "",
            many_keys: false,
        }),
        warm: 0,
    }
}

pub fn plans(probes: &Path) -> Vec<Plan> {
    vec![
        wakeups(probes),
        calls(),
        latencies(),
        events(),
        connections(probes),
        requests(probes),
        pages(probes),
    ]
}

fn wakeups(probes: &Path) -> Plan {
    const WAKEUP: On = On("empty", "sched_wakeup");
    const SWITCH: On = On("empty", "sched_switch");
    Plan {
        id: "wakeups",
        title: "Run-queue latency, for one wakeup and one switch",
        remark: "",
        load: Kind::Messages,
        contenders: vec![
            inside(EMPTY, &[WAKEUP, SWITCH]),
            ours(probes, "probes wakeups", &["-a", "--by", "cpu"]),
            tool("runqlat", "libbpf-tools", "Ctrl-C", &["runqlat"]),
            bpftrace(
                "bpftrace",
                "tracepoint:sched:sched_wakeup { @q[args->pid] = nsecs; } \
                 tracepoint:sched:sched_switch /@q[args->next_pid]/ { \
                 @ = hist(nsecs - @q[args->next_pid]); delete(@q[args->next_pid]); }",
            ),
        ],
        goals: vec![
            goal("probes wakeups", "runqlat", 0.6),
            goal("probes wakeups", EMPTY, 2.3),
        ],
    }
}

const ENTER: On = On("empty", "sys_enter");
const EXIT: On = On("empty", "sys_exit");
const COUNT: On = On("bench_count", "sys_enter");
const COUNTER: &str = "our counter";
const COUNTER_TWICE: &str = "our counter, one question more";
const COUNTERS: &str = "two counters";

fn calls() -> Plan {
    Plan {
        id: "calls",
        title: "Counting system calls by number",
        remark: "Ours is the building block: no trace counts every system call. \"One question more\" is \
                 the same program counting by family as well; \"two counters\" are two programs, which is \
                 what two tools at once are, ours or anybody's.",
        load: Kind::Calls,
        contenders: vec![
            inside(EMPTY, &[ENTER]),
            inside(COUNTER, &[COUNT]),
            inside(COUNTER_TWICE, &[On("bench_count_two", "sys_enter")]),
            inside(COUNTERS, &[COUNT, COUNT]),
            tool("syscount", "libbpf-tools", "Ctrl", &["syscount"]),
            tool(
                "syscount of bcc",
                "bpfcc-tools",
                "Ctrl",
                &["syscount-bpfcc"],
            ),
            bpftrace(
                "bpftrace",
                "tracepoint:raw_syscalls:sys_enter { @[args->id] = count(); }",
            ),
        ],
        goals: vec![
            goal(COUNTER, "syscount", 0.7),
            goal(COUNTER, EMPTY, 1.15),
            more(COUNTER_TWICE, COUNTER, 0.3),
            more(COUNTERS, COUNTER, 0.3),
        ],
    }
}

fn latencies() -> Plan {
    const BEGIN: On = On("bench_enter", "sys_enter");
    const END: On = On("bench_exit", "sys_exit");
    let ours = "our latency";
    Plan {
        id: "latencies",
        title: "Latency of system calls, as a histogram",
        remark: "Ours is the building block: a slot by task, a row by CPU.",
        load: Kind::Calls,
        contenders: vec![
            inside(EMPTY, &[ENTER, EXIT]),
            inside(ours, &[BEGIN, END]),
            tool("syscount -L", "libbpf-tools", "Ctrl", &["syscount", "-L"]),
            bpftrace(
                "bpftrace",
                "tracepoint:raw_syscalls:sys_enter { @s[tid] = nsecs; } \
                 tracepoint:raw_syscalls:sys_exit /@s[tid]/ { \
                 @ = hist(nsecs - @s[tid]); delete(@s[tid]); }",
            ),
        ],
        goals: vec![goal(ours, "syscount -L", 0.65), goal(ours, EMPTY, 2.5)],
    }
}

fn events() -> Plan {
    let ours = "our record of 64 bytes";
    Plan {
        id: "events",
        title: "A record of 64 bytes to user space, for one system call",
        remark: "Ours is the one emit path of all instruments; the ring is emptied between blocks.",
        load: Kind::Calls,
        contenders: vec![
            inside(EMPTY, &[ENTER]),
            inside(ours, &[On("bench_event", "sys_enter")]),
        ],
        goals: vec![goal(ours, EMPTY, 3.0)],
    }
}

fn connections(probes: &Path) -> Plan {
    let states = "tracepoint:sock:inet_sock_set_state";
    Plan {
        id: "connections",
        title: "States of TCP connections, for one connection made and closed at both ends",
        remark: "Ours follows everybody's sockets with their TIME_WAIT, timers and packets lost; the others \
                 one hook. The empty program is on that one hook.",
        load: Kind::Connects,
        contenders: vec![
            inside(EMPTY, &[On("empty", "inet_sock_set_state")]),
            ours(probes, "probes tcp-states", &["-a"]),
            tool("tcpstates", "libbpf-tools", "SKADDR", &["tcpstates"]),
            bpftrace(
                "bpftrace, counting",
                &format!("{states} {{ @[args->oldstate, args->newstate] = count(); }}"),
            ),
            bpftrace(
                "bpftrace, printing",
                &format!(
                    "{states} {{ printf(\"%d %d %d\\n\", pid, args->oldstate, args->newstate); }}"
                ),
            ),
        ],
        goals: vec![
            goal("probes tcp-states", "tcpstates", 0.1),
            goal("probes tcp-states", EMPTY, 8.0),
        ],
    }
}

fn requests(probes: &Path) -> Plan {
    const ISSUE: On = On("empty", "block_rq_issue");
    const COMPLETE: On = On("empty", "block_rq_complete");
    Plan {
        id: "requests",
        title: "Latency of block I/O, for one request",
        remark: "Ours also follows bios, merges and who made a page dirty.",
        load: Kind::Reads,
        contenders: vec![
            inside(EMPTY, &[ISSUE, COMPLETE]),
            ours(probes, "probes block-io", &["-a"]),
            tool("biolatency", "libbpf-tools", "Ctrl-C", &["biolatency"]),
            bpftrace(
                "bpftrace",
                "tracepoint:block:block_rq_issue { @s[args->dev, args->sector] = nsecs; } \
                 tracepoint:block:block_rq_complete /@s[args->dev, args->sector]/ { \
                 @ = hist(nsecs - @s[args->dev, args->sector]); delete(@s[args->dev, args->sector]); }",
            ),
        ],
        goals: vec![goal("probes block-io", "biolatency", 0.8)],
    }
}

fn pages(probes: &Path) -> Plan {
    let insert = "mm_filemap_add_to_page_cache";
    Plan {
        id: "pages",
        title: "Pages that come into the page cache, for one page written, and dropped again",
        remark: "Ours also follows look-ups, calls, faults, who dirties and what leaves; the others one hook.",
        load: Kind::Pages,
        contenders: vec![
            inside(EMPTY, &[On("empty", insert)]),
            ours(probes, "probes page-cache", &["-p", "{pid}"]),
            tool("cachestat", "libbpf-tools", "HITS", &["cachestat"]),
            bpftrace(
                "bpftrace",
                &format!("tracepoint:filemap:{insert} {{ @[args->i_ino] = count(); }}"),
            ),
        ],
        goals: Vec::new(),
    }
}

/// Counting by key, with so many keys.
pub fn by_keys(keys: u32) -> Vec<Contender> {
    let warm = u64::from(keys) * 3;
    let keyed = |name, program| Contender {
        name,
        how: How::Inside(vec![On(program, "sys_enter")], keys),
        warm,
    };
    let program =
        format!("tracepoint:raw_syscalls:sys_enter {{ @[(uint64)rand % {keys}] = count(); }}");
    vec![
        inside(EMPTY, &[ENTER]),
        keyed("our array by key", "bench_by_array"),
        keyed("our hash by key", "bench_by_hash"),
        bpftrace("bpftrace", &program).warm(warm),
    ]
}

/// Whose start is compared: ours, then the others that do the same.
pub fn starts(probes: &Path) -> Vec<(&'static str, Vec<Contender>)> {
    let of = |plan: Plan, wanted: &[&str]| -> Vec<Contender> {
        let all = plan.contenders.into_iter();
        all.filter(|its| wanted.contains(&its.name)).collect()
    };
    vec![
        (
            "TCP states",
            of(
                connections(probes),
                &["probes tcp-states", "tcpstates", "bpftrace, counting"],
            ),
        ),
        (
            "block I/O",
            of(
                requests(probes),
                &["probes block-io", "biolatency", "bpftrace"],
            ),
        ),
        (
            "run-queue latency",
            of(wakeups(probes), &["probes wakeups", "runqlat", "bpftrace"]),
        ),
    ]
}

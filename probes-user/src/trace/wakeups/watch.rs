//! The watch: how long tasks waited for a CPU and why, how long they ran and slept; and each delay that was long.

use probes_common::runqueue::{RunDelay, by, cause};
use serde_json::{Value, json};

use crate::evidence::Ledger;
use crate::evidence::ledger::Table;
use crate::instrument::blocks::{Times, text};
use crate::instrument::runqueue::{SchedRow, Scheduled};
use crate::stream::{Body, Item};
use crate::trace::{Context, Ending, Fold, Outcome};

/// Name of the mark that holds all that was counted so far.
pub const COUNTED: &str = "scheduled";
/// Rows of a table, and delays that are shown: the longest.
const TOP: usize = 20;
const SHOWN: usize = 200;

const CAUSES: [&str; cause::ALL] = ["migration", "idle exit", "busy CPU", "preempted"];

pub struct WatchFold {
    counted: Scheduled,
    by: u64,
    wants_slow: bool,
    slow: Vec<(u64, u32, RunDelay)>,
    dropped: u64,
}

impl WatchFold {
    pub fn new(context: &Context) -> WatchFold {
        let option = |name: &str| context.options.get(name).and_then(Value::as_u64);
        WatchFold {
            counted: Scheduled::default(),
            by: option("by").unwrap_or_default(),
            wants_slow: option("slower_ns").is_some(),
            slow: Vec::new(),
            dropped: 0,
        }
    }

    fn keep_longest(&mut self) {
        self.slow
            .sort_by_key(|(_, _, delay)| std::cmp::Reverse(delay.delay_ns));
        self.dropped += self.slow.len().saturating_sub(SHOWN) as u64;
        self.slow.truncate(SHOWN);
    }

    fn ledger(&self) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.tables.push(self.cpus());
        ledger.tables.push(self.causes());
        if self.by != u64::from(by::CPU) {
            ledger.tables.push(self.rows());
        }
        if self.wants_slow {
            ledger.tables.push(self.slow());
        }
        if self.counted.full > 0 {
            ledger.remarks.push(format!(
                "{} times found no row of their own: too many to keep apart",
                self.counted.full
            ));
        }
        if self.dropped > 0 {
            ledger
                .remarks
                .push(format!("{} shorter delays are not shown", self.dropped));
        }
        ledger
    }

    fn cpus(&self) -> Table {
        let mut table = with_times(
            "cpus",
            "Waiting for a CPU, running and asleep, by CPU",
            &[("cpu", "cpu")],
        );
        let mut all = SchedRow::default();
        for row in &self.counted.cpus {
            all.join(row);
            table.rows.push(filled(vec![json!(row.key[0])], row));
        }
        if self.counted.cpus.len() > 1 {
            table.rows.push(filled(vec![json!("all")], &all));
        }
        table
    }

    fn causes(&self) -> Table {
        let mut table = Table::new(
            "causes",
            "Delays by cause",
            &[
                ("cause", "cause"),
                ("delays_count", "delays"),
                ("delay_ns", "ns in all"),
                ("mean_ns", "ns mean"),
            ],
        );
        let mut all = SchedRow::default();
        self.counted.cpus.iter().for_each(|row| all.join(row));
        for (name, (count, ns)) in CAUSES.iter().zip(all.causes) {
            let mean = ns.checked_div(count);
            table
                .rows
                .push(vec![json!(name), json!(count), json!(ns), json!(mean)]);
        }
        table
    }

    fn rows(&self) -> Table {
        let named = self.by == u64::from(by::CGROUP);
        let (key, title) = match u32::try_from(self.by) {
            Ok(by::PID) => ("pid", "pid"),
            Ok(by::COMM) => ("comm", "command"),
            Ok(by::CGROUP) => ("cgroup", "cgroup"),
            _ => ("tgid", "process"),
        };
        let mut head = vec![(key, title)];
        if !named && key != "comm" {
            head.push(("comm", "command"));
        }
        let mut table = with_times("tasks", "The same by whom, the longest waits first", &head);
        let mut rows: Vec<&SchedRow> = self.counted.rows.iter().collect();
        rows.sort_by_key(|row| std::cmp::Reverse((row.delay.sum_ns, row.on_cpu.sum_ns)));
        for row in rows.iter().take(TOP) {
            let cells = match key {
                "comm" => vec![json!(row.comm)],
                "cgroup" => vec![json!(crate::watch::cgroup::path_of(row.key[0]))],
                _ => vec![json!(row.key[0]), json!(row.comm)],
            };
            table.rows.push(filled(cells, row));
        }
        if rows.len() > TOP {
            table.title = format!("{} (the first {TOP} of {})", table.title, rows.len());
        }
        table
    }

    fn slow(&self) -> Table {
        let mut table = Table::new(
            "slow",
            "Long delays",
            &[
                ("at_ns", "at ns"),
                ("cpu", "cpu"),
                ("pid", "pid"),
                ("comm", "command"),
                ("delay_us", "µs"),
                ("cause", "cause"),
                ("before_pid", "before it"),
                ("before_comm", "command"),
            ],
        );
        let mut slow: Vec<_> = self.slow.iter().collect();
        slow.sort_by_key(|(at, ..)| *at);
        for (at, cpu, delay) in slow {
            table.rows.push(vec![
                json!(at),
                json!(cpu),
                json!(delay.pid),
                json!(text(&delay.comm)),
                json!(delay.delay_ns as f64 / 1000.0),
                json!(CAUSES.get(delay.cause as usize)),
                json!(delay.prev),
                json!(text(&delay.prev_comm)),
            ]);
        }
        table
    }
}

const TIMES: [(&str, &str); 10] = [
    ("delays_count", "delays"),
    ("delay_p50_us", "p50 µs"),
    ("delay_p90_us", "p90"),
    ("delay_p99_us", "p99"),
    ("delay_max_us", "max"),
    ("delay_ns", "waited ns"),
    ("runs_count", "runs"),
    ("on_cpu_ns", "ran ns"),
    ("sleeps_count", "sleeps"),
    ("asleep_ns", "slept ns"),
];

fn with_times(id: &str, title: &str, head: &[(&str, &str)]) -> Table {
    let columns: Vec<(&str, &str)> = head.iter().chain(&TIMES).copied().collect();
    Table::new(id, title, &columns)
}

fn filled(mut cells: Vec<Value>, row: &SchedRow) -> Vec<Value> {
    let delay: &Times = &row.delay;
    cells.push(json!(delay.count()));
    cells.extend([50, 90, 99].map(|percent| json!(delay.percentile_us(percent))));
    cells.push(json!((delay.count() > 0).then_some(delay.max_ns / 1000)));
    cells.push(json!(delay.sum_ns));
    cells.extend([json!(row.on_cpu.count()), json!(row.on_cpu.sum_ns)]);
    cells.extend([json!(row.asleep.count()), json!(row.asleep.sum_ns)]);
    cells
}

impl Fold for WatchFold {
    fn item(&mut self, item: &Item) {
        match item {
            Item::Mark(mark) if mark.name == COUNTED => {
                if let Ok(counted) = serde_json::from_value(mark.data.clone()) {
                    self.counted = counted;
                }
            }
            Item::Event(event) => {
                if let Body::RunDelay(delay) = &event.body {
                    self.slow
                        .push((event.header.ktime, event.header.cpu, *delay));
                    if self.slow.len() >= SHOWN * 2 {
                        self.keep_longest();
                    }
                }
            }
            Item::Mark(_) => {}
        }
    }

    fn interim(&self) -> Ledger {
        self.ledger()
    }

    fn finish(mut self: Box<Self>, _: &Ending) -> Outcome {
        self.keep_longest();
        Outcome {
            findings: Vec::new(),
            ledger: self.ledger(),
        }
    }
}

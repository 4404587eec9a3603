//! wakeups: what a hand-off costs and where a delay comes from, beside the kernel's own counts.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::context::{Ctx, Outcome};
use crate::harness::noise::Noise;
use crate::harness::report::{Report, Row, sum};
use crate::harness::wait;
use crate::harness::watch::Watch;

const CLAIMS: [&str; 2] = ["wakeups/switch-cost", "wakeups/chain"];
const HAND_OFFS: u64 = 200;
/// Of the three chains, with two hops each.
const CHAINS: u64 = 90;
/// Each task of `chain-busy` keeps the CPU so long after it has woken the next.
const HOLD_US: f64 = 300.0;

pub fn a_hand_off_costs_two_switches_and_chains_are_found_with_their_causes(ctx: &Ctx) -> Outcome {
    settled(ctx);
    Outcome::Pass
}

pub fn beside_noise_a_hand_off_costs_the_same(ctx: &Ctx) -> Outcome {
    let mut noise = Noise::start();
    settled(ctx);
    noise.assert_alive();
    Outcome::Pass
}

fn settled(ctx: &Ctx) {
    let report = ctx.settle(["wakeups"]);
    report.show();
    assert_eq!(report.assert_settled().code, 0);
    report.assert_nothing_lost();
    for claim in CLAIMS {
        let found = report.claim(claim);
        assert_eq!(found["result"], "holds", "{found}");
    }
    let chains = &report.claim("wakeups/chain")["numbers"];
    assert_eq!(chains["chains_right_count"], CHAINS, "{chains}");
    hand_offs_are_two_switches(&report);
    delays_have_their_causes(&report);
    the_kernel_counted_the_same(&report);
}

fn of_case(report: &Report, table: &str, case: &str) -> Vec<Row> {
    let rows = report.rows(table).into_iter();
    rows.filter(|row| row.text("case") == case).collect()
}

fn hand_offs_are_two_switches(report: &Report) {
    for case in ["pipe", "futex"] {
        let rows = of_case(report, "hand_offs", case);
        let [row] = rows.as_slice() else {
            panic!("{case}: {rows:?}");
        };
        assert_eq!(row.count("handoffs_count"), HAND_OFFS, "{row:?}");
        let undisturbed = row.count("undisturbed_count");
        assert!(undisturbed * 2 >= HAND_OFFS, "{row:?}");
        assert_eq!(row.count("switches_count"), 2 * undisturbed, "{row:?}");
        assert_eq!(row.count("sleeps_count"), 2 * undisturbed, "{row:?}");
    }
}

fn delays_have_their_causes(report: &Report) {
    let by = |case: &str, cause: &str| {
        let rows = of_case(report, "delays", case);
        rows.into_iter().find(|row| row.text("cause") == cause)
    };
    let busy = by("chain-busy", "busy with the waker").expect("delays behind the waker");
    assert!(busy.number("p50_us") * 8.0 / 7.0 >= HOLD_US, "{busy:?}");
    assert!(by("chain-moved", "migration").is_some());
    assert!(by("chain-apart", "migration").is_none());
}

/// Its own switches of each task, and of its run delay about as much: its clock is another one.
fn the_kernel_counted_the_same(report: &Report) {
    let rows = report.rows("tasks");
    assert!(!rows.is_empty());
    for row in rows {
        let pair = |seen: &str| (row.count(seen), row.count(&format!("kernel_{seen}")));
        let (seen, counted) = pair("voluntary_count");
        if row.text("case") != "sleep" {
            assert_eq!(seen, counted, "{row:?}");
        }
        // The first is woken by timers and preempts at once: there the kernel's clock stands still.
        let waits = row.text("case") == "chain-busy" && row.text("task") != "wake-a";
        if waits && row.known("kernel_run_delay_ns").is_some() {
            let (seen, counted) = pair("run_delay_ns");
            assert!(seen <= 2 * counted && counted <= 2 * seen, "{row:?}");
        }
    }
}

/// CPU time that each of two threads on one CPU uses up, so that both wait for each other.
const WORK: Duration = Duration::from_millis(40);
const SLOWER_US: f64 = 1000.0;
/// Some hypervisors hide a timer's interrupt, and a switch in it, from all probes: then it is tried again.
const TRIES: usize = 5;

/// What the kernel itself has counted of a thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Schedstat {
    on_cpu_ns: u64,
    run_delay_ns: u64,
    runs: u64,
}

impl Schedstat {
    fn of(tid: u32) -> Schedstat {
        let path = format!("/proc/self/task/{tid}/schedstat");
        let text = std::fs::read_to_string(path).expect("schedstat");
        let mut fields = text
            .split_whitespace()
            .map(|field| field.parse().expect("a number"));
        let mut next = || fields.next().expect("three numbers");
        Schedstat {
            on_cpu_ns: next(),
            run_delay_ns: next(),
            runs: next(),
        }
    }

    /// Of a thread that is asleep: it stays what it is.
    fn settled(tid: u32) -> Schedstat {
        let sleeps = || {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).ok()?;
            stat.rsplit_once(") ")?.1.starts_with('S').then_some(())
        };
        wait::until("the thread to sleep", sleeps);
        let mut last = Schedstat::of(tid);
        wait::until("its account to be still", || {
            let now = Schedstat::of(tid);
            (std::mem::replace(&mut last, now) == now).then_some(now)
        })
    }
}

/// Works once it is told to, and says so before and after.
fn worker(cpu: usize, told: &Receiver<()>, tell: &Sender<u32>) {
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).expect("one CPU");
    let tid = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    tell.send(tid).expect("somebody who listens");
    told.recv().expect("a word");
    let used = || {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.cast_unsigned(),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        )
    };
    let end = used() + WORK;
    while used() < end {
        std::hint::spin_loop();
    }
    tell.send(tid).expect("somebody who listens");
    // Asleep until the report is there.
    let _gone = told.recv();
}

/// A watch of two threads that compete, and by how much the kernel's own count of each grew meanwhile.
fn watch_competitors(ctx: &Ctx) -> (Report, Vec<(u32, Schedstat)>) {
    let allowed = sched_getaffinity(None).expect("the allowed CPUs");
    let cpu = (0..CpuSet::MAX_CPU).rfind(|cpu| allowed.is_set(*cpu));
    let cpu = cpu.expect("a CPU");
    std::thread::scope(|scope| {
        let (tell, tids) = channel();
        let words: Vec<Sender<()>> = (0..2)
            .map(|_| {
                let (word, told) = channel();
                let tell = tell.clone();
                scope.spawn(move || worker(cpu, &told, &tell));
                word
            })
            .collect();
        let two = || [(); 2].map(|()| tids.recv().expect("a worker"));
        let workers = two();
        let before = workers.map(Schedstat::settled);
        let pid = std::process::id().to_string();
        let watch = Watch::of(
            ctx,
            "wakeups",
            &["-p", &pid, "--by", "pid", "--slower", "1ms", "--wakers"],
        );
        words
            .iter()
            .for_each(|word| word.send(()).expect("a worker"));
        two();
        let grown = workers.into_iter().zip(before).map(|(tid, before)| {
            let after = Schedstat::settled(tid);
            let its = Schedstat {
                on_cpu_ns: after.on_cpu_ns - before.on_cpu_ns,
                run_delay_ns: after.run_delay_ns - before.run_delay_ns,
                runs: after.runs - before.runs,
            };
            (tid, its)
        });
        let grown: Vec<(u32, Schedstat)> = grown.collect();
        (watch.finish(), grown)
    })
}

fn row_of(report: &Report, tid: u32) -> Option<Row> {
    let rows = report.rows("tasks").into_iter();
    rows.into_iter()
        .find(|row| row.count("pid") == u64::from(tid))
}

pub fn a_watch_counts_waits_and_runs_as_the_kernel_does(ctx: &Ctx) -> Outcome {
    let whole = |(report, grown): &(Report, Vec<(u32, Schedstat)>)| {
        let same = |(tid, its): &(u32, Schedstat)| {
            row_of(report, *tid).is_some_and(|row| {
                let seen = [row.count("runs_count"), row.count("delays_count")];
                seen == [its.runs; 2]
            })
        };
        grown.iter().all(same)
    };
    let mut tries = std::iter::repeat_with(|| watch_competitors(ctx)).take(TRIES);
    let (report, grown) = tries
        .find(whole)
        .expect("each run of both, counted by the kernel as by the watch");
    let near = |seen: u64, counted: u64| seen.abs_diff(counted) <= counted / 4 + 1_000_000;
    for (tid, its) in &grown {
        let row = row_of(&report, *tid).expect("a row");
        assert!(
            near(row.count("delay_ns"), its.run_delay_ns),
            "{row:?} {its:?}"
        );
        assert!(
            near(row.count("on_cpu_ns"), its.on_cpu_ns),
            "{row:?} {its:?}"
        );
    }
    let tids: Vec<u64> = grown.iter().map(|(tid, _)| u64::from(*tid)).collect();
    let slow = report.rows("slow");
    assert!(
        slow.iter().any(|row| tids.contains(&row.count("pid"))),
        "{slow:?}"
    );
    for row in &slow {
        assert!(row.number("delay_us") >= SLOWER_US, "{row:?}");
    }
    // Each was told to begin by this thread, by futex.
    let us = rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .cast_unsigned();
    let wakes = report.rows("wakes");
    for tid in &tids {
        let ours = wakes.iter().any(|row| {
            row.known("waker_pid") == Some(u64::from(us))
                && row.text("by") == "futex"
                && row.count("target_pid") == *tid
        });
        assert!(ours, "who woke {tid}: {wakes:?}");
    }
    // Every delay has a row, a CPU and a cause.
    let all = sum(&report.rows("tasks"), "delays_count");
    assert_eq!(sum(&report.rows("causes"), "delays_count"), all);
    let cpus = report.rows("cpus").into_iter();
    let each: Vec<Row> = cpus.filter(|row| row.known("cpu").is_some()).collect();
    assert_eq!(sum(&each, "delays_count"), all);
    Outcome::Pass
}

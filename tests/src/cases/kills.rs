//! SIGKILL at random moments leaves nothing: no BPF object, namespace, cgroup, mount, process, socket, file.

use std::time::{Duration, Instant};

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::inventory::Inventory;
use crate::harness::probes::{Probes, Running};
use crate::harness::server::Server;
use crate::harness::{procs, sandbox, wait};
use rustix::process::Signal;

/// Kernel objects are freed after grace periods, and others may use BPF beside us: until they are gone.
const SETTLING: Duration = Duration::from_secs(120);

pub fn kills_in_mid_lab_leave_nothing(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    kill(ctx, if ctx.on_host() { 70 } else { 7 }, &|own| {
        ctx.probes(["epoll-herd", "--connections", "5", "--record"])
            .arg(own.join("run.probes"))
    });
    Outcome::Pass
}

/// Loop devices clear themselves, mounts and groups go.
pub fn kills_in_mid_disk_lab_leave_nothing(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    kill(ctx, if ctx.on_host() { 20 } else { 4 }, &|_| {
        ctx.probes(["block-io", "--size", "4"])
    });
    Outcome::Pass
}

pub fn kills_in_mid_watch_leave_nothing(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(2, false);
    let pid = server.pid().to_string();
    kill(ctx, if ctx.on_host() { 20 } else { 3 }, &|_| {
        ctx.probes(["epoll-herd", "-d", "1s", "-p", &pid])
    });
    Outcome::Pass
}

pub fn kills_of_a_watched_command_leave_nothing(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let words = crate::harness::server::words(2, false);
    kill(ctx, if ctx.on_host() { 10 } else { 3 }, &|_| {
        let probes = ctx.probes(["epoll-herd", "-d", "1s", "--"]);
        words.iter().fold(probes, |probes, word| probes.arg(word))
    });
    Outcome::Pass
}

/// The program works in a folder of its own; what stays there is what it was told to write.
fn kill(ctx: &Ctx, times: u32, make: &dyn Fn(&Dir) -> Probes) {
    // Orphans become ours, so that none can hide.
    let adopted = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    assert!(adopted.is_ok(), "{adopted:?}");
    let alone = !ctx.on_host();
    let own = Dir::new();
    own.write("run.probes", "");
    let blank = settled_inventory(&own, alone);
    let whole = Instant::now();
    let mut first = make(&own).start();
    seen_at_work(&own, alone, &blank, &mut first);
    let code = first.wait().code();
    assert!(code == 0, "an undisturbed run ends with {code}");
    let whole = whole.elapsed();
    reap();
    let before = settled_inventory(&own, alone);
    let mut random = Random::seeded();
    println!(
        "{times} kills on {} within {whole:?}, seed {}",
        ctx.kernel, random.0
    );
    let mut in_time = 0;
    for _ in 0..times {
        let moment = whole.mul_f64(random.next() * 1.05);
        let mut running = make(&own).start();
        // Not a wait for anything: the moment of the kill is what is drawn.
        std::thread::sleep(moment);
        in_time += u32::from(!running.ended());
        let _ended_before = procs::signal(running.pid(), Signal::KILL);
        let _status = running.wait();
    }
    println!("{in_time} of {times} were still running");
    assert!(
        in_time >= times / 2,
        "only {in_time} of {times} kills met a running program"
    );
    let left = wait::within(SETTLING, || {
        reap();
        Inventory::take(own.path(), alone)
            .beyond(&before)
            .is_empty()
            .then_some(())
    });
    let beyond = Inventory::take(own.path(), alone).beyond(&before);
    assert!(
        left.is_some(),
        "left behind after {times} kills: {beyond:#?}"
    );
}

/// What is to be gone afterwards must be seen while it is there, or its absence would say nothing.
fn seen_at_work(own: &Dir, alone: bool, before: &Inventory, running: &mut Running) {
    wait::until("the running program in the inventory", || {
        assert!(
            !running.ended(),
            "it has ended before it was seen: {}",
            running.stderr()
        );
        let now = Inventory::take(own.path(), alone).beyond(before);
        let seen = |kind: &str| now.iter().any(|thing| thing.starts_with(kind));
        ["BPF program", "BPF map", "process"]
            .iter()
            .all(|kind| seen(kind))
            .then_some(())
    });
}

/// What there was before, once the undisturbed run's own objects are freed.
fn settled_inventory(own: &Dir, alone: bool) -> Inventory {
    let mut last = Inventory::take(own.path(), alone);
    let same = wait::within(SETTLING, || {
        let now = Inventory::take(own.path(), alone);
        let same = now == last;
        last = now.clone();
        same.then_some(now)
    });
    same.unwrap_or(last)
}

fn reap() {
    while let Ok(Some(_)) = rustix::process::wait(rustix::process::WaitOptions::NOHANG) {}
}

/// xorshift64*; the seed is printed, so that a failing run can be told from another.
struct Random(u64);

impl Random {
    fn seeded() -> Random {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Random(now.map_or(1, |now| now.as_nanos() as u64) | 1)
    }

    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1_u64 << 53) as f64
    }
}

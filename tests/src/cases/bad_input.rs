//! Bad input, missing rights, missing types: one clear message and the documented exit code.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::probes::Probes;
use crate::harness::procs;
use crate::harness::sandbox;
use crate::harness::server::Server;
use crate::harness::watch::Watch;

/// A copy of the program that anybody may run.
#[derive(Debug)]
pub struct Copy {
    path: PathBuf,
    _dir: Dir,
}

impl Copy {
    pub fn of(ctx: &Ctx) -> Copy {
        let dir = Dir::new();
        let path = dir.join("probes");
        std::fs::copy(&ctx.probes, &path).expect("a copy of the program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))
            .expect("its rights");
        Copy { path, _dir: dir }
    }

    pub fn probes<'a>(&self, words: impl IntoIterator<Item = &'a str>) -> Probes {
        Probes::at(&self.path, words)
    }
}

/// A pid that nobody has: the highest one is given out last.
fn nobodys_pid() -> String {
    let max = std::fs::read_to_string("/proc/sys/kernel/pid_max").expect("the highest pid");
    let max: u32 = max.trim().parse().expect("a number");
    let free = (1..max)
        .rev()
        .find(|pid| procs::read(*pid).is_none())
        .expect("a free pid");
    free.to_string()
}

pub fn wrong_words_exit_with_2(ctx: &Ctx) -> Outcome {
    let free = nobodys_pid();
    let cases: &[(&[&str], &[&str])] = &[
        (&["no-such-trace"], &["no-such-trace"]),
        (&["epoll-herd", "--no-such-option"], &["--no-such-option"]),
        (&["epoll-herd", "-p", &free], &[&free]),
        (&["epoll-herd", "-p", "not-a-pid"], &["not-a-pid"]),
        (&["epoll-herd", "-p", "0"], &["0"]),
        (
            &["epoll-herd", "-c", "/no/such/cgroup"],
            &["/no/such/cgroup"],
        ),
        (
            &["epoll-herd", "--workers", "4", "-p", "1"],
            &["lab", "target"],
        ),
        (&["epoll-herd", "-n", "nginx", "-p", "1"], &["-p", "--comm"]),
        (&["epoll-herd", "-d", "10s"], &["-d"]),
        (&["epoll-herd", "--workers", "1"], &["1 workers", "2 to"]),
        (&["epoll-herd", "--connections", "0"], &["at least 1"]),
        (&["epoll-herd", "--variant", "no-such-scene"], &["scene"]),
        (
            &["epoll-herd", "--without", "no_such_hook"],
            &["no_such_hook"],
        ),
        (
            &["epoll-herd", "--without", "sched_waking:uprobe"],
            &["uprobe"],
        ),
        (
            &["epoll-herd", "--", "/no/such/command"],
            &["/no/such/command"],
        ),
        (&["check", "--only", "no-such-claim"], &["no-such-claim"]),
        (&["check", "--expect", "/no/such/file"], &["/no/such/file"]),
        (&["check", "--without", "no_such_hook"], &["no_such_hook"]),
        (&["matrix", "/no/such/file"], &["/no/such/file"]),
        (
            &["matrix", "/proc/version"],
            &["/proc/version", "check --json"],
        ),
        (&["replay", "/no/such/file"], &["/no/such/file"]),
    ];
    let mut wrong = Vec::new();
    for (words, said) in cases {
        let run = ctx.probes(words.iter().copied()).run();
        let told = said
            .iter()
            .all(|part| run.stderr.to_lowercase().contains(&part.to_lowercase()));
        if run.code() != 2 || !told || run.stderr.contains("panicked") || !run.stdout.is_empty() {
            wrong.push(format!(
                "{words:?}: code {}, said {:?}",
                run.code(),
                run.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Outcome::Pass
}

pub fn without_root_it_cannot_run(ctx: &Ctx) -> Outcome {
    let copy = Copy::of(ctx);
    for words in [
        vec!["epoll-herd"],
        vec!["accept-herd", "-p", "1"],
        vec!["check"],
    ] {
        let run = copy
            .probes(words)
            .by_nobody()
            .run()
            .expect(3)
            .says(&["root"]);
        assert!(
            run.stderr.lines().count() <= 3,
            "one message: {}",
            run.stderr
        );
    }
    let doctor = copy.probes(["doctor"]).by_nobody().run().expect(3);
    assert!(
        doctor.stdout.contains("FAIL") && doctor.stdout.contains('→'),
        "{}",
        doctor.stdout
    );
    Outcome::Pass
}

pub fn without_btf_it_cannot_run(ctx: &Ctx) -> Outcome {
    let empty = Dir::new();
    sandbox::own_mounts();
    sandbox::bind(empty.path(), Path::new("/sys/kernel/btf"));
    let run = ctx.probes(["epoll-herd"]).run().expect(3).says(&["btf"]);
    assert!(
        run.stderr.lines().count() <= 3,
        "one message: {}",
        run.stderr
    );
    let doctor = ctx.probes(["doctor"]).run().expect(3);
    assert!(doctor.stdout.contains("FAIL"), "{}", doctor.stdout);
    Outcome::Pass
}

pub fn a_target_that_ends_gives_its_report(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(2, false);
    let watch = Watch::start(ctx, &["-p", &server.pid().to_string()]);
    drop(server);
    let report = watch.await_end().expect(0).report();
    assert_eq!(report.document["mode"], "watch");
    assert_eq!(report.document["interrupted"], false);
    Outcome::Pass
}

pub fn ctrl_c_in_mid_lab_prints_what_is_known(ctx: &Ctx) -> Outcome {
    let mut running = ctx
        .probes(["epoll-herd", "--connections", "5000", "--json"])
        .start();
    running.await_worker_at_work();
    running.signal(Signal::INT);
    let report = running.wait().expect(130).report();
    assert_eq!(report.document["interrupted"], true);
    assert!(
        report
            .claims()
            .iter()
            .all(|claim| claim["result"] == "inconclusive"),
        "{:?}",
        report.results()
    );
    Outcome::Pass
}

pub fn ctrl_c_as_text_prints_what_is_known(ctx: &Ctx) -> Outcome {
    let mut running = ctx.probes(["accept-herd", "--connections", "5000"]).start();
    running.await_worker_at_work();
    running.signal(Signal::TERM);
    let run = running.wait().expect(130);
    assert!(run.stdout.contains("interrupted"), "{}", run.stdout);
    Outcome::Pass
}

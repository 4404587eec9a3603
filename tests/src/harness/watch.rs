//! A watch that is under way: attached before the load, ended by Ctrl-C after it.

use rustix::process::Signal;

use super::dir::Dir;
use super::probes::{Probes, Running};
use super::report::Report;
use super::wait;
use crate::context::Ctx;

#[derive(Debug)]
pub struct Watch {
    running: Running,
    _dir: Dir,
}

impl Watch {
    /// Returns when everything is attached.
    pub fn start(ctx: &Ctx, target: &[&str]) -> Watch {
        Watch::command(ctx, target, &[])
    }

    /// By another trace than epoll-herd.
    pub fn of(ctx: &Ctx, trace: &str, target: &[&str]) -> Watch {
        Watch::begin(ctx, trace, target, &[])
    }

    /// With a command to run and watch, after `--`.
    pub fn command(ctx: &Ctx, target: &[&str], command: &[String]) -> Watch {
        Watch::begin(ctx, "epoll-herd", target, command)
    }

    fn begin(ctx: &Ctx, trace: &str, target: &[&str], command: &[String]) -> Watch {
        let dir = Dir::new();
        let ready = dir.join("ready");
        let mut probes: Probes = ctx.probes([trace, "--json", "--ready-file"]).arg(&ready);
        for word in target {
            probes = probes.arg(word);
        }
        if !command.is_empty() {
            probes = probes.arg("--");
        }
        for word in command {
            probes = probes.arg(word);
        }
        let mut running = probes.start();
        wait::until("the watch to be attached", || {
            assert!(
                !running.ended(),
                "the watch has ended: {}",
                running.stderr()
            );
            ready.exists().then_some(())
        });
        Watch { running, _dir: dir }
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Ctrl-C; the report must be whole.
    pub fn finish(self) -> Report {
        let report = self.finish_quietly();
        report.show();
        assert_eq!(
            report.document["interrupted"], true,
            "a watch that was ended by Ctrl-C"
        );
        report.assert_nothing_lost();
        report
    }

    /// The same, with too much in it to be shown, or with losses that are the test's matter.
    pub fn finish_quietly(self) -> Report {
        self.running.signal(Signal::INT);
        self.running.wait().expect(130).report()
    }

    /// Ends by itself.
    pub fn await_end(self) -> super::probes::Run {
        self.running.wait()
    }
}

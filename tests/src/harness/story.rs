//! What a command does that `--drop` operates on (a hidden mode of this program): nginx and curl, or just a look.

use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

use rustix::process::Signal;

use super::procs::{self, Guard};
use super::{nginx, wait};

pub const MODE: &str = "__story";

/// The words that run it: nginx with this setting, curl until one request and four more are answered, then the
/// network namespace's counters into `counters`.
pub fn nginx_and_curl(config: &Path, errors: &Path, counters: &Path) -> Vec<String> {
    words("serve", &[config, errors, counters])
}

/// The same for a command that only writes which network namespace it is in.
pub fn where_it_is(to: &Path) -> Vec<String> {
    words("where", &[to])
}

fn words(what: &str, paths: &[&Path]) -> Vec<String> {
    let program = std::env::current_exe().expect("our own program");
    let mut words = vec![
        program.display().to_string(),
        MODE.to_owned(),
        what.to_owned(),
    ];
    words.extend(paths.iter().map(|path| path.display().to_string()));
    words
}

pub fn main(args: impl Iterator<Item = String>) -> ExitCode {
    let _dies_too = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let args: Vec<String> = args.collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words[..] {
        ["serve", config, errors, counters] => serve(config, errors, counters),
        ["where", to] => {
            let own = std::fs::read_link("/proc/self/ns/net").expect("our namespace");
            std::fs::write(to, own.display().to_string()).expect("a line");
        }
        _ => return ExitCode::FAILURE,
    }
    ExitCode::SUCCESS
}

fn serve(config: &str, errors: &str, counters: &str) {
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .args(["-c", config, "-e", errors])
        .stdin(Stdio::null());
    let mut nginx = Guard::new("nginx", command.spawn().expect("nginx"));
    wait::until("nginx to answer", || curl("").then_some(()));
    assert!(curl("[1-4]"), "four answers");
    // FIN_WAIT1, CLOSE_WAIT, LAST_ACK and CLOSING are over when every FIN is acknowledged.
    wait::until("every FIN to be acknowledged", || {
        let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the sockets");
        let mut states = table
            .lines()
            .filter_map(|line| line.split_whitespace().nth(3));
        let done = states.all(|state| !["04", "08", "09", "0B"].contains(&state));
        done.then_some(())
    });
    std::fs::copy("/proc/self/net/snmp", counters).expect("the counters");
    procs::signal(nginx.pid(), Signal::TERM);
    nginx.await_end(wait::BUDGET).expect("nginx's end");
}

/// One request after the other, each a connection of its own.
fn curl(path: &str) -> bool {
    let status = Command::new("curl")
        .args(["--silent", "--fail", "--header", "Connection: close"])
        .args(["--output", "/dev/null"])
        .arg(format!("http://127.0.0.1:{}/{path}", nginx::PORT))
        .stdin(Stdio::null())
        .status();
    status.expect("curl, which must be installed").success()
}

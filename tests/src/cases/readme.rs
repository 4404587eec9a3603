//! What the README tells people to type works as it stands there.

use crate::context::{Ctx, Outcome};
use crate::harness::dir::Dir;
use crate::harness::sandbox;
use crate::harness::server::Server;

const README: &str = include_str!("../../../README.md");
const SOMEBODYS_PID: &str = "\"$(pgrep -o nginx)\"";

/// The command lines of its fenced blocks that call the program, without `sudo`, prompt and remarks.
fn commands() -> Vec<String> {
    let mut fenced = false;
    let mut found = Vec::new();
    for line in README.lines() {
        if line.starts_with("```") {
            fenced = !fenced;
            continue;
        }
        let line = line
            .split(" #")
            .next()
            .unwrap_or(line)
            .trim_start_matches("$ ");
        let parts = line
            .split("&&")
            .map(|part| part.trim().trim_start_matches("sudo ").trim());
        let calls = parts.filter_map(|part| part.strip_prefix("probes "));
        found.extend(calls.filter(|_| fenced).map(str::to_owned));
    }
    found
}

pub fn its_commands_work(ctx: &Ctx) -> Outcome {
    sandbox::own_network();
    let server = Server::start(2, false);
    let pid = server.pid().to_string();
    let dir = Dir::new();
    std::env::set_current_dir(dir.path()).expect("our own folder");
    let commands = commands();
    assert!(commands.len() >= 5, "{commands:?}");
    for command in commands {
        let command = command
            .replace(SOMEBODYS_PID, &pid)
            .replace("PID", &pid)
            .replace("CMD", &format!("{} list", ctx.probes.display()))
            .replace('\'', "")
            .replace("10s", "300ms");
        let mut words: Vec<&str> = command.split_whitespace().collect();
        let watches = words.contains(&"-p") || words.contains(&"-a");
        if watches && !words.contains(&"-d") {
            words.extend(["-d", "1500ms"]);
        }
        let run = ctx.probes(words).run().expect(0);
        assert!(!run.stdout.is_empty(), "{command}");
    }
    Outcome::Pass
}

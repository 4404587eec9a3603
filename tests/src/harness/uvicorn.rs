//! Debian's uvicorn: processes that share an inherited listener, each with an event loop of its own.

use std::process::{Command, Stdio};

use super::dir::Dir;
use super::procs::{self, Guard};
use super::server::{self, Registered};
use super::wait;

pub const PORT: u16 = 8081;
const APP: &str = r#"
HEADERS = [(b"content-length", b"3"), (b"connection", b"close")]

async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"ok\n"})
"#;

#[derive(Debug)]
pub struct Uvicorn {
    guard: Guard,
    _dir: Dir,
    pub workers: Vec<u32>,
}

impl Uvicorn {
    /// Returns when every worker waits for connections.
    pub fn start(workers: usize) -> Uvicorn {
        let dir = Dir::new();
        dir.write("app.py", APP);
        let mut command = Command::new("/usr/bin/python3");
        command.args([
            "-B",
            "-m",
            "uvicorn",
            "app:app",
            "--lifespan",
            "off",
            "--no-access-log",
        ]);
        command.args([
            "--log-level",
            "warning",
            "--loop",
            "asyncio",
            "--port",
            &PORT.to_string(),
        ]);
        command
            .args(["--workers", &workers.to_string()])
            .current_dir(dir.path())
            .stdin(Stdio::null());
        // Another Python's settings must not lead away from the distribution's.
        for name in ["PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"] {
            command.env_remove(name);
        }
        let child = command
            .spawn()
            .expect("/usr/bin/python3, which must be installed");
        let mut guard = Guard::new("uvicorn", child);
        let pids = wait::until("uvicorn's workers to wait for connections", || {
            guard.assert_alive();
            let family = procs::descendants(guard.pid())
                .into_iter()
                .map(|proc| proc.pid);
            let pids: Vec<u32> = family
                .filter(|pid| !server::registrations(*pid, PORT).is_empty())
                .collect();
            (pids.len() == workers && server::all_asleep(&pids)).then_some(pids)
        });
        Uvicorn {
            guard,
            _dir: dir,
            workers: pids,
        }
    }

    pub fn master(&self) -> u32 {
        self.guard.pid()
    }

    pub fn registered(&self) -> Vec<Registered> {
        self.workers
            .iter()
            .flat_map(|pid| server::registrations(*pid, PORT))
            .collect()
    }
}

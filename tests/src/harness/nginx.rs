//! The distribution's nginx with a setting of the test's own, all its files in the test's folder.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::dir::Dir;
use super::procs::{self, Guard};
use super::server::{self, Registered};
use super::wait;

pub const PORT: u16 = 8080;

/// What the tests vary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    MutexOff,
    MutexOn,
    Reuseport,
}

#[derive(Debug)]
pub struct Nginx {
    guard: Guard,
    _dir: Dir,
    pub setting: Setting,
    pub workers: Vec<u32>,
}

impl Nginx {
    /// Returns when every worker waits for connections.
    pub fn start(setting: Setting, workers: usize) -> Nginx {
        let dir = Dir::new();
        let config = config_file(&dir, setting, workers);
        let mut command = Command::new("/usr/sbin/nginx");
        command
            .arg("-c")
            .arg(config)
            .arg("-e")
            .arg(dir.join("error.log"))
            .stdin(Stdio::null());
        let child = command
            .spawn()
            .expect("/usr/sbin/nginx, which must be installed");
        let mut guard = Guard::new("nginx", child);
        let pids = wait::until("nginx's workers to wait for connections", || {
            guard.assert_alive();
            let pids: Vec<u32> = procs::children(guard.pid())
                .iter()
                .map(|proc| proc.pid)
                .collect();
            (pids.len() == workers && server::all_asleep(&pids) && Self::settled(setting, &pids))
                .then_some(pids)
        });
        Nginx {
            guard,
            _dir: dir,
            setting,
            workers: pids,
        }
    }

    /// With the mutex one worker at most has the listener, else all.
    fn settled(setting: Setting, workers: &[u32]) -> bool {
        let having = workers
            .iter()
            .filter(|pid| !server::registrations(**pid, PORT).is_empty())
            .count();
        having
            == if setting == Setting::MutexOn {
                1
            } else {
                workers.len()
            }
    }

    pub fn master(&self) -> u32 {
        self.guard.pid()
    }

    /// What stands in the workers' epoll instances for the listener, from /proc.
    pub fn registered(&self) -> Vec<Registered> {
        self.workers
            .iter()
            .flat_map(|pid| server::registrations(*pid, PORT))
            .collect()
    }
}

/// For an nginx that somebody else starts.
pub fn config_file(dir: &Dir, setting: Setting, workers: usize) -> PathBuf {
    dir.write("nginx.conf", config(dir, setting, workers))
}

fn config(dir: &Dir, setting: Setting, workers: usize) -> String {
    let mutex = if setting == Setting::MutexOn {
        "on"
    } else {
        "off"
    };
    let reuseport = if setting == Setting::Reuseport {
        " reuseport"
    } else {
        ""
    };
    let at = dir.path().display();
    let temp: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("    {kind}_temp_path {at}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nuser nobody nogroup;\nworker_processes {workers};\npid {at}/pid;\nerror_log {at}/error.log;\n\
         events {{\n    accept_mutex {mutex};\n    worker_connections 1024;\n}}\n\
         http {{\n    access_log off;\n{temp}\
         server {{\n    listen 127.0.0.1:{PORT}{reuseport};\n    location / {{ return 200 \"hello\\n\"; }}\n}}\n}}\n"
    )
}

//! The marks of a herd lab: what the workload did and counted, written by the lab, read by the fold.

use anyhow::Result;
use serde::{Deserialize, Serialize};

use crate::lab::account::Account;
use crate::stream::Mark;

/// How a scene's workers wait for a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Variant {
    /// accept-herd: all block in accept() on one socket.
    Accept,
    /// accept-herd contrast: all block in poll() on one non-blocking socket, then accept().
    PollAccept,
    /// One epoll instance made before fork, level-triggered.
    SharedInstance,
    /// One epoll instance per process, level-triggered.
    PerProcessInstance,
    /// EPOLLET, one instance per process.
    EdgePerProcess,
    /// EPOLLET, one instance made before fork.
    EdgeShared,
    /// EPOLLEXCLUSIVE, one instance per process (the only legal form).
    Exclusive,
    /// EPOLLONESHOT, one instance per process, rearmed after each accept.
    OneshotPerProcess,
    /// EPOLLONESHOT, one instance made before fork, rearmed after each accept.
    OneshotShared,
    /// SO_REUSEPORT: one listener and one instance per process.
    Reuseport,
    /// A lock in shared memory decides who adds the listener to its epoll instance (as nginx does).
    AcceptMutex,
    /// Contrast: poll() in every process.
    Poll,
    /// Contrast: select() in every process.
    Select,
}

/// How connections arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Arrival {
    /// One at a time, each when all workers are asleep again.
    Sequential,
    /// `burst` at once, then as above.
    Burst,
    /// One at a time; the woken worker waits `accept_delay` before it accepts.
    LateAccept,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerId {
    pub pid: u32,
    /// Position in the order of fork and of registration, from 0.
    pub index: u32,
    /// The kernel's own, before the scene's first action; None = it keeps none that can be compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<Account>,
}

/// Written before the scene's first action (`scene`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneMark {
    /// From 0 in the order of the run.
    pub scene: u32,
    pub variant: Variant,
    pub arrival: Arrival,
    pub workers: Vec<WorkerId>,
    pub client: u32,
    pub port: u16,
    pub connections: u32,
    pub burst: u32,
    pub accept_delay_ns: u64,
}

/// One connection as the client made it (`connect`), at the time its connect() was called.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectMark {
    pub scene: u32,
    /// From 0 within the scene.
    pub index: u32,
    /// The phase number that was set before the connection (its burst's first, in bursts).
    pub phase: u32,
    /// The client's ephemeral port.
    pub client_port: u16,
    /// When connect() returned, ns.
    pub connected_at: u64,
}

/// What one worker counted itself.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerCount {
    pub accepted: u64,
    pub eagain: u64,
    /// Returns of its waiting call (accept, epoll_wait, poll, select), whatever they said.
    pub returns: u64,
    /// Client ports in the order it accepted them.
    pub ports: Vec<u16>,
}

/// A worker's account when all connections were made and accepted (`account`), at the time up to which it reaches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountMark {
    pub scene: u32,
    pub index: u32,
    pub account: Account,
}

/// Written when the scene's window is closed, before workers are told to end (`scene-end`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SceneEndMark {
    pub scene: u32,
    /// Connections the client made.
    pub made: u64,
    /// By worker index.
    pub workers: Vec<WorkerCount>,
    /// True when every planned connection was made and accepted.
    pub complete: bool,
}

/// A task found at the start of a watch, or later by the watcher (`task`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskMark {
    pub pid: u32,
    pub tgid: u32,
    pub ppid: u32,
    pub comm: String,
    /// Was it asleep when found?
    pub asleep: bool,
    /// The system call it slept in, if known.
    pub syscall: Option<u32>,
}

/// A listening socket of a watched process (`listener`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerMark {
    pub port: u16,
    /// How many descriptors of watched processes refer to each listening socket on this port.
    pub sockets: u32,
    pub address: String,
}

/// An epoll registration found at the start of a watch in /proc/PID/fdinfo (`registration`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistrationMark {
    pub pid: u32,
    pub port: u16,
    /// Event mask with flags, as epoll_ctl took it.
    pub events: u32,
}

/// Any mark of the herd traces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HerdMark {
    Scene(SceneMark),
    Connect(ConnectMark),
    Account(AccountMark),
    SceneEnd(SceneEndMark),
    Task(TaskMark),
    Listener(ListenerMark),
    Registration(RegistrationMark),
}

impl HerdMark {
    /// # Errors
    /// Never for these types (no maps with non-string keys).
    pub fn to_mark(&self, ktime: u64) -> Result<Mark> {
        let (name, data) = match self {
            HerdMark::Scene(m) => ("scene", serde_json::to_value(m)?),
            HerdMark::Connect(m) => ("connect", serde_json::to_value(m)?),
            HerdMark::Account(m) => ("account", serde_json::to_value(m)?),
            HerdMark::SceneEnd(m) => ("scene-end", serde_json::to_value(m)?),
            HerdMark::Task(m) => ("task", serde_json::to_value(m)?),
            HerdMark::Listener(m) => ("listener", serde_json::to_value(m)?),
            HerdMark::Registration(m) => ("registration", serde_json::to_value(m)?),
        };
        Ok(Mark {
            ktime,
            name: name.to_owned(),
            data,
        })
    }

    /// None = not a mark of these traces.
    ///
    /// # Errors
    /// The data do not have the form that the name promises (a foreign or damaged recording).
    pub fn from_mark(mark: &Mark) -> Result<Option<HerdMark>> {
        let data = mark.data.clone();
        Ok(Some(match mark.name.as_str() {
            "scene" => HerdMark::Scene(serde_json::from_value(data)?),
            "connect" => HerdMark::Connect(serde_json::from_value(data)?),
            "account" => HerdMark::Account(serde_json::from_value(data)?),
            "scene-end" => HerdMark::SceneEnd(serde_json::from_value(data)?),
            "task" => HerdMark::Task(serde_json::from_value(data)?),
            "listener" => HerdMark::Listener(serde_json::from_value(data)?),
            "registration" => HerdMark::Registration(serde_json::from_value(data)?),
            _ => return Ok(None),
        }))
    }
}

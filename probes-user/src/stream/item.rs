//! One element of the stream: a decoded kernel event or a mark that the lab or the watcher wrote.

use probes_common::block::BlockRequest;
use probes_common::event::{
    DataReady, Exec, Exit, Fork, Header, Migrate, SockState, Switch, SysEnter, SysExit, WaitWake,
    Wakeup, Waking,
};
use probes_common::runqueue::RunDelay;
use probes_common::tcp::{
    Handshake, Packet, SkbDrop, SockError, TcpDestroy, TcpReset, TcpRetransmit, TcpState,
    TcpSynack, TcpTimer,
};
use probes_common::uring::{UringDone, UringOverflow};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    pub header: Header,
    pub body: Body,
}

/// The payload of an event, by kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Body {
    Waking(Waking),
    Wakeup(Wakeup),
    Switch(Switch),
    Fork(Fork),
    Exec(Exec),
    Exit(Exit),
    Migrate(Migrate),
    RunDelay(RunDelay),
    SysEnter(SysEnter),
    SysExit(SysExit),
    SockState(SockState),
    DataReady(DataReady),
    WaitWake(WaitWake),
    TcpState(TcpState),
    TcpRetransmit(TcpRetransmit),
    TcpSynack(TcpSynack),
    TcpReset(TcpReset),
    TcpDestroy(TcpDestroy),
    SockError(SockError),
    TcpTimer(TcpTimer),
    SkbDrop(SkbDrop),
    Packet(Packet),
    Handshake(Handshake),
    BlockRequest(BlockRequest),
    UringDone(UringDone),
    UringOverflow(UringOverflow),
}

/// What user space did or found, on the same clock as the events. `name` and `data` belong to the trace
/// (see its `marks` module); the stream only carries them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mark {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub ktime: u64,
    pub name: String,
    pub data: serde_json::Value,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all items are events, and a box for each would cost more than the copy"
)]
pub enum Item {
    Event(Event),
    Mark(Mark),
}

impl Item {
    /// CLOCK_MONOTONIC, nanoseconds.
    pub fn ktime(&self) -> u64 {
        match self {
            Item::Event(event) => event.header.ktime,
            Item::Mark(mark) => mark.ktime,
        }
    }
}

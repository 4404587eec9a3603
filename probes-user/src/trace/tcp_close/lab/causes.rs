//! The scripts that cause resets in every way that one machine can, each with the cause it means.

use crate::lab::family::Family;
use std::io::{ErrorKind, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::Signal;

use super::FEW;
use super::destroy::destroy;
use super::ends::{
    PORT, Pair, Window, await_reset, await_resets, await_state, close, close_peer, deliver,
    let_peer_read, note, note_answer, operate, pair, set_linger, state,
};
use crate::lab::child::{Child, REAP_BUDGET, set_name};
use crate::lab::script::Stage;
use crate::lab::surgeon::{Rule, Segment};
use crate::trace::tcp_close::cause::{self, Cause};
use crate::trace::tcp_close::marks::{Ends, Lacking, Provoked};

fn provoked(stage: &Stage, cause: Cause) -> Result<()> {
    await_resets(stage, 1)?;
    note(stage, &Provoked { cause: Some(cause) })
}

/// A process that has the closer's end to itself is killed.
fn kill_owner(stage: &Stage, closer: TcpStream) -> Result<()> {
    let fd = closer.as_raw_fd();
    // SAFETY: the body makes system calls only.
    let child = unsafe {
        Child::fork(|| {
            set_name(c"reset-victim");
            // All others go, so that the peer's end is nobody's but the script's.
            libc::dup2(fd, 3);
            libc::syscall(libc::SYS_close_range, 4_u32, u32::MAX, 0_u32);
            loop {
                libc::pause();
            }
        })
    };
    let mut child = child.context("could not fork")?;
    stage.wait("the child has let go of what is not its own", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", child.pid()))?.count();
        Ok((open <= 4).then_some(()))
    })?;
    drop(closer);
    stage.act("kill", serde_json::json!({ "pid": child.pid() }));
    child.signal(Signal::KILL);
    if child.wait(REAP_BUDGET).is_none() {
        bail!("the killed child does not end");
    }
    Ok(())
}

pub fn killed_unread(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, .. } = pair(stage, family, Window::Usual)?;
    deliver(stage, &peer, &closer, FEW)?;
    kill_owner(stage, closer)?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::KilledUnread)
}

pub fn killed_linger_zero(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, .. } = pair(stage, family, Window::Usual)?;
    set_linger(&closer, Some(Duration::ZERO))?;
    kill_owner(stage, closer)?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::KilledLingerZero)
}

/// Killed with nothing unread: an ordinary end, by FIN.
pub fn killed_read(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, ends } = pair(stage, family, Window::Usual)?;
    kill_owner(stage, closer)?;
    close_peer(stage, ends, peer)?;
    await_state(stage, ends, &[cause::TIME_WAIT], false)?;
    note(stage, &Provoked { cause: None })
}

fn set_linger2(end: &TcpStream, value: libc::c_int) -> Result<()> {
    // SAFETY: reads one int.
    let code = unsafe {
        libc::setsockopt(
            end.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_LINGER2,
            (&raw const value).cast(),
            size_of_val(&value) as libc::socklen_t,
        )
    };
    match code {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("TCP_LINGER2"),
    }
}

/// Sends the FIN and waits for its acknowledgement.
fn finish_writing(stage: &Stage, end: &TcpStream) -> Result<()> {
    end.shutdown(Shutdown::Write)?;
    stage.wait("the FIN is acknowledged", || {
        Ok((state(end)? == cause::FIN_WAIT2).then_some(()))
    })
}

pub fn linger2(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, .. } = pair(stage, family, Window::Usual)?;
    set_linger2(&closer, -1)?;
    finish_writing(stage, &closer)?;
    close(stage, closer)?;
    await_resets(stage, 1)?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::Linger2)
}

pub fn disconnect(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, .. } = pair(stage, family, Window::Usual)?;
    rustix::net::connect_unspec(&closer).context("could not undo the connection")?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::Disconnect)
}

/// The connection that nobody accepts is the client's: the listener's side closes.
pub fn listener_closed(stage: &mut Stage, family: Family) -> Result<()> {
    stage.view().operate("lo")?;
    operate(stage, &[])?;
    let listener = TcpListener::bind(family.loopback(PORT))?;
    let client = TcpStream::connect(family.loopback(PORT))?;
    client.set_nonblocking(true)?;
    note(stage, &served(&client)?)?;
    await_served(stage, &client)?;
    drop(listener);
    let_peer_read(stage, &client)?;
    provoked(stage, Cause::ListenerClosed)
}

pub fn destroyed(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, .. } = pair(stage, family, Window::Usual)?;
    let errno = destroy(closer.local_addr()?, closer.peer_addr()?)?;
    if errno != 0 {
        let what = "SOCK_DESTROY of sock_diag (CONFIG_INET_DIAG_DESTROY)".to_owned();
        return note(stage, &Lacking { what, errno });
    }
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::Destroyed)
}

/// The ACK of the FIN is lost, so that the data finds the closer's own socket.
pub fn data_after_close(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair {
        closer,
        mut peer,
        ends,
    } = pair(stage, family, Window::Usual)?;
    operate(
        stage,
        &[Rule::new(2, Segment::PureAck)
            .from(ends.peer)
            .to(ends.closer)],
    )?;
    close(stage, closer)?;
    await_state(stage, ends, &[cause::FIN_WAIT1], false)?;
    note_answer(stage, "write", &peer.write(b"late"));
    await_resets(stage, 1)?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::DataAfterClose)
}

/// Closed when its FIN is acknowledged already: what is left is a TIME_WAIT entry from the first. (An
/// acknowledgement that comes in the middle of close() leaves the whole socket, for the same time.)
pub fn late_data(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair {
        closer,
        mut peer,
        ends,
    } = pair(stage, family, Window::Usual)?;
    finish_writing(stage, &closer)?;
    close(stage, closer)?;
    await_state(stage, ends, &[cause::FIN_WAIT2], false)?;
    note_answer(stage, "write", &peer.write(b"late"));
    await_resets(stage, 1)?;
    let_peer_read(stage, &peer)?;
    provoked(stage, Cause::TimeWait)
}

pub fn closed_port(stage: &mut Stage, family: Family) -> Result<()> {
    stage.view().operate("lo")?;
    operate(stage, &[])?;
    match TcpStream::connect(family.loopback(PORT)) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
        Err(error) => return Err(error).context("the closed port"),
        Ok(_) => bail!("a closed port took a connection"),
    }
    provoked(stage, Cause::NoSocket)
}

/// As many half-open requests as this may be there at once, and one more may wait for accept.
const BACKLOG: i32 = 2;

fn listen(family: Family) -> Result<TcpListener> {
    let kind = match family {
        Family::V4 => AddressFamily::INET,
        Family::V6 => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(kind, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::net::bind(&socket, &family.loopback(PORT))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// Two handshakes whose last ACK is lost, when one place is left: data completes the first, and there is no
/// room for the second.
pub fn queue_full(stage: &mut Stage, family: Family) -> Result<()> {
    stage.view().operate("lo")?;
    let listener = listen(family)?;
    let waiting = [(); 2].map(|()| TcpStream::connect(family.loopback(PORT)));
    for client in &waiting {
        let client = client.as_ref().map_err(|error| anyhow!("{error}"))?;
        await_served(stage, client)?;
    }
    operate(stage, &[Rule::new(2, Segment::PureAck).to(PORT)])?;
    let mut first = TcpStream::connect(family.loopback(PORT))?;
    let mut second = TcpStream::connect(family.loopback(PORT))?;
    second.set_nonblocking(true)?;
    note(stage, &served(&second)?)?;
    operate(stage, &[])?;
    note_answer(stage, "write", &first.write(b"1"));
    await_served(stage, &first)?;
    note_answer(stage, "write", &second.write(b"2"));
    let_peer_read(stage, &second)?;
    provoked(stage, Cause::QueueFull)?;
    drop(listener);
    await_resets(stage, 4)?;
    for client in waiting.iter().flatten().chain([&first]) {
        await_reset(stage, client)?;
    }
    Ok(())
}

fn served(client: &TcpStream) -> Result<Ends> {
    Ok(Ends {
        closer: PORT,
        peer: client.local_addr()?.port(),
    })
}

/// Its connection waits for accept.
fn await_served(stage: &Stage, client: &TcpStream) -> Result<()> {
    await_state(stage, served(client)?, &[1], false).map(drop)
}

/// A peer that has gone silent: everything for it is lost.
pub fn keepalive(stage: &mut Stage, family: Family) -> Result<()> {
    let Pair { closer, peer, ends } = pair(stage, family, Window::Usual)?;
    let second = Duration::from_secs(1);
    sockopt::set_tcp_keepidle(&closer, second)?;
    sockopt::set_tcp_keepintvl(&closer, second)?;
    sockopt::set_tcp_keepcnt(&closer, 1)?;
    operate(stage, &[Rule::new(2, Segment::Any).to(ends.peer)])?;
    sockopt::set_socket_keepalive(&closer, true)?;
    let_peer_read(stage, &closer)?;
    provoked(stage, Cause::SilentPeer)?;
    // A RST is counted and not lost.
    await_reset(stage, &peer)
}

//! Who may share a port: the steps that are tried, and the script that tries them.
//!
//! The other user is a forked child that gives up root before it makes its socket: a socket belongs to the
//! file-system uid of the task that made it. /proc/net/tcp, which names the owner of each listening socket, is the
//! independent witness.

use crate::lab::family::Family;
use std::fs;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::io::Errno;
use rustix::net::listen;

use super::marks::{BIND, Bound};
use super::sockets::bound;
use crate::lab::child::Child;
use crate::lab::script::Stage;
use crate::lab::shared::Shared;

/// nobody
pub const OTHER_UID: u32 = 65534;
/// EADDRINUSE
pub const IN_USE: i32 = 98;

const SHARED_PORT: u16 = 8_401;
const CLOSED_PORT: u16 = 8_402;
const OTHERS_PORT: u16 = 8_403;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Must succeed, or nothing is said.
    Control,
    /// The claim says that the port is given.
    Given,
    /// The claim says that it is refused.
    Refused,
}

pub struct Step {
    pub name: &'static str,
    /// Completes "bind() by …".
    pub text: &'static str,
    pub role: Role,
    /// Owners of the port's listening sockets afterwards.
    pub listening: &'static [u32],
}

const fn step(
    name: &'static str,
    text: &'static str,
    role: Role,
    listening: &'static [u32],
) -> Step {
    Step {
        name,
        text,
        role,
        listening,
    }
}

pub static STEPS: [Step; 8] = [
    step(
        "first",
        "root on a free port, with the option",
        Role::Control,
        &[0],
    ),
    step(
        "same-uid",
        "root again, with the option",
        Role::Given,
        &[0, 0],
    ),
    step(
        "other-uid",
        "another uid, with the option",
        Role::Refused,
        &[0, 0],
    ),
    step(
        "without-option",
        "root, without the option",
        Role::Refused,
        &[0, 0],
    ),
    step(
        "after-one-without",
        "root, after one without the option",
        Role::Refused,
        &[0],
    ),
    step(
        "other-uid-alone",
        "another uid on a free port",
        Role::Control,
        &[OTHER_UID],
    ),
    step(
        "other-uid-twice",
        "another uid twice",
        Role::Given,
        &[OTHER_UID, OTHER_UID],
    ),
    step(
        "after-close",
        "another uid when root's are closed",
        Role::Control,
        &[OTHER_UID],
    ),
];

struct Script<'a> {
    stage: &'a Stage,
    family: Family,
}

/// # Errors
/// A step cannot be tried at all.
pub fn same_uid(stage: &mut Stage, family: Family) -> Result<()> {
    let script = Script { stage, family };
    let first = script.root("first", SHARED_PORT, true)?;
    let second = script.root("same-uid", SHARED_PORT, true)?;
    script.other("other-uid", SHARED_PORT, 1)?;
    let third = script.root("without-option", SHARED_PORT, false)?;
    let alone = script
        .listener(CLOSED_PORT, false)
        .context("could not bind a free port")?;
    let fourth = script.root("after-one-without", CLOSED_PORT, true)?;
    script.other("other-uid-alone", OTHERS_PORT, 1)?;
    script.other("other-uid-twice", OTHERS_PORT, 2)?;
    drop((first, second, third, alone, fourth));
    script.other("after-close", SHARED_PORT, 1)?;
    Ok(())
}

impl Script<'_> {
    fn root(&self, step: &str, port: u16, reuse_port: bool) -> Result<Option<OwnedFd>> {
        let made = self.listener(port, reuse_port);
        self.tell(
            step,
            port,
            made.as_ref().err().map_or(0, |no| no.raw_os_error()),
        )?;
        Ok(made.ok())
    }

    fn listener(&self, port: u16, reuse_port: bool) -> Result<OwnedFd, Errno> {
        let socket = bound(SocketAddr::new(self.family.any(), port), reuse_port)?;
        listen(&socket, 1)?;
        Ok(socket)
    }

    /// The child holds its sockets until the step has been told.
    fn other(&self, step: &str, port: u16, sockets: usize) -> Result<()> {
        let shared = Shared::new(4096).context("could not map shared memory")?;
        let cells: &[AtomicU32] = shared.cells(0, 2);
        let body = || {
            let outcome = become_other().and_then(|()| {
                let first = self.listener(port, true)?;
                let second = (sockets > 1)
                    .then(|| self.listener(port, true))
                    .transpose()?;
                Ok((first, second))
            });
            let errno = outcome.as_ref().err().map_or(0, |no| no.raw_os_error());
            cells[0].store(1 + errno.unsigned_abs(), Ordering::Release);
            crate::lab::shared::park(&cells[1], 0).cast_signed()
        };
        // SAFETY: the body makes system calls and writes shared memory, nothing else.
        let child = unsafe { Child::fork(body) }.context("could not fork the other user")?;
        let errno = self.stage.wait("the other user has tried", || {
            ensure!(!child.ended(), "the other user's process has died");
            Ok(cells[0].load(Ordering::Acquire).checked_sub(1))
        })?;
        self.tell(step, port, errno.cast_signed())
    }

    fn tell(&self, step: &str, port: u16, errno: i32) -> Result<()> {
        let bound = Bound {
            step: step.to_owned(),
            errno,
            listening: listening(self.family, port)?,
        };
        self.stage.note(BIND, serde_json::to_value(bound)?);
        Ok(())
    }
}

/// By system call: the library's function would look for other threads, of which the child has none.
fn become_other() -> Result<(), Errno> {
    for call in [libc::SYS_setresgid, libc::SYS_setresuid] {
        // SAFETY: changes the credentials of this process, which has one thread.
        let code = unsafe { libc::syscall(call, OTHER_UID, OTHER_UID, OTHER_UID) };
        if code != 0 {
            return Err(Errno::PERM);
        }
    }
    Ok(())
}

fn listening(family: Family, port: u16) -> Result<Vec<u32>> {
    let file = match family {
        Family::V4 => "tcp",
        Family::V6 => "tcp6",
    };
    let path = format!("/proc/thread-self/net/{file}");
    let table = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    Ok(owners(&table, port))
}

/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid …`, ports in hexadecimal, 0A = LISTEN.
fn owners(table: &str, port: u16) -> Vec<u32> {
    let suffix = format!(":{port:04X}");
    let rows = table
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    let rows = rows.filter(|row| {
        row.get(1).is_some_and(|local| local.ends_with(&suffix)) && row.get(3) == Some(&"0A")
    });
    rows.filter_map(|row| row.get(7)?.parse().ok()).collect()
}

/// For the whole script.
pub const BUDGET: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_of_listening_sockets_are_read() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n\
            0: 00000000:20D1 00000000:0000 0A 00000000:00000000 00:00000000 00000000 65534 0 9 1\n\
            1: 0100007F:20D1 0100007F:1388 01 00000000:00000000 00:00000000 00000000     0 0 9 1\n\
            2: 00000000:20D2 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0 0 9 1\n";
        assert_eq!(owners(table, 0x20d1), [OTHER_UID]);
        assert_eq!(owners(table, 0x20d2), [0]);
        assert!(owners(table, 80).is_empty());
    }
}

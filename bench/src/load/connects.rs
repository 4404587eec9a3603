//! Connections that are made, accepted and closed by one task, on the loopback device of a network namespace
//! of its own. The addresses go round, so that no port of a connection in TIME_WAIT is wanted again.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use anyhow::{Context as _, Result};
use probes_user::lab::sandbox::{Sandbox, enter};

const PORT: u16 = 20_000;
const ADDRESSES: u32 = 240;

pub fn start() -> Result<Box<dyn FnMut(u64) -> Result<()>>> {
    let sandbox = Sandbox::new()?;
    enter(sandbox.netns()).context("could not enter the sandbox")?;
    let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let mut next = 0u32;
    Ok(Box::new(move |count| {
        for _ in 0..count {
            next = (next + 1) % ADDRESSES;
            let address = Ipv4Addr::from(0x7f00_0001 + next);
            let client = TcpStream::connect(SocketAddr::from((address, PORT)))
                .context("could not connect")?;
            let (server, _) = listener.accept().context("could not accept")?;
            drop(client);
            drop(server);
        }
        Ok(())
    }))
}

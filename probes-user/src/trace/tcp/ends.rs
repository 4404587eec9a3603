//! The ends of a connection as events tell them: what ties a TIME_WAIT timer or a packet to its socket.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use probes_common::tcp::SockId;

use super::marks::SocketMark;
use crate::kernel::tcp;

/// An IPv4 peer of an IPv6 socket counts as IPv4, on both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ends {
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
}

impl Default for Ends {
    fn default() -> Ends {
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        Ends {
            netns: 0,
            local: nobody,
            remote: nobody,
        }
    }
}

impl Ends {
    pub fn of(id: &SockId) -> Ends {
        let end = |bytes, port| SocketAddr::new(tcp::address(id.family, bytes), port);
        Ends {
            netns: id.netns,
            local: end(id.local_addr, id.local_port),
            remote: end(id.remote_addr, id.remote_port),
        }
    }

    pub fn of_mark(mark: &SocketMark) -> Ends {
        Ends {
            netns: mark.netns,
            local: mark.local,
            remote: mark.remote,
        }
    }

    /// Are both ports known?
    pub fn whole(&self) -> bool {
        self.local.port() != 0 && self.remote.port() != 0
    }

    /// As the other end sees it, if that is in the same namespace.
    #[must_use]
    pub fn mirrored(&self) -> Ends {
        Ends {
            netns: self.netns,
            local: self.remote,
            remote: self.local,
        }
    }
}

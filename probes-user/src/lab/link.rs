//! Changes to interfaces, addresses and routes of the calling thread's network namespace; call them only inside
//! a sandbox. They go with it.

use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use super::netlink::{CREATE, EXCLUSIVE, Request};
use super::shared::await_fact;

const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const NEW_ROUTE: u16 = 24;
const ETHTOOL_SET_TSO: u32 = 0x1f;
const ETHTOOL_SET_GSO: u32 = 0x24;
const ETHTOOL_SET_GRO: u32 = 0x2c;
const SIOCETHTOOL: libc::Ioctl = 0x8946;
/// Far longer than an address takes to be usable.
const SOON: Duration = Duration::from_secs(10);

/// An address with the length of its network's prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    pub address: IpAddr,
    pub len: u8,
}

impl std::str::FromStr for Prefix {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Prefix> {
        let wrong = || format!("{text} is no address with a prefix length, as 10.9.0.1/24 is");
        let (address, len) = text.split_once('/').with_context(wrong)?;
        let (address, len): (IpAddr, u8) = (
            address.parse().with_context(wrong)?,
            len.parse().with_context(wrong)?,
        );
        if len > if address.is_ipv4() { 32 } else { 128 } {
            bail!(wrong());
        }
        Ok(Prefix { address, len })
    }
}

fn family(address: IpAddr) -> u8 {
    (if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    }) as u8
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

fn socket() -> Result<OwnedFd> {
    socket_with(
        AddressFamily::INET,
        SocketType::DGRAM,
        SocketFlags::CLOEXEC,
        None,
    )
    .context("could not make a socket")
}

/// # Errors
/// No such interface in this namespace.
pub fn index(interface: &str) -> Result<u32> {
    rustix::net::netdevice::name_to_index(socket()?, interface)
        .with_context(|| format!("no interface {interface} in this network namespace"))
}

/// # Errors
/// No such interface, or a size that it does not take.
pub fn set_mtu(interface: &str, mtu: u32) -> Result<()> {
    let mut request = named(interface)?;
    request.ifr_ifru.ifru_mtu = i32::try_from(mtu).context("an MTU beyond all bounds")?;
    ioctl(libc::SIOCSIFMTU as libc::Ioctl, &mut request)
        .with_context(|| format!("could not set the MTU of {interface} to {mtu}"))
}

/// From now on no packet is longer than a segment: TCP makes no bundles (gso_max_segs 1), and what still
/// comes as one is cut before the device.
///
/// # Errors
/// No such interface, or one whose features are fixed.
pub fn no_offload(interface: &str) -> Result<()> {
    const MAX_SEGMENTS: u16 = 40;
    for (name, command) in [
        ("TSO", ETHTOOL_SET_TSO),
        ("GSO", ETHTOOL_SET_GSO),
        ("GRO", ETHTOOL_SET_GRO),
    ] {
        let mut off = [command, 0];
        let mut request = named(interface)?;
        request.ifr_ifru.ifru_data = (&raw mut off).cast();
        ioctl(SIOCETHTOOL, &mut request)
            .with_context(|| format!("could not turn {name} off on {interface}"))?;
    }
    let body = [0, index(interface)?, 0, 0].map(u32::to_ne_bytes).concat();
    Request::new(NEW_LINK, 0, &body)
        .attr(MAX_SEGMENTS, &1_u32.to_ne_bytes())
        .send()
        .with_context(|| format!("could not set gso_max_segs of {interface}"))
}

/// `add_address("lo", "10.9.0.1/24")`: usable at once, also in IPv6.
///
/// # Errors
/// No such interface, or an address that is there already.
pub fn add_address(interface: &str, address: &str) -> Result<()> {
    const ADDRESS: u16 = 1;
    const LOCAL: u16 = 2;
    /// Of IPv6: does not wait for a neighbour to object.
    const NO_DAD: u8 = 2;
    let prefix: Prefix = address.parse()?;
    let mut body = vec![family(prefix.address), prefix.len, NO_DAD, 0];
    body.extend(index(interface)?.to_ne_bytes());
    let bytes = octets(prefix.address);
    Request::new(NEW_ADDRESS, CREATE | EXCLUSIVE, &body)
        .attr(LOCAL, &bytes)
        .attr(ADDRESS, &bytes)
        .send()
        .with_context(|| format!("could not give {interface} the address {address}"))?;
    // The kernel makes the route of an IPv6 address in a work item of its own (addrconf_dad_completed).
    if !await_fact(SOON, || routed(prefix.address)) {
        bail!(
            "{address} on {interface} did not become usable within {SOON:?}; is the interface up?"
        );
    }
    Ok(())
}

/// Is this address of ours one that packets are delivered to? IPv4's are at once.
fn routed(address: IpAddr) -> bool {
    const LOCAL: u32 = 0x8000_0000;
    if address.is_ipv4() {
        return true;
    }
    let wanted: String = octets(address)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let table = std::fs::read_to_string("/proc/thread-self/net/ipv6_route").unwrap_or_default();
    table.lines().any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let flags = fields
            .get(8)
            .and_then(|flags| u32::from_str_radix(flags, 16).ok());
        fields.first() == Some(&&*wanted) && flags.is_some_and(|flags| flags & LOCAL != 0)
    })
}

/// What goes to `prefix` vanishes without a word, sent from `source` if given: no refusal, no answer.
///
/// IPv4 is sent out at `lo`: it comes in again, is nobody's, and is dropped. IPv6 takes a route over `lo` for
/// a refusal (`fib6_is_reject`, net/ipv6/route.c), so it is sent out at [`HOLE`], whose other end drops it.
/// The surgeon sees both where they come in, if it is put there: `lo`, [`HOLE_END`].
///
/// # Errors
/// A route that is there already, a source that is no address of ours, or a kernel without veth.
pub fn add_hole(prefix: &str, source: Option<IpAddr>) -> Result<()> {
    let to: Prefix = prefix.parse()?;
    if to.address.is_ipv4() {
        return add_route(prefix, "lo", source);
    }
    if index(HOLE).is_err() {
        make_hole()?;
    }
    add_route(prefix, HOLE, source)
}

pub const HOLE: &str = "hole0";
pub const HOLE_END: &str = "hole1";

/// A pair of interfaces that ask nobody for an address: a packet bears the sender's own, so the other end takes
/// it for somebody else's.
fn make_hole() -> Result<()> {
    const NAME: u16 = 3;
    const LINK_INFO: u16 = 18;
    const INFO_KIND: u16 = 1;
    const INFO_DATA: u16 = 2;
    const PEER: u16 = 1;
    const NO_BODY: [u8; 16] = [0; 16];
    let name = |name: &str| [name.as_bytes(), b"\0"].concat();
    Request::new(NEW_LINK, CREATE | EXCLUSIVE, &NO_BODY)
        .attr(NAME, &name(HOLE))
        .nest(LINK_INFO, |info| {
            info.attr(INFO_KIND, b"veth\0").nest(INFO_DATA, |data| {
                data.nest(PEER, |peer| {
                    peer.bytes(&NO_BODY).attr(NAME, &name(HOLE_END))
                })
            })
        })
        .send()
        .context("could not make a pair of interfaces; try a kernel with CONFIG_VETH")?;
    super::netns::set_sysctl(&format!("net.ipv6.conf.{HOLE_END}.disable_ipv6"), "1")?;
    for end in [HOLE, HOLE_END] {
        let flags = (libc::IFF_UP | libc::IFF_NOARP).cast_unsigned();
        let body = [0, index(end)?, flags, flags]
            .map(u32::to_ne_bytes)
            .concat();
        Request::new(NEW_LINK, 0, &body)
            .send()
            .with_context(|| format!("could not bring {end} up"))?;
    }
    Ok(())
}

/// Sends what goes to `prefix` out at `interface`, from `source` if given.
///
/// # Errors
/// No such interface, a route that is there already, or a source that is no address of ours.
pub fn add_route(prefix: &str, interface: &str, source: Option<IpAddr>) -> Result<()> {
    const DESTINATION: u16 = 1;
    const OUT_INTERFACE: u16 = 4;
    const PREFERRED_SOURCE: u16 = 7;
    const MAIN_TABLE: u8 = 254;
    const BY_US: u8 = 4;
    const ON_LINK: u8 = 253;
    const UNICAST: u8 = 1;
    let to: Prefix = prefix.parse()?;
    let scope = if to.address.is_ipv4() { ON_LINK } else { 0 };
    let mut body = vec![
        family(to.address),
        to.len,
        0,
        0,
        MAIN_TABLE,
        BY_US,
        scope,
        UNICAST,
    ];
    body.extend([0; 4]);
    let mut request = Request::new(NEW_ROUTE, CREATE | EXCLUSIVE, &body)
        .attr(DESTINATION, &octets(to.address))
        .attr(OUT_INTERFACE, &index(interface)?.to_ne_bytes());
    if let Some(source) = source {
        request = request.attr(PREFERRED_SOURCE, &octets(source));
    }
    request
        .send()
        .with_context(|| format!("could not add a route to {prefix} over {interface}"))
}

fn named(interface: &str) -> Result<libc::ifreq> {
    // SAFETY: an ifreq is plain data; all zero is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if interface.len() >= request.ifr_name.len() {
        bail!("{interface} is too long for an interface");
    }
    for (to, from) in request.ifr_name.iter_mut().zip(interface.bytes()) {
        *to = from.cast_signed();
    }
    Ok(request)
}

fn ioctl(number: libc::Ioctl, request: &mut libc::ifreq) -> Result<()> {
    let socket = socket()?;
    // SAFETY: these requests read and write one ifreq and what it points to, both alive.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), number, std::ptr::from_mut(request)) };
    if code == 0 {
        Ok(())
    } else {
        Err(std::io::Error::last_os_error().into())
    }
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;

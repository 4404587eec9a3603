//! Which sockets a watch of sockets is about: options of the traces that watch them.
//!
//! Addresses, ports and family are filtered in the kernel; whose a socket is, and its states, in the fold.

use std::net::IpAddr;

use clap::Args;
use probes_common::control::SockFilter;
use serde_json::{Value, json};

use crate::kernel::tcp::{self, AF_INET, AF_INET6};
use crate::lab::surgeon::{Rule, Segment};

#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Watch sockets, of anybody or of the processes above")]
pub struct SocketArgs {
    /// Every socket of this machine
    #[arg(short, long, group = "target")]
    pub all: bool,
    /// With this local address
    #[arg(long, value_name = "ADDR")]
    pub local: Option<IpAddr>,
    /// With this local port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub local_port: Option<u16>,
    /// With this remote address
    #[arg(long, value_name = "ADDR")]
    pub remote: Option<IpAddr>,
    /// With this remote port
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub remote_port: Option<u16>,
    /// In this network namespace: its inode number, or that of a process
    #[arg(long, value_name = "INUM|pid:PID", value_parser = netns)]
    pub netns: Option<NetnsArg>,
    /// IPv4 sockets only
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    pub ipv4: bool,
    /// IPv6 sockets only
    #[arg(short = '6', long)]
    pub ipv6: bool,
    /// That are, or were while watched, in one of these states (ESTABLISHED, TIME_WAIT …)
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = state)]
    pub state: Vec<String>,
    /// Run the command in a network of its own and lose its segments: syn, synack, ack, data, fin, rst or any,
    /// all of them or the K-th, from that port (data:3@8080)
    #[arg(
        long,
        value_name = "SEGMENT[:K][@PORT]",
        value_delimiter = ',',
        value_parser = drop_rule,
        conflicts_with = "netns"
    )]
    pub drop: Vec<Drop>,
}

/// Which segments of a command are to be lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drop {
    /// As it was typed.
    pub words: String,
    /// Without a number yet.
    pub rule: Rule,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NetnsArg {
    Inum(u32),
    OfProcess(u32),
}

impl SocketArgs {
    /// Does any of them ask for a watch?
    pub fn any(&self) -> bool {
        self.all || self.restricts() || !self.state.is_empty()
    }

    fn restricts(&self) -> bool {
        let ports = self.local_port.is_some() || self.remote_port.is_some();
        let addresses = self.local.is_some() || self.remote.is_some();
        ports || addresses || self.netns.is_some() || self.ipv4 || self.ipv6
    }

    /// 0 = both.
    pub fn family(&self) -> u16 {
        match (self.ipv4, self.ipv6) {
            (true, _) => AF_INET,
            (_, true) => AF_INET6,
            _ => 0,
        }
    }

    /// What the programs filter by.
    pub fn filter(&self) -> SockFilter {
        SockFilter {
            on: 1,
            family: self.family(),
            local_port: self.local_port.unwrap_or_default(),
            remote_port: self.remote_port.unwrap_or_default(),
            local_addr: self.local.map(tcp::bytes).unwrap_or_default(),
            remote_addr: self.remote.map(tcp::bytes).unwrap_or_default(),
            ..SockFilter::default()
        }
    }

    /// For [`crate::trace::Context::options`].
    pub fn described(&self, netns: Option<u32>) -> Value {
        json!({
            "all": self.all,
            "local": self.local,
            "local_port": self.local_port,
            "remote": self.remote,
            "remote_port": self.remote_port,
            "netns": netns,
            "family": (self.family() != 0).then(|| self.family()),
            "states": self.state,
            "drop": self.drop.iter().map(|drop| &drop.words).collect::<Vec<_>>(),
        })
    }
}

fn netns(text: &str) -> Result<NetnsArg, String> {
    let number = |digits: &str| match digits.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{text:?} is neither an inode number nor pid:PID")),
    };
    match text.strip_prefix("pid:") {
        Some(pid) => Ok(NetnsArg::OfProcess(number(pid)?)),
        None => Ok(NetnsArg::Inum(number(text)?)),
    }
}

const SEGMENTS: [(&str, Segment); 7] = [
    ("syn", Segment::Syn),
    ("synack", Segment::SynAck),
    ("ack", Segment::PureAck),
    ("data", Segment::Data),
    ("fin", Segment::Fin),
    ("rst", Segment::Rst),
    ("any", Segment::Any),
];

fn drop_rule(text: &str) -> Result<Drop, String> {
    let number = |digits: &str| match digits.parse::<u32>() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(format!("{digits:?} in {text:?} is no number from 1")),
    };
    let (rest, port) = match text.split_once('@') {
        Some((rest, port)) => (rest, Some(number(port)?)),
        None => (text, None),
    };
    let (name, kth) = match rest.split_once(':') {
        Some((name, kth)) => (name, Some(number(kth)?)),
        None => (rest, None),
    };
    let Some((_, segment)) = SEGMENTS.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = SEGMENTS.iter().map(|(known, _)| *known).collect();
        return Err(format!("{name:?} is none of {}", known.join(", ")));
    };
    let mut rule = Rule::new(0, *segment);
    if let Some(port) = port {
        let port = u16::try_from(port).map_err(|_| format!("{port} is no port"))?;
        rule = rule.from(port);
    }
    if let Some(kth) = kth {
        rule = rule.kth(kth);
    }
    Ok(Drop {
        words: text.to_owned(),
        rule,
    })
}

/// As the kernel writes it, also in small letters and with hyphens.
fn state(text: &str) -> Result<String, String> {
    let name = text.to_uppercase().replace('-', "_");
    if tcp::state_of(&name).is_some() {
        return Ok(name);
    }
    let known: Vec<&str> = tcp::STATES.iter().map(|(_, name)| *name).collect();
    Err(format!("{text:?} is none of {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_a_number_or_that_of_a_process() {
        assert_eq!(netns("4026531840"), Ok(NetnsArg::Inum(4_026_531_840)));
        assert_eq!(netns("pid:12"), Ok(NetnsArg::OfProcess(12)));
        for bad in ["", "0", "pid:", "pid:0", "net:[1]", "-1"] {
            assert!(netns(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_segment_to_lose_is_a_kind_a_count_and_a_port() {
        let rule = |text: &str| drop_rule(text).map(|drop| drop.rule);
        assert_eq!(rule("synack:1"), Ok(Rule::new(0, Segment::SynAck).kth(1)));
        let data = Rule::new(0, Segment::Data).from(8080);
        assert_eq!(rule("data:3@8080"), Ok(data.kth(3)));
        assert_eq!(rule("data@8080"), Ok(data));
        for bad in [
            "",
            "ping",
            "data:0",
            "data:x",
            "data@0",
            "data@70000",
            "data:1:2",
        ] {
            assert!(rule(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn states_are_taken_as_people_write_them() {
        assert_eq!(state("time-wait"), Ok("TIME_WAIT".to_owned()));
        assert!(state("OPEN").unwrap_err().contains("ESTABLISHED"));
    }

    #[test]
    fn a_filter_alone_asks_for_a_watch() {
        let mut args = SocketArgs::default();
        assert!(!args.any());
        args.local = Some("127.0.0.1".parse().unwrap());
        assert!(args.any());
        let filter = args.filter();
        assert_eq!(
            (filter.on, filter.local_addr[..5].to_vec()),
            (1, vec![127, 0, 0, 1, 0])
        );
    }
}

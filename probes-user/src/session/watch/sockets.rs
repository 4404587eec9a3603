//! The watch of sockets: of everybody, or of somebody's processes; those from before the start included.
//!
//! Events tell what happens to a socket; a list of the kernel's (sock_diag) what was there before, and which
//! process has it. The list is made on a thread of its own while the ring is drained here, and nothing is
//! folded beyond its time until it is there, so that it never comes late. Whose a socket is decides the fold.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, OwnedFd};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use serde_json::{Value, json};

use super::tasks::Followed;
use super::{LIFE, Subject};
use crate::cli::sockets::{NetnsArg, SocketArgs};
use crate::exit::usage;
use crate::kernel::{jiffy_ns, monotonic_ns};
use crate::lab::sandbox::enter;
use crate::session::lab::{Run, rest};
use crate::stream::Item;
use crate::trace::tcp::marks::SocketMark;
use crate::trace::tcp::queues::{ListenerMark, QueuesMark};
use crate::watch::{Target, namespaces, owners, procfs, queues, sockdiag};

/// Between two lists; a list that takes long is made more seldom, so that it costs one CPU 5% at most.
const PACE: Duration = Duration::from_secs(1);
const SHARE: u32 = 20;
/// While the first list is awaited.
const TICK: Duration = Duration::from_millis(1);

pub(super) struct Sockets {
    /// None = everybody's.
    followed: Option<Followed>,
    args: SocketArgs,
    /// The one that was asked for: its number, and a way in.
    netns: Option<(u32, OwnedFd)>,
    under_way: Option<Listing>,
    /// What was told of a socket: its first holder, by namespace and cookie.
    told: HashMap<(u32, u64), Option<u32>>,
    /// Are the listeners' queues wanted, and what was told of them, by namespace.
    queues: bool,
    told_queues: HashMap<u32, QueuesMark>,
    next: Instant,
}

/// What a list is: sockets, and the queues of each namespace.
type Listed = (Vec<SocketMark>, Vec<QueuesMark>);

/// A list that is being made.
struct Listing {
    /// Just before it was begun.
    since: u64,
    begun: Instant,
    thread: JoinHandle<Result<Listed>>,
}

impl Sockets {
    /// `queues`: those of listeners are wanted as well. `netns`: the namespace, if it is known already.
    pub fn new(
        target: Option<Target>,
        args: &SocketArgs,
        queues: bool,
        netns: Option<(u32, OwnedFd)>,
    ) -> Sockets {
        Sockets {
            followed: target.map(Followed::new),
            args: args.clone(),
            netns,
            under_way: None,
            told: HashMap::new(),
            queues,
            told_queues: HashMap::new(),
            next: Instant::now(),
        }
    }

    fn list(&mut self) -> Result<()> {
        let own = match &self.netns {
            Some((inum, fd)) => {
                let fd = fd.try_clone().context("no descriptor left")?;
                Some((*inum, fd))
            }
            None => None,
        };
        let groups: Option<Vec<u32>> = self
            .followed
            .as_ref()
            .map(|followed| followed.groups.iter().copied().collect());
        let (since, queues) = (monotonic_ns(), self.queues);
        let thread = std::thread::Builder::new()
            .name("sockets".to_owned())
            .spawn(move || listed(own, groups.as_deref(), queues))
            .context("could not start a thread")?;
        self.under_way = Some(Listing {
            since,
            begun: Instant::now(),
            thread,
        });
        Ok(())
    }

    fn await_list(&mut self, run: &mut Run<'_>) -> Result<()> {
        while self.under_way.is_some() {
            run.started.pump.drain();
            self.take(run)?;
            rest(TICK);
        }
        Ok(())
    }

    /// Tells what is new in the list, if it is there.
    fn take(&mut self, run: &mut Run<'_>) -> Result<()> {
        let Some(listing) = self.under_way.take_if(|its| its.thread.is_finished()) else {
            return Ok(());
        };
        let (marks, queues) = listing
            .thread
            .join()
            .map_err(|_| anyhow!("the thread that lists sockets panicked"))??;
        let took = listing.begun.elapsed();
        self.next = Instant::now() + PACE.max(took * SHARE);
        let mut told = HashMap::with_capacity(marks.len());
        for mark in marks.iter().filter(|mark| self.wants(mark)) {
            let key = (mark.netns, mark.cookie);
            let holder = mark.owner.as_ref().map(|owner| owner.pid);
            let known = self.told.get(&key);
            // Without cookies nothing is known to be old: it is told again.
            if mark.cookie == 0 || known.is_none_or(|known| *known != holder && holder.is_some()) {
                run.started.pump.mark(mark.to_mark(listing.since)?);
            }
            told.insert(key, holder.or(known.copied().flatten()));
        }
        self.told = told;
        for mark in queues {
            self.tell_queues(run, mark, listing.since)?;
        }
        Ok(())
    }

    fn tell_queues(&mut self, run: &mut Run<'_>, mut mark: QueuesMark, since: u64) -> Result<()> {
        mark.listeners.retain(|its| self.wants_listener(its));
        // One without listeners too: what it has counted by now is where counting begins.
        if self.told_queues.get(&mark.netns) != Some(&mark) {
            run.started.pump.mark(mark.to_mark(since)?);
            self.told_queues.insert(mark.netns, mark);
        }
        Ok(())
    }

    /// The filter of the programs, for what they did not see.
    fn wants(&self, mark: &SocketMark) -> bool {
        let args = &self.args;
        self.wants_local(mark.family, mark.local)
            && args
                .remote
                .is_none_or(|ip| ip.to_canonical() == mark.remote.ip())
            && args
                .remote_port
                .is_none_or(|port| port == mark.remote.port())
    }

    fn wants_listener(&self, its: &ListenerMark) -> bool {
        self.wants_local(its.family, its.local)
    }

    fn wants_local(&self, family: u16, local: SocketAddr) -> bool {
        let args = &self.args;
        let wanted = args.family();
        (wanted == 0 || wanted == family)
            && args.local.is_none_or(|ip| ip.to_canonical() == local.ip())
            && args.local_port.is_none_or(|port| port == local.port())
    }

    fn find_netns(&mut self) -> Result<()> {
        let found = match self.args.netns {
            None => return Ok(()),
            Some(NetnsArg::OfProcess(pid)) => namespaces::of([pid]).into_iter().next(),
            Some(NetnsArg::Inum(inum)) => namespaces::find(inum).map(|fd| (inum, fd)),
        };
        if found.is_none() {
            return usage("no such network namespace; try lsns -t net, or --netns pid:PID");
        }
        self.netns = found;
        Ok(())
    }
}

/// Runs on a thread of its own, because it enters every namespace that it lists.
fn listed(
    own: Option<(u32, OwnedFd)>,
    groups: Option<&[u32]>,
    with_queues: bool,
) -> Result<Listed> {
    let everybody = match groups {
        Some(groups) => groups.to_vec(),
        None => procfs::pids(),
    };
    let netns = match own {
        Some(own) => [own].into(),
        None => namespaces::of(everybody.iter().copied()),
    };
    let (mut found, mut of_listeners) = (Vec::new(), Vec::new());
    for (inum, fd) in netns {
        enter(fd.as_fd()).context("could not enter a network namespace")?;
        let sockets = sockdiag::sockets().context("could not list the sockets")?;
        if with_queues {
            of_listeners.push(queues::of(inum, &sockets));
        }
        found.extend(sockets.into_iter().map(|socket| (inum, socket)));
    }
    // After the sockets: whoever is found to have one has it after it was listed.
    let mut holders = owners::of(everybody);
    let mark = |(netns, its): (u32, sockdiag::Found)| {
        let holders = (its.inode != 0)
            .then(|| holders.remove(&its.inode))
            .flatten();
        let (owner, holders) = match holders {
            Some(holders) => (Some(holders.first), holders.pids),
            None => (None, Vec::new()),
        };
        SocketMark {
            netns,
            family: its.family,
            state: its.state,
            local: its.local,
            remote: its.remote,
            cookie: its.cookie,
            inode: its.inode,
            uid: its.uid,
            owner,
            holders,
            timer: its.timer,
            expires_ms: its.expires_ms,
            bytes_acked: its.bytes_acked,
            bytes_received: its.bytes_received,
            rtt_us: its.rtt_us,
        }
    };
    Ok((found.into_iter().map(mark).collect(), of_listeners))
}

impl Subject for Sockets {
    fn check(&mut self) -> Result<()> {
        self.find_netns()?;
        self.followed.as_ref().map_or(Ok(()), Followed::check)
    }

    fn described(&self) -> Value {
        let mut described = self
            .args
            .described(self.netns.as_ref().map(|(inum, _)| *inum));
        if let Value::Object(map) = &mut described {
            map.insert("of_processes".to_owned(), json!(self.followed.is_some()));
            map.insert("jiffy_ns".to_owned(), json!(jiffy_ns()));
        }
        described
    }

    fn follows_tasks(&self) -> bool {
        self.followed.is_some()
    }

    fn begin(&mut self, run: &mut Run<'_>) -> Result<()> {
        let shared = &run.started.shared;
        shared.set_netns(self.netns.as_ref().map_or(0, |(inum, _)| *inum));
        shared.set_sockets(&self.args.filter());
        if let Some(followed) = &mut self.followed {
            followed.expect_names(run);
            run.started.shared.set_enabled(true);
            followed.begin(run)?;
        } else {
            shared.set_enabled(true);
        }
        self.list()?;
        self.await_list(run)
    }

    fn item(&mut self, item: &Item) {
        if let Some(followed) = &mut self.followed {
            followed.item(item);
        }
    }

    fn hold(&self) -> Option<u64> {
        self.under_way.as_ref().map(|listing| listing.since)
    }

    fn tick(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.take(run)
    }

    fn look(&mut self, _run: &mut Run<'_>) -> Result<()> {
        if self.under_way.is_none() && Instant::now() + LIFE / 2 >= self.next {
            self.list()?;
        }
        Ok(())
    }

    fn ended(&self) -> bool {
        self.followed.as_ref().is_some_and(Followed::ended)
    }

    /// What is open at the end gets its owner once more, by a list that is begun now.
    fn end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.await_list(run)?;
        self.list()?;
        self.await_list(run)
    }
}

//! Independent counts of the same thing: what the client made, what the kernel established, what the
//! workers took. Two that differ mean that evidence is missing, and nothing is judged on it.

use super::audit::Audit;
use super::calls;
use super::marks::{ConnectMark, Variant};
use super::scene::SceneResult;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub what: &'static str,
    /// Who counted, and how many.
    pub counts: Vec<(&'static str, u64)>,
    /// A difference makes the scene inconclusive; else it is only shown.
    pub binding: bool,
}

impl Check {
    pub fn agrees(&self) -> bool {
        self.counts.windows(2).all(|pair| pair[0].1 == pair[1].1)
    }

    /// `connections: client 20, established 19`
    pub fn told(&self) -> String {
        let counts: Vec<String> = self
            .counts
            .iter()
            .map(|(who, count)| format!("{who} {count}"))
            .collect();
        format!("{}: {}", self.what, counts.join(", "))
    }
}

pub fn all(scene: &SceneResult) -> Vec<Check> {
    let Some(end) = &scene.end else {
        return Vec::new();
    };
    let own =
        |count: fn(&super::marks::WorkerCount) -> u64| end.workers.iter().map(count).sum::<u64>();
    let mut checks = vec![
        Check {
            what: "connections",
            counts: vec![
                ("client marks", scene.connects.len() as u64),
                ("client total", end.made),
                ("established in the kernel", scene.counts.established),
                ("accepted by their own count", own(|worker| worker.accepted)),
                ("accept calls seen", scene.counts.accepts),
                ("accepted and traced back", scene.totals.accepted),
            ],
            binding: true,
        },
        Check {
            what: "client ports",
            counts: vec![
                ("connected", scene.connects.len() as u64),
                ("found again among the established", matched_ports(scene)),
            ],
            binding: true,
        },
        Check {
            what: "EAGAIN",
            counts: vec![
                ("seen", scene.counts.eagain),
                ("by their own count", own(|worker| worker.eagain)),
            ],
            binding: true,
        },
        Check {
            what: "returns",
            counts: vec![
                ("seen", returns(scene)),
                ("by their own count", own(|worker| worker.returns)),
            ],
            binding: false,
        },
    ];
    checks.extend(accounts(scene));
    checks
}

/// Beside the kernel's own account. With an event missing the counts must differ, and are only shown.
fn accounts(scene: &SceneResult) -> Vec<Check> {
    let audits = &scene.audits;
    if audits.is_empty() {
        return Vec::new();
    }
    let sum = |count: fn(&Audit) -> u64| audits.iter().map(count).sum::<u64>();
    let alike = audits.iter().filter(|audit| audit.alike()).count();
    let by = "by the kernel's account";
    let counts = [
        (
            "voluntary switches",
            vec![
                ("seen", sum(|audit| audit.voluntary)),
                (by, sum(|audit| audit.kernel.voluntary)),
            ],
        ),
        (
            "involuntary switches",
            vec![
                ("seen", sum(|audit| audit.involuntary)),
                (by, sum(|audit| audit.kernel.involuntary)),
            ],
        ),
        (
            "switches of each worker",
            vec![("accounts", audits.len() as u64), ("alike", alike as u64)],
        ),
    ];
    let checks = counts.into_iter().map(|(what, counts)| Check {
        what,
        counts,
        binding: !scene.gapped,
    });
    checks.collect()
}

/// Connections that carry the port and the phase that the client noted for them.
fn matched_ports(scene: &SceneResult) -> u64 {
    let key = |mark: &ConnectMark| (mark.client_port, mark.phase);
    let mut established: Vec<(u16, u32)> = scene
        .connections
        .iter()
        .map(|connection| (connection.client_port, connection.phase))
        .collect();
    let found = scene.connects.iter().filter(|mark| {
        let at = established.iter().position(|seen| *seen == key(mark));
        at.map(|at| established.swap_remove(at)).is_some()
    });
    found.count() as u64
}

/// Returns of the call in which this variant waits.
fn returns(scene: &SceneResult) -> u64 {
    let waits: fn(u32) -> bool = match scene.mark.variant {
        Variant::Accept => calls::is_accept,
        Variant::PollAccept | Variant::Poll => |nr| matches!(nr, calls::POLL | calls::PPOLL),
        Variant::Select => |nr| matches!(nr, calls::SELECT | calls::PSELECT6),
        _ => |nr| {
            matches!(
                nr,
                calls::EPOLL_WAIT | calls::EPOLL_PWAIT | calls::EPOLL_PWAIT2
            )
        },
    };
    scene
        .workers
        .iter()
        .map(|worker| worker.returned(waits))
        .sum()
}

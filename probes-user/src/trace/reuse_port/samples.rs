//! The scripts that make connections: a large sample of tuples, and a small one again and again.

use crate::lab::family::Family;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::marks::{REACHED, Reached, SAMPLE, Sample};
use super::sockets::Group;
use super::tuples::{Kind, Tuple};
use super::{CRITICAL, PORT, ROUNDS, SOCKETS, TUPLES};
use crate::evidence::statistics::chi_square;
use crate::lab::script::Stage;

/// Connections that are open at once.
const BATCH: u32 = 64;

/// # Errors
/// A socket call fails, or a connection is not accepted in time.
pub fn balance(stage: &mut Stage, family: Family, connections: u32) -> Result<()> {
    let group = Group::new(family, PORT, SOCKETS)?;
    let seed = seed();
    for round in 0..2 {
        let sample = Sample {
            family,
            kind: Kind::Clients,
            seed,
            from: round * connections,
            count: connections,
            round,
            cpu: None,
        };
        let reached = run(stage, &group, &sample, BATCH, false)?;
        // The second decides where the first is out of the ordinary; see the claim.
        if chi_square(&counts(&reached)).is_some_and(|statistic| statistic <= CRITICAL) {
            break;
        }
    }
    Ok(())
}

/// # Errors
/// As for [`balance`].
pub fn by_hash(stage: &mut Stage, family: Family) -> Result<()> {
    let group = Group::new(family, PORT, SOCKETS)?;
    let allowed = sched_getaffinity(None).context("could not ask for the allowed CPUs")?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .collect();
    ensure!(!cpus.is_empty(), "no CPU is allowed");
    for kind in Kind::of(family) {
        let seed = seed();
        for round in 0..ROUNDS {
            // Forward and backward on one CPU, then on the next.
            let cpu = cpus[round as usize / 2 % cpus.len()];
            let mut only = CpuSet::new();
            only.set(cpu);
            sched_setaffinity(None, &only).context("could not stay on one CPU")?;
            let sample = Sample {
                family,
                kind: *kind,
                seed,
                from: 0,
                count: TUPLES,
                round,
                cpu: u32::try_from(cpu).ok(),
            };
            run(stage, &group, &sample, 1, round % 2 == 1)?;
        }
    }
    sched_setaffinity(None, &allowed).context("could not go back to all CPUs")
}

/// Makes the sample's connections; says which socket each one reached.
fn run(
    stage: &mut Stage,
    group: &Group,
    sample: &Sample,
    batch: u32,
    backward: bool,
) -> Result<Vec<u8>> {
    let phase = stage.act(SAMPLE, serde_json::to_value(sample)?);
    let order = |at| if backward { sample.count - 1 - at } else { at };
    let mut reached = vec![u8::MAX; sample.count as usize];
    for from in (0..sample.count).step_by(batch as usize) {
        let tuples = (from..sample.count.min(from + batch)).map(|at| {
            let index = order(at);
            (index, sample.tuple(index))
        });
        let tuples: Vec<(u32, Tuple)> = tuples.collect();
        batch_of(stage, group, &tuples, &mut reached)?;
        stage.progress(from.into(), sample.count.into());
    }
    let told = Reached::new(phase, &reached);
    stage.note(REACHED, serde_json::to_value(told)?);
    Ok(reached)
}

fn batch_of(
    stage: &Stage,
    group: &Group,
    tuples: &[(u32, Tuple)],
    reached: &mut [u8],
) -> Result<()> {
    // Before the clients: what is accepted is then reset by its own side, or by the other, at once.
    let mut accepted = Vec::new();
    let mut waiting: HashMap<SocketAddr, u32> = tuples
        .iter()
        .map(|(index, its)| (its.client, *index))
        .collect();
    let connect = |(_, tuple): &(u32, Tuple)| group.connect(tuple);
    let clients: Result<Vec<OwnedFd>> = tuples.iter().map(connect).collect();
    let clients = clients?;
    stage.wait("every connection is accepted", || {
        for one in group.accept()? {
            let client = SocketAddr::new(canonical(one.client.ip()), one.client.port());
            let index = waiting.remove(&client);
            let slot = index.and_then(|index| reached.get_mut(index as usize));
            *slot.with_context(|| format!("accepted a connection of nobody, {client}"))? = one.by;
            accepted.push(one);
        }
        Ok(waiting.is_empty().then_some(()))
    })?;
    drop(accepted);
    drop(clients);
    Ok(())
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

/// Connections by socket.
pub fn counts(reached: &[u8]) -> Vec<u64> {
    let of = |socket| reached.iter().filter(|its| **its == socket).count() as u64;
    (0..SOCKETS).map(of).collect()
}

/// The hasher's keys are the system's random numbers.
fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

//! Records of 64 bytes from a busy hook to a reader on the other CPU, at a rate: how many came, how many were
//! lost, and what reading them took. The reader is the toolkit's own: a batch every millisecond.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use probes_common::Kind;
use probes_common::control::counter;
use probes_user::instrument::sys;
use probes_user::kernel::possible_cpus;
use probes_user::stream::ring::Ring;

use crate::inside::{Bench, Inside, On};
use crate::load::{Load, cpu};

const TICK: Duration = Duration::from_millis(1);

#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    pub rate: u64,
    pub ring: u32,
}

pub const WANTED: [Wanted; 3] = [
    Wanted {
        rate: 1_000_000,
        ring: 1 << 20,
    },
    Wanted {
        rate: 2_000_000,
        ring: 4 << 20,
    },
    Wanted {
        rate: 4_000_000,
        ring: 16 << 20,
    },
];

/// One run.
#[derive(Debug, Clone, Copy)]
pub struct Streamed {
    /// Records a second that the hook offered.
    pub rate: f64,
    pub read: u64,
    pub lost: u64,
    /// What the programs say that they sent.
    pub sent: u64,
    /// ns of the reader's CPU time for a record.
    pub reader: f64,
    /// Its share of one CPU.
    pub share: f64,
}

/// # Errors
/// The kernel's, or the workload's.
pub fn run(bench: &Bench, load: &mut Load, wanted: Wanted, seconds: f64) -> Result<Streamed> {
    let inside = bench.attach(&[On("bench_event", "sys_enter")], wanted.ring)?;
    let mut ring = Ring::new(inside.events()?, wanted.ring)?;
    let stop = AtomicBool::new(false);
    let (reading, wall) = std::thread::scope(|scope| -> Result<_> {
        let reader = scope.spawn(|| read(&mut ring, &stop));
        let begun = Instant::now();
        load.tell((wanted.rate as f64 * seconds) as u64, wanted.rate)?;
        let done = load.took();
        let wall = begun.elapsed();
        stop.store(true, Ordering::Release);
        done?;
        let reading = reader
            .join()
            .map_err(|_| anyhow!("the reader panicked"))??;
        Ok((reading, wall.as_secs_f64()))
    })?;
    let (mut read, spent) = reading;
    // Nothing new after this; what came in between is read as well.
    let (maps, sent, lost) = closed(inside)?;
    read += ring.drain(|_| {});
    drop(maps);
    Ok(Streamed {
        rate: (sent + lost) as f64 / wall,
        read,
        lost,
        sent,
        reader: spent.as_nanos() as f64 / read.max(1) as f64,
        share: spent.as_secs_f64() / wall,
    })
}

fn read(ring: &mut Ring, stop: &AtomicBool) -> Result<(u64, Duration)> {
    cpu::pin(0)?;
    let (before, mut read, mut sum) = (cpu::thread()?, 0, 0u64);
    while !stop.load(Ordering::Acquire) {
        read += ring.drain(|record| sum = sum.wrapping_add(u64::from(record[0])));
        std::thread::sleep(TICK);
    }
    std::hint::black_box(sum);
    Ok((read, cpu::thread()? - before))
}

/// Detaches, then reads what was sent and what was lost.
fn closed(inside: Inside) -> Result<(probes_user::instrument::object::Maps, u64, u64)> {
    let maps = inside.detached();
    let kind = Kind::SysEnter as u32;
    let mut row = vec![0u8; possible_cpus()? as usize * 8];
    let mut sum = |index: u32| -> Result<u64> {
        sys::map_lookup(maps.get("COUNTERS")?, index, &mut row)
            .context("could not read counters")?;
        let cells = row.chunks_exact(8);
        Ok(cells
            .map(|cell| cell.try_into().map_or(0, u64::from_ne_bytes))
            .sum())
    };
    let (sent, lost) = (sum(counter::EMITTED + kind)?, sum(counter::DROPPED + kind)?);
    Ok((maps, sent, lost))
}

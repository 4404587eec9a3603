//! Makes the scene's marks of its plan and its shared memory, also of a scene that was cut short.

use std::sync::atomic::Ordering::{Acquire, Relaxed};

use super::board::{Board, WorkerCell};
use super::plan::Plan;
use crate::lab::account::Account;
use crate::trace::herd::marks::{
    AccountMark, ConnectMark, HerdMark, SceneEndMark, SceneMark, WorkerCount, WorkerId,
};

/// A worker's account, and the moment up to which it reaches.
pub type Settled = Option<(u64, Account)>;

pub fn scene(plan: &Plan, board: &Board, accounts: &[Settled]) -> HerdMark {
    let cells = board.workers().iter().zip(0..);
    HerdMark::Scene(SceneMark {
        scene: plan.scene,
        variant: plan.variant,
        arrival: plan.arrival,
        workers: cells
            .map(|(cell, index)| WorkerId {
                pid: cell.pid.load(Relaxed),
                index,
                account: accounts
                    .get(index as usize)
                    .copied()
                    .flatten()
                    .map(|(_, account)| account),
            })
            .collect(),
        client: board.head().client_pid.load(Relaxed),
        port: plan.port,
        connections: plan.connections,
        burst: plan.burst,
        accept_delay_ns: u64::try_from(plan.accept_delay.as_nanos()).unwrap_or(u64::MAX),
    })
}

/// Each connection whose connect() was called, with the time of the call.
pub fn connects(plan: &Plan, board: &Board) -> Vec<(u64, HerdMark)> {
    let cells = board.connections().iter().zip(0..);
    let begun = cells.map(|(cell, index)| (cell, index, cell.begun_at.load(Acquire)));
    begun
        .filter(|(_, _, begun_at)| *begun_at != 0)
        .map(|(cell, index, begun_at)| {
            let mark = ConnectMark {
                scene: plan.scene,
                index,
                phase: cell.phase.load(Relaxed),
                client_port: cell.client_port.load(Relaxed) as u16,
                connected_at: cell.connected_at.load(Acquire),
            };
            (begun_at, HerdMark::Connect(mark))
        })
        .collect()
}

/// In order of time.
pub fn accounts(plan: &Plan, accounts: &[Settled]) -> Vec<(u64, HerdMark)> {
    let known = accounts.iter().zip(0..);
    let known = known.filter_map(|(settled, index)| settled.map(|(at, its)| (at, index, its)));
    let marks = known.map(|(at, index, account)| {
        let scene = plan.scene;
        let mark = AccountMark {
            scene,
            index,
            account,
        };
        (at, HerdMark::Account(mark))
    });
    marks.collect()
}

pub fn end(plan: &Plan, board: &Board, complete: bool) -> HerdMark {
    let count = |(index, cell): (usize, &WorkerCell)| WorkerCount {
        accepted: cell.accepted.load(Acquire),
        eagain: cell.eagain.load(Relaxed),
        returns: cell.returns.load(Relaxed),
        ports: board.accepted_ports(index),
    };
    HerdMark::SceneEnd(SceneEndMark {
        scene: plan.scene,
        made: board.head().made.load(Acquire),
        workers: board.workers().iter().enumerate().map(count).collect(),
        complete,
    })
}

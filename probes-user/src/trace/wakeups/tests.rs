//! Streams built by hand: what is right holds, what is altered in one place does not.

use probes_common::event::{
    Header, Migrate, SWITCH_NEXT_WATCHED, SWITCH_PREEMPT, SWITCH_PREV_WATCHED, Switch, Wakeup,
};
use serde_json::json;

use super::facts::{self, HandOff};
use super::hops::{self, Delay};
use super::marks::{TOLD, TaskTold, Told, Turn};
use super::script::{FUTEX, PIPE};
use crate::evidence::ClaimResult;
use crate::lab::account::Account;
use crate::stream::{Body, Event, Item, Mark};
use crate::trace::herd::stack::{Cause, Classifier};
use crate::trace::herd::testkit::{TIMER, frames, symbols};
use crate::trace::scripted::Cases;
use crate::trace::{Ending, LabOptions};

const A: u32 = 11;
const B: u32 = 12;
const C: u32 = 13;
const OTHER: u32 = 99;
const OURS: [u32; 3] = [A, B, C];
const PIPE_WRITE: &[&str] = &["try_to_wake_up", "pipe_write"];

#[derive(Default)]
struct Stream {
    events: Vec<Event>,
    now: u64,
}

impl Stream {
    fn event(&mut self, cpu: u32, pid: u32, body: Body) -> u64 {
        self.now += 10;
        let header = Header {
            ktime: self.now,
            cpu,
            pid,
            ..Header::default()
        };
        self.events.push(Event { header, body });
        self.now
    }

    fn switch(&mut self, cpu: u32, prev: u32, next: u32, prev_state: u32) -> u64 {
        let flag = |pid: u32, flag: u32| if OURS.contains(&pid) { flag } else { 0 };
        let switch = Switch {
            prev,
            next,
            prev_state,
            flags: flag(prev, SWITCH_PREV_WATCHED) | flag(next, SWITCH_NEXT_WATCHED),
        };
        self.event(cpu, prev, Body::Switch(switch))
    }

    fn waking(&mut self, cpu: u32, pid: u32, target: u32, stack: &[&str]) -> u64 {
        let (depth, stack) = frames(stack);
        let waking = probes_common::event::Waking {
            target,
            flags: 0,
            conn: 0,
            depth,
            _pad: 0,
            stack,
        };
        self.event(cpu, pid, Body::Waking(waking))
    }

    fn wakeup(&mut self, cpu: u32, target: u32) -> u64 {
        self.event(cpu, 0, Body::Wakeup(Wakeup { target, new: 0 }))
    }

    fn stamp(&mut self) -> u64 {
        self.now += 10;
        self.now
    }

    fn hops(&self) -> Vec<hops::Hop> {
        hops::hops(&self.events, &Classifier::new(&symbols()))
    }
}

/// A wakes B on its own CPU and sleeps; B runs.
fn on_one_cpu(stream: &mut Stream, waker: u32, woken: u32) {
    stream.waking(0, waker, woken, PIPE_WRITE);
    stream.wakeup(0, woken);
    stream.switch(0, waker, woken, 1);
}

#[test]
fn a_hop_names_its_waker_its_times_and_what_it_waited_for() {
    let mut stream = Stream::default();
    on_one_cpu(&mut stream, A, B);
    let waking = stream.waking(0, B, C, PIPE_WRITE);
    stream.event(0, B, Body::Migrate(Migrate { target: C, to: 1 }));
    let queued = stream.wakeup(1, C);
    let running = stream.switch(1, 0, C, 0);
    let hops = stream.hops();
    assert_eq!(hops.len(), 2);
    assert_eq!((hops[0].cause(), hops[0].by), (Delay::Waker, Cause::Pipe));
    let last = &hops[1];
    assert_eq!(
        (last.waker, last.target, last.cause()),
        (B, C, Delay::Migration)
    );
    assert_eq!(last.delay(), Some(running - waking));
    assert_eq!(last.to_queue(), Some(queued - waking));
    assert_eq!(last.in_queue(), Some(running - queued));
    assert_eq!(hops::chain(&hops, 1), [0, 1]);
}

#[test]
fn idle_and_somebody_else_are_told_apart() {
    let mut stream = Stream::default();
    for (woken, from) in [(B, 0), (C, OTHER)] {
        stream.waking(0, A, woken, PIPE_WRITE);
        stream.wakeup(1, woken);
        stream.switch(1, from, woken, 0);
        stream.switch(1, woken, 0, 1);
    }
    let causes: Vec<Delay> = stream.hops().iter().map(hops::Hop::cause).collect();
    assert_eq!(causes, [Delay::IdleExit, Delay::Busy]);
}

#[test]
fn a_timer_is_not_the_bystander_it_interrupted() {
    let mut stream = Stream::default();
    on_one_cpu(&mut stream, A, B);
    stream.waking(0, B, A, TIMER);
    stream.wakeup(0, A);
    stream.switch(0, B, A, 1);
    let hops = stream.hops();
    assert_eq!((hops[1].by, hops[1].parent), (Cause::Timer, None));
    assert_eq!(hops[1].cause(), Delay::Busy);
}

#[test]
fn who_has_not_left_its_cpu_is_not_woken() {
    let mut stream = Stream::default();
    stream.switch(1, 0, B, 0);
    stream.waking(0, A, B, PIPE_WRITE);
    stream.wakeup(1, B);
    assert_eq!(stream.hops(), []);
    // A sleep later it is, and by A's waking alone.
    stream.switch(1, B, 0, 1);
    stream.waking(0, A, B, PIPE_WRITE);
    stream.waking(0, C, B, PIPE_WRITE);
    stream.switch(1, 0, B, 0);
    let wakers: Vec<u32> = stream.hops().iter().map(|hop| hop.waker).collect();
    assert_eq!(wakers, [A]);
}

#[test]
fn a_chain_ends_where_a_task_slept_without_being_woken_by_it() {
    let mut stream = Stream::default();
    on_one_cpu(&mut stream, A, B);
    stream.switch(0, B, 0, 1);
    stream.waking(0, 0, B, TIMER);
    stream.wakeup(0, B);
    stream.switch(0, 0, B, 0);
    stream.waking(0, B, C, PIPE_WRITE);
    stream.wakeup(0, C);
    stream.switch(0, B, C, 1);
    let hops = stream.hops();
    assert_eq!(hops::chain(&hops, 2), [1, 2]);
}

fn account(voluntary: u64, involuntary: u64) -> Account {
    Account {
        voluntary,
        involuntary,
        times: None,
    }
}

/// Hand-offs between A and B; in the disturbed ones somebody comes between.
fn to_and_fro(disturbed: &[bool]) -> (Stream, Told) {
    let mut stream = Stream::default();
    let begun = stream.stamp();
    let mut turns = Vec::new();
    for disturbed in disturbed {
        let before = stream.stamp();
        on_one_cpu(&mut stream, A, B);
        if *disturbed {
            stream.waking(0, B, A, PIPE_WRITE);
            stream.wakeup(0, A);
            stream.switch(0, B, OTHER, 1);
            stream.switch(0, OTHER, A, 0);
        } else {
            on_one_cpu(&mut stream, B, A);
        }
        turns.push(Turn {
            before,
            got: stream.stamp(),
            ..Turn::default()
        });
    }
    let ended = stream.stamp();
    let task = |name: &str, pid: u32| TaskTold {
        name: name.to_owned(),
        pid,
        turns: turns.clone(),
        from: (begun, account(5, 1)),
        to: (ended, account(5 + disturbed.len() as u64, 1)),
    };
    let told = Told {
        tasks: vec![task("a", A), task("b", B)],
        turns: disturbed.len(),
        policy: "SCHED_FIFO".to_owned(),
    };
    (stream, told)
}

#[test]
fn a_hand_off_is_two_switches_and_two_sleeps() {
    let (stream, told) = to_and_fro(&[false, true]);
    let all = facts::hand_offs(&stream.events, &told).unwrap();
    let took = all[0].took;
    let whole = HandOff {
        sleeps: [1, 1],
        direct: 2,
        foreign: 0,
        took,
    };
    assert_eq!(all[0], whole);
    assert_eq!(
        (all[1].direct, all[1].foreign, all[1].clean()),
        (1, 2, false)
    );
    assert!(facts::counts_agree(&stream.events, &told));
}

fn verdict(told: &Told, stream: &Stream) -> (ClaimResult, String) {
    let mut cases = Cases::default();
    for label in [PIPE, FUTEX] {
        let data = json!({ "label": label, "netns": 7, "sysctls": {} });
        let mark = |name: &str, data| {
            Item::Mark(Mark {
                ktime: 0,
                name: name.to_owned(),
                data,
            })
        };
        cases.item(&mark(crate::lab::script::CASE, data));
        for event in &stream.events {
            cases.item(&Item::Event(*event));
        }
        cases.item(&mark(TOLD, serde_json::to_value(told).unwrap()));
    }
    let options = LabOptions {
        variants: vec![PIPE.to_owned(), FUTEX.to_owned()],
        ..LabOptions::default()
    };
    let classifier = Classifier::new(&symbols());
    let findings = super::judge::judge(&cases, &classifier, &options, &Ending::default());
    assert_eq!(findings.len(), 1, "the chain was not asked for");
    (findings[0].result, findings[0].because.clone())
}

#[test]
fn two_switches_hold_three_refute_and_others_in_between_settle_nothing() {
    let (stream, told) = to_and_fro(&[false, false, true]);
    assert_eq!(verdict(&told, &stream).0, ClaimResult::Holds);

    let (stream, told) = to_and_fro(&[false, true, true]);
    let (result, why) = verdict(&told, &stream);
    assert_eq!(result, ClaimResult::Inconclusive);
    assert!(why.contains("2 of 3"), "{why}");

    let (mut stream, mut told) = to_and_fro(&[false]);
    let mut extra = stream
        .events
        .iter()
        .rposition(|e| matches!(e.body, Body::Switch(_)));
    let at = extra.take().unwrap();
    for (prev, next) in [(A, B), (B, A)] {
        let mut event = stream.events[at];
        event.body = Body::Switch(Switch {
            prev,
            next,
            prev_state: 0,
            flags: SWITCH_PREV_WATCHED | SWITCH_NEXT_WATCHED | SWITCH_PREEMPT,
        });
        stream.events.push(event);
    }
    for task in &mut told.tasks {
        task.to.1.involuntary += 1;
    }
    assert_eq!(verdict(&told, &stream).0, ClaimResult::Refuted);
}

#[test]
fn switches_that_the_kernel_counted_and_nobody_saw_settle_nothing() {
    let (stream, mut told) = to_and_fro(&[false, false]);
    told.tasks[0].to.1.voluntary += 1;
    let (result, why) = verdict(&told, &stream);
    assert_eq!(result, ClaimResult::Inconclusive);
    assert!(why.contains("the kernel counted"), "{why}");
    assert!(!facts::counts_agree(&stream.events, &told));
}

/// A wakes B, B wakes C, each with its stamps around the call.
fn three() -> (Stream, Told) {
    let mut stream = Stream::default();
    let mut turns = [Turn::default(); 3];
    for (at, (waker, woken)) in [(A, B), (B, C)].into_iter().enumerate() {
        turns[at].before = stream.stamp();
        stream.waking(0, waker, woken, PIPE_WRITE);
        stream.wakeup(1, woken);
        turns[at].after = stream.stamp();
        stream.switch(1 - at as u32, 0, woken, 0);
        turns[at + 1].got = stream.stamp();
    }
    let task = |index: usize| TaskTold {
        name: format!("{index}"),
        pid: OURS[index],
        turns: vec![turns[index]],
        from: (0, Account::default()),
        to: (u64::MAX, Account::default()),
    };
    let told = Told {
        tasks: (0..3).map(task).collect(),
        turns: 1,
        policy: String::new(),
    };
    (stream, told)
}

#[test]
fn a_chain_is_right_only_inside_the_stamps_of_those_who_made_it() {
    let classifier = Classifier::new(&symbols());
    let (stream, told) = three();
    let links = facts::links(&stream.events, &told, &classifier).unwrap();
    let [a, b, _] = told.tasks.as_slice() else {
        panic!()
    };
    assert!(links[0].linked && links[0].inside);
    assert!(links[0].time_fits(&a.turns[0], &b.turns[0]));

    let mut altered = told.clone();
    altered.tasks[1].turns[0].before += 1000;
    altered.tasks[1].turns[0].after += 1000;
    let links = facts::links(&stream.events, &altered, &classifier).unwrap();
    assert!(links[0].linked && !links[0].inside);
    assert!(!links[0].time_fits(&a.turns[0], &altered.tasks[1].turns[0]));

    let mut missing = stream.events.clone();
    missing.retain(|event| !matches!(&event.body, Body::Waking(waking) if waking.target == C));
    assert_eq!(facts::links(&missing, &told, &classifier), None);
}

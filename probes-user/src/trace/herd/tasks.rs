//! What each task is doing, from `sched_switch`, `sched_waking` and `sched_wakeup`.
//!
//! What fools a simpler count: a task that has set its state but has not switched out can be woken
//! although it never slept. Two orders are seen: waking → wakeup (absorbed: the next switch-out with a
//! sleeping state is a true sleep) and waking → switch-out → wakeup (the wakeup is under way: no sleep).
//! Only a task that had switched out counts as a sleeper woken.

/// `prev_state` of a task that was preempted (TASK_REPORT_MAX, "R+"), 4.20 and later.
const REPORTED_PREEMPTED: u32 = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Not seen yet.
    #[default]
    Unknown,
    Running {
        since: u64,
        /// A waking came while it ran and its wakeup is still out.
        woken: Option<u64>,
    },
    Asleep {
        since: u64,
        /// TASK_INTERRUPTIBLE: waits for an event; else for a lock or a device.
        interruptible: bool,
    },
    /// Woken, not yet runnable.
    WakePending { at: u64 },
    Runnable {
        /// When it was woken; None = preempted.
        woken: Option<u64>,
    },
}

/// TASK_INTERRUPTIBLE.
const INTERRUPTIBLE: u32 = 1;

/// What a `sched_waking` met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Met {
    Sleeper { since: u64 },
    NotAsleep,
    Unknown,
}

/// What a switch-out was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Time on the CPU since the last switch-in; 0 when that was not seen.
    pub ran_ns: u64,
    /// It gave the CPU up itself (asleep, or caught by a wakeup on its way there).
    pub voluntary: bool,
    /// It sleeps now.
    pub asleep: bool,
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Task {
    pub state: State,
    pub voluntary: u64,
    pub involuntary: u64,
    pub on_cpu_ns: u64,
}

impl Task {
    /// Asleep until something happens; a sleep for a lock or a device does not count.
    pub fn asleep_since(&self) -> Option<u64> {
        match self.state {
            State::Asleep {
                since,
                interruptible: true,
            } => Some(since),
            _ => None,
        }
    }

    pub fn waking(&mut self, now: u64) -> Met {
        match self.state {
            State::Asleep { since, .. } => {
                self.state = State::WakePending { at: now };
                Met::Sleeper { since }
            }
            State::Unknown => {
                self.state = State::WakePending { at: now };
                Met::Unknown
            }
            State::Running { since, .. } => {
                self.state = State::Running {
                    since,
                    woken: Some(now),
                };
                Met::NotAsleep
            }
            State::WakePending { .. } | State::Runnable { .. } => Met::NotAsleep,
        }
    }

    pub fn wakeup(&mut self, now: u64) {
        self.state = match self.state {
            // Absorbed: it never left the CPU.
            State::Running { since, .. } => State::Running { since, woken: None },
            State::WakePending { at } => State::Runnable { woken: Some(at) },
            State::Asleep { .. } | State::Unknown => State::Runnable { woken: Some(now) },
            State::Runnable { woken } => State::Runnable { woken },
        };
    }

    /// Returns the time from waking to running, if it was woken.
    pub fn switch_in(&mut self, now: u64) -> Option<u64> {
        let woken = match self.state {
            State::WakePending { at } => Some(at),
            State::Runnable { woken } => woken,
            State::Unknown | State::Running { .. } | State::Asleep { .. } => None,
        };
        self.state = State::Running {
            since: now,
            woken: None,
        };
        woken.map(|at| now.saturating_sub(at))
    }

    pub fn switch_out(&mut self, now: u64, prev_state: u32, preempted: bool) -> Left {
        let (ran_ns, pending) = match self.state {
            State::Running { since, woken } => (now.saturating_sub(since), woken),
            _ => (0, None),
        };
        let voluntary = !preempted && prev_state & !REPORTED_PREEMPTED != 0;
        self.state = match (voluntary, pending) {
            (true, Some(at)) => State::WakePending { at },
            (true, None) => State::Asleep {
                since: now,
                interruptible: prev_state & INTERRUPTIBLE != 0,
            },
            (false, _) => State::Runnable { woken: None },
        };
        self.on_cpu_ns = self.on_cpu_ns.saturating_add(ran_ns);
        if voluntary {
            self.voluntary += 1;
        } else {
            self.involuntary += 1;
        }
        Left {
            ran_ns,
            voluntary,
            asleep: voluntary && pending.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> Task {
        Task {
            state: State::Running {
                since: 0,
                woken: None,
            },
            ..Task::default()
        }
    }

    #[test]
    fn a_task_that_switched_out_asleep_is_a_sleeper() {
        let mut task = running();
        assert!(task.switch_out(10, 1, false).asleep);
        assert_eq!(task.waking(20), Met::Sleeper { since: 10 });
        task.wakeup(22);
        assert_eq!(task.switch_in(25), Some(5));
        assert_eq!((task.voluntary, task.on_cpu_ns), (1, 10));
    }

    #[test]
    fn an_absorbed_waking_wakes_nobody_and_the_next_sleep_is_a_true_one() {
        let mut task = running();
        assert_eq!(task.waking(10), Met::NotAsleep);
        task.wakeup(11);
        assert!(task.switch_out(20, 1, false).asleep);
        assert_eq!(task.waking(30), Met::Sleeper { since: 20 });
    }

    #[test]
    fn a_waking_that_overtakes_the_switch_out_leaves_nobody_asleep() {
        let mut task = running();
        assert_eq!(task.waking(10), Met::NotAsleep);
        let left = task.switch_out(12, 1, false);
        assert!(left.voluntary && !left.asleep);
        assert_eq!(task.asleep_since(), None);
        assert_eq!(task.waking(13), Met::NotAsleep);
        task.wakeup(14);
        assert_eq!(task.switch_in(16), Some(6));
    }

    #[test]
    fn preemption_is_not_sleep() {
        for (state, preempted) in [(0, false), (256, false), (1, true)] {
            let mut task = running();
            let left = task.switch_out(10, state, preempted);
            assert!(!left.asleep && !left.voluntary);
            assert_eq!(task.switch_in(15), None);
            assert_eq!(task.involuntary, 1);
        }
    }

    #[test]
    fn a_sleep_for_a_lock_is_no_wait_for_an_event() {
        let mut task = running();
        assert!(task.switch_out(10, 2, false).asleep);
        assert_eq!(task.asleep_since(), None);
        assert_eq!(task.waking(20), Met::Sleeper { since: 10 });
    }

    #[test]
    fn the_first_waking_of_an_unseen_task_claims_nothing() {
        assert_eq!(Task::default().waking(5), Met::Unknown);
    }
}

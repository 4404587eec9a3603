//! Does a measured row of sends follow a law?
//!
//! Where the timer's own word is known (jiffies, exact), it decides what the kernel meant, and times only
//! have to be possible; else times decide, and lateness alone never refutes: a machine can stall.

use super::limits::Limits;

/// What was sent, when, and what the kernel armed its timer with after each send.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Row {
    /// When each packet came by; CLOCK_MONOTONIC.
    pub sends: Vec<u64>,
    /// When the last wait was over.
    pub ended_at: Option<u64>,
    /// Jiffies for each wait; None = this arming was not seen.
    pub armed: Vec<Option<u64>>,
}

impl Row {
    /// What the timer was armed with after this send, counted from 0.
    pub fn armed(&self, send: usize) -> Option<u64> {
        self.armed.get(send).copied().flatten()
    }

    /// An arming after so many resends. The kernel keeps an event from a program now and then, so each is
    /// placed by its own count.
    pub fn arm(&mut self, resends: u8, jiffies: u64) {
        let index = usize::from(resends);
        if self.armed.len() <= index {
            self.armed.resize(index + 1, None);
        }
        self.armed[index] = Some(jiffies);
    }

    /// The wait after each send, the last until the end.
    pub fn waits(&self) -> Vec<u64> {
        let later = self.sends.iter().skip(1).copied().chain(self.ended_at);
        self.sends
            .iter()
            .zip(later)
            .map(|(sent, next)| next.saturating_sub(*sent))
            .collect()
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fit {
    Yes,
    /// Not as the law says.
    No(String),
    /// Out of tolerance in a way that the machine can cause.
    Unsure(String),
}

/// A stall that the times alone may show.
const SLACK_NS: u64 = 20_000_000;
/// The same where the timer says what was meant.
const SLACK_ARMED_NS: u64 = 250_000_000;

/// The shortest and the longest time that a timer of `wait` takes. `slipped`: by how much the wait before was
/// too long, because a packet that is seen late makes the next wait look short.
fn bounds(wait: u64, slipped: u64, limits: &Limits, armed: bool) -> (u64, u64) {
    let slack = if armed { SLACK_ARMED_NS } else { SLACK_NS };
    let late = wait / 8 + 2 * limits.tick_ns() + slack;
    // Jiffies can lag behind the clock when the timer is armed.
    let early = 2 * limits.tick_ns() + wait / 50;
    let early = if armed {
        SLACK_ARMED_NS
    } else {
        early + slipped
    };
    (wait.saturating_sub(early), wait + late)
}

/// The same for all waits of a law together.
pub fn total_bounds(law: &[u64], limits: &Limits, armed: bool) -> (u64, u64) {
    let sum: u64 = law.iter().sum();
    let slack = if armed { SLACK_ARMED_NS } else { SLACK_NS };
    let ticks = 2 * limits.tick_ns() * law.len() as u64;
    (
        sum.saturating_sub(ticks + sum / 50),
        sum + sum / 8 + ticks + slack,
    )
}

pub fn fit(law: &[u64], row: &Row, limits: &Limits) -> Fit {
    let waits = row.waits();
    if row.sends.len() != law.len() {
        return Fit::No(format!("{} sends, not {}", row.sends.len(), law.len()));
    }
    if waits.len() != law.len() {
        return Fit::Unsure("the end of the last wait was not seen".to_owned());
    }
    if let Some(text) = differs(law, row, limits) {
        return Fit::No(text);
    }
    for (number, (wait, meant)) in waits.iter().zip(law).enumerate() {
        let armed = row
            .armed(number)
            .is_some_and(|armed| !short(armed, *meant, law, row, limits));
        let (least, most) = bounds(*meant, slipped(number, &waits, law), limits, armed);
        let text = || {
            format!(
                "wait {} took {} ms, not {} ms",
                number + 1,
                ms(*wait),
                ms(*meant)
            )
        };
        if *wait < least && !armed {
            return Fit::No(text());
        }
        if *wait < least || *wait > most {
            return Fit::Unsure(text());
        }
    }
    Fit::Yes
}

/// By how much the wait before was too long.
fn slipped(number: usize, waits: &[u64], law: &[u64]) -> u64 {
    let before = number.checked_sub(1);
    before.map_or(0, |before| waits[before].saturating_sub(law[before]))
}

/// The first timer that was not armed as the law says: with more, with less by a quarter, or with less and
/// served sooner. With a little less and served in time it was read late: what is left of a wait is told a
/// moment after it was armed.
pub fn differs(law: &[u64], row: &Row, limits: &Limits) -> Option<String> {
    let waits = row.waits();
    for (number, wait) in law.iter().enumerate() {
        let (Some(armed), Some(meant)) = (row.armed(number), jiffies(*wait, law, row, limits))
        else {
            continue;
        };
        let early = || {
            let (least, _) = bounds(*wait, slipped(number, &waits, law), limits, false);
            4 * armed <= 3 * meant || waits.get(number).is_none_or(|own| *own < least)
        };
        let less = short(armed, *wait, law, row, limits);
        if armed > meant + tolerance(meant) || (less && early()) {
            let number = number + 1;
            let text = format!("timer {number} was armed with {armed} jiffies, not {meant}");
            return Some(text);
        }
    }
    None
}

fn short(armed: u64, wait: u64, law: &[u64], row: &Row, limits: &Limits) -> bool {
    let meant = jiffies(wait, law, row, limits);
    meant.is_some_and(|meant| armed + tolerance(meant) < meant)
}

/// A tick may pass between the arming and the reading of the clock.
fn tolerance(meant: u64) -> u64 {
    1 + meant / 100
}

/// A wait of the law. Without the length of a jiffy only the proportions are known, to the first timer.
fn jiffies(wait: u64, law: &[u64], row: &Row, limits: &Limits) -> Option<u64> {
    match (limits.jiffy_ns, row.armed(0)) {
        (Some(jiffy), _) => Some(wait / jiffy.max(1)),
        (None, Some(first)) => {
            let wide = u128::from(wait) * u128::from(first) / u128::from((*law.first()?).max(1));
            u64::try_from(wide).ok()
        }
        (None, None) => None,
    }
}

/// Milliseconds for a person.
pub fn ms(ns: u64) -> u64 {
    (ns + 500_000) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::super::limits::Speed;
    use super::*;

    const MS: u64 = 1_000_000;

    fn limits(jiffy_ns: Option<u64>) -> Limits {
        Limits {
            speed: Speed::Compressed,
            why: None,
            first_ns: 40 * MS,
            jiffy_ns,
            retries: 3,
            linear: None,
            rto_max_ms: None,
        }
    }

    fn row(waits_ms: &[u64], armed: Option<&[u64]>) -> Row {
        let mut at = 7 * MS;
        let mut sends = vec![at];
        for wait in waits_ms {
            at += wait * MS;
            sends.push(at);
        }
        Row {
            ended_at: sends.pop(),
            sends,
            armed: armed.unwrap_or(&[]).iter().map(|one| Some(*one)).collect(),
        }
    }

    const LAW: [u64; 4] = [40 * MS, 80 * MS, 160 * MS, 320 * MS];

    fn judged(row: &Row) -> Fit {
        fit(&LAW, row, &limits(Some(4 * MS)))
    }

    #[test]
    fn late_by_an_eighth_fits() {
        assert_eq!(judged(&row(&[44, 88, 176, 352], None)), Fit::Yes);
        assert_eq!(
            judged(&row(&[44, 88, 176, 352], Some(&[10, 20, 40, 80]))),
            Fit::Yes
        );
    }

    #[test]
    fn another_count_or_a_short_wait_does_not() {
        assert!(matches!(judged(&row(&[44, 88, 176], None)), Fit::No(_)));
        let short = judged(&row(&[44, 88, 120, 352], None));
        assert_eq!(short, Fit::No("wait 3 took 120 ms, not 160 ms".to_owned()));
    }

    #[test]
    fn a_packet_that_is_seen_late_makes_the_next_wait_short() {
        assert_eq!(judged(&row(&[70, 54, 176, 352], None)), Fit::Yes);
        assert!(matches!(
            judged(&row(&[44, 54, 176, 352], None)),
            Fit::No(_)
        ));
    }

    #[test]
    fn lateness_alone_never_refutes() {
        assert!(matches!(
            judged(&row(&[44, 200, 176, 352], None)),
            Fit::Unsure(_)
        ));
    }

    #[test]
    fn what_the_timer_was_armed_with_decides() {
        let stalled = row(&[44, 200, 176, 352], Some(&[10, 20, 40, 80]));
        assert_eq!(judged(&stalled), Fit::Yes);
        let wrong = row(&[44, 88, 176, 352], Some(&[10, 20, 30, 80]));
        let text = "timer 3 was armed with 30 jiffies, not 40".to_owned();
        assert_eq!(judged(&wrong), Fit::No(text));
        let mut missing = row(&[44, 88, 176, 352], Some(&[10, 20, 40, 80]));
        missing.armed[1] = None;
        assert_eq!(judged(&missing), Fit::Yes, "one arming that was not seen");
    }

    #[test]
    fn a_timer_that_is_read_late_is_judged_by_when_it_was_served() {
        let read_late = row(&[53, 79, 168, 325], Some(&[10, 18, 40, 80]));
        assert_eq!(judged(&read_late), Fit::Yes);
        let served_early = row(&[44, 60, 168, 325], Some(&[10, 18, 40, 80]));
        let text = "timer 2 was armed with 18 jiffies, not 20".to_owned();
        assert_eq!(judged(&served_early), Fit::No(text));
        let more = row(&[44, 88, 168, 325], Some(&[10, 22, 40, 80]));
        assert!(matches!(judged(&more), Fit::No(_)));
    }

    #[test]
    fn without_the_length_of_a_jiffy_proportions_decide() {
        let real = limits(None);
        let right = row(&[44, 88, 176, 352], Some(&[250, 500, 1000, 2000]));
        assert_eq!(fit(&LAW, &right, &real), Fit::Yes);
        let wrong = row(&[44, 88, 176, 352], Some(&[250, 500, 750, 2000]));
        assert!(matches!(fit(&LAW, &wrong, &real), Fit::No(_)));
    }

    #[test]
    fn an_end_that_was_not_seen_settles_nothing() {
        let mut open = row(&[44, 88, 176, 352], None);
        open.ended_at = None;
        assert!(matches!(judged(&open), Fit::Unsure(_)));
    }
}

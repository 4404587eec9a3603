//! How long TCP waits for an answer to its SYN or SYN-ACK, as its code says, from sysctls alone.
//!
//! Each row holds the wait after every send; the last one ends the attempt.

/// `tcp_retransmit_timer` and `tcp_write_timeout`: the timeout doubles from the first expiry on, or, where
/// there are linear timeouts, from the one after so many; those count beside the retries. An expiry ends the
/// attempt also when it has lasted as long as the retries would have taken without linear timeouts.
pub fn syn(first: u64, retries: u32, linear: u32, longest: u64) -> Vec<u64> {
    let limit = time_limit(first, retries, longest);
    let (mut timeout, mut elapsed) = (first, 0);
    let mut waits = Vec::new();
    for expiry in 1..=retries + linear + 1 {
        waits.push(timeout);
        elapsed += timeout;
        if elapsed >= limit {
            break;
        }
        if expiry > linear {
            timeout = timeout.saturating_mul(2).min(longest);
        }
    }
    waits
}

/// `tcp_model_timeout`: all waits of so many doubling retries.
pub fn time_limit(first: u64, retries: u32, longest: u64) -> u64 {
    synack(first, retries, longest).iter().sum()
}

/// `reqsk_timer_handler`: the timeout of a request doubles each time.
pub fn synack(first: u64, retries: u32, longest: u64) -> Vec<u64> {
    let wait = |resend: u32| {
        first
            .saturating_mul(1 << resend.min(62))
            .min(longest.max(first))
    };
    (0..=retries).map(wait).collect()
}

/// What the notes say of a client, in units of the initial timeout: "1/2/3/6/16/32/64, six times".
pub const NOTES: [u64; 7] = [1, 2, 3, 6, 16, 32, 64];

/// The notes' row as far as it goes with so many retries.
pub fn notes(first: u64, retries: u32) -> Vec<u64> {
    let count = usize::try_from(retries).unwrap_or(usize::MAX).min(6) + 1;
    NOTES.iter().take(count).map(|unit| unit * first).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: u64 = 120;

    #[test]
    fn old_kernels_double_at_once_and_give_up_after_127() {
        let waits = syn(1, 6, 0, LONGEST);
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(waits.iter().sum::<u64>(), 127);
    }

    #[test]
    fn linear_timeouts_come_first_and_beside_the_retries() {
        let waits = syn(1, 6, 4, LONGEST);
        assert_eq!(waits, [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(waits.iter().sum::<u64>(), 131);
    }

    #[test]
    fn few_retries_end_before_their_linear_timeouts_are_used_up() {
        // Seven resends by count, five by time: 7 s have passed at the sixth expiry.
        assert_eq!(syn(1, 2, 4, LONGEST), [1, 1, 1, 1, 1, 2]);
        assert_eq!(syn(1, 3, 4, LONGEST), [1, 1, 1, 1, 1, 2, 4, 8]);
        assert_eq!(syn(1, 2, 0, LONGEST), [1, 2, 4]);
    }

    #[test]
    fn no_wait_is_longer_than_the_longest() {
        assert_eq!(syn(1, 8, 0, LONGEST)[6..], [64, 120, 120]);
        assert_eq!(synack(1, 8, LONGEST)[6..], [64, 120, 120]);
    }

    #[test]
    fn a_request_is_forgotten_after_63() {
        let waits = synack(1, 5, LONGEST);
        assert_eq!((waits.len(), waits.iter().sum::<u64>()), (6, 63));
    }

    #[test]
    fn the_notes_go_as_far_as_the_retries() {
        assert_eq!(notes(40, 2), [40, 80, 120]);
        assert_eq!(notes(1, 6), NOTES);
        assert_eq!(notes(1, 9), NOTES);
    }
}

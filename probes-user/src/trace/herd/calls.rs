//! The system calls that the herd traces follow (x86-64 numbers), and epoll's event flags in words.

pub const POLL: u32 = 7;
pub const SELECT: u32 = 23;
pub const ACCEPT: u32 = 43;
pub const EPOLL_WAIT: u32 = 232;
pub const EPOLL_CTL: u32 = 233;
pub const PSELECT6: u32 = 270;
pub const PPOLL: u32 = 271;
pub const EPOLL_PWAIT: u32 = 281;
pub const ACCEPT4: u32 = 288;
pub const EPOLL_PWAIT2: u32 = 441;

pub const CONNECT: u32 = 42;

/// All that the herd traces follow.
pub static FOLLOWED: &[u32] = &[
    POLL,
    SELECT,
    CONNECT,
    ACCEPT,
    EPOLL_WAIT,
    EPOLL_CTL,
    PSELECT6,
    PPOLL,
    EPOLL_PWAIT,
    ACCEPT4,
    EPOLL_PWAIT2,
];

pub const EAGAIN: i64 = -11;
/// `EPOLL_CTL_DEL`; the other operations register.
pub const CTL_DEL: u64 = 2;
/// `TCP_LISTEN` as `fd_state` of an epoll_ctl.
pub const LISTEN: u16 = 10;
pub const EXCLUSIVE: u32 = 1 << 28;

pub fn is_accept(nr: u32) -> bool {
    matches!(nr, ACCEPT | ACCEPT4)
}

/// A call in which a worker waits for a connection.
pub fn is_waiting(nr: u32) -> bool {
    is_accept(nr)
        || matches!(
            nr,
            POLL | PPOLL | SELECT | PSELECT6 | EPOLL_WAIT | EPOLL_PWAIT | EPOLL_PWAIT2
        )
}

pub fn name(nr: u32) -> &'static str {
    match nr {
        POLL => "poll",
        SELECT => "select",
        ACCEPT => "accept",
        EPOLL_WAIT => "epoll_wait",
        EPOLL_CTL => "epoll_ctl",
        PSELECT6 => "pselect6",
        PPOLL => "ppoll",
        EPOLL_PWAIT => "epoll_pwait",
        ACCEPT4 => "accept4",
        EPOLL_PWAIT2 => "epoll_pwait2",
        CONNECT => "connect",
        _ => "syscall",
    }
}

/// `EPOLLIN|EPOLLEXCLUSIVE`, unknown bits in hex.
pub fn epoll_words(events: u32) -> String {
    const WORDS: &[(u32, &str)] = &[
        (0x001, "EPOLLIN"),
        (0x002, "EPOLLPRI"),
        (0x004, "EPOLLOUT"),
        (0x008, "EPOLLERR"),
        (0x010, "EPOLLHUP"),
        (0x040, "EPOLLRDNORM"),
        (0x080, "EPOLLRDBAND"),
        (0x100, "EPOLLWRNORM"),
        (0x200, "EPOLLWRBAND"),
        (0x2000, "EPOLLRDHUP"),
        (1 << 28, "EPOLLEXCLUSIVE"),
        (1 << 29, "EPOLLWAKEUP"),
        (1 << 30, "EPOLLONESHOT"),
        (1 << 31, "EPOLLET"),
    ];
    let known = WORDS.iter().fold(0, |bits, (bit, _)| bits | bit);
    let mut words: Vec<String> = WORDS
        .iter()
        .filter(|(bit, _)| events & bit != 0)
        .map(|(_, word)| (*word).to_owned())
        .collect();
    if events & !known != 0 || events == 0 {
        words.push(format!("{:#x}", events & !known));
    }
    words.join("|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_told_in_words() {
        assert_eq!(epoll_words(0x1000_0001), "EPOLLIN|EPOLLEXCLUSIVE");
        assert_eq!(epoll_words(0x8000_2001), "EPOLLIN|EPOLLRDHUP|EPOLLET");
        assert_eq!(epoll_words(0x0000_0401), "EPOLLIN|0x400");
        assert_eq!(epoll_words(0), "0x0");
    }
}

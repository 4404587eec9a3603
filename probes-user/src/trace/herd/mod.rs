//! What accept-herd and epoll-herd share: the scenes, their marks, the fold, the ledger, the verdicts.

pub mod marks;

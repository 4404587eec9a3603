//! Verdicts about hot files, and what a call's end is called.

use super::judge::{errno, protects};
use super::marks::Hot;

fn hot(direct: bool, touched: u32, after: u64) -> Hot {
    Hot {
        direct,
        touched,
        files: 64,
        before: 64,
        after: after / 16,
        pages_before: 1024,
        pages_after: after,
        pages: 1024,
        ..Hot::default()
    }
}

fn streams(buffered_once: u64, direct_once: u64) -> Vec<Hot> {
    vec![
        hot(false, 1, buffered_once),
        hot(false, 2, 1000),
        hot(true, 1, direct_once),
        hot(true, 2, 1024),
    ]
}

#[test]
fn hot_files_that_only_the_buffered_stream_sweeps_away_were_protected() {
    assert!(protects(&streams(0, 1024)).unwrap().holds);
    assert!(protects(&streams(512, 1014)).unwrap().holds);
}

#[test]
fn less_left_with_o_direct_or_much_left_without_refutes() {
    assert!(!protects(&streams(0, 1000)).unwrap().holds);
    assert!(!protects(&streams(600, 1024)).unwrap().holds);
}

#[test]
fn hot_files_that_were_not_in_memory_before_settle_nothing() {
    let mut all = streams(0, 1024);
    all[2].pages_before = 1000;
    assert!(protects(&all).is_err());
    all.remove(0);
    assert!(protects(&all).is_err());
}

#[test]
fn errors_have_their_names() {
    assert_eq!(errno(22), "EINVAL");
    assert_eq!(errno(28), "ENOSPC");
    assert_eq!(errno(999), "errno 999");
}

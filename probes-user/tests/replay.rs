//! Recordings of real kernels through decode, fold, verdict and text: the same words every time, without root.

#![expect(
    clippy::unwrap_used,
    reason = "a test panics on what it did not expect"
)]

use std::path::PathBuf;

use probes_user::cli::replay::report;
use probes_user::render::text::{Style, report as text};

fn stream(name: &str) -> Vec<u8> {
    let streams = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/data/streams");
    std::fs::read(streams.join(name).with_extension("probes")).unwrap()
}

fn replayed(name: &str) -> String {
    let report = report(stream(name).as_slice(), Some(0)).unwrap();
    let style = Style {
        colour: false,
        verbose: false,
    };
    text(&report, style)
}

#[test]
fn an_accept_herd_of_6_18_says_what_it_said() {
    insta::assert_snapshot!(replayed("accept-herd-6_18"));
}

#[test]
fn an_epoll_herd_of_6_18_says_what_it_said() {
    insta::assert_snapshot!(replayed("epoll-herd-6_18"));
}

#[test]
fn a_tcp_close_of_6_18_says_what_it_said() {
    insta::assert_snapshot!(replayed("tcp-close-6_18"));
}

#[test]
fn a_tcp_retransmit_of_6_18_says_what_it_said() {
    insta::assert_snapshot!(replayed("tcp-retransmit-6_18"));
}

#[test]
fn a_tcp_states_of_6_18_says_what_it_said() {
    insta::assert_snapshot!(replayed("tcp-states-6_18"));
}

#[test]
fn a_recording_that_was_cut_is_told_and_not_judged() {
    let whole = stream("accept-herd-6_18");
    let error = report(&whole[..whole.len() / 2], None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("cut short"), "{error}");
}

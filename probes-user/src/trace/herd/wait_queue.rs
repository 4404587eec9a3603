//! What the wake functions of wait-queue entries did, where function probes attach (a witness only).

use probes_common::event::{
    WAKE_AUTOREMOVE, WAKE_DEFAULT, WAKE_EP_AUTOREMOVE, WAKE_EP_CALLBACK, WAKE_POLL,
};
use serde_json::json;

use super::crowd::Counts;
use crate::evidence::Table;

pub fn table<'a>(counts: impl Iterator<Item = (String, &'a Counts)>) -> Table {
    let columns = [
        ("scene", "scene"),
        ("function", "wake function"),
        ("exclusive", "exclusive"),
        ("woke", "woke"),
        ("calls_count", "calls"),
    ];
    let mut table = Table::new(
        "wait_queue",
        "Wait-queue entries called (function probes)",
        &columns,
    )
    .detailed();
    for (scene, counts) in counts {
        table.rows.extend(
            counts
                .wait_wakes
                .iter()
                .map(|((function, exclusive, woke), calls)| {
                    vec![
                        json!(scene),
                        json!(name(*function)),
                        json!(exclusive),
                        json!(woke),
                        json!(calls),
                    ]
                }),
        );
    }
    table
}

fn name(function: u32) -> &'static str {
    match function {
        WAKE_AUTOREMOVE => "autoremove_wake_function",
        WAKE_EP_AUTOREMOVE => "ep_autoremove_wake_function",
        WAKE_POLL => "pollwake",
        WAKE_EP_CALLBACK => "ep_poll_callback",
        WAKE_DEFAULT => "default_wake_function",
        _ => "unknown",
    }
}

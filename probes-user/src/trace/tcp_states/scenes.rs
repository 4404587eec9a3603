//! The cases of the lab: who closes when, on IPv4 and IPv6.

use crate::lab::family::Family;
use std::time::Duration;

use anyhow::Result;

use super::{crossing, script};
use crate::exit::usage;
use crate::lab::script::Case;
use crate::trace::LabOptions;

/// For each wait; only what has gone wrong reaches it.
const BUDGET: Duration = Duration::from_secs(30);
/// A whole TIME_WAIT, late by an eighth at the most.
const WHOLE: Duration = Duration::from_secs(100);
/// Another than TIME_WAIT's, and in another slot of the timer wheel.
pub const FIN_TIMEOUT: u32 = 20;

/// # Errors
/// No case has such a name.
pub fn cases(options: &LabOptions) -> Result<Vec<Case>> {
    let full = options.flag("full");
    let all = [Family::V4, Family::V6]
        .into_iter()
        .flat_map(|family| of(family, full));
    let cases: Vec<Case> = all.filter(|case| options.wants(&case.label)).collect();
    if cases.is_empty() {
        return usage(format!(
            "no case has {:?} in its name; they are {}",
            options.variants.join(", "),
            of(Family::V4, full).map(|case| case.label).join(", "),
        ));
    }
    Ok(cases)
}

fn of(family: Family, full: bool) -> [Case; 8] {
    let label = |name: &str| format!("{name}/{}", family.name());
    let case = |name: &str, run: fn(&mut script::Play<'_>) -> Result<()>| {
        Case::new(label(name), BUDGET, move |stage| {
            run(&mut script::Play::new(stage, family)?)
        })
    };
    let half_close = Case::new(
        label("half-close"),
        if full { WHOLE } else { BUDGET },
        move |stage| script::half_close(&mut script::Play::new(stage, family)?, full),
    );
    // A frame that is put back comes from outside, and its source is one of our own addresses, in 127/8.
    let crossed = |name: &str, run| {
        case(name, run)
            .sysctl("net.ipv4.conf.all.route_localnet", 1)
            .sysctl("net.ipv4.conf.all.accept_local", 1)
    };
    [
        case("client-closes", script::client_closes),
        case("server-closes", script::server_closes),
        half_close,
        case("fin-timeout", script::client_closes).sysctl("net.ipv4.tcp_fin_timeout", FIN_TIMEOUT),
        crossed("simultaneous-open", crossing::simultaneous_open),
        crossed("simultaneous-close", script::simultaneous_close),
        case("killed", script::killed),
        case("killed-unread", script::killed_unread),
    ]
}

//! What one scene is to do: plain values, copied into every child by fork.

use std::time::Duration;

use serde::Serialize;

use crate::trace::herd::marks::{Arrival, Variant};

/// Longest wait for a fact (all asleep, all accepted), sized for a guest that is emulated and shares
/// its host: only a scene that has gone wrong reaches it.
pub const STEP_BUDGET: Duration = Duration::from_secs(60);

/// Listener ports are this plus the scene's number: below the ephemeral range.
pub const FIRST_PORT: u16 = 20_000;
/// Client ports are this plus a running number modulo [`CLIENT_PORTS`].
pub const FIRST_CLIENT_PORT: u16 = 32_768;
pub const CLIENT_PORTS: u32 = 32_768;

#[derive(Debug, Clone, Copy)]
pub struct Plan {
    pub scene: u32,
    pub variant: Variant,
    pub arrival: Arrival,
    pub port: u16,
    pub workers: usize,
    pub connections: u32,
    /// Connections per phase; 1 unless the arrival is a burst.
    pub burst: u32,
    /// Zero unless the arrival is a late accept.
    pub accept_delay: Duration,
    /// Phase of the scene's first connection; one number per connection from there on.
    pub first_phase: u32,
    pub budget: Duration,
}

impl Plan {
    /// The kernel repeats ephemeral ports after some thousands of connections (it skips at random); a
    /// connection must be known by its port for the length of a scene, so the client binds to a running
    /// number instead.
    pub fn client_port(&self, index: u32) -> u16 {
        let running = (self.first_phase - 1 + index) % CLIENT_PORTS;
        FIRST_CLIENT_PORT + running as u16
    }
}

/// Can the variant be run with this arrival? A worker blocked in accept() is woken with the connection
/// in hand: it cannot be late.
pub fn supports(variant: Variant, arrival: Arrival) -> bool {
    !(variant == Variant::Accept && arrival == Arrival::LateAccept)
}

/// A scene's label: `per-process-instance/burst`.
pub fn label(variant: Variant, arrival: Arrival) -> String {
    format!("{}/{}", name(&variant), name(&arrival))
}

/// The name under which marks and options know it.
fn name(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(name)) => name,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_the_names_in_the_marks() {
        assert_eq!(
            label(Variant::PerProcessInstance, Arrival::LateAccept),
            "per-process-instance/late-accept"
        );
    }

    #[test]
    fn client_ports_do_not_repeat_within_a_scene() {
        let plan = Plan {
            scene: 0,
            variant: Variant::Accept,
            arrival: Arrival::Sequential,
            port: FIRST_PORT,
            workers: 1,
            connections: CLIENT_PORTS,
            burst: 1,
            accept_delay: Duration::ZERO,
            first_phase: 1000,
            budget: STEP_BUDGET,
        };
        let ports: std::collections::BTreeSet<u16> = (0..CLIENT_PORTS)
            .map(|index| plan.client_port(index))
            .collect();
        assert_eq!(ports.len(), CLIENT_PORTS as usize);
        assert!(ports.first() > Some(&FIRST_PORT));
    }
}

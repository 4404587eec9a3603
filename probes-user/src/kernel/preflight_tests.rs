//! Preconditions over kernels made by hand.

use super::{Check, State, checks, ready};
use crate::kernel::{Capabilities, Kernel, Lockdown, RingBuffer};
use crate::trace::Mode;

fn good() -> Kernel {
    Kernel {
        release: "5.10.0-32-cloud-amd64".to_owned(),
        version: "#1 SMP Debian 5.10.223-1 (2024-08-10)".to_owned(),
        machine: "x86_64".to_owned(),
        cpus: 2,
        possible_cpus: 2,
        pid_max: 32768,
        initial_pid_ns: true,
        initial_user_ns: true,
        capabilities: Capabilities::ALL,
        lockdown: None,
        unprivileged_bpf_disabled: Some(1),
        btf_missing: None,
        ring_buffer: RingBuffer::Works,
        symbols_visible: true,
        memlock: Some(65536),
    }
}

fn message(kernel: &Kernel, mode: Mode) -> String {
    ready(kernel, mode).expect_err("must not be ready").message
}

fn check(kernel: &Kernel, name: &str) -> Check {
    checks(kernel, Mode::Lab)
        .into_iter()
        .find(|c| c.name == name)
        .expect("a check of that name")
}

#[test]
fn a_good_kernel_passes_everything() {
    assert_eq!(ready(&good(), Mode::Lab), Ok(()));
    let checks = checks(&good(), Mode::Lab);
    assert!(
        checks
            .iter()
            .all(|c| c.state == State::Ok && c.remedy.is_none()),
        "{checks:?}"
    );
}

#[test]
fn a_user_is_told_to_use_sudo_and_nothing_else() {
    let kernel = Kernel {
        capabilities: Capabilities::NONE,
        ring_buffer: RingBuffer::Forbidden,
        symbols_visible: false,
        ..good()
    };
    assert_eq!(
        message(&kernel, Mode::Watch),
        "lacking CAP_BPF, CAP_PERFMON; probes needs root (CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN, CAP_SYS_ADMIN): \
         run it with sudo"
    );
}

#[test]
fn each_failure_has_its_own_message() {
    let cases = [
        (
            Kernel {
                machine: "aarch64".to_owned(),
                ..good()
            },
            "x86_64 only",
        ),
        (
            Kernel {
                initial_user_ns: false,
                ..good()
            },
            "rootless container",
        ),
        (
            Kernel {
                initial_pid_ns: false,
                ..good()
            },
            "--pid=host",
        ),
        (
            Kernel {
                btf_missing: Some("no types; do this".to_owned()),
                ..good()
            },
            "no types; do this",
        ),
        (
            Kernel {
                lockdown: Some(Lockdown::Confidentiality),
                ..good()
            },
            "lockdown=integrity",
        ),
        (
            Kernel {
                ring_buffer: RingBuffer::Missing,
                ..good()
            },
            "5.8",
        ),
        (
            Kernel {
                ring_buffer: RingBuffer::NoBpf,
                ..good()
            },
            "CONFIG_BPF_SYSCALL",
        ),
        (
            Kernel {
                ring_buffer: RingBuffer::Forbidden,
                ..good()
            },
            "seccomp",
        ),
        (
            Kernel {
                ring_buffer: RingBuffer::Failed(12),
                ..good()
            },
            "memory",
        ),
    ];
    for (kernel, part) in cases {
        let message = message(&kernel, Mode::Watch);
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn watching_needs_less_than_a_lab() {
    // CAP_BPF, CAP_PERFMON, CAP_SYSLOG and nothing else.
    let kernel = Kernel {
        capabilities: Capabilities(1 << 39 | 1 << 38 | 1 << 34),
        ..good()
    };
    assert_eq!(ready(&kernel, Mode::Watch), Ok(()));
    assert!(message(&kernel, Mode::Lab).contains("CAP_NET_ADMIN, CAP_SYS_ADMIN"));
}

#[test]
fn integrity_lockdown_and_hidden_addresses_do_not_stop_us() {
    let kernel = Kernel {
        lockdown: Some(Lockdown::Integrity),
        symbols_visible: false,
        ..good()
    };
    assert_eq!(ready(&kernel, Mode::Lab), Ok(()));
    assert_eq!(check(&kernel, "lockdown").state, State::Ok);
    assert_eq!(check(&kernel, "kernel addresses").state, State::Warn);
}

#[test]
fn locked_memory_matters_before_5_11_only() {
    let poor = Capabilities(!(1 << 24));
    let old = Kernel {
        capabilities: poor,
        ..good()
    };
    assert_eq!(check(&old, "locked memory").state, State::Warn);
    assert_eq!(
        check(
            &Kernel {
                memlock: None,
                ..old.clone()
            },
            "locked memory"
        )
        .state,
        State::Ok
    );
    let new = Kernel {
        release: "6.18.44".to_owned(),
        version: "#1 SMP".to_owned(),
        ..old
    };
    assert_eq!(check(&new, "locked memory").state, State::Ok);
}

#[test]
fn every_line_that_is_not_ok_says_what_to_do() {
    let kernel = Kernel {
        machine: "riscv64".to_owned(),
        capabilities: Capabilities::NONE,
        initial_pid_ns: false,
        initial_user_ns: false,
        lockdown: Some(Lockdown::Confidentiality),
        ring_buffer: RingBuffer::Forbidden,
        symbols_visible: false,
        ..good()
    };
    let checks = checks(&kernel, Mode::Lab);
    assert!(checks.iter().filter(|c| c.state != State::Ok).count() >= 9);
    assert!(
        checks
            .iter()
            .all(|c| (c.state == State::Ok) == c.remedy.is_none()),
        "{checks:?}"
    );
}

#[test]
fn the_running_kernel_is_described() {
    let start = std::time::Instant::now();
    let kernel = Kernel::running().unwrap();
    println!("asked in {:?}: {kernel:#?}", start.elapsed());
    for check in checks(&kernel, Mode::Lab) {
        println!(
            "{:?} {}: {} {}",
            check.state,
            check.name,
            check.found,
            check.remedy.unwrap_or_default()
        );
    }
    assert!(kernel.cpus >= 1 && kernel.possible_cpus >= kernel.cpus && kernel.pid_max > 300);
    let frozen = serde_json::to_string(&kernel).unwrap();
    assert_eq!(serde_json::from_str::<Kernel>(&frozen).unwrap(), kernel);
}

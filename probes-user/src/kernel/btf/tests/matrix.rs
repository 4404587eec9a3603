//! Every kernel of the matrix against values from an independent reader.

use probes_common::{ABSENT, Offsets};

use super::super::{Facts, Query};
use super::known::{OFFSETS, PATHS};
use super::{KERNELS, btf};

/// Runs the query on all five in turn.
fn each_kernel(query: &Query, check: impl Fn(usize, &Facts)) {
    for (kernel, name) in KERNELS.iter().enumerate() {
        let facts = btf(kernel)
            .answer(query)
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        check(kernel, &facts);
    }
}

#[test]
fn the_offsets_table_is_right_on_every_kernel() {
    each_kernel(&Query::new().offsets(), |kernel, facts| {
        let values = facts.offsets().to_values();
        for (i, (name, paths)) in Offsets::PATHS.iter().enumerate() {
            let Some((_, row)) = OFFSETS.iter().find(|(known, _)| known == name) else {
                panic!(
                    "offset {name} has no row in known.rs: derive it with bpftool btf dump format raw"
                );
            };
            let found = paths.iter().find_map(|p| facts.field(p));
            assert_eq!(found, row[kernel], "{name} on {}", KERNELS[kernel]);
            assert_eq!(
                values[i],
                row[kernel].map_or(ABSENT, |f| f.entry().expect("fits")),
                "{name} on {}",
                KERNELS[kernel]
            );
        }
        assert_eq!(facts.ambiguous, Vec::<String>::new());
    });
}

#[test]
fn renamed_nested_and_bit_fields_are_found() {
    each_kernel(
        &Query::new().fields(PATHS.iter().map(|(path, _)| path)),
        |kernel, facts| {
            for (path, row) in PATHS {
                assert_eq!(
                    facts.field(path),
                    row[kernel],
                    "{path} on {}",
                    KERNELS[kernel]
                );
            }
        },
    );
}

#[test]
fn a_bit_field_has_no_plain_offset() {
    each_kernel(
        &Query::new().fields(["task_struct.in_iowait"]),
        |_, facts| {
            assert!(facts.field("task_struct.in_iowait").is_some());
            assert_eq!(facts.offset("task_struct.in_iowait"), None);
        },
    );
}

#[test]
fn paths_do_not_cross_pointers_and_misspelt_ones_are_absent() {
    let paths = [
        "task_struct.mm.pgd",
        "task_struct.pidd",
        "task_structs.pid",
        "task_struct.pid.x",
        "",
        ".",
    ];
    each_kernel(&Query::new().fields(paths), |_, facts| {
        assert_eq!(facts.fields.len(), 0)
    });
}

#[test]
fn tracepoints_have_the_arguments_of_each_kernel() {
    let rows: [(&str, [Option<u32>; 5]); 11] = [
        // err: there on 6.18.
        (
            "tcp_retransmit_skb",
            [Some(2), Some(2), Some(2), Some(3), Some(3)],
        ),
        // The reason: there on 6.12.
        (
            "tcp_send_reset",
            [Some(2), Some(2), Some(3), Some(3), Some(3)],
        ),
        // The reason came with 5.17; the receiving socket is there on 6.12.
        ("kfree_skb", [Some(2), Some(3), Some(4), Some(4), Some(4)]),
        ("timer_start", [Some(3), Some(3), Some(2), Some(2), Some(2)]),
        (
            "inet_sk_error_report",
            [None, Some(1), Some(1), Some(1), Some(1)],
        ),
        // prev_state came with 5.18.
        (
            "sched_switch",
            [Some(3), Some(4), Some(4), Some(4), Some(4)],
        ),
        ("sched_waking", [Some(1); 5]),
        ("sk_data_ready", [None, None, Some(1), Some(1), Some(1)]),
        ("sys_enter", [Some(2); 5]),
        ("inet_sock_set_state", [Some(3); 5]),
        ("no_such_tracepoint", [None; 5]),
    ];
    each_kernel(
        &Query::new().tracepoints(rows.iter().map(|r| r.0)),
        |kernel, facts| {
            for (name, args) in rows {
                let found = facts.tracepoint(name);
                assert_eq!(
                    found.map(|t| t.args),
                    args[kernel],
                    "{name} on {}",
                    KERNELS[kernel]
                );
            }
        },
    );
}

#[test]
fn ids_are_those_of_the_independent_reader() {
    // (typedef btf_trace_sched_switch, FUNC tcp_child_process) as bpftool numbers them.
    let ids = [
        (14191, 72659),
        (37302, 83783),
        (9641, 99503),
        (10306, 114126),
        (68513, 108768),
    ];
    each_kernel(
        &Query::new()
            .tracepoints(["sched_switch"])
            .functions(["tcp_child_process"]),
        |kernel, facts| {
            let switch = facts.tracepoint("sched_switch").map(|t| t.id);
            let child = facts.function("tcp_child_process").map(|f| f.id);
            assert_eq!(
                (switch, child),
                (Some(ids[kernel].0), Some(ids[kernel].1)),
                "{}",
                KERNELS[kernel]
            );
        },
    );
}

#[test]
fn functions_have_the_parameters_of_each_kernel() {
    let rows: [(&str, [Option<u32>; 5]); 6] = [
        ("tcp_child_process", [Some(3); 5]),
        ("ep_poll_callback", [Some(4); 5]),
        // (sk, flags, err, kern) up to 6.9, (sk, proto_accept_arg) since.
        (
            "inet_csk_accept",
            [Some(4), Some(4), Some(2), Some(2), Some(2)],
        ),
        ("sock_def_readable", [Some(1); 5]),
        // The bookmark argument went in 6.7.
        (
            "__wake_up_common",
            [Some(6), Some(6), Some(5), Some(5), Some(5)],
        ),
        // fmt, ...: the ellipsis is no parameter.
        ("_printk", [None, Some(1), Some(1), Some(1), Some(1)]),
    ];
    each_kernel(
        &Query::new().functions(rows.iter().map(|r| r.0)),
        |kernel, facts| {
            for (name, params) in rows {
                let found = facts.function(name);
                assert_eq!(
                    found.map(|f| f.params),
                    params[kernel],
                    "{name} on {}",
                    KERNELS[kernel]
                );
                assert!(
                    found.is_none_or(|f| f.unique()),
                    "{name} on {}",
                    KERNELS[kernel]
                );
            }
        },
    );
}

#[test]
fn namesakes_among_functions_are_flagged() {
    each_kernel(&Query::new().functions(["init_once"]), |kernel, facts| {
        let count = facts.function("init_once").map(|f| f.count);
        assert_eq!(count, [Some(1), Some(2), Some(1), None, None][kernel]);
    });
}

#[test]
fn enums_are_named_by_value() {
    let query = Query::new().enums(["skb_drop_reason", "sk_rst_reason", "no_such_enum"]);
    each_kernel(&query, |kernel, facts| {
        let name = |of: &str, value: u32| facts.enums.get(of)?.get(&value).map(String::as_str);
        let reset = [0, 28, 39, 45, 45][kernel];
        let expected = (kernel > 0).then_some("SKB_DROP_REASON_TCP_RESET");
        assert_eq!(name("skb_drop_reason", reset), expected);
        let expected = (kernel > 1).then_some("SK_RST_REASON_NO_SOCKET");
        assert_eq!(name("sk_rst_reason", 1), expected, "{}", KERNELS[kernel]);
        assert!(!facts.enums.contains_key("no_such_enum"));
        assert!(facts.ambiguous.is_empty(), "{:?}", facts.ambiguous);
    });
}

#[test]
fn a_bit_field_of_the_table_has_shift_and_width() {
    each_kernel(&Query::new().offsets(), |kernel, facts| {
        let entry = facts.offsets().tcp_sack_ok;
        let place = facts.field("tcp_sock.rx_opt.sack_ok").map(|f| f.offset);
        let (offset, shift, width) = probes_common::offsets::unpacked_bits(entry);
        assert_eq!(
            (Some(offset), shift, width),
            (place, 4, 3),
            "{}",
            KERNELS[kernel]
        );
    });
}

#[test]
fn enumerators_move_between_kernels() {
    const WIDE: Option<i64> = Some(0xf_ffff << 32);
    let rows: [(&str, [Option<i64>; 5]); 7] = [
        ("TCP_ESTABLISHED", [Some(1); 5]),
        (
            "TCP_BOUND_INACTIVE",
            [None, None, Some(13), Some(13), Some(13)],
        ),
        (
            "SKB_DROP_REASON_TCP_RESET",
            [None, Some(28), Some(39), Some(45), Some(45)],
        ),
        ("PG_active", [Some(5), Some(5), Some(8), Some(8), Some(8)]),
        ("ITER_IOVEC", [Some(4), Some(0), Some(1), Some(1), Some(1)]),
        (
            "MIGRATE_ISOLATE",
            [Some(4), Some(4), Some(4), Some(4), Some(5)],
        ),
        // 64 bits wide: cut to 32 by encoders from before BTF_KIND_ENUM64.
        ("BPF_F_CTXLEN_MASK", [Some(0), WIDE, WIDE, WIDE, WIDE]),
    ];
    each_kernel(
        &Query::new().enumerators(rows.iter().map(|r| r.0)),
        |kernel, facts| {
            for (name, values) in rows {
                assert_eq!(
                    facts.enumerator(name),
                    values[kernel],
                    "{name} on {}",
                    KERNELS[kernel]
                );
            }
        },
    );
}

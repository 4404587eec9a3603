//! The tests, by what they are about. Their names are sentences.

use crate::context::Test;
use crate::tests;

mod accept_queue;
mod accounts;
mod async_io;
mod bad_input;
mod block_io;
mod breaking;
mod check;
mod commands;
mod direct_io;
mod files;
mod herding;
mod kills;
mod labs;
mod matrix;
mod nginx;
mod page_cache;
mod queues;
mod readme;
mod reuse_port;
mod schema;
mod stats;
mod surgery;
mod syn_queue;
mod syn_retry;
mod synack_retry;
mod targets;
mod tcp_close;
mod tcp_retransmit;
mod tcp_states;
mod wakeups;
mod witness;
mod zero_copy;

/// In the order of a run: first what all else rests on. A number is a budget in seconds; `host` is not run in guests.
pub const TESTS: &[Test] = tests![
    commands: doctor_finds_this_machine_fit, every_command_that_only_looks_answers, looking_needs_no_root,
        explain_has_a_page_for_every_trace, a_report_for_people_begins_with_the_verdicts,
        a_timeline_shows_client_softirq_and_workers;
    readme: its_commands_work (host);
    labs: accept_herd_settles_every_claim, epoll_herd_settles_every_claim, eight_workers_settle_every_claim_too,
        both_labs_settle_every_claim_beside_noise (600);
    check: it_finds_what_is_known_of_this_kernel (900), what_one_run_wrote_down_the_next_meets (host),
        interrupted_it_says_what_it_knows, killed_it_leaves_no_lab_behind;
    matrix: an_altered_expectation_and_a_hook_left_out_turn_their_own_cells_red (host),
        what_a_lab_ran_under_is_told_and_a_patched_sysctl_turns_its_own_cell_red;
    witness: accept_herd_wakeups_agree_with_tracefs, epoll_herd_wakeups_agree_with_tracefs;
    accounts: accept_herd_costs_are_the_kernels_own, epoll_herd_costs_are_the_kernels_own;
    reuse_port: its_claims_are_settled_on_both_families (host), its_claims_are_settled_beside_noise,
        without_sk_data_ready_the_verdicts_are_the_same;
    schema: reports_of_both_labs_fit_the_schema, an_interrupted_report_fits_the_schema,
        the_report_of_a_watch_fits_the_schema;
    stats: start_up_parts_and_memory_are_shown;
    syn_queue: a_full_syn_queue_refuses_and_cookies_get_past_it (host), a_full_syn_queue_is_told_the_same_beside_noise,
        a_backlog_of_ones_own_is_the_limit_of_the_flood;
    accept_queue: a_full_accept_queue_drops_the_ack_or_resets (host), a_full_accept_queue_is_told_the_same_beside_noise;
    page_cache: cold_misses_all_and_warm_hits_all_counted_alike, files_grow_cached_and_devices_buffers,
        a_watch_of_dd_says_nothing_on_its_first_pass_and_all_on_its_second, sizes_that_make_no_sense_are_refused;
    breaking: a_needed_hook_removed_makes_claims_unsupported,
        a_rung_removed_falls_to_the_next_with_the_same_verdicts, an_optional_hook_removed_changes_no_verdict,
        function_probes_removed_change_no_verdict, a_ring_too_small_is_inconclusive,
        a_worker_killed_in_mid_run_is_inconclusive_and_named, an_altered_expectation_is_the_one_that_differs;
    bad_input: wrong_words_exit_with_2, without_root_it_cannot_run, without_btf_it_cannot_run,
        a_target_that_ends_gives_its_report, ctrl_c_in_mid_lab_prints_what_is_known,
        ctrl_c_as_text_prints_what_is_known;
    files: a_replay_without_root_says_the_same, a_truncated_recording_is_refused, a_foreign_recording_is_refused,
        a_full_disk_spoils_the_recording_and_not_the_report, a_report_that_cannot_be_written_is_an_error,
        a_report_in_a_file_is_the_whole_report;
    targets: by_pid_children_are_followed, by_pids_of_workers_each_is_followed,
        workers_forked_after_the_attach_are_followed, by_name_present_processes_are_followed,
        by_name_future_processes_are_followed, by_cgroup_its_processes_are_followed,
        a_command_is_watched_from_its_first_instruction;
    nginx: mutex_off_wakes_one_of_4_by_exclusive, mutex_off_wakes_one_of_8_by_exclusive,
        mutex_on_has_one_of_4_listen_and_the_rest_wake_by_timers,
        mutex_on_has_one_of_8_listen_and_the_rest_wake_by_timers,
        reuseport_gives_each_of_4_a_listener_and_the_hash_decides,
        reuseport_gives_each_of_8_a_listener_and_the_hash_decides, no_connection_is_missed_under_load;
    herding: uvicorn_wakes_all_4_workers_for_each_connection, uvicorn_wakes_all_8_workers_for_each_connection;
    tcp_retransmit: each_cause_is_provoked_and_tied_to_its_loss (host), it_settles_beside_noise_too,
        a_dead_peer_shows_with_cause_step_and_owner, an_interval_prints_the_ledger_each_time;
    tcp_close: every_claim_is_settled_and_every_reset_explained (host), beside_noise_nothing_changes (600),
        a_watch_names_who_reset_whom_and_why;
    tcp_states: every_claim_of_tcp_states_is_settled_on_both_families (host),
        tcp_states_settles_its_claims_beside_noise (600),
        of_nginx_and_curl_every_connection_has_its_right_owners,
        connections_from_before_the_start_are_followed_to_their_end, only_sockets_that_were_asked_for_are_shown,
        many_connections_a_second_are_all_counted, too_small_a_ring_loses_records_and_says_so;
    kills: kills_in_mid_lab_leave_nothing (600), kills_in_mid_watch_leave_nothing (600),
        kills_of_a_watched_command_leave_nothing (600), kills_in_mid_disk_lab_leave_nothing (600);
    block_io: small_writes_merge_reads_run_ahead_and_the_dirtier_is_found (host),
        beside_noise_the_disks_tell_the_same, a_watch_counts_what_a_command_did_to_its_disk,
        a_disk_that_is_torn_away_in_mid_run_leaves_nothing, disks_that_cannot_be_are_refused_with_words;
    syn_retry: unanswered_syns_follow_the_sysctls_and_not_the_notes, fewer_retries_are_fewer_syns_beside_noise_too,
        without_a_control_group_it_takes_real_time_and_says_so,
        a_killed_run_leaves_an_empty_group_that_the_next_removes;
    synack_retry: a_lost_final_ack_leaves_the_client_established,
        fewer_retries_are_fewer_synacks_beside_noise_too;
    queues: a_full_syn_queue_shows_with_its_limit_its_drops_and_a_remedy,
        cookies_and_a_full_accept_queue_show_with_what_helps;
    surgery: what_nginx_loses_it_sends_again_and_the_cause_is_told,
        segments_are_lost_in_a_network_of_ones_own_only, a_reset_by_ss_or_by_killing_nginx_s_worker_is_named;
    async_io: every_request_is_told_with_its_way_and_every_read_with_its_sleeps (host),
        every_request_is_told_the_same_beside_noise, a_watch_counts_the_requests_of_a_process_by_opcode;
    direct_io: its_claims_are_settled_and_the_disk_agrees (host), its_claims_are_settled_the_same_beside_noise,
        sizes_that_make_no_sense_and_missing_rights_are_told,
        a_watch_names_the_file_that_went_through_the_cache_after_all;
    zero_copy: each_way_to_send_a_file_is_copied_as_often_as_it_says (300),
        zero_copy_is_told_the_same_beside_noise (300),
        without_pages_counted_and_function_probes_zero_copy_is_told_the_same (300),
        a_file_of_no_bytes_or_too_many_is_a_usage_error, a_file_that_finds_no_room_is_said_so_and_leaves_nothing;
    wakeups: a_hand_off_costs_two_switches_and_chains_are_found_with_their_causes,
        beside_noise_a_hand_off_costs_the_same, a_watch_counts_waits_and_runs_as_the_kernel_does;
];

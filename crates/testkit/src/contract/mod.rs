//! The promises of the ports as tests: every adapter runs them against its real service.
//!
//! Each case is a plain function over the ports, named for the behaviour it demands. An adapter's tests call
//! [`store_contract!`](crate::store_contract) once; it makes one test per case, each with a store of its own.

pub mod agent_checks;
pub mod agent_lists;
pub mod agent_registrations;
pub mod agents;
pub mod api_keys;
pub mod authorizers;
pub mod checkpoints;
pub mod containment;
pub mod departures;
pub mod deployment_history;
pub mod deployments;
pub mod events;
pub mod gateways;
pub mod idempotency;
pub mod intents;
pub mod message_filters;
pub mod message_pages;
pub mod messages;
pub mod named_keys;
pub mod owners;
pub mod probe;
pub mod registration_tokens;
pub mod relationships;
pub mod retention;
pub mod rollout;
pub mod run_schedules;
pub mod scheduler;
pub mod settlements;
pub mod spans;
pub mod statements;
pub mod states;
pub mod streams;
pub mod task_changes;
pub mod task_deletions;
pub mod task_lists;
pub mod tasks;
pub mod timers;
pub mod trackers;
pub mod transitions;

mod stored;
mod task_items;

pub use deployments::{
    promotions as deployment_promotions, registrations as deployment_registrations, rows as deployment_rows,
};

/// One `#[tokio::test]` per case of the store suites, in a module per suite.
///
/// The argument is evaluated inside each test and yields `(Stores, guard)`: a fresh, migrated store and whatever must
/// live as long as the test. The calling crate needs `tokio` with `macros` and `rt-multi-thread`.
///
/// ```ignore
/// agentex_testkit::store_contract!(fresh_store().await);
/// ```
#[macro_export]
macro_rules! store_contract {
    ($setup:expr) => {
        $crate::store_contract! { @suites $setup;
            agents {
                an_inserted_agent_reads_back_equal_by_id_and_by_name
                every_status_type_and_input_type_survives_the_store
                a_taken_name_is_refused_even_if_its_agent_is_deleted
                a_taken_id_is_refused
                of_many_concurrent_inserts_of_one_name_one_wins
                a_dial_target_holds_the_agent_whatever_its_status_and_its_key
                a_dial_target_ignores_deployments_that_are_not_production
                deleting_keeps_the_row_and_drops_the_agents_keys_only
                deleting_twice_or_an_absent_agent_is_none
                names_are_data_in_queries
                health_changes_only_what_is_ready_or_unhealthy
            }
            agent_registrations {
                a_changed_registration_rewrites_the_row_and_moves_its_times
                an_equal_registration_writes_nothing_unless_it_must_stamp
                an_unhealthy_agent_becomes_ready_by_an_equal_registration
                a_registration_by_id_renames_and_frees_the_old_name
                renaming_onto_a_taken_name_changes_nothing
                registering_over_a_deleted_agent_revives_it_under_its_id
                registering_a_live_agent_does_not_revive_a_deleted_one
                a_registration_takes_the_production_pointer_off
                registering_an_absent_agent_again_is_none
                concurrent_registrations_keep_each_others_metadata
                a_deleted_agent_comes_back_as_a_build
                only_a_deleted_agent_can_be_revived_as_a_build
            }
            agent_lists {
                a_list_shows_every_status_but_deleted
                a_list_follows_the_order_asked_for_in_both_directions
                ties_in_a_list_are_broken_in_the_direction_of_the_list
                pages_of_equal_agents_show_each_exactly_once
                a_scope_limits_the_list_and_its_pages
                a_deleted_agent_is_not_listed_even_inside_the_scope
                a_list_can_be_limited_to_the_agents_of_a_task
                card_metadata_is_matched_by_containment
                agents_without_a_metadata_object_in_their_card_match_no_card_filter
            }
            deployment_rows {
                an_inserted_deployment_reads_back_equal_under_its_own_agent_only
                a_taken_deployment_id_is_refused
                an_absent_or_deleted_agent_takes_no_deployment
                a_removed_deployment_is_found_but_not_listed_and_removed_once
                production_is_not_removed_until_another_is
                a_list_of_deployments_follows_the_order_asked_for_in_both_directions
                pages_of_equal_deployments_show_each_exactly_once
            }
            deployment_registrations {
                an_unknown_deployment_is_created_ready_but_not_production
                a_known_deployment_gets_the_url_and_keeps_the_rest
                repeating_a_registration_changes_nothing_more
                a_deployment_without_metadata_keeps_none
                a_deployment_of_another_agent_is_refused_and_unchanged
                concurrent_registrations_of_one_new_deployment_all_succeed
                of_two_agents_racing_for_a_deployment_id_one_gets_it
                a_pending_deployment_becomes_ready_when_its_pod_registers
                a_removed_deployment_does_not_come_back_by_registering
                a_production_pod_that_moves_takes_the_agents_url_along
            }
            deployment_promotions {
                a_promotion_points_the_agent_at_the_deployment
                a_promotion_takes_production_from_the_other
                a_build_becomes_ready_by_its_first_promotion_and_other_statuses_stay
                promoting_production_again_moves_its_time
                a_deployment_without_a_pod_is_not_promoted
                an_absent_foreign_or_removed_deployment_is_not_promoted
                a_deleted_agents_deployment_is_not_promoted
                of_parallel_promotions_each_happens_and_one_deployment_is_production
                a_promotion_racing_with_a_removal_leaves_one_of_them_undone
                a_promotion_racing_with_a_registration_leaves_the_result_of_one_of_them
            }
            deployment_history {
                a_first_registration_leaves_the_entry_its_metadata_makes
                a_registration_without_commit_or_with_an_unreadable_time_is_stored_without_an_entry
                a_build_leaves_no_entry_until_its_pod_registers
                a_commit_is_added_when_the_newest_is_another
                commits_of_one_moment_are_kept_in_their_order
                merged_metadata_decides_about_the_entry
                concurrent_registrations_of_one_commit_leave_one_entry
                reviving_an_agent_adds_to_its_history
                entries_of_a_deleted_agent_are_not_found
                a_list_of_history_follows_the_order_asked_for_in_both_directions
                pages_of_equal_entries_show_each_exactly_once
            }
            api_keys {
                the_first_candidate_is_stored_and_later_ones_get_it
                each_agent_has_a_key_of_its_own
                an_agents_key_is_its_newest_internal_one
                ten_concurrent_calls_get_one_and_the_same_key
                the_owner_of_a_key_is_found_by_its_digest
                a_key_of_another_kind_has_no_owner_to_act_as
                a_row_with_a_digest_is_not_found_by_its_sealed_text
                a_row_without_a_digest_is_found_by_the_clear_secret
                a_deleted_agents_key_opens_nothing
                a_deleted_internal_key_opens_nothing
                an_external_key_opens_its_own_live_agent_only
            }
            named_keys {
                an_inserted_key_reads_back_equal_whatever_its_kind
                a_key_is_found_by_the_name_its_agent_gave_it_in_its_kind
                a_name_is_taken_within_its_agent_and_kind_only
                a_known_digest_is_refused_whatever_its_agent_and_kind
                a_key_of_an_absent_or_deleted_agent_is_dangling
                of_concurrent_inserts_of_one_name_one_wins
                a_key_made_while_its_agent_is_deleted_does_not_outlive_it
                keys_are_listed_oldest_first_in_pages
                a_list_of_keys_can_be_limited_to_a_kind
                a_scope_limits_the_list_of_keys_and_its_pages
                a_key_is_deleted_by_its_id_and_its_name_is_free_again
            }
            registration_tokens {
                a_token_is_good_for_its_agent_until_it_expires
                an_agent_may_have_several_tokens
                a_new_token_drops_the_expired_ones_of_its_agent
                a_token_of_an_absent_agent_is_dangling
                a_deleted_agents_tokens_go_with_it_for_good
                a_token_of_a_deleted_agent_is_good_for_nothing
            }
            idempotency {
                a_key_is_held_by_one_and_answers_the_others
                an_answer_without_its_body_is_told_from_an_empty_one
                a_key_used_for_one_request_refuses_others_until_it_expires
                a_lease_that_ends_gives_the_key_to_the_next
                a_released_key_is_unused
                of_concurrent_claims_one_is_granted
                expired_keys_are_dropped_in_portions
            }
            gateways {
                an_accepted_event_is_claimed_as_it_was_said
                an_event_is_accepted_once_while_one_of_its_names_is_known
                of_concurrent_deliveries_of_one_event_one_is_accepted
                a_finished_event_is_gone_and_its_name_stays_known
                a_lease_that_ends_gives_the_event_to_the_next_with_its_progress
                a_released_event_is_claimed_again_when_it_is_time
                a_conversation_is_carried_out_in_its_order
                only_events_of_the_providers_asked_for_are_claimed
                concurrent_claimers_get_different_events
                expired_names_are_dropped_in_portions
            }
            intents {
                an_opened_intent_reads_back_equal
                a_resource_has_one_intent_and_the_next_is_shown_it
                of_many_who_open_for_one_resource_one_does
                only_a_registering_intent_is_abandoned
                an_intent_is_closed_at_its_step_only
                a_failed_attempt_is_counted_and_put_off
                due_intents_are_claimed_oldest_first_and_come_back_later
                nothing_is_claimed_where_nothing_is_asked_for
                sixteen_claimers_get_different_intents
                one_intent_is_claimed_by_its_resource_when_it_is_due
                of_many_who_claim_one_intent_one_gets_it
                intents_are_listed_oldest_first
                the_backlog_counts_what_is_open_and_what_fails
                an_intent_without_a_row_is_settled_once_and_records_its_owner
                a_retired_intent_takes_the_owner_along
            }
            settlements {
                a_stored_agent_has_an_owner_and_its_intent_goes_on
                a_stored_task_has_an_owner_and_a_parent
                a_stored_key_has_an_owner_and_a_parent
                a_candidate_settles_its_intent_only_when_it_is_stored
                an_intent_can_go_on_to_a_late_registration
                a_row_without_an_intent_has_no_owner
                nothing_is_written_under_an_intent_that_was_given_up
                nothing_is_written_under_an_intent_that_is_gone
                an_intent_is_settled_once
                a_lost_intent_leaves_the_dead_owner_of_the_name_alone
                a_refused_agent_leaves_its_intent_registering
                a_refused_task_leaves_its_intent_registering
                a_refused_key_leaves_its_intent_registering
                a_registration_settles_its_intent_only_when_it_revives
                a_registration_of_an_absent_agent_settles_nothing
                a_refused_rename_leaves_the_intent_registering_and_the_agent_deleted
                a_build_that_revives_settles_its_intent
                an_agent_whose_intent_is_lost_stays_deleted
                a_revived_agent_belongs_to_whoever_revived_it
                of_an_insert_and_an_abandonment_exactly_one_happens
            }
            departures {
                a_deleted_agent_departs_after_its_keys
                a_deleted_task_departs_with_its_owner_and_parent
                a_deleted_key_departs_with_its_owner_and_parent
                what_nobody_owns_departs_for_whoever_removes_it
                without_a_departure_only_the_owner_is_forgotten
                what_is_gone_departs_no_more
                a_departure_takes_the_place_of_what_was_left_to_do
                a_departure_outlives_the_work_on_what_it_replaced
                keys_of_a_deleted_agent_outlive_the_work_on_what_they_replaced
                of_concurrent_deletions_one_departs
                keys_stored_while_their_agent_goes_depart_with_it_or_are_refused
            }
            owners {
                an_owner_is_found_by_kind_and_selector
                owners_are_paged_by_selector_in_byte_order
                live_rows_without_an_owner_are_told_in_pages
                tasks_and_keys_without_an_owner_are_told_by_kind
            }
            tasks {
                a_new_task_reads_back_equal
                an_insert_links_the_task_to_its_agent_once
                a_task_of_an_absent_agent_is_dangling_and_leaves_nothing
                a_dangling_insert_leaves_the_dead_owner_of_the_name_alone
                a_live_name_is_taken_whatever_the_agent_and_status
                a_deleted_task_frees_its_name
                unnamed_tasks_do_not_collide
                of_concurrent_inserts_of_one_name_one_creates_and_all_get_it
                a_look_up_by_name_finds_live_tasks_only
                a_task_is_found_for_its_agent_only_and_even_when_deleted
                agents_of_answers_for_many_tasks_at_once_deleted_agents_included
            }
            task_changes {
                metadata_is_replaced_as_a_whole
                params_are_merged_by_top_level_key
                params_are_replaced_as_a_whole
                one_change_can_set_metadata_and_merge_params
                a_change_of_nothing_keeps_every_field
                a_flag_in_the_metadata_touches_nothing_else
                a_finished_task_can_still_be_changed_and_stays_finished
                a_deleted_or_absent_task_cannot_be_changed
                parallel_merges_keep_each_others_keys
                a_change_racing_with_a_transition_loses_neither
            }
            task_deletions {
                a_task_is_deleted_whatever_its_status
                a_deletion_touches_nothing_but_status_reason_and_time
                deleting_twice_or_an_absent_task_is_none
            }
            task_lists {
                a_list_can_be_limited_to_an_agent_by_id_and_by_name
                a_list_can_be_limited_to_the_tasks_linked_to_an_agent
                a_list_can_be_limited_to_a_status_and_never_shows_deleted_tasks
                task_metadata_is_matched_by_containment
                a_scope_limits_the_list_and_its_pages
                filters_combine
                a_list_follows_the_order_asked_for_in_both_directions
                ties_in_a_list_are_broken_in_the_direction_of_the_list
                pages_of_equal_tasks_show_each_exactly_once
            }
            transitions {
                every_transition_happens_from_its_sources_and_from_nowhere_else
                a_transition_of_an_absent_task_is_absent
                the_reason_is_stored_as_it_is
                a_transition_touches_nothing_but_status_reason_and_time
                of_concurrent_transitions_exactly_one_happens
                of_concurrent_resumes_one_happens
            }
            messages {
                a_stored_message_reads_back_equal_whatever_it_says
                ids_of_other_writers_are_kept
                an_absent_or_deleted_task_takes_no_messages
                a_finished_task_still_takes_messages
                storing_no_messages_is_fine
                messages_of_equal_times_are_listed_in_insertion_order_and_its_exact_reverse
                times_given_by_writers_decide_the_order_not_the_insertion
                a_batch_with_a_taken_id_stores_nothing
                a_thousand_messages_are_stored_at_once_in_order
                a_task_lists_only_its_own_messages
                an_update_replaces_the_content_and_keeps_the_place
                a_message_of_another_task_cannot_be_updated
                of_concurrent_updates_one_wins_as_a_whole
                a_batch_update_answers_in_the_order_asked_and_keeps_statuses
                a_batch_update_with_an_unknown_or_foreign_id_changes_nothing
                a_batch_update_of_nothing_is_fine
                a_list_follows_the_order_asked_for_in_both_directions
                pages_of_a_list_are_disjoint_and_complete
                concurrent_writers_lose_nothing
            }
            message_pages {
                older_pages_go_from_the_newest_to_the_oldest
                newer_pages_go_from_the_oldest_to_the_newest_each_newest_first
                a_next_cursor_holds_all_that_is_needed_to_go_on
                a_page_that_holds_the_rest_has_no_next_cursor
                messages_of_equal_times_are_paged_in_insertion_order
                reading_newer_from_a_cursor_yields_the_nearest_messages_first
                a_cursor_can_be_read_in_both_directions
                a_cursor_works_without_its_message
                a_cursor_without_sequence_is_placed_by_its_message
                a_cursor_with_neither_sequence_nor_message_passes_over_its_time
                a_message_of_another_task_places_no_cursor
                writes_while_reading_older_neither_repeat_nor_hide_messages
                writes_while_reading_newer_are_reached
                a_filter_applies_to_every_page
                pages_hold_messages_of_the_task_only
            }
            message_filters {
                each_member_of_a_content_can_be_asked_for
                the_streaming_status_can_be_asked_for
                includes_are_joined_by_or_and_excludes_take_away
                excluding_by_a_member_keeps_messages_without_it
                nested_members_match_at_their_place_whatever_else_is_stored
                scalars_match_by_type_and_value
                large_integers_are_told_apart
                an_array_matches_as_a_whole
                a_null_matches_null_and_missing
                a_path_names_members_never_positions
                odd_keys_and_values_are_data
                all_leaves_of_one_term_must_hold
                contradicting_leaves_match_nothing
            }
            events {
                an_appended_event_holds_what_was_said
                an_event_under_an_id_of_the_callers_is_stored_once
                sequence_ids_rise_over_all_tasks
                concurrent_events_get_sequence_ids_of_their_own
                an_event_of_an_absent_task_or_agent_is_dangling
                an_event_is_found_by_its_id_while_its_task_lives
                events_are_listed_by_task_and_agent_in_the_order_of_their_sequence
                a_list_of_events_goes_on_after_an_event_of_the_task
            }
            states {
                a_stored_state_reads_back_equal_whatever_it_holds
                a_taken_state_id_is_refused
                an_agent_may_keep_several_states_of_one_task
                an_absent_or_deleted_task_takes_no_state
                a_replacement_replaces_everything_but_the_ids_and_the_first_time
                each_replacement_makes_another_version_and_only_the_one_named_is_replaced
                of_concurrent_replacements_of_one_version_one_happens
                a_deleted_state_is_answered_once_and_gone
                states_of_a_deleted_task_are_absent
                a_list_of_states_shows_what_its_filter_says
                a_list_of_states_follows_the_order_asked_for_in_both_directions
                pages_of_equal_states_show_each_exactly_once
            }
            trackers {
                a_task_comes_with_one_empty_tracker
                a_change_replaces_the_words_and_moves_the_cursor_only_when_told
                a_cursor_never_moves_backwards
                an_event_of_another_task_or_agent_is_as_unknown_as_an_absent_one
                of_concurrent_changes_the_furthest_cursor_stays
                trackers_of_an_absent_or_deleted_task_are_absent
                a_list_of_trackers_shows_what_its_filter_says
                a_list_of_trackers_follows_the_order_asked_for_in_both_directions
            }
            spans {
                a_stored_span_reads_back_equal_whatever_it_carries
                a_span_without_task_belongs_to_the_task_whose_id_is_its_traces
                a_taken_id_is_refused_and_the_span_that_has_it_stays
                an_absent_or_deleted_task_takes_no_spans
                a_change_overwrites_what_it_names_and_keeps_the_rest
                data_that_is_no_object_is_replaced
                a_change_reaches_the_span_only_where_it_was_looked_for
                a_span_moves_to_live_tasks_only
                concurrent_changes_keep_each_others_fields_and_keys
                a_list_of_a_task_holds_its_spans_and_those_of_its_trace
                a_scope_limits_the_list_and_its_pages
                an_agent_sees_spans_of_its_tasks_and_of_none
                a_list_follows_the_order_asked_for_in_both_directions
                pages_of_spans_that_began_at_once_show_each_exactly_once
            }
            statements {
                a_span_is_stored_by_one_statement
                fifty_messages_are_stored_by_one_statement
            }
            checkpoints {
                a_checkpoint_reads_back_equal_with_its_blobs
                without_an_id_the_greatest_is_found_byte_by_byte
                a_checkpoint_stored_again_is_replaced_and_keeps_its_parent
                only_the_versions_a_checkpoint_names_are_its_blobs
                a_version_keeps_its_first_bytes
                writes_come_in_order_of_step_and_index
                a_repeated_write_stays_or_replaces_as_asked
                namespaces_of_a_thread_are_apart
                a_list_is_limited_by_place_metadata_and_number
                a_deleted_thread_is_gone_and_others_are_intact
                a_deleted_task_takes_no_checkpoints_and_no_writes
                concurrent_writers_of_the_same_keys_all_succeed
            }
            run_schedules {
                an_inserted_schedule_reads_back_equal
                a_name_is_taken_within_its_agent_until_the_schedule_is_deleted
                of_concurrent_inserts_of_one_schedule_name_one_wins
                a_schedule_of_an_absent_or_deleted_agent_is_dangling
                schedules_of_all_agents_are_paged_by_id_without_the_deleted
                schedules_are_listed_newest_first_without_the_deleted
                an_update_replaces_what_may_change_and_counts_the_version
                a_rename_onto_a_taken_name_changes_nothing
                of_concurrent_updates_of_one_version_one_happens
                pausing_counts_the_version_and_touches_nothing_else
                a_deleted_schedule_cannot_be_changed_or_deleted_again
                a_schedule_is_stored_under_its_intent_or_not_at_all
                a_deleted_schedule_departs_with_its_owner_and_parent
                schedules_without_an_owner_are_told_by_selector
            }
            timers {
                an_inserted_timer_reads_back_equal
                timers_are_listed_by_prefix_and_selection
                a_timer_is_replaced_at_its_version_only
                a_timer_is_deleted_once_and_its_fires_go_on
                a_due_timer_fires_once_and_goes_on
                paused_and_ended_timers_do_not_fire
                the_timers_that_wait_longest_fire_first
                an_occurrence_is_passed_over_while_the_one_before_runs
                late_occurrences_fire_as_the_policy_says_and_the_rest_is_counted
                a_skipped_occurrence_does_not_fire
                an_occurrence_that_is_known_does_not_fire_again
                a_fire_somebody_asks_for_waits_to_be_claimed_and_is_stored_once
                a_fire_whose_lease_has_ended_goes_to_another_holder
                a_lease_can_be_made_longer
                a_retry_comes_at_its_time_as_one_more_attempt
                a_fire_given_back_does_not_count_as_an_attempt
                many_fires_end_at_once_and_some_with_an_error
                the_next_thing_to_do_is_known
                what_ended_long_ago_is_forgotten
                thirty_two_claimers_get_each_occurrence_once
                of_many_who_claim_a_fire_one_gets_it
                a_change_that_meets_an_occurrence_is_refused_or_comes_after_it
            }
            agent_checks {
                ready_and_unhealthy_agents_are_taken_and_no_others
                an_agent_is_taken_again_when_its_time_is_over
                agents_that_wait_longest_are_taken_first
                what_was_never_taken_is_not_recorded
                of_many_who_take_agents_each_gets_others
            }
            retention {
                an_export_holds_messages_and_states_by_time_then_by_id
                an_export_of_many_pages_shows_each_item_exactly_once
                an_export_shows_one_moment
                an_absent_or_deleted_task_has_no_export
                activity_is_the_row_or_the_newest_message
                events_ahead_of_a_cursor_are_unprocessed
                a_clean_takes_everything_of_its_task_and_nothing_of_others
                a_clean_of_the_contents_leaves_spans_checkpoints_and_parameters
                a_second_clean_changes_nothing
                a_refused_clean_changes_nothing
                a_running_task_is_cleaned_when_it_is_abandoned_only
                a_deleted_task_is_cleaned_only_by_who_says_so
                whatever_is_added_to_a_cleaned_task_takes_the_mark_off
                contents_come_back_as_they_were
                many_contents_come_back_too
                a_taken_id_keeps_all_contents_out
                an_empty_snapshot_leaves_the_mark_and_an_absent_task_is_told
                candidates_are_idle_tasks_of_named_agents_each_once_by_id
            }
            probe {
                a_running_store_answers_its_probe
            }
        }
    };
    (@suites $setup:expr; $($suite:ident { $($case:ident)* })*) => {
        $(
            mod $suite {
                #[allow(unused_imports, reason = "the setup may be written with full paths")]
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread")]
                    async fn $case() {
                        let (stores, _guard) = $setup;
                        $crate::contract::$suite::$case(&stores).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    /// A case that is written but not listed in the macro would never run.
    #[test]
    fn the_macro_lists_every_case_of_every_suite() {
        let listed = include_str!("mod.rs");
        let suites = [
            ("agents", include_str!("agents.rs")),
            ("agent_registrations", include_str!("agent_registrations.rs")),
            ("agent_lists", include_str!("agent_lists.rs")),
            ("deployment_rows", include_str!("deployments/rows.rs")),
            ("deployment_registrations", include_str!("deployments/registrations.rs")),
            ("deployment_promotions", include_str!("deployments/promotions.rs")),
            ("deployment_history", include_str!("deployment_history.rs")),
            ("api_keys", include_str!("api_keys.rs")),
            ("named_keys", include_str!("named_keys.rs")),
            ("registration_tokens", include_str!("registration_tokens.rs")),
            ("gateways", include_str!("gateways.rs")),
            ("intents", include_str!("intents.rs")),
            ("settlements", include_str!("settlements.rs")),
            ("departures", include_str!("departures.rs")),
            ("owners", include_str!("owners.rs")),
            ("tasks", include_str!("tasks.rs")),
            ("task_changes", include_str!("task_changes.rs")),
            ("task_deletions", include_str!("task_deletions.rs")),
            ("task_lists", include_str!("task_lists.rs")),
            ("transitions", include_str!("transitions.rs")),
            ("messages", include_str!("messages.rs")),
            ("message_pages", include_str!("message_pages.rs")),
            ("message_filters", include_str!("message_filters.rs")),
            ("events", include_str!("events.rs")),
            ("states", include_str!("states.rs")),
            ("trackers", include_str!("trackers.rs")),
            ("spans", include_str!("spans.rs")),
            ("checkpoints", include_str!("checkpoints.rs")),
            ("run_schedules", include_str!("run_schedules.rs")),
            ("timers", include_str!("timers.rs")),
            ("agent_checks", include_str!("agent_checks.rs")),
            ("retention", include_str!("retention.rs")),
            ("probe", include_str!("probe.rs")),
        ];
        for (suite, source) in suites {
            let start = listed.find(&format!("            {suite} {{")).unwrap();
            let block = &listed[start..start + listed[start..].find('}').unwrap()];
            let in_macro: Vec<&str> = block.split_whitespace().skip(2).collect();
            let in_source: Vec<&str> =
                source.lines().filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next()).collect();
            assert_eq!(in_macro, in_source, "{suite}");
        }
    }

    /// The same for suites with a macro of their own.
    #[test]
    fn the_macros_of_single_suites_list_every_case() {
        for (source, argument) in [
            (include_str!("relationships.rs"), "(store: &Store)"),
            (include_str!("authorizers.rs"), "(authorizer: &Arc<dyn Authorizer>)"),
            (include_str!("rollout.rs"), "(rollout: &Arc<dyn RolloutStore>)"),
        ] {
            let start = source.find("@cases $setup;").unwrap();
            let block = &source[start..start + source[start..].find('}').unwrap()];
            let in_macro: Vec<&str> = block.split_whitespace().skip(2).collect();
            let in_source: Vec<&str> = source
                .lines()
                .filter(|line| line.contains(argument))
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            assert_eq!(in_macro, in_source);
        }
    }
}

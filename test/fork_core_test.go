package test

// coreForkRows are the rows of the fork routine itself.
func coreForkRows() []forkRow {
	return []forkRow{
		{name: "N05_signal_actions", program: "sharing"},
		{name: "N06_descriptor_table", program: "sharing"},
		{name: "N07_directory_and_umask", program: "sharing"},
		{name: "N08_limits", program: "sharing"},
		{name: "N09_address_space", program: "sharing"},
		{name: "N01_fork_and_vfork", program: "guest/forks", sections: "fork vfork"},
		{name: "N01_clone_and_clone3", program: "guest/forks", sections: "clone identifiers clone3 shares"},
		{name: "N03_per_user_limit", program: "pids", root: true},
		{name: "N15_inherited_and_not", program: "kept", root: true},
		{name: "N15_reset_on_fork", program: "kept", root: true},
		{name: "N16_group_and_session", program: "kept"},
		{name: "N19_how_the_wait_ends", program: "kept"},
		{name: "N22_threads_and_exec", program: "guest/threads", sections: "endings"},
		{name: "F03_last_slot_is_roots", program: "pids", root: true, want: "children of root: 19 EAGAIN\nroom: yes\nchildren of a user: 17 EAGAIN\n" +
			"children of root: 19 EAGAIN\nroom: yes\nthe refusal took its time: yes\n"},
		{name: "F06_choice_of_pids", program: "pids", root: true},
		{name: "F07_wrapping_and_steps", program: "pids", root: true, want: wrappingReport},
		{name: "F13_arguments", program: "kept"},
		{name: "F13_alternate_stack", program: "kept", sections: "N15_inherited_and_not", root: true},
		{name: "I11_vfork_lends_memory", program: "kept"},
		{name: "I20_core_settings", program: "kept"},
		{name: "I24_child_gone_already", program: "kept"},
		{name: "L01_flags_as_root", program: "flags", root: true},
		{name: "L02_flags_as_user", program: "flags", root: true},
		{name: "L02_exit_signals", program: "flags"},
		{name: "L03_sizes", program: "flags"},
		{name: "L03_values", program: "flags", root: true},
		{name: "L04_nested_namespaces", program: "pids", root: true},
		{name: "L04_init", program: "pids", root: true},
		{name: "L04_immune_init", program: "pids", root: true},
		{name: "L05_threads", program: "guest/threads", sections: "creation relations endings shared_state"},
		{name: "L06_wait", program: "guest/wait", sections: "basics waitids usage ignored signalled orphans exit_signals pidfds"},
		{name: "L07_checked_again_at_exec", program: "pids", root: true},
		{name: "L07_pids_of_the_sandbox", program: "pids", root: true, flags: []string{"--pids=10"}, want: "children of root: 9 EAGAIN\nroom: yes\n"},
		{name: "L07_user_namespaces", program: "users", root: true},
		{name: "L07_roots_namespace", program: "users", root: true},
		{name: "L07_signals_in_user_namespaces", program: "users", root: true},
		{name: "L08_caller_alone", program: "kept"},
		{name: "L08_vfork", program: "guest/forks", sections: "vfork"},
		{name: "L11_advice_on_memory", program: "kept"},
		{name: "L11_not_inherited", program: "kept", sections: "N15_inherited_and_not", root: true},
		{name: "N02_ceiling_on_all", inKernel: "sentry/kernel"},
		{name: "N03_policy_past_the_limit", inKernel: "sentry/kernel"},
		{name: "N04_nothing_fails_after_the_commit", inKernel: "sentry/kernel"},
		{name: "I14_references_dropped_again", inKernel: "sentry/kernel"},
		{name: "N14_stopfork", program: "kept", want: "not run: yes\nborn: stopped by SIGSTOP\ncontinued: exit 1\n"},
		{name: "N23_restartable_sequences", program: "kept", want: "rseq: ENOSYS\nin a child: ENOSYS\n", lacks: "restartable sequences are not there, so that none is broken"},
		{name: "I09_limits_duplicated", program: "sharing", sections: "N08_limits"},
		{name: "N12_to_init_at_birth", inKernel: "sentry/kernel"},
		{name: "N14_born_stopped", inKernel: "sentry/kernel"},
		{name: "N21_personality", program: "users"},
		{name: "N21_hook_before_visible", inKernel: "sentry/kernel", lacks: "a second ABI outside its test; 32-bit programs"},
		{name: "F15_kernel_process_returns", inKernel: "sentry/kernel"},
		{name: "F15_init", inKernel: "test"},
		{name: "N22_exec_waits_for_a_fork", inKernel: "sentry/kernel"},
		{name: "F03_last_slot", inKernel: "sentry/kernel"},
		{name: "F07_random_steps", inKernel: "sentry/kernel"},
		{name: "F08_high_pids", inKernel: "sentry/kernel"},
		{name: "I02_wait_by_id", inKernel: "sentry/kernel"},
		{name: "I05_refused_without_privilege", inKernel: "sentry/kernel"},
		{name: "I06_errors", inKernel: "sentry/kernel"},
		{name: "I07_brake", inKernel: "sentry/kernel"},
		{name: "I08_rings", inKernel: "sentry/kernel"},
		{name: "I12_stops_during_vfork", inKernel: "sentry/kernel"},
		{name: "I15_child_first", inKernel: "sentry/kernel"},
		{name: "I16_shutdown", inKernel: "sentry/kernel"},
		{name: "I18_vfork_holds_threads", inKernel: "sentry/kernel"},
		{name: "I22_floor_of_memory", inKernel: "sentry/kernel"},
		{name: "C04_failures_leave_nothing", inKernel: "sentry/kernel"},
		{name: "C04_under_load", inKernel: "sentry/kernel"},
	}
}

const wrappingReport = `number: 318
number: 319
number: 300
number: 301
number: 302
too small: EINVAL
too large: EINVAL
text: EINVAL
-5: 2
randompid: 4194204
1: 1
randompid: 0
2: 1
randompid: 100
99: 2
randompid: 100
1000: 4
randompid: 1000
99999999: 8
randompid: 4194204
all: exit 0
`

package test

// coreForkRows are the rows of the fork routine itself.
func coreForkRows() []forkRow {
	return []forkRow{
		{name: "N05_signal_actions", program: "sharing"},
		{name: "N06_descriptor_table", program: "sharing"},
		{name: "N07_directory_and_umask", program: "sharing"},
		{name: "N08_limits", program: "sharing"},
		{name: "N09_address_space", program: "sharing"},
		{name: "N02_ceiling_on_all", inKernel: "sentry/kernel"},
		{name: "N03_policy_past_the_limit", inKernel: "sentry/kernel"},
		{name: "N12_to_init_at_birth", inKernel: "sentry/kernel"},
		{name: "N14_born_stopped", inKernel: "sentry/kernel"},
		{name: "N22_exec_waits_for_a_fork", inKernel: "sentry/kernel"},
		{name: "F03_last_slot", inKernel: "sentry/kernel"},
		{name: "F07_random_steps", inKernel: "sentry/kernel"},
		{name: "F08_high_pids", inKernel: "sentry/kernel"},
		{name: "I02_wait_by_id", inKernel: "sentry/kernel"},
		{name: "I05_privilege_to_fork", inKernel: "sentry/kernel"},
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

package test

// tracingForkRows are the rows about tracers.
func tracingForkRows() []forkRow {
	return []forkRow{
		{name: "L09_events", program: "tracing"},
		{name: "F14_child_of_traced", program: "tracing"},
		{name: "L11_seccomp_and_no_new_privs", program: "tracing"},
		{name: "L01_clone_ptrace_untraced", program: "tracing"},
	}
}

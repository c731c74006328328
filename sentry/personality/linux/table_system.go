package linux

// systemCalls are the calls about limits, scheduling and the system as a whole.
func systemCalls() []Call {
	return []Call{
		{63, "uname", "ptr", "", sysUname},
		{24, "sched_yield", "", "", sysSchedYield},
		{97, "getrlimit", "int ptr", "", sysGetrlimit},
		{98, "getrusage", "int ptr", "", sysGetrusage},
		{99, "sysinfo", "ptr", "", sysSysinfo},
		{103, "syslog", "int ptr int", "", sysSyslog},
		{135, "personality", "hex", "but for ADDR_NO_RANDOMIZE and STICKY_TIMEOUTS remembered only", sysPersonality},
		{140, "getpriority", "int int", "", sysGetpriority},
		{141, "setpriority", "int int int", "remembered, not followed", sysSetpriority},
		{142, "sched_setparam", "int ptr", "remembered, not followed", sysSchedSetparam},
		{143, "sched_getparam", "int ptr", "", sysSchedGetparam},
		{144, "sched_setscheduler", "int int ptr", "remembered, not followed", sysSchedSetscheduler},
		{145, "sched_getscheduler", "int", "", sysSchedGetscheduler},
		{146, "sched_get_priority_max", "int", "", sysSchedGetPriorityMax},
		{147, "sched_get_priority_min", "int", "", sysSchedGetPriorityMin},
		{148, "sched_rr_get_interval", "int ptr", "", sysSchedRrGetInterval},
		{160, "setrlimit", "int ptr", "", sysSetrlimit},
		{170, "sethostname", "ptr uint", "", sysSethostname},
		{171, "setdomainname", "ptr uint", "", sysSetdomainname},
		{203, "sched_setaffinity", "int uint ptr", "the host decides where threads run; getcpu tells a processor that is allowed", sysSchedSetaffinity},
		{204, "sched_getaffinity", "int uint ptr", "", sysSchedGetaffinity},
		{251, "ioprio_set", "int int int", "remembered, not followed", sysIoprioSet},
		{252, "ioprio_get", "int int", "", sysIoprioGet},
		{272, "unshare", "hex", "", sysUnshare},
		{308, "setns", "fd hex", "", sysSetns},
		{302, "prlimit64", "int int ptr ptr", "", sysPrlimit64},
		{309, "getcpu", "ptr ptr ptr", "", sysGetcpu},
		{314, "sched_setattr", "int ptr hex", "remembered, not followed; no deadlines", sysSchedSetattr},
		{315, "sched_getattr", "int ptr uint hex", "", sysSchedGetattr},
		{318, "getrandom", "ptr uint hex", "", sysGetrandom},
		{319, "memfd_create", "path hex", "no huge pages", sysMemfdCreate},
	}
}

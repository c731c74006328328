package linux

// signalCalls are the calls about signals.
func signalCalls() []Call {
	return []Call{
		{13, "rt_sigaction", "sig ptr ptr uint", "", sysRtSigaction},
		{14, "rt_sigprocmask", "int ptr ptr uint", "", sysRtSigprocmask},
		{15, "rt_sigreturn", "", "", sysRtSigreturn},
		{34, "pause", "", "", sysPause},
		{62, "kill", "int sig", "", sysKill},
		{101, "ptrace", "hex int ptr ptr", "no debug registers, no PTRACE_SINGLEBLOCK; PTRACE_ARCH_PRCTL and what is for seccomp filters or rseq", sysPtrace},
		{127, "rt_sigpending", "ptr uint", "", sysRtSigpending},
		{128, "rt_sigtimedwait", "ptr ptr ptr uint", "", sysRtSigtimedwait},
		{129, "rt_sigqueueinfo", "int sig ptr", "", sysRtSigqueueinfo},
		{130, "rt_sigsuspend", "ptr uint", "", sysRtSigsuspend},
		{131, "sigaltstack", "ptr ptr", "", sysSigaltstack},
		{200, "tkill", "int sig", "", sysTkill},
		{219, "restart_syscall", "", "", sysRestartSyscall},
		{234, "tgkill", "int int sig", "", sysTgkill},
		{282, "signalfd", "fd ptr uint", "", sysSignalfd},
		{289, "signalfd4", "fd ptr uint hex", "in epoll, a file inherited over fork follows who used it last", sysSignalfd4},
		{317, "seccomp", "int hex ptr", "", sysSeccomp},
		{297, "rt_tgsigqueueinfo", "int int sig ptr", "", sysRtTgsigqueueinfo},
	}
}

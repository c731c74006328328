package sandbox

import (
	"slices"

	"gosentry/fs/host"
	"gosentry/sentry/control"
	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// memoryCalls are what mm needs for the memory file and for mapped host files.
func memoryCalls() []seccomp.Rule {
	return seccomp.Allow(
		unix.SYS_PREAD64, unix.SYS_PWRITE64, unix.SYS_FALLOCATE, unix.SYS_FTRUNCATE, unix.SYS_MINCORE, unix.SYS_FSTAT,
	)
}

// fileCalls are what fs/host says it needs. Every call with a path has a descriptor
// beside it, and the process's own root is empty.
func fileCalls(changes bool) []seccomp.Rule {
	var rules []seccomp.Rule
	for _, c := range host.Calls(changes) {
		if len(c.All) == 0 {
			rules = append(rules, seccomp.Allow(c.Number)...)
			continue
		}
		var all []seccomp.Condition
		for _, cond := range c.All {
			all = append(all, seccomp.Condition(cond))
		}
		rules = append(rules, seccomp.When(c.Number, all...))
	}
	return rules
}

// hostCalls are the host calls of a sandbox's kernel on a platform, those made most often first.
func (in *Inside) hostCalls(platform []seccomp.Rule) []seccomp.Rule {
	// Containers that are added may have what the first has not.
	writable := in.Container != nil || slices.ContainsFunc(in.Binds, func(d Directory) bool { return d.Writable })
	rules := slices.Concat(platform, memoryCalls(), fileCalls(writable))
	if in.Container != nil {
		rules = append(rules, seccomp.Allow(control.HostCalls()...)...)
	}
	return rules
}

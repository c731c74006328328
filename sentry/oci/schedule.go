package oci

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// policies are those of sched(7) that the kernel inside remembers.
var policies = map[specs.LinuxSchedulerPolicy]int32{
	specs.SchedOther: unix.SCHED_NORMAL, specs.SchedFIFO: unix.SCHED_FIFO, specs.SchedRR: unix.SCHED_RR,
	specs.SchedBatch: unix.SCHED_BATCH, specs.SchedIdle: unix.SCHED_IDLE,
}

// resetOnFork is SCHED_RESET_ON_FORK, as it stands in a policy.
const resetOnFork = 0x40000000

// ioClasses are those of ioprio_set(2), by number.
var ioClasses = map[specs.IOPriorityClass]int32{
	specs.IOPRIO_CLASS_RT: 1, specs.IOPRIO_CLASS_BE: 2, specs.IOPRIO_CLASS_IDLE: 3,
}

// InheritedSchedule is how the calling thread is scheduled, which is what a process starts with whose configuration says
// nothing about it. A policy that the kernel inside does not know is left out.
func InheritedSchedule() control.Schedule {
	var out control.Schedule
	if attr, err := unix.SchedGetAttr(0, 0); err == nil && slices.Contains(slices.Collect(maps.Values(policies)), int32(attr.Policy)) {
		out.Policy, out.Priority, out.Nice = int32(attr.Policy), int32(attr.Priority), attr.Nice
		if attr.Flags&unix.SCHED_FLAG_RESET_ON_FORK != 0 {
			out.Policy |= resetOnFork
		}
	}
	const whoProcess, self = 1, 0
	if priority, _, errno := unix.Syscall(unix.SYS_IOPRIO_GET, whoProcess, self, 0); errno == 0 {
		out.IOPriority = int32(priority)
	}
	return out
}

// InheritedOOMScoreAdj is the calling process's oom_score_adj of proc(5), which one starts with whose configuration says nothing about it.
func InheritedOOMScoreAdj() int32 {
	text, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	adj, _ := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 32)
	return int32(adj)
}

// schedule reads how a process is to be scheduled; the error names the field below process.
func schedule(p *specs.Process) (control.Schedule, error) {
	out := InheritedSchedule()
	if s := p.Scheduler; s != nil {
		policy, known := policies[s.Policy]
		realTime := policy == unix.SCHED_FIFO || policy == unix.SCHED_RR
		const leastNice, mostNice, mostPriority = -20, 19, 99
		switch {
		case !known:
			return out, fmt.Errorf("scheduler.policy: %q is not supported", s.Policy)
		case s.Nice < leastNice || s.Nice > mostNice:
			return out, fmt.Errorf("scheduler.nice: %d is not within %d and %d", s.Nice, leastNice, mostNice)
		case realTime && (s.Priority < 1 || s.Priority > mostPriority), !realTime && s.Priority != 0:
			return out, fmt.Errorf("scheduler.priority: %s has no priority %d", s.Policy, s.Priority)
		}
		for _, f := range s.Flags {
			if f != specs.SchedFlagResetOnFork {
				return out, fmt.Errorf("scheduler.flags: %q is not supported", f)
			}
			policy |= resetOnFork
		}
		out.Policy, out.Priority, out.Nice = policy, s.Priority, s.Nice
	}
	if io := p.IOPriority; io != nil {
		class, known := ioClasses[io.Class]
		const levels, classShift = 8, 13
		switch {
		case !known:
			return out, fmt.Errorf("ioPriority.class: %q is not known", io.Class)
		case io.Priority < 0 || io.Priority >= levels:
			return out, fmt.Errorf("ioPriority.priority: %d is not within 0 and %d", io.Priority, levels-1)
		}
		out.IOPriority = class<<classShift | int32(io.Priority)
	}
	return out, nil
}

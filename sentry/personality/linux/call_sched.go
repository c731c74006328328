package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysSchedYield(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	t.Yield()
	return 0, nil
}

// Policies of sched(7).
const (
	schedFIFO     = 1
	schedRR       = 2
	schedDeadline = 6
	schedReset    = 0x40000000
)

func priorityRange(policy int32) (low, high uint64, err error) {
	switch policy {
	case schedFIFO, schedRR:
		return 1, 99, nil
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, schedDeadline:
		return 0, 0, nil
	}
	return 0, 0, unix.EINVAL
}

func sysSchedGetPriorityMax(_ *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	_, high, err := priorityRange(int32(a[0]))
	return high, err
}

func sysSchedGetPriorityMin(_ *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	low, _, err := priorityRange(int32(a[0]))
	return low, err
}

func sysSchedSetscheduler(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	policy := int32(a[1])
	if policy < 0 {
		return 0, unix.EINVAL
	}
	return setScheduler(t, int32(a[0]), policy, a[2])
}

func sysSchedSetparam(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	return setScheduler(t, int32(a[0]), s.Policy, a[1])
}

func setScheduler(t *kernel.Task, id, policy int32, addr uint64) (uint64, error) {
	if id < 0 || addr == 0 {
		return 0, unix.EINVAL
	}
	priority, err := load32(t, addr)
	if err != nil {
		return 0, err
	}
	low, high, err := priorityRange(policy &^ schedReset)
	if err != nil || uint64(priority) < low || uint64(priority) > high {
		return 0, unix.EINVAL
	}
	if high > 0 && !t.Creds().Has(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	return 0, t.SetScheduling(id, kernel.Scheduling{Policy: policy, Priority: int32(priority)})
}

func sysSchedGetscheduler(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := t.Scheduling(int32(a[0]))
	return uint64(s.Policy), err
}

func sysSchedGetparam(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[1] == 0 {
		return 0, unix.EINVAL
	}
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	return 0, store32(t, a[1], uint32(s.Priority))
}

func sysSchedRrGetInterval(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	ts := unix.Timespec{}
	if s.Policy&^schedReset != schedFIFO {
		ts.Nsec = 100e6
	}
	return 0, storeTimespec(t, a[1], ts)
}

func sysSchedGetaffinity(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	size := uint64(uint32(a[1]))
	need := uint64(CPUs()+63) / 64 * 8
	if size < need || size%8 != 0 {
		return 0, unix.EINVAL
	}
	if _, err := t.Scheduling(int32(a[0])); err != nil {
		return 0, err
	}
	b := make([]byte, need)
	for i := range CPUs() {
		b[i/8] |= 1 << (i % 8)
	}
	return need, t.CopyOut(mm.Addr(a[2]), b)
}

func sysSchedSetaffinity(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if _, err := t.Scheduling(int32(a[0])); err != nil {
		return 0, err
	}
	b := make([]byte, min(uint64(uint32(a[1])), 1024))
	if err := t.CopyIn(mm.Addr(a[2]), b); err != nil {
		return 0, err
	}
	for i := range min(CPUs(), 8*len(b)) {
		if b[i/8]&(1<<(i%8)) != 0 {
			return 0, nil
		}
	}
	return 0, unix.EINVAL
}

// Whom getpriority(2) is about.
const (
	prioProcess = 0
	prioGroup   = 1
	prioUser    = 2
)

func sysGetpriority(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[0] > prioUser {
		return 0, unix.EINVAL
	}
	nice, err := t.Nice(kernel.NiceKind(a[0]), int32(a[1]))
	return uint64(20 - nice), err
}

func sysSetpriority(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[0] > prioUser {
		return 0, unix.EINVAL
	}
	return 0, t.SetNice(kernel.NiceKind(a[0]), int32(a[1]), min(max(int32(a[2]), -20), 19))
}

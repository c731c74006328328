package linux

import (
	"encoding/binary"
	"slices"

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
	if id < 0 || addr == 0 || policy&^schedReset == schedDeadline {
		return 0, unix.EINVAL // a deadline needs sched_setattr
	}
	priority, err := load32(t, addr)
	if err != nil {
		return 0, err
	}
	low, high, err := priorityRange(policy &^ schedReset)
	if err != nil || uint64(priority) < low || uint64(priority) > high {
		return 0, unix.EINVAL
	}
	if high > 0 && !t.Creds().HasGlobal(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	s, err := t.Scheduling(id)
	if err != nil {
		return 0, err
	}
	s.Policy, s.Priority = policy, int32(priority)
	return 0, t.SetScheduling(id, s)
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
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	return need, storeWords(t, a[2], affinityOf(s)...)
}

// affinityOf is the set of processors that a thread may use, of those that there are.
func affinityOf(s kernel.Scheduling) []uint64 {
	set := make([]uint64, (CPUs()+63)/64)
	for i := range CPUs() {
		set[i/64] |= 1 << (i % 64)
	}
	for i := range min(len(set), len(s.Affinity)) {
		set[i] &= s.Affinity[i]
	}
	return set
}

func sysSchedSetaffinity(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	words := (CPUs() + 63) / 64
	b := make([]byte, 8*words)
	if err := t.CopyIn(mm.Addr(a[2]), b[:min(uint64(uint32(a[1])), uint64(len(b)))]); err != nil {
		return 0, err
	}
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	s.Affinity = make([]uint64, words)
	for i := range s.Affinity {
		s.Affinity[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	set := affinityOf(s)
	switch {
	case !slices.ContainsFunc(set, func(w uint64) bool { return w != 0 }):
		return 0, unix.EINVAL
	case slices.Equal(set, affinityOf(kernel.Scheduling{})):
		s.Affinity = nil
	}
	return 0, t.SetScheduling(int32(a[0]), s)
}

// sysGetcpu gives the processor that the call is answered on, which is where the
// guest ran, unless the thread has been told to run elsewhere.
func sysGetcpu(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	cpu := arch.CPU() % CPUs()
	if s, err := t.Scheduling(0); err == nil && s.Affinity != nil {
		set := affinityOf(s)
		for set[cpu/64]&(1<<(cpu%64)) == 0 {
			cpu = (cpu + 1) % CPUs()
		}
	}
	for i, v := range []uint32{uint32(cpu), 0} {
		if a[i] != 0 {
			if err := store32(t, a[i], v); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
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

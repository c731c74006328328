package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

func sysGetrlimit(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return prlimit(t, 0, uint32(a[0]), 0, a[1])
}

func sysSetrlimit(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return prlimit(t, 0, uint32(a[0]), a[1], 0)
}

func sysPrlimit64(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return prlimit(t, int32(a[0]), uint32(a[1]), a[2], a[3])
}

func prlimit(t *kernel.Task, pid int32, which uint32, newAddr, oldAddr uint64) (uint64, error) {
	r := limits.Resource(which)
	if !r.Valid() {
		return 0, unix.EINVAL
	}
	set, err := t.LimitsOf(pid)
	if err != nil {
		return 0, err
	}
	old := set.Get(r)
	if newAddr != 0 {
		l, err := load(t, newAddr, abi.RlimitSize, abi.DecodeRlimit)
		if err != nil {
			return 0, err
		}
		if old, err = t.SetLimitOf(pid, r, limits.Limit{Soft: l.Cur, Hard: l.Max}); err != nil {
			return 0, err
		}
	}
	if oldAddr == 0 {
		return 0, nil
	}
	return 0, t.CopyOut(mm.Addr(oldAddr), abi.AppendRlimit(nil, unix.Rlimit{Cur: old.Soft, Max: old.Hard}))
}

// Who getrusage(2) is about.
const (
	rusageSelf     = 0
	rusageChildren = -1
	rusageThread   = 1
)

func sysGetrusage(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var u kernel.Usage
	switch int32(a[0]) {
	case rusageSelf:
		t.MeasureRSS()
		u = t.ThreadGroup().Usage()
	case rusageThread:
		t.MeasureRSS()
		u = t.Usage()
	case rusageChildren:
		u = t.ThreadGroup().ChildUsage()
	default:
		return 0, unix.EINVAL
	}
	return 0, storeRusage(t, a[1], u)
}

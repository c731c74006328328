package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Flags of struct sched_attr (sched_setattr(2)).
const (
	schedFlagReset      = 1
	schedFlagKeepPolicy = 8
	schedFlagKeepParams = 0x10
	schedFlagsKnown     = 0x7f
)

func sysSchedGetattr(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	size := uint64(uint32(a[2]))
	if a[1] == 0 || int32(a[0]) < 0 || size < abi.SchedAttrSizeMin || size > mm.PageSize || uint32(a[3]) != 0 {
		return 0, unix.EINVAL
	}
	s, err := t.Scheduling(int32(a[0]))
	if err != nil {
		return 0, err
	}
	size = min(size, abi.SchedAttrSize)
	attr := unix.SchedAttr{Size: uint32(size), Policy: uint32(s.Policy &^ schedReset)}
	if s.Policy&schedReset != 0 {
		attr.Flags = schedFlagReset
	}
	if _, high, _ := priorityRange(s.Policy &^ schedReset); high > 0 {
		attr.Priority = uint32(s.Priority)
	} else if attr.Nice, err = t.Nice(kernel.NiceThread, int32(a[0])); err != nil {
		return 0, err
	}
	return 0, t.CopyOut(mm.Addr(a[1]), abi.AppendSchedAttr(nil, &attr)[:size])
}

func sysSchedSetattr(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id := int32(a[0])
	if a[1] == 0 || id < 0 || uint32(a[2]) != 0 {
		return 0, unix.EINVAL
	}
	attr, err := loadSchedAttr(t, a[1])
	if err != nil {
		return 0, err
	}
	policy, flags := int32(attr.Policy), attr.Flags
	s, err := t.Scheduling(id)
	if err != nil {
		return 0, err
	}
	if policy < 0 || flags&^schedFlagsKnown != 0 {
		return 0, unix.EINVAL
	}
	if flags&schedFlagKeepPolicy != 0 {
		policy = s.Policy &^ schedReset
	}
	low, high, err := priorityRange(policy)
	if err != nil {
		return 0, err
	}
	if flags&schedFlagKeepParams == 0 {
		if uint64(attr.Priority) < low || uint64(attr.Priority) > high {
			return 0, unix.EINVAL
		}
		s.Priority = int32(attr.Priority)
	}
	if (high > 0 || policy == schedDeadline) && !t.Creds().HasGlobal(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	if policy == schedDeadline {
		return 0, unix.EBUSY // nothing can be promised here
	}
	if high == 0 && flags&schedFlagKeepParams == 0 {
		if err := renice(t, id, attr.Nice); err != nil {
			return 0, err
		}
	}
	if s.Policy = policy; flags&schedFlagReset != 0 {
		s.Policy |= schedReset
	}
	return 0, t.SetScheduling(id, s)
}

// renice is setpriority(2) of one thread, but with EPERM where that says EACCES.
func renice(t *kernel.Task, id, nice int32) error {
	err := t.SetNice(kernel.NiceThread, id, min(max(nice, -20), 19))
	if err == unix.EACCES {
		return unix.EPERM
	}
	return err
}

// loadSchedAttr copies in a struct sched_attr of any size; E2BIG where one has fields that nobody here knows.
func loadSchedAttr(t *kernel.Task, addr uint64) (attr unix.SchedAttr, err error) {
	size, err := load32(t, addr)
	if err != nil {
		return attr, err
	}
	if size == 0 {
		size = abi.SchedAttrSizeMin
	}
	tooBig := func() (unix.SchedAttr, error) {
		if err := store32(t, addr, abi.SchedAttrSize); err != nil {
			return attr, err
		}
		return attr, unix.E2BIG
	}
	if size < abi.SchedAttrSizeMin || size > mm.PageSize {
		return tooBig()
	}
	b := make([]byte, max(size, abi.SchedAttrSize))
	if err := t.CopyIn(mm.Addr(addr), b[:size]); err != nil {
		return attr, err
	}
	for _, x := range b[abi.SchedAttrSize:] {
		if x != 0 {
			return tooBig()
		}
	}
	return abi.DecodeSchedAttr(b), nil
}

// Classes of I/O priorities, above the 13 bits of data of ioprio_set(2).
const (
	ioClassShift      = 13
	ioClassNone       = 0
	ioClassRealTime   = 1
	ioClassBestEffort = 2
	ioClassIdle       = 3
)

// ioWho turns IOPRIO_WHO_* into a NiceKind.
func ioWho(which uint64) (kernel.NiceKind, error) {
	switch int32(which) {
	case 1:
		return kernel.NiceThread, nil
	case 2:
		return kernel.NiceGroup, nil
	case 3:
		return kernel.NiceUser, nil
	}
	return 0, unix.EINVAL
}

func sysIoprioGet(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	kind, err := ioWho(a[0])
	if err != nil {
		return 0, err
	}
	p, err := t.IOPriority(kind, int32(a[1]))
	return uint64(p), err
}

func sysIoprioSet(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p := int32(a[2])
	level := p & 7
	switch p >> ioClassShift {
	case ioClassRealTime:
		if c := t.Creds(); !c.HasGlobal(unix.CAP_SYS_ADMIN) && !c.HasGlobal(unix.CAP_SYS_NICE) {
			return 0, unix.EPERM
		}
	case ioClassBestEffort, ioClassIdle:
	case ioClassNone:
		if level != 0 {
			return 0, unix.EINVAL
		}
	default:
		return 0, unix.EINVAL
	}
	kind, err := ioWho(a[0])
	if err != nil {
		return 0, err
	}
	return 0, t.SetIOPriority(kind, int32(a[1]), p)
}

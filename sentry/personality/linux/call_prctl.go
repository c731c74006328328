package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func boolean(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

func sysPrctl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	switch int32(a[0]) {
	case unix.PR_SET_PDEATHSIG:
		if a[1] != 0 && (a[1] > 64 || !signal.Valid(signal.Signal(a[1]))) {
			return 0, unix.EINVAL
		}
		t.SetParentDeathSignal(signal.Signal(a[1]))
		return 0, nil
	case unix.PR_GET_PDEATHSIG:
		return 0, store32(t, a[1], uint32(t.ParentDeathSignal()))
	case unix.PR_GET_DUMPABLE:
		return boolean(t.ThreadGroup().Dumpable()), nil
	case unix.PR_SET_DUMPABLE:
		if a[1] > 1 {
			return 0, unix.EINVAL
		}
		t.ThreadGroup().SetDumpable(a[1] == 1)
		return 0, nil
	case unix.PR_SET_NAME:
		return prSetName(t, a[1])
	case unix.PR_GET_NAME:
		var b [16]byte
		copy(b[:], t.Name())
		return 0, t.CopyOut(mm.Addr(a[1]), b[:])
	case unix.PR_GET_TID_ADDRESS:
		return 0, storeWords(t, a[1], uint64(t.ClearTID()))
	case unix.PR_SET_CHILD_SUBREAPER:
		t.ThreadGroup().SetSubreaper(a[1] != 0)
		return 0, nil
	case unix.PR_GET_CHILD_SUBREAPER:
		return 0, store32(t, a[1], uint32(boolean(t.ThreadGroup().Subreaper())))
	}
	return prctlTuning(t, a)
}

// prctlTuning answers the operations that only change how fast something is, or what may leak.
func prctlTuning(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	switch int32(a[0]) {
	case unix.PR_SET_TIMERSLACK:
		t.SetTimerSlack(a[1])
		return 0, nil
	case unix.PR_GET_TIMERSLACK:
		return t.TimerSlack(), nil
	case unix.PR_GET_TSC:
		return 0, store32(t, a[1], unix.PR_TSC_ENABLE)
	case unix.PR_SET_TSC: // taking it away is a matter of the host's threads, which threads of the guest share
		if a[1] != unix.PR_TSC_ENABLE {
			return 0, unix.EINVAL
		}
		return 0, nil
	case unix.PR_GET_TIMING, unix.PR_TASK_PERF_EVENTS_DISABLE, unix.PR_TASK_PERF_EVENTS_ENABLE:
		return 0, nil // statistical is all there is; there are no such events
	case unix.PR_SET_TIMING:
		if a[1] != unix.PR_TIMING_STATISTICAL {
			return 0, unix.EINVAL
		}
		return 0, nil
	case unix.PR_GET_UNALIGN, unix.PR_GET_FPEMU, unix.PR_GET_ENDIAN:
		return 0, unix.EINVAL
	case unix.PR_SET_THP_DISABLE, unix.PR_GET_THP_DISABLE:
		return prHugePages(t, a)
	case unix.PR_GET_SPECULATION_CTRL:
		return prSpeculation(a)
	case unix.PR_GET_SECCOMP:
		return uint64(t.SeccompMode()), nil
	case unix.PR_SET_SECCOMP:
		return prctlSeccomp(t, a[1], a[2])
	case unix.PR_SET_PTRACER: // as with Yama's ptrace_scope 0
		return 0, nil
	case unix.PR_SET_VMA:
		return 0, unix.EINVAL
	}
	return prctlCaps(t, a)
}

// prHugePages is PR_SET_THP_DISABLE and PR_GET_THP_DISABLE.
func prHugePages(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	get := int32(a[0]) == unix.PR_GET_THP_DISABLE
	switch {
	case get && a[1] != 0, a[2] != 0, a[3] != 0, a[4] != 0:
		return 0, unix.EINVAL
	case get:
		return boolean(t.ThreadGroup().THPDisabled()), nil
	}
	t.ThreadGroup().SetTHPDisabled(a[1] != 0)
	return 0, nil
}

// prSpeculation answers PR_GET_SPECULATION_CTRL: what leaks through speculation is the
// host's to control, so no thread is affected by a setting.
func prSpeculation(a arch.SyscallArgs) (uint64, error) {
	switch {
	case a[2] != 0 || a[3] != 0 || a[4] != 0:
		return 0, unix.EINVAL
	case a[1] > unix.PR_SPEC_L1D_FLUSH:
		return 0, unix.ENODEV
	}
	return unix.PR_SPEC_NOT_AFFECTED, nil
}

func prSetName(t *kernel.Task, addr uint64) (uint64, error) {
	s, err := t.CopyInString(mm.Addr(addr), 16)
	if err == unix.ENAMETOOLONG {
		b := make([]byte, 15)
		if err := t.CopyIn(mm.Addr(addr), b); err != nil {
			return 0, err
		}
		s, err = string(b), nil
	}
	if err != nil {
		return 0, err
	}
	t.SetName(s)
	return 0, nil
}

// prctlCaps are the operations on credentials.
func prctlCaps(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	switch int32(a[0]) {
	case unix.PR_SET_NO_NEW_PRIVS:
		if a[1] != 1 || a[2] != 0 || a[3] != 0 || a[4] != 0 {
			return 0, unix.EINVAL
		}
		return become(t, c.SetNoNewPrivs(), nil)
	case unix.PR_GET_NO_NEW_PRIVS:
		if a[1] != 0 || a[2] != 0 || a[3] != 0 || a[4] != 0 {
			return 0, unix.EINVAL
		}
		return boolean(c.NoNewPrivs), nil
	case unix.PR_GET_KEEPCAPS:
		return boolean(c.KeepCaps), nil
	case unix.PR_SET_KEEPCAPS:
		if a[1] > 1 {
			return 0, unix.EINVAL
		}
		n, err := c.SetKeepCaps(a[1] == 1)
		return become(t, n, err)
	case unix.PR_CAPBSET_READ:
		set, err := cred.CapOf(a[1])
		return boolean(c.Bounding.Contains(set)), err
	case unix.PR_CAPBSET_DROP:
		n, err := c.DropBounding(a[1])
		return become(t, n, err)
	case unix.PR_GET_SECUREBITS:
		return uint64(c.SecureBits), nil
	case unix.PR_SET_SECUREBITS:
		n, err := c.SetSecureBits(uint32(a[1]))
		return become(t, n, err)
	case unix.PR_CAP_AMBIENT:
		return prctlAmbient(t, a)
	}
	return 0, unix.EINVAL
}

func prctlAmbient(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	if a[3] != 0 || a[4] != 0 {
		return 0, unix.EINVAL
	}
	switch a[1] {
	case unix.PR_CAP_AMBIENT_CLEAR_ALL:
		if a[2] != 0 {
			return 0, unix.EINVAL
		}
		return become(t, c.ClearAmbient(), nil)
	case unix.PR_CAP_AMBIENT_IS_SET:
		set, err := cred.CapOf(a[2])
		return boolean(c.Ambient.Contains(set)), err
	case unix.PR_CAP_AMBIENT_RAISE:
		n, err := c.RaiseAmbient(a[2])
		return become(t, n, err)
	case unix.PR_CAP_AMBIENT_LOWER:
		n, err := c.LowerAmbient(a[2])
		return become(t, n, err)
	}
	return 0, unix.EINVAL
}

// Operations of arch_prctl(2).
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
	archGetFS = 0x1003
	archGetGS = 0x1004

	archGetCPUID = 0x1011
	archSetCPUID = 0x1012
)

func sysArchPrctl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	switch a[0] {
	case archSetFS, archSetGS:
		if a[1] >= userTop {
			return 0, unix.EPERM
		}
		if a[0] == archSetFS {
			t.Regs.Fs_base = a[1]
		} else {
			t.Regs.Gs_base = a[1]
		}
		return 0, nil
	case archGetFS:
		return 0, storeWords(t, a[1], t.Regs.Fs_base)
	case archGetGS:
		return 0, storeWords(t, a[1], t.Regs.Gs_base)
	case archGetCPUID:
		return 1, nil
	case archSetCPUID:
		return 0, unix.ENODEV // processors of this machine cannot trap CPUID
	}
	return 0, unix.EINVAL
}

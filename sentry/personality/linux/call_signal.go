package linux

import (
	"encoding/binary"
	"time"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func sysRtSigaction(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	sig := signal.Signal(int32(a[0]))
	if a[3] != abi.SigsetSize {
		return 0, unix.EINVAL
	}
	var (
		old signal.Action
		err error
	)
	if a[1] == 0 {
		old, err = t.Action(sig)
	} else {
		var act abi.Sigaction
		if act, err = load(t, a[1], abi.SigactionSize, abi.DecodeSigaction); err != nil {
			return 0, err
		}
		old, err = t.SetAction(sig, signal.Action{
			Handler: act.Handler, Flags: act.Flags, Restorer: act.Restorer, Mask: signal.Set(act.Mask),
		})
	}
	if err != nil || a[2] == 0 {
		return 0, err
	}
	return 0, t.CopyOut(mm.Addr(a[2]), abi.AppendSigaction(nil, abi.Sigaction{
		Handler: old.Handler, Flags: old.Flags, Restorer: old.Restorer, Mask: uint64(old.Mask),
	}))
}

func sysRtSigprocmask(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3] != abi.SigsetSize {
		return 0, unix.EINVAL
	}
	old := t.SignalMask()
	if a[1] != 0 {
		v, err := loadSigset(t, a[1], a[3])
		if err != nil {
			return 0, err
		}
		set := signal.Set(v)
		switch int32(a[0]) {
		case unix.SIG_BLOCK:
			set = old.Union(set)
		case unix.SIG_UNBLOCK:
			set = old.Without(set)
		case unix.SIG_SETMASK:
		default:
			return 0, unix.EINVAL
		}
		t.SetSignalMask(set)
	}
	if a[2] == 0 {
		return 0, nil
	}
	return 0, storeWords(t, a[2], uint64(old))
}

func sysRtSigpending(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[1] > abi.SigsetSize {
		return 0, unix.EINVAL
	}
	own, group := t.PendingSignals()
	var b [abi.SigsetSize]byte
	binary.LittleEndian.PutUint64(b[:], uint64(own.Union(group).Intersect(t.SignalMask())))
	return 0, t.CopyOut(mm.Addr(a[0]), b[:a[1]])
}

func sysPause(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	if err := t.Block(nil); err == kernel.ERESTARTSYS {
		return 0, kernel.ERESTARTNOHAND
	}
	return 0, unix.EINTR
}

func sysRtSigsuspend(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	set, err := loadSigset(t, a[0], a[1])
	if err != nil {
		return 0, err
	}
	t.SetTemporaryMask(signal.Set(set))
	return sysPause(t, a)
}

func sysKill(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.Kill(int32(a[0]), signal.Signal(int32(a[1])), nil)
}

func sysTkill(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.KillThread(0, int32(a[0]), signal.Signal(int32(a[1])), nil)
}

func sysTgkill(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int32(a[0]) <= 0 {
		return 0, unix.EINVAL
	}
	return 0, t.KillThread(int32(a[0]), int32(a[1]), signal.Signal(int32(a[2])), nil)
}

// loadSiginfo reads what a program gives to sigqueue(3) and its like.
func loadSiginfo(t *kernel.Task, addr uint64) (*signal.Info, error) {
	var b [arch.SiginfoSize]byte
	if err := t.CopyIn(mm.Addr(addr), b[:]); err != nil {
		return nil, err
	}
	info := DecodeSiginfo(&b)
	return &info, nil
}

// mayForge tells whether a program may send info to process id: not as if from
// the kernel or from kill(2), but to itself.
func mayForge(t *kernel.Task, info *signal.Info, id int32) bool {
	return info.Code < 0 && info.Code != signal.CodeTkill || id == t.TGID()
}

func sysRtSigqueueinfo(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	info, err := loadSiginfo(t, a[2])
	if err != nil {
		return 0, err
	}
	id := int32(a[0])
	if !mayForge(t, info, id) {
		return 0, unix.EPERM
	}
	if id <= 0 {
		return 0, unix.ESRCH
	}
	return 0, t.Kill(id, signal.Signal(int32(a[1])), info)
}

func sysRtTgsigqueueinfo(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	tgid, tid := int32(a[0]), int32(a[1])
	if tgid <= 0 || tid <= 0 {
		return 0, unix.EINVAL
	}
	info, err := loadSiginfo(t, a[3])
	if err != nil {
		return 0, err
	}
	if !mayForge(t, info, tgid) {
		return 0, unix.EPERM
	}
	return 0, t.KillThread(tgid, tid, signal.Signal(int32(a[2])), info)
}

func sysRtSigtimedwait(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	set, err := loadSigset(t, a[0], a[3])
	if err != nil {
		return 0, err
	}
	timeout := time.Duration(-1)
	if a[2] != 0 {
		ts, err := loadTimespec(t, a[2])
		if err != nil {
			return 0, err
		}
		timeout = time.Duration(nanoseconds(ts))
	}
	info, err := t.WaitSignal(signal.Set(set), timeout)
	if err != nil {
		return 0, err
	}
	if a[1] != 0 {
		b := EncodeSiginfo(&info)
		if err := t.CopyOut(mm.Addr(a[1]), b[:]); err != nil {
			return 0, err
		}
	}
	return uint64(info.Signo), nil
}

func sysSigaltstack(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old := t.AltStack().Status(t.Regs.Rsp)
	if a[0] != 0 {
		given, err := load(t, a[0], abi.StackSize, abi.DecodeStack)
		if err != nil {
			return 0, err
		}
		s := signal.Stack{Base: given.SP, Flags: given.Flags, Size: given.Size}
		s, err = s.Check(*t.AltStack(), t.Regs.Rsp, signal.MinStackSize)
		if err != nil {
			return 0, err
		}
		*t.AltStack() = s
	}
	if a[1] == 0 {
		return 0, nil
	}
	return 0, t.CopyOut(mm.Addr(a[1]), abi.AppendStack(nil, abi.Stack{SP: old.Base, Flags: old.Flags, Size: old.Size}))
}

// sysRestartSyscall goes on with a call that a signal interrupted.
func sysRestartSyscall(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	r := *t.Restart()
	*t.Restart() = kernel.Restart{}
	if r.Call == nil {
		return 0, unix.EINTR
	}
	return r.Call(t, &r)
}

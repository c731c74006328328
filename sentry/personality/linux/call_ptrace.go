package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// ptraceArgs are the arguments of ptrace(2) behind the request.
type ptraceArgs struct {
	id         int32
	addr, data uint64
}

// sysPtrace is ptrace(2). A request that Linux does not know is EIO, for a tracee that is stopped.
func sysPtrace(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	p := ptraceArgs{int32(a[1]), a[2], a[3]}
	switch request := int64(a[0]); request {
	case unix.PTRACE_TRACEME:
		return 0, t.TraceMe()
	case unix.PTRACE_ATTACH:
		return 0, t.Attach(p.id, false, 0)
	case unix.PTRACE_SEIZE:
		if p.addr != 0 || p.data&^unix.PTRACE_O_MASK != 0 {
			return 0, missingOr(t, p.id, unix.EIO)
		}
		return 0, t.Attach(p.id, true, kernel.TraceOptions(p.data))
	case unix.PTRACE_KILL:
		return 0, t.KillTracee(p.id)
	case unix.PTRACE_INTERRUPT:
		return 0, t.InterruptTracee(p.id)
	case unix.PTRACE_LISTEN:
		return 0, t.ListenTracee(p.id)
	case unix.PTRACE_DETACH:
		return 0, t.DetachTracee(p.id, givenSignal(p.data))
	case unix.PTRACE_SETOPTIONS, unix.PTRACE_OLDSETOPTIONS:
		return 0, t.SetTraceOptions(p.id, kernel.TraceOptions(p.data))
	case unix.PTRACE_GETEVENTMSG:
		message, err := t.TraceMessage(p.id)
		if err != nil {
			return 0, err
		}
		return 0, storeWords(t, p.data, message)
	default:
		if r, ok := resumption(request, p.data); ok {
			return 0, t.ResumeTracee(p.id, r)
		}
		return ptraceState(t, request, p)
	}
}

// missingOr is ESRCH where there is no thread id, else err.
func missingOr(t *kernel.Task, id int32, err error) error {
	if _, e := t.CredsOf(id); id == 0 || e != nil {
		return unix.ESRCH
	}
	return err
}

// givenSignal is the signal that a request wants delivered. What does not fit is no signal either.
func givenSignal(data uint64) signal.Signal { return signal.Signal(min(data, 1<<16)) }

// resumption decodes the requests that let a tracee go on.
func resumption(request int64, data uint64) (r kernel.Resume, ok bool) {
	r.Signal = givenSignal(data)
	switch request {
	case unix.PTRACE_CONT:
	case unix.PTRACE_SYSCALL:
		r.Calls = true
	case unix.PTRACE_SINGLESTEP:
		r.Step = true
	case unix.PTRACE_SYSEMU:
		r.Emulate = true
	case unix.PTRACE_SYSEMU_SINGLESTEP:
		r.Emulate, r.Step = true, true
	default:
		return r, false
	}
	return r, true
}

// ptraceState answers the requests that look at a stopped tracee or change it.
func ptraceState(t *kernel.Task, request int64, p ptraceArgs) (uint64, error) {
	switch request {
	case unix.PTRACE_PEEKTEXT, unix.PTRACE_PEEKDATA:
		return ptracePeek(t, p)
	case unix.PTRACE_POKETEXT, unix.PTRACE_POKEDATA:
		return ptracePoke(t, p)
	case unix.PTRACE_PEEKUSR:
		return ptracePeekUser(t, p)
	case unix.PTRACE_POKEUSR:
		return ptracePokeUser(t, p)
	case unix.PTRACE_GETREGS:
		return 0, getRegset(t, p.id, regsetGeneral, p.data, generalSize)
	case unix.PTRACE_SETREGS:
		return 0, setRegset(t, p.id, regsetGeneral, p.data, generalSize)
	case unix.PTRACE_GETFPREGS:
		return 0, getRegset(t, p.id, regsetFP, p.data, fxsaveSize)
	case unix.PTRACE_SETFPREGS:
		return 0, setRegset(t, p.id, regsetFP, p.data, fxsaveSize)
	case unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET:
		return 0, ptraceRegset(t, p, request == unix.PTRACE_SETREGSET)
	case unix.PTRACE_GETSIGINFO:
		info, err := t.StopInfo(p.id)
		if err != nil {
			return 0, err
		}
		b := EncodeSiginfo(&info)
		return 0, t.CopyOut(mm.Addr(p.data), b[:])
	case unix.PTRACE_SETSIGINFO:
		info, err := loadSiginfo(t, p.data)
		if err != nil {
			return 0, missingTracee(t, p.id, err)
		}
		return 0, t.SetStopInfo(p.id, *info)
	case unix.PTRACE_PEEKSIGINFO:
		return ptracePeekSiginfo(t, p)
	case unix.PTRACE_GETSIGMASK, unix.PTRACE_SETSIGMASK:
		return 0, ptraceSigmask(t, p, request == unix.PTRACE_SETSIGMASK)
	case unix.PTRACE_GET_SYSCALL_INFO:
		return ptraceCallInfo(t, p)
	case unix.PTRACE_SET_SYSCALL_INFO:
		return 0, ptraceSetCallInfo(t, p)
	}
	return 0, missingTracee(t, p.id, unix.EIO)
}

// missingTracee is ESRCH where id is not a stopped tracee, else err.
func missingTracee(t *kernel.Task, id int32, err error) error {
	if _, e := t.StopOf(id); e != nil {
		return e
	}
	return err
}

func ptracePeek(t *kernel.Task, p ptraceArgs) (uint64, error) {
	m, err := t.TraceeMemory(p.id)
	if err != nil {
		return 0, err
	}
	defer m.DecUsers()
	var b [8]byte
	if _, err := m.CopyInForce(mm.Addr(p.addr), b[:]); err != nil {
		return 0, unix.EIO
	}
	return 0, t.CopyOut(mm.Addr(p.data), b[:])
}

func ptracePoke(t *kernel.Task, p ptraceArgs) (uint64, error) {
	m, err := t.TraceeMemory(p.id)
	if err != nil {
		return 0, err
	}
	defer m.DecUsers()
	b := binary.LittleEndian.AppendUint64(nil, p.data)
	if _, err := m.CopyOutForce(mm.Addr(p.addr), b); err != nil {
		return 0, unix.EIO
	}
	return 0, nil
}

// ptracePeekSiginfo copies out the infos of pending signals and returns their number.
func ptracePeekSiginfo(t *kernel.Task, p ptraceArgs) (uint64, error) {
	const (
		size = 16 // u64 off, u32 flags, s32 nr
		most = 64 // at once
	)
	if err := missingTracee(t, p.id, nil); err != nil {
		return 0, err
	}
	var b [size]byte
	if err := t.CopyIn(mm.Addr(p.addr), b[:]); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	from, flags, left := le.Uint64(b[:]), le.Uint32(b[8:]), int32(le.Uint32(b[12:]))
	if flags&^unix.PTRACE_PEEKSIGINFO_SHARED != 0 || left < 0 {
		return 0, unix.EINVAL
	}
	done := uint64(0)
	for left > 0 {
		infos, err := t.PeekSignals(p.id, from+done, int(min(left, most)), flags != 0)
		if err != nil || len(infos) == 0 {
			return done, err
		}
		for i := range infos {
			b := EncodeSiginfo(&infos[i])
			if err := t.CopyOut(mm.Addr(p.data+done*arch.SiginfoSize), b[:]); err != nil {
				if done > 0 {
					err = nil
				}
				return done, err
			}
			done++
			left--
		}
	}
	return done, nil
}

func ptraceSigmask(t *kernel.Task, p ptraceArgs, set bool) error {
	if p.addr != abi.SigsetSize {
		return missingTracee(t, p.id, unix.EINVAL)
	}
	if !set {
		mask, err := t.TraceeMask(p.id)
		if err != nil {
			return err
		}
		return storeWords(t, p.data, uint64(mask))
	}
	mask, err := loadSigset(t, p.data, p.addr)
	if err != nil {
		return missingTracee(t, p.id, err)
	}
	return t.SetTraceeMask(p.id, signal.Set(mask))
}

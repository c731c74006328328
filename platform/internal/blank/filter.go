package blank

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Flags of clone(2) with which the stub makes processes and threads.
const (
	processFlags = unix.CLONE_FILES | unix.CLONE_PARENT
	guestFlags   = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_PARENT
	threadFlags  = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD
)

// Offsets in struct seccomp_data.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
)

const auditArchX86_64 = 0xc000003e

// filterProgram is the seccomp filter of every blank process: what the stub
// does, SIGSYS for the three calls of the vsyscall page, and death for the rest. Where guest
// threads make system calls, they do so behind a second filter of their own; what kills here would kill
// there too, so it is SIGSYS instead.
func (cfg *Config) filterProgram() ([]bpf.RawInstruction, error) {
	const allow, trap = unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_TRAP
	kill := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	allowed := []uint32{
		unix.SYS_FUTEX, unix.SYS_PWRITE64, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT,
		unix.SYS_PAUSE, unix.SYS_LSEEK, unix.SYS_GETPPID, unix.SYS_RESTART_SYSCALL, unix.SYS_EXIT,
	}
	clones := []uint32{processFlags, threadFlags}
	if len(cfg.Code) > 0 {
		kill = trap
		allowed = append(allowed, unix.SYS_CLOSE_RANGE, unix.SYS_SIGALTSTACK, unix.SYS_SECCOMP, unix.SYS_RT_SIGACTION)
		clones = []uint32{processFlags, guestFlags}
	}
	trapped := []uint32{unix.SYS_GETTIMEOFDAY, unix.SYS_TIME, unix.SYS_GETCPU}
	p := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArchX86_64, SkipTrue: 1},
		bpf.RetConstant{Val: kill},
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
	}
	for _, nr := range allowed {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nr, SkipTrue: 1}, bpf.RetConstant{Val: allow})
	}
	for _, nr := range trapped {
		p = append(p, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: nr, SkipTrue: 1}, bpf.RetConstant{Val: trap})
	}
	p = append(p,
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_CLONE, SkipTrue: 4},
		bpf.LoadAbsolute{Off: dataArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: clones[0], SkipTrue: 1},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: clones[1], SkipTrue: 1},
		bpf.RetConstant{Val: allow},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_PRCTL, SkipTrue: 3},
		bpf.LoadAbsolute{Off: dataArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PR_SET_PDEATHSIG, SkipTrue: 1},
		bpf.RetConstant{Val: allow},
		bpf.RetConstant{Val: kill},
	)
	return bpf.Assemble(p)
}

// initData is what the template's first orders point to; it lies in the page of
// code at initOffset.
type initData struct {
	bytes []byte
}

// add appends b on a multiple of 8 and returns the address it will have.
func (d *initData) add(b []byte) uint64 {
	for len(d.bytes)%8 != 0 {
		d.bytes = append(d.bytes, 0)
	}
	at := codeAddr + initOffset + uint64(len(d.bytes))
	d.bytes = append(d.bytes, b...)
	return at
}

// unblocked are the signals that reach a thread of a blank process: those of
// its own faults, and the one that stops it for its tracer. A terminal's or a
// stranger's stay pending for ever.
func unblocked() uint64 {
	var set uint64
	for _, s := range []unix.Signal{
		unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGSYS, KickSignal,
	} {
		set |= 1 << (s - 1)
	}
	return set
}

// KickSignal stops a traced thread of a blank process; it means nothing to one
// that is not traced.
const KickSignal = unix.SIGURG

// kernelSigaction is the kernel's struct sigaction for Handler: with SA_SIGINFO, SA_ONSTACK, SA_NODEFER and SA_RESTORER,
// which the kernel insists on.
func (cfg *Config) kernelSigaction() []byte {
	const saSiginfo, saRestorer, saOnStack, saNoDefer = 4, 0x04000000, 0x08000000, 0x40000000
	var b []byte
	for _, v := range []uint64{cfg.Handler, saSiginfo | saRestorer | saOnStack | saNoDefer, cfg.Handler, 0} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return b
}

// codeCalls have the platform's code, in file fd, mapped and signals enter it.
func (cfg *Config) codeCalls(fd int, d *initData) []Call {
	if fd < 0 {
		return nil
	}
	calls := []Call{MapCall(cfg.CodeAt, uint64(len(cfg.Code)), unix.PROT_READ|unix.PROT_EXEC, int32(fd), 0)}
	action := d.add(cfg.kernelSigaction())
	for _, s := range cfg.Signals {
		calls = append(calls, Call{Nr: unix.SYS_RT_SIGACTION, Args: [6]uint64{uint64(s), action, 0, 8}})
	}
	return calls
}

// initCalls are the template's first orders: everything of the caller is dropped. codeFD is the file of the
// platform's code, or -1.
func (cfg *Config) initCalls(codeFD int) ([]Call, []byte, error) {
	filter, err := cfg.filterProgram()
	if err != nil {
		return nil, nil, err
	}
	var d initData
	mask := d.add(binary.LittleEndian.AppendUint64(nil, ^unblocked()))
	name := d.add([]byte("sentry-blank\x00"))
	noCore := d.add(make([]byte, 16))
	capHeader := d.add(binary.LittleEndian.AppendUint64(nil, unix.LINUX_CAPABILITY_VERSION_3))
	capNone := d.add(make([]byte, 24))
	var code []byte
	for _, i := range filter {
		code = binary.LittleEndian.AppendUint16(code, i.Op)
		code = append(code, i.Jt, i.Jf)
		code = binary.LittleEndian.AppendUint32(code, i.K)
	}
	at := d.add(code)
	prog := d.add(binary.LittleEndian.AppendUint64(
		binary.LittleEndian.AppendUint64(nil, uint64(len(filter))), at))
	calls := append([]Call{{Nr: unix.SYS_MUNMAP, Args: [6]uint64{0, ordersAddr}}}, cfg.codeCalls(codeFD, &d)...)
	return append(calls,
		Call{Nr: unix.SYS_RT_SIGPROCMASK, Args: [6]uint64{2, mask, 0, 8}},
		Call{Nr: unix.SYS_SETSID},
		Call{Nr: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_NAME, name}},
		Call{Nr: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_DUMPABLE, 1}},
		Call{Nr: unix.SYS_SETRLIMIT, Args: [6]uint64{unix.RLIMIT_CORE, noCore}},
		Call{Nr: unix.SYS_CAPSET, Args: [6]uint64{capHeader, capNone}},
		Call{Nr: unix.SYS_PRCTL, Args: [6]uint64{unix.PR_SET_NO_NEW_PRIVS, 1}},
		Call{Nr: unix.SYS_SECCOMP, Args: [6]uint64{unix.SECCOMP_SET_MODE_FILTER, 0, prog}},
	), d.bytes, nil
}

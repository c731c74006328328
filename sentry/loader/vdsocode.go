package loader

import "golang.org/x/sys/unix"

// Offsets in ktime's page, and in what it has of each clock.
const (
	paramSeq  = 0
	paramMode = 4
	paramBase = 8
	paramSpan = 16
	paramMult = 24
	paramMono = 32
	paramReal = 48
	paramBoot = 64

	clockSeconds     = 0
	clockNanoseconds = 8

	paramModeTSC = 1
)

const (
	nsPerSecond = 1e9
	// A number below nsPerSecond, times thousandth and without the last thousandthBits bits, is a thousandth of it.
	thousandth     = 274877907
	thousandthBits = 38
	// seqTries bounds how often the parameters are read while they change; then a
	// system call answers, so a guest cannot hang on the sentry.
	seqTries = 1000
)

// vdsoFunc is an exported function: its code is [start, end) of the assembler's.
type vdsoFunc struct {
	name       string // without the prefix __vdso_
	start, end int
}

// vdsoText emits the functions, in the System V calling convention. The parameter
// page lies pageDistance bytes before the code. c says whether getcpu gives the host's processor number or is a
// system call.
//
// Every function falls back to the system call of its name: then the registers that hold its
// arguments are as they came, and errors are the kernel's.
func vdsoText(pageDistance int, c VDSOConfig) (*assembler, []vdsoFunc, error) {
	a := newAssembler()
	for label, offset := range map[string]int{"params": 0, "mono": paramMono, "real": paramReal, "boot": paramBoot} {
		a.labels[label] = offset - pageDistance
	}
	var funcs []vdsoFunc
	for _, f := range []struct {
		name   string
		number uint32
		emit   func(a *assembler, name string)
	}{
		{"clock_gettime", unix.SYS_CLOCK_GETTIME, emitClockGettime},
		{"gettimeofday", unix.SYS_GETTIMEOFDAY, emitGettimeofday},
		{"time", unix.SYS_TIME, emitTime},
		{"clock_getres", unix.SYS_CLOCK_GETRES, emitClockGetres},
		{"getcpu", unix.SYS_GETCPU, emitGetcpu(c)},
	} {
		a.align(16)
		start := len(a.code)
		f.emit(a, f.name)
		a.place(f.name + ".call")
		a.set32(rax, f.number)
		a.syscall()
		a.ret()
		funcs = append(funcs, vdsoFunc{f.name, start, len(a.code)})
	}
	return a, funcs, a.resolve()
}

// emitNow emits code that sets rdx to the seconds and rax to the nanoseconds of the clock whose base r8
// points to. It clobbers rcx, r9, r10 and r11, and goes to name.call where the parameters do not tell.
//
// The counter comes first: the parameters are on their way while it is read. New ones, with a later base, make that a call.
func emitNow(a *assembler, name string) {
	call, retry, again, carry, done := name+".call", name+".retry", name+".again", name+".carry", name+".done"
	a.lea(r10, "params")
	a.set32(r9, seqTries)
	a.place(retry)
	a.lfence() // no second one: a time read too late is checked against the same span
	a.rdtsc()
	a.load32(r11, r10, paramSeq)
	a.testBits32(r11, 1)
	a.jumpIf(ifNotEqual, again)
	a.load32(rcx, r10, paramMode)
	a.cmp32(rcx, paramModeTSC)
	a.jumpIf(ifNotEqual, call)
	a.shl(rdx, 32)
	a.or(rax, rdx)
	a.subMem(rax, r10, paramBase)
	a.cmpMem(rax, r10, paramSpan)
	a.jumpIf(ifAbove, call)
	a.mulMem(rax, r10, paramMult)
	a.shr(rax, 32)
	a.addMem(rax, r8, clockNanoseconds)
	a.load(rdx, r8, clockSeconds)
	a.cmpMem32(r11, r10, paramSeq)
	a.jumpIf(ifEqual, carry)
	a.place(again)
	a.pause()
	a.dec32(r9)
	a.jumpIf(ifNotEqual, retry)
	a.jump(call)
	a.place(carry)
	a.cmpRAX(nsPerSecond - 1)
	a.jumpIf(ifNotAbove, done)
	a.addTo(rax, -nsPerSecond)
	a.addTo(rdx, 1)
	a.jump(carry)
	a.place(done)
}

// emitClockGettime is int clock_gettime(clockid_t, struct timespec *). The coarse clocks and the
// raw one are the same as the others.
func emitClockGettime(a *assembler, name string) {
	for _, c := range []struct {
		id   int8
		base string
	}{
		{unix.CLOCK_MONOTONIC, "mono"},
		{unix.CLOCK_REALTIME, "real"},
		{unix.CLOCK_BOOTTIME, "boot"},
		{unix.CLOCK_MONOTONIC_COARSE, "mono"},
		{unix.CLOCK_REALTIME_COARSE, "real"},
		{unix.CLOCK_MONOTONIC_RAW, "mono"},
	} {
		a.lea(r8, c.base)
		a.cmp32(rdi, c.id)
		a.jumpIf(ifEqual, name+".read")
	}
	a.jump(name + ".call")
	a.place(name + ".read")
	emitNow(a, name)
	a.store(rsi, 0, rdx)
	a.store(rsi, 8, rax)
	a.zero(rax)
	a.ret()
}

// emitGettimeofday is int gettimeofday(struct timeval *, struct timezone *); either may
// be null. The time zone is UTC.
func emitGettimeofday(a *assembler, name string) {
	a.test(rdi, rdi)
	a.jumpIf(ifEqual, name+".zone")
	a.lea(r8, "real")
	emitNow(a, name)
	a.store(rdi, 0, rdx)
	a.mulBy(rax, rax, thousandth)
	a.shr(rax, thousandthBits)
	a.store(rdi, 8, rax)
	a.place(name + ".zone")
	a.zero(rax)
	a.test(rsi, rsi)
	a.jumpIf(ifEqual, name+".out")
	a.store(rsi, 0, rax)
	a.place(name + ".out")
	a.ret()
}

// emitTime is time_t time(time_t *), which may be null.
func emitTime(a *assembler, name string) {
	a.lea(r8, "real")
	emitNow(a, name)
	a.mov(rax, rdx)
	a.test(rdi, rdi)
	a.jumpIf(ifEqual, name+".out")
	a.store(rdi, 0, rax)
	a.place(name + ".out")
	a.ret()
}

// emitClockGetres is int clock_getres(clockid_t, struct timespec *), which may be null: 1 ns
// for what clock_gettime answers at full resolution.
func emitClockGetres(a *assembler, name string) {
	for _, id := range []int8{unix.CLOCK_MONOTONIC, unix.CLOCK_REALTIME, unix.CLOCK_BOOTTIME, unix.CLOCK_MONOTONIC_RAW} {
		a.cmp32(rdi, id)
		a.jumpIf(ifEqual, name+".one")
	}
	a.jump(name + ".call")
	a.place(name + ".one")
	a.zero(rax)
	a.test(rsi, rsi)
	a.jumpIf(ifEqual, name+".out")
	a.store(rsi, 0, rax)
	a.set32(rcx, 1)
	a.store(rsi, 8, rcx)
	a.place(name + ".out")
	a.ret()
}

// emitGetcpu is int getcpu(unsigned *cpu, unsigned *node, void *); each may be null.
func emitGetcpu(c VDSOConfig) func(a *assembler, name string) {
	if !c.HostCPU {
		return func(*assembler, string) {}
	}
	return func(a *assembler, name string) {
		const cpuBits, cpuMask = 12, 1<<12 - 1
		if c.askCPU {
			a.jump(name + ".call")
		} else {
			a.nop5()
		}
		a.lslCPU(rdx)
		a.jumpIf(ifNotEqual, name+".call") // ZF tells whether the selector is one
		a.test(rdi, rdi)
		a.jumpIf(ifEqual, name+".node")
		a.mov32(rcx, rdx)
		a.and32(rcx, cpuMask)
		a.store32(rdi, 0, rcx)
		a.place(name + ".node")
		a.test(rsi, rsi)
		a.jumpIf(ifEqual, name+".out")
		a.shr32(rdx, cpuBits)
		a.store32(rsi, 0, rdx)
		a.place(name + ".out")
		a.zero(rax)
		a.ret()
	}
}

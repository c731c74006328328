package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysAdjtimex(t *kernel.Task, a arch.SyscallArgs) (uint64, error) { return adjtime(t, a[0]) }

func sysClockAdjtime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const clocks = 12
	switch id := int32(a[0]); {
	case id == unix.CLOCK_REALTIME:
		return adjtime(t, a[1])
	case id >= clocks:
		return 0, unix.EINVAL
	}
	return 0, unix.EOPNOTSUPP
}

// adjtime tells of a clock that nobody disciplines; EPERM for who would adjust it.
func adjtime(t *kernel.Task, addr uint64) (uint64, error) {
	const (
		readOffset  = 0xa001 // ADJ_OFFSET_SS_READ
		unsync      = 0x40   // STA_UNSYNC
		stateError  = 5      // TIME_ERROR
		worst       = 16_000_000
		tolerance   = 500 << 16
		tick        = 10_000
		defaultPLL  = 2
		precisionUS = 1
	)
	var b [abi.TimexSize]byte
	if err := t.CopyIn(mm.Addr(addr), b[:]); err != nil {
		return 0, err
	}
	modes := abi.DecodeTimexModes(b[:])
	if modes != 0 && modes != readOffset {
		return 0, unix.EPERM
	}
	return stateError, t.CopyOut(mm.Addr(addr), abi.AppendTimex(b[:0], &unix.Timex{
		Modes: modes, Maxerror: worst, Esterror: worst, Status: unsync, Constant: defaultPLL,
		Precision: precisionUS, Tolerance: tolerance, Tick: tick,
		Time: unix.NsecToTimeval(t.Kernel().Clocks().Realtime().Now()),
	}))
}

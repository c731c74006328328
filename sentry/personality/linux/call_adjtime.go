package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
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
		size        = 208    // of struct timex
		readOffset  = 0xa001 // ADJ_OFFSET_SS_READ
		unsync      = 0x40   // STA_UNSYNC
		stateError  = 5      // TIME_ERROR
		worst       = 16_000_000
		tolerance   = 500 << 16
		tick        = 10_000
		defaultPLL  = 2
		precisionUS = 1
	)
	var b [size]byte
	if err := t.CopyIn(mm.Addr(addr), b[:]); err != nil {
		return 0, err
	}
	le := binary.LittleEndian
	modes := le.Uint32(b[:])
	if modes != 0 && modes != readOffset {
		return 0, unix.EPERM
	}
	clear(b[4:])
	now := t.Kernel().Clocks().Realtime().Now()
	for at, v := range map[int]int64{
		24: worst, 32: worst, 40: unsync, 48: defaultPLL, 56: precisionUS, 64: tolerance,
		72: now / 1e9, 80: now % 1e9 / 1000, 88: tick,
	} {
		le.PutUint64(b[at:], uint64(v))
	}
	return stateError, t.CopyOut(mm.Addr(addr), b[:])
}

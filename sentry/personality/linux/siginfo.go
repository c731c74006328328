package linux

import (
	"encoding/binary"

	"gosentry/platform/arch"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Offsets in siginfo_t on amd64, in bytes. The union starts at 16; its members'
// second and third words follow.
const (
	siErrno = 4
	siCode  = 8
	siUnion = 16
	siSub   = 20 // uid, overrun count
	siWord2 = 24 // sigval, status, fd, the number of a call, the valid bits of an address
	siArch  = 28
	siWord3 = 32 // child's user time, lower bound, protection key
	siWord4 = 40 // child's system time, upper bound
)

// EncodeSiginfo lays i out as siginfo_t. Bytes that its layout does not use are 0.
func EncodeSiginfo(i *signal.Info) [arch.SiginfoSize]byte {
	var b [arch.SiginfoSize]byte
	le := binary.LittleEndian
	le.PutUint32(b[0:], uint32(i.Signo))
	le.PutUint32(b[siErrno:], uint32(i.Errno))
	le.PutUint32(b[siCode:], uint32(i.Code))
	switch i.Layout() {
	case signal.LayoutKill:
		putSender(&b, i)
	case signal.LayoutRT:
		putSender(&b, i)
		le.PutUint64(b[siWord2:], i.Value)
	case signal.LayoutTimer:
		le.PutUint32(b[siUnion:], uint32(i.TimerID))
		le.PutUint32(b[siSub:], uint32(i.Overrun))
		le.PutUint64(b[siWord2:], i.Value)
	case signal.LayoutChild:
		putSender(&b, i)
		le.PutUint32(b[siWord2:], uint32(i.Status))
		le.PutUint64(b[siWord3:], uint64(i.UTime))
		le.PutUint64(b[siWord4:], uint64(i.STime))
	case signal.LayoutFault:
		putFault(&b, i)
	case signal.LayoutPoll:
		le.PutUint64(b[siUnion:], uint64(i.Band))
		le.PutUint32(b[siWord2:], uint32(i.FD))
	case signal.LayoutSys:
		le.PutUint64(b[siUnion:], i.Addr)
		le.PutUint32(b[siWord2:], uint32(i.Syscall))
		le.PutUint32(b[siArch:], i.Arch)
	}
	return b
}

func putSender(b *[arch.SiginfoSize]byte, i *signal.Info) {
	binary.LittleEndian.PutUint32(b[siUnion:], uint32(i.PID))
	binary.LittleEndian.PutUint32(b[siSub:], i.UID)
}

// putFault writes what a fault tells besides its address: the processor's
// own signals use the same bytes for different things.
func putFault(b *[arch.SiginfoSize]byte, i *signal.Info) {
	le := binary.LittleEndian
	le.PutUint64(b[siUnion:], i.Addr)
	le.PutUint16(b[siWord2:], uint16(i.AddrLSB))
	switch {
	case i.Signo == unix.SIGSEGV && i.Code == signal.SegvPKUErr:
		le.PutUint32(b[siWord3:], i.PKey)
	case i.Signo == unix.SIGSEGV && i.Code == signal.SegvBndErr:
		le.PutUint64(b[siWord3:], i.Lower)
		le.PutUint64(b[siWord4:], i.Upper)
	}
}

// DecodeSiginfo is the reverse of EncodeSiginfo. What b holds outside of the
// layout that its signal and code imply is lost.
func DecodeSiginfo(b *[arch.SiginfoSize]byte) signal.Info {
	le := binary.LittleEndian
	i := signal.Info{
		Signo: signal.Signal(le.Uint32(b[0:])),
		Errno: int32(le.Uint32(b[siErrno:])),
		Code:  int32(le.Uint32(b[siCode:])),
	}
	switch i.Layout() {
	case signal.LayoutKill:
		getSender(b, &i)
	case signal.LayoutRT:
		getSender(b, &i)
		i.Value = le.Uint64(b[siWord2:])
	case signal.LayoutTimer:
		i.TimerID = int32(le.Uint32(b[siUnion:]))
		i.Overrun = int32(le.Uint32(b[siSub:]))
		i.Value = le.Uint64(b[siWord2:])
	case signal.LayoutChild:
		getSender(b, &i)
		i.Status = int32(le.Uint32(b[siWord2:]))
		i.UTime = int64(le.Uint64(b[siWord3:]))
		i.STime = int64(le.Uint64(b[siWord4:]))
	case signal.LayoutFault:
		getFault(b, &i)
	case signal.LayoutPoll:
		i.Band = int64(le.Uint64(b[siUnion:]))
		i.FD = int32(le.Uint32(b[siWord2:]))
	case signal.LayoutSys:
		i.Addr = le.Uint64(b[siUnion:])
		i.Syscall = int32(le.Uint32(b[siWord2:]))
		i.Arch = le.Uint32(b[siArch:])
	}
	return i
}

func getSender(b *[arch.SiginfoSize]byte, i *signal.Info) {
	i.PID = int32(binary.LittleEndian.Uint32(b[siUnion:]))
	i.UID = binary.LittleEndian.Uint32(b[siSub:])
}

func getFault(b *[arch.SiginfoSize]byte, i *signal.Info) {
	le := binary.LittleEndian
	i.Addr = le.Uint64(b[siUnion:])
	i.AddrLSB = int16(le.Uint16(b[siWord2:]))
	if i.Signo != unix.SIGSEGV {
		return
	}
	switch i.Code {
	case signal.SegvPKUErr:
		i.PKey = le.Uint32(b[siWord3:])
	case signal.SegvBndErr:
		i.Lower = le.Uint64(b[siWord3:])
		i.Upper = le.Uint64(b[siWord4:])
	}
}

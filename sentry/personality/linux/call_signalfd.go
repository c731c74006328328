package linux

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func sysSignalfd(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysSignalfd4(t, arch.SyscallArgs{a[0], a[1], a[2]})
}

func sysSignalfd4(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	set, err := loadSigset(t, a[1], a[2])
	if err != nil {
		return 0, err
	}
	flags := int(int32(a[3]))
	if flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	if int32(a[0]) == -1 {
		f := t.NewSignalFile(signal.Set(set), flags&unix.SFD_NONBLOCK, appendSignalfdSiginfo)
		return newFD(t, f, flags&unix.SFD_CLOEXEC != 0)
	}
	_, err = onFile(t, a[0], func(f *vfs.File) error {
		sf, ok := f.Ops().(*kernel.SignalFile)
		if !ok {
			return unix.EINVAL
		}
		sf.SetSignals(signal.Set(set))
		return nil
	})
	return uint64(uint32(a[0])), err
}

// signalfdSiginfoSize is the size of struct signalfd_siginfo.
const signalfdSiginfoSize = 128

// appendSignalfdSiginfo lays i out as struct signalfd_siginfo.
func appendSignalfdSiginfo(b []byte, i *signal.Info) []byte {
	var s [signalfdSiginfoSize]byte
	le := binary.LittleEndian
	le.PutUint32(s[0:], uint32(i.Signo))
	le.PutUint32(s[4:], uint32(i.Errno))
	le.PutUint32(s[8:], uint32(i.Code))
	value := func() {
		le.PutUint32(s[44:], uint32(i.Value))
		le.PutUint64(s[48:], i.Value)
	}
	sender := func() {
		le.PutUint32(s[12:], uint32(i.PID))
		le.PutUint32(s[16:], i.UID)
	}
	switch i.Layout() {
	case signal.LayoutKill:
		sender()
	case signal.LayoutRT:
		sender()
		value()
	case signal.LayoutTimer:
		le.PutUint32(s[24:], uint32(i.TimerID))
		le.PutUint32(s[32:], uint32(i.Overrun))
		value()
	case signal.LayoutChild:
		sender()
		le.PutUint32(s[40:], uint32(i.Status))
		le.PutUint64(s[56:], uint64(i.UTime))
		le.PutUint64(s[64:], uint64(i.STime))
	case signal.LayoutFault:
		le.PutUint64(s[72:], i.Addr)
		le.PutUint16(s[80:], uint16(i.AddrLSB))
	case signal.LayoutPoll:
		le.PutUint32(s[20:], uint32(i.FD))
		le.PutUint32(s[28:], uint32(i.Band))
	case signal.LayoutSys:
		le.PutUint32(s[84:], uint32(i.Syscall))
		le.PutUint64(s[88:], i.Addr)
		le.PutUint32(s[96:], i.Arch)
	}
	return append(b, s[:]...)
}

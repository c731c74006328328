package linux

import (
	"gosentry/fs/vfs"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Requests of ioctl(2) about a descriptor, not its file.
const (
	fioNclex = 0x5450
	fioClex  = 0x5451
	fioNbio  = 0x5421
	fioAsync = 0x5452
)

func sysIoctl(t *kernel.Task, a arch.SyscallArgs) (ret uint64, err error) {
	fd, cmd := int32(a[0]), uint32(a[1])
	_, err = onFile(t, a[0], func(f *vfs.File) error {
		var err error
		switch cmd {
		case fioClex, fioNclex:
			err = t.FDs().SetCloseOnExec(fd, cmd == fioClex)
		case fioNbio, fioAsync:
			err = setStatusFlag(t, f, cmd, a[2])
		default:
			ret, err = fileIoctl(t, f, cmd, a[2])
		}
		return err
	})
	return ret, err
}

func setStatusFlag(t *kernel.Task, f *vfs.File, cmd uint32, addr uint64) error {
	on, err := load32(t, addr)
	if err != nil {
		return err
	}
	flag := unix.O_NONBLOCK
	if cmd == fioAsync {
		flag = unix.O_ASYNC
	}
	if on != 0 {
		return f.SetFlags(t, f.Flags()|flag)
	}
	return f.SetFlags(t, f.Flags()&^flag)
}

// fileIoctl answers what concerns job control from the kernel's own terminal, and
// leaves the rest to the file.
func fileIoctl(t *kernel.Task, f *vfs.File, cmd uint32, arg uint64) (uint64, error) {
	tty := t.Kernel().TTYOf(f)
	if tty == nil {
		return f.Ioctl(t, cmd, arg, t.MM())
	}
	switch cmd {
	case unix.TIOCGPGRP:
		id, err := t.Foreground(tty)
		if err != nil {
			return 0, err
		}
		return 0, store32(t, arg, uint32(id))
	case unix.TIOCSPGRP:
		id, err := load32(t, arg)
		if err != nil {
			return 0, err
		}
		return 0, t.SetForeground(tty, int32(id))
	case unix.TIOCGSID:
		id, err := t.TTYSession(tty)
		if err != nil {
			return 0, err
		}
		return 0, store32(t, arg, uint32(id))
	case unix.TIOCSCTTY:
		return 0, t.SetControllingTTY(tty)
	case unix.TIOCNOTTY:
		return 0, t.DropControllingTTY(tty)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TIOCSWINSZ:
		if err := t.CheckTTYChange(tty); err != nil {
			return 0, err
		}
	}
	return f.Ioctl(t, cmd, arg, t.MM())
}

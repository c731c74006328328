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

	fsGetFlags = 0x80086601 // their argument is an int all the same
	fsSetFlags = 0x40086602
)

// Requests that set a terminal's modes from a struct termio.
const (
	tcSetA  = 0x5406
	tcSetAW = 0x5407
	tcSetAF = 0x5408
)

func sysIoctl(t *kernel.Task, a arch.SyscallArgs) (ret uint64, err error) {
	fd, cmd := int32(a[0]), uint32(a[1])
	_, err = onFile(t, a[0], func(f *vfs.File) error {
		var err error
		switch cmd {
		case fioClex, fioNclex:
			err = t.FDs().SetCloseOnExec(fd, cmd == fioClex)
		case fioNbio, fioAsync:
			err = setStatusFlag(t, f, fd, cmd, a[2])
		case fsGetFlags, fsSetFlags:
			err = inodeFlags(t, f, cmd == fsSetFlags, a[2])
		default:
			var mine bool
			if mine, err = commonIoctl(t, f, cmd, a[2]); !mine {
				ret, err = fileIoctl(t, f, cmd, a[2])
			}
		}
		return err
	})
	return ret, err
}

// inodeFlags stores a file's flags, or sets them.
func inodeFlags(t *kernel.Task, f *vfs.File, set bool, addr uint64) error {
	if set {
		flags, err := load32(t, addr)
		if err != nil {
			return err
		}
		return f.SetInodeFlags(t, flags)
	}
	flags, err := f.InodeFlags()
	if err != nil {
		return err
	}
	return store32(t, addr, flags)
}

func setStatusFlag(t *kernel.Task, f *vfs.File, fd int32, cmd uint32, addr uint64) error {
	on, err := load32(t, addr)
	if err != nil {
		return err
	}
	flag := unix.O_NONBLOCK
	if cmd == fioAsync {
		flag = unix.O_ASYNC
		if !f.CanAsync() && on != 0 {
			return unix.ENOTTY
		}
	}
	if on != 0 {
		return setFlags(t, f, f.Flags()|flag, fd)
	}
	return setFlags(t, f, f.Flags()&^flag, fd)
}

// fileIoctl answers what concerns job control from the kernel's own terminal, and
// leaves the rest to the file.
func fileIoctl(t *kernel.Task, f *vfs.File, cmd uint32, arg uint64) (uint64, error) {
	tty, master := t.Kernel().TTYOf(f)
	if tty == nil {
		return f.Ioctl(t, cmd, arg, t.MM())
	}
	if s, ok := f.Ops().(interface{ HungUp() bool }); ok && s.HungUp() {
		if cmd == unix.TIOCSPGRP {
			return 0, unix.ENOTTY
		}
		return 0, unix.EIO
	}
	switch cmd {
	case unix.TIOCGPTPEER:
		return openPeer(t, f, arg)
	case unix.TIOCGPGRP:
		id, err := t.Foreground(tty, master)
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
		id, err := t.TTYSession(tty, master)
		if err != nil {
			return 0, err
		}
		return 0, store32(t, arg, uint32(id))
	case unix.TIOCSCTTY:
		return 0, t.SetControllingTTY(tty, f, arg == 1)
	case unix.TIOCNOTTY:
		return 0, t.DropControllingTTY(tty)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2, tcSetA, tcSetAW, tcSetAF, unix.TCFLSH, unix.TCXONC, unix.TCSBRK, unix.TCSBRKP:
		if master {
			break
		}
		if err := t.CheckTTYChange(tty); err != nil {
			return 0, err
		}
	}
	return f.Ioctl(t, cmd, arg, t.MM())
}

func sysVhangup(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) { return 0, t.HangUp() }

// openPeer is TIOCGPTPEER: a descriptor of a master's slave.
func openPeer(t *kernel.Task, f *vfs.File, flags uint64) (uint64, error) {
	const known = unix.O_ACCMODE | unix.O_NOCTTY | unix.O_NONBLOCK | unix.O_CLOEXEC
	peer, err := t.OpenPeer(f, int(flags&known))
	if err != nil {
		return 0, err
	}
	if flags&unix.O_NOCTTY == 0 {
		t.OpenedTerminal(peer)
	}
	return newFD(t, peer, flags&unix.O_CLOEXEC != 0)
}

package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/socket"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// messageFlags are the flags of messages that a program may give. What else there is it
// must not, or it means nothing here.
const messageFlags = unix.MSG_OOB | unix.MSG_PEEK | unix.MSG_DONTROUTE | unix.MSG_TRUNC | unix.MSG_DONTWAIT |
	unix.MSG_EOR | unix.MSG_WAITALL | unix.MSG_NOSIGNAL | unix.MSG_CMSG_CLOEXEC

func sysSendto(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		m := socket.Message{Flags: int(a[3] & messageFlags), At: syscalls.PlaceOf(t)}
		var err error
		if m.Data, err = messageBuffer(t, a[1], a[2]); err != nil {
			return 0, err
		}
		if a[4] != 0 {
			if m.Address, err = loadAddress(t, a[4], a[5]); err != nil {
				return 0, err
			}
		}
		n, err := syscalls.Send(t, f, s, &m)
		return uint64(n), err
	})
}

func sysRecvfrom(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		m := socket.Message{Flags: int(a[3] & messageFlags)}
		var err error
		if m.Data, err = messageBuffer(t, a[1], a[2]); err != nil {
			return 0, err
		}
		n, err := syscalls.Receive(t, f, s, &m)
		syscalls.DropRights(&m)
		if err == nil && a[4] != 0 {
			err = storeAddress(t, m.Address, a[4], a[5])
		}
		return uint64(n), err
	})
}

func messageBuffer(t *kernel.Task, addr, size uint64) (*mm.Buffer, error) {
	size = min(size, syscalls.MaxTransfer)
	if size != 0 && (addr+size < addr || addr+size > userTop) {
		return nil, unix.EFAULT
	}
	return mm.SingleBuffer(t.MM(), mm.Addr(addr), size), nil
}

// loadMsghdr reads a struct msghdr and the array of buffers that it leads to.
func loadMsghdr(t *kernel.Task, addr uint64) (abi.Msghdr, *mm.Buffer, error) {
	b := make([]byte, abi.MsghdrSize)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return abi.Msghdr{}, nil, err
	}
	h := abi.DecodeMsghdr(b)
	if h.Name == 0 {
		h.Namelen = 0
	}
	switch {
	case int32(h.Namelen) < 0:
		return h, nil, unix.EINVAL
	case h.Iovlen > maxIovecs:
		return h, nil, unix.EMSGSIZE
	}
	h.Namelen = min(h.Namelen, maxAddress)
	ranges, err := loadIovecs(t, h.Iov, h.Iovlen)
	if err != nil {
		return h, nil, err
	}
	return h, mm.NewBuffer(t.MM(), ranges), nil
}

// compat is MSG_CMSG_COMPAT, with which calls of 32-bit programs go on; others must not give it where control messages are.
const compat = 1 << 31

func sysSendmsg(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2]&compat != 0 {
		return 0, unix.EINVAL
	}
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		n, err := sendMessage(t, f, s, a[1], int(a[2]))
		return uint64(n), err
	})
}

func sendMessage(t *kernel.Task, f *vfs.File, s socket.Socket, addr uint64, flags int) (int, error) {
	h, data, err := loadMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	m := socket.Message{Data: data, Flags: flags & messageFlags, At: syscalls.PlaceOf(t)}
	if h.Namelen > 0 {
		if m.Address, err = loadAddress(t, h.Name, uint64(h.Namelen)); err != nil {
			return 0, err
		}
	}
	if err := loadControl(t, &h, &m); err != nil {
		syscalls.DropRights(&m)
		return 0, err
	}
	return syscalls.Send(t, f, s, &m)
}

func sysRecvmsg(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2]&compat != 0 {
		return 0, unix.EINVAL
	}
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		n, err := receiveMessage(t, f, s, a[1], int(a[2]))
		return uint64(n), err
	})
}

// Offsets in struct msghdr of what recvmsg(2) writes.
const (
	msghdrNamelen    = 8
	msghdrControllen = 40
	msghdrFlags      = 48
)

func receiveMessage(t *kernel.Task, f *vfs.File, s socket.Socket, addr uint64, flags int) (int, error) {
	h, data, err := loadMsghdr(t, addr)
	if err != nil {
		return 0, err
	}
	m := socket.Message{Data: data, Flags: flags & messageFlags}
	n, err := syscalls.Receive(t, f, s, &m)
	if err != nil {
		return 0, err
	}
	out := controlWriter{t: t, addr: h.Control, left: h.Controllen, flags: m.Got | flags&unix.MSG_CMSG_CLOEXEC}
	out.nanoseconds = m.Time != 0 && s.Common().On(unix.SO_TIMESTAMPNS)
	out.write(&m)
	if h.Name != 0 {
		if err := storeAddress(t, m.Address, h.Name, addr+msghdrNamelen); err != nil {
			return 0, err
		}
	}
	if err := store32(t, addr+msghdrFlags, uint32(out.flags)); err != nil {
		return 0, err
	}
	return n, storeWords(t, addr+msghdrControllen, out.addr-h.Control)
}

// mmsghdrCount is where the count stands in struct mmsghdr.
const mmsghdrCount = abi.MsghdrSize

func sysSendmmsg(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&compat != 0 {
		return 0, unix.EINVAL
	}
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		return eachMessage(t, a, func(addr uint64) (int, error) { return sendMessage(t, f, s, addr, int(a[3])) }, nil)
	})
}

// msgWaitForOne has recvmmsg(2) wait for its first message only.
const msgWaitForOne = 0x10000

func sysRecvmmsg(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3]&compat != 0 {
		return 0, unix.EINVAL
	}
	at, err := loadDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	return withSocket(t, a[0], func(f *vfs.File, s socket.Socket) (uint64, error) {
		flags := int(a[3])
		n, err := eachMessage(t, a, func(addr uint64) (int, error) {
			n, err := receiveMessage(t, f, s, addr, flags)
			if flags&msgWaitForOne != 0 {
				flags |= unix.MSG_DONTWAIT
			}
			return n, err
		}, func() bool { return t.Kernel().Clocks().Monotonic().Now() >= at })
		return n, storeLeft(t, a[4], at, 1, err)
	})
}

// eachMessage does one for up to as many struct mmsghdr as the arguments say, writing each one's count, until one
// fails or, asked after each, over says so. An error counts only for the first.
func eachMessage(t *kernel.Task, a arch.SyscallArgs, one func(addr uint64) (int, error), over func() bool) (uint64, error) {
	done := uint64(0)
	for count := min(uint64(uint32(a[2])), maxIovecs); done < count; {
		addr := a[1] + done*abi.MmsghdrSize
		n, err := one(addr)
		if err == nil {
			err = store32(t, addr+mmsghdrCount, uint32(n))
		}
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil {
			break
		}
		done++
		if over != nil && over() {
			break
		}
	}
	return done, nil
}

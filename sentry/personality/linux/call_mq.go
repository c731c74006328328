package linux

import (
	"gosentry/fs/mqueue"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"
	"gosentry/sentry/socket"
	"gosentry/sentry/socket/netlink"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

// sysMqOpen is mq_open(2) as the kernel has it: the name has lost the slash that the library asks for.
func sysMqOpen(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var attr *mqueue.Attr
	if a[3] != 0 {
		m, err := loadMqAttr(t, a[3])
		if err != nil {
			return 0, err
		}
		attr = &mqueue.Attr{Messages: m.Max, Size: m.Size}
	}
	name, err := path(t, a[0])
	if err != nil {
		return 0, err
	}
	f, err := t.MessageQueues().Open(t, name, vfs.OpenArgs{
		Flags: int(int32(a[1])), Mode: uint32(a[2]) & 0o7777, Umask: t.FS().Umask(),
	}, attr)
	if err != nil {
		return 0, err
	}
	return newFD(t, f, true)
}

func loadMqAttr(t *kernel.Task, addr uint64) (abi.MqAttr, error) {
	return load(t, addr, abi.MqAttrSize, abi.DecodeMqAttr)
}

func sysMqUnlink(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	name, err := path(t, a[0])
	if err != nil {
		return 0, err
	}
	return 0, t.MessageQueues().Unlink(t, name)
}

// mqDeadline reads a time of the real-time clock; none for a null pointer.
func mqDeadline(t *kernel.Task, addr uint64) (int64, error) {
	if addr == 0 {
		return ktime.Forever, nil
	}
	ts, err := loadTimespec(t, addr)
	return nanoseconds(ts), err
}

func sysMqTimedsend(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	deadline, err := mqDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	if a[3] >= mqueue.MaxPriority {
		return 0, unix.EINVAL
	}
	return onFile(t, a[0], func(f *vfs.File) error {
		q, err := mqueue.Of(f)
		switch {
		case err != nil:
			return err
		case !f.Writable():
			return unix.EBADF
		case a[2] > uint64(q.Sizes().Size):
			return unix.EMSGSIZE
		}
		text, err := loadLong(t, a[1], a[2])
		if err != nil {
			return err
		}
		return syscalls.QueueSend(t, f, &mqueue.Message{Priority: uint32(a[3]), Text: text}, deadline)
	})
}

func sysMqTimedreceive(t *kernel.Task, a arch.SyscallArgs) (n uint64, err error) {
	deadline, err := mqDeadline(t, a[4])
	if err != nil {
		return 0, err
	}
	_, err = onFile(t, a[0], func(f *vfs.File) error {
		m, err := syscalls.QueueReceive(t, f, a[2], deadline)
		if err != nil {
			return err
		}
		n = uint64(len(m.Text))
		if a[3] != 0 {
			if err := store32(t, a[3], m.Priority); err != nil {
				return err
			}
		}
		return t.CopyOut(mm.Addr(a[1]), m.Text)
	})
	return n, err
}

// sysMqNotify is mq_notify(2).
func sysMqNotify(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[1] == 0 {
		return 0, setMqNotification(t, a[0], nil)
	}
	e, err := load(t, a[1], abi.SigeventSize, abi.DecodeSigevent)
	if err != nil {
		return 0, err
	}
	sig := signal.Signal(e.Signo)
	switch {
	case e.Notify == sigevThread:
		return 0, mqNotifyThread(t, a[0], e.Signo, e.Value)
	case e.Notify == sigevNone:
		sig = 0
	case e.Notify != sigevSignal || !signal.Valid(sig):
		return 0, unix.EINVAL
	}
	n := t.NewNotification(sig, e.Value)
	n.Kind = int(e.Notify)
	return 0, setMqNotification(t, a[0], n)
}

// mqNotifyThread has the cookie at the address sent by a netlink socket, on which a thread of the C library's waits.
func mqNotifyThread(t *kernel.Task, queue uint64, fd int32, addr uint64) error {
	var cookie [netlink.CookieSize]byte
	if err := t.CopyIn(mm.Addr(addr), cookie[:]); err != nil {
		return err
	}
	_, err := withSocket(t, uint64(uint32(fd)), func(_ *vfs.File, s socket.Socket) (uint64, error) {
		to, ok := s.(*netlink.Socket)
		if !ok {
			return 0, unix.EINVAL
		}
		if err := to.Reserve(); err != nil {
			return 0, err
		}
		n := t.NewNotification(0, 0)
		n.Kind = sigevThread
		n.Send = func(vfs.Caller) { to.Notify(cookie, netlink.Woken) }
		n.Removed = func() { to.Notify(cookie, netlink.Removed) }
		err := setMqNotification(t, queue, n)
		if err != nil {
			to.Cancel()
		}
		return 0, err
	})
	return err
}

// setMqNotification sets the notification of the queue that a descriptor has, or takes the task's back.
func setMqNotification(t *kernel.Task, queue uint64, n *mqueue.Notification) error {
	_, err := onFile(t, queue, func(f *vfs.File) error {
		q, err := mqueue.Of(f)
		if err != nil {
			return err
		}
		return q.SetNotification(t, n)
	})
	return err
}

func sysMqGetsetattr(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var set *abi.MqAttr
	if a[1] != 0 {
		m, err := loadMqAttr(t, a[1])
		if err != nil {
			return 0, err
		}
		if m.Flags&^unix.O_NONBLOCK != 0 {
			return 0, unix.EINVAL
		}
		set = &m
	}
	return onFile(t, a[0], func(f *vfs.File) error {
		q, err := mqueue.Of(f)
		if err != nil {
			return err
		}
		old := abi.MqAttr{
			Flags: int64(f.Flags() & unix.O_NONBLOCK), Max: q.Sizes().Messages, Size: q.Sizes().Size, Count: q.Count(),
		}
		if set != nil {
			if err := f.SetFlags(t, f.Flags()&^unix.O_NONBLOCK|int(set.Flags), int32(a[0])); err != nil {
				return err
			}
		}
		if a[2] == 0 {
			return nil
		}
		return t.CopyOut(mm.Addr(a[2]), abi.AppendMqAttr(nil, old))
	})
}

package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/syscalls"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

func sysEpollCreate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if int32(a[0]) <= 0 {
		return 0, unix.EINVAL
	}
	return newFD(t, t.Kernel().VFS().NewEventPoll(), false)
}

func sysEpollCreate1(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[0]&^unix.EPOLL_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	return newFD(t, t.Kernel().VFS().NewEventPoll(), a[0] != 0)
}

func epollOf(f *vfs.File) (*vfs.EventPoll, error) {
	ep, ok := f.Ops().(*vfs.EventPoll)
	if !ok {
		return nil, unix.EINVAL
	}
	return ep, nil
}

func sysEpollCtl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var ev vfs.EpollEvent
	op := int(int32(a[1]))
	if op != unix.EPOLL_CTL_DEL {
		var b [abi.EpollEventSize]byte
		if err := t.CopyIn(mm.Addr(a[3]), b[:]); err != nil {
			return 0, err
		}
		ev = vfs.EpollEvent(abi.DecodeEpollEvent(b[:]))
	}
	return onFile(t, a[0], func(epf *vfs.File) error {
		_, err := onFile(t, a[2], func(f *vfs.File) error {
			if !f.Pollable() {
				return unix.EPERM
			}
			ep, err := epollOf(epf)
			if err != nil {
				return err
			}
			syscalls.Announce(t, f)
			return ep.Ctl(op, int32(a[2]), f, ev)
		})
		return err
	})
}

func sysEpollWait(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ns := int64(int32(a[3]))
	if ns > 0 {
		ns *= 1e6
	}
	return epollWait(t, a, deadlineAfter(t, ns))
}

func sysEpollPwait(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if err := temporaryMask(t, a[4], a[5]); err != nil {
		return 0, err
	}
	return sysEpollWait(t, a)
}

func sysEpollPwait2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	at, err := loadDeadline(t, a[3])
	if err != nil {
		return 0, err
	}
	if err := temporaryMask(t, a[4], a[5]); err != nil {
		return 0, err
	}
	return epollWait(t, a, at)
}

// maxEpollEvents bounds the events of one call; more stay ready.
const maxEpollEvents = 4096

func epollWait(t *kernel.Task, a arch.SyscallArgs, at int64) (ret uint64, err error) {
	count := int32(a[2])
	if count <= 0 || int64(count) > (1<<31-1)/abi.EpollEventSize {
		return 0, unix.EINVAL
	}
	_, err = onFile(t, a[0], func(f *vfs.File) error {
		ep, err := epollOf(f)
		if err != nil {
			return err
		}
		events := make([]vfs.EpollEvent, min(count, maxEpollEvents))
		n, err := collectEvents(t, ep, events, at)
		if err != nil {
			return err
		}
		b := make([]byte, 0, n*abi.EpollEventSize)
		for _, ev := range events[:n] {
			b = abi.AppendEpollEvent(b, abi.EpollEvent(ev))
		}
		ret = uint64(n)
		return t.CopyOut(mm.Addr(a[1]), b)
	})
	return ret, err
}

// collectEvents waits until there are events, or until at on the monotonic clock.
func collectEvents(t *kernel.Task, ep *vfs.EventPoll, out []vfs.EpollEvent, at int64) (int, error) {
	clock := t.Kernel().Clocks().Monotonic()
	if n := ep.Collect(out); n > 0 || at != ktime.Forever && at <= clock.Now() {
		return n, nil
	}
	entry, ch := t.NewEntry(waiter.In)
	for {
		var err error
		ep.Sleep(entry)
		if ep.Readiness(waiter.In) == 0 {
			err = t.BlockUntilTime(ch, clock, at)
		}
		ep.Wake(entry)
		// Only now: what nobody else was told of is not lost.
		n := ep.Collect(out)
		switch {
		case n > 0 || err == unix.ETIMEDOUT:
			return n, nil
		case err != nil:
			return 0, unix.EINTR
		}
	}
}

func sysEventfd(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sysEventfd2(t, arch.SyscallArgs{a[0]})
}

func sysEventfd2(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	flags := int(a[1])
	if flags&^(unix.EFD_SEMAPHORE|unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	f := t.Kernel().VFS().NewEventFD(uint64(uint32(a[0])), flags&unix.EFD_SEMAPHORE != 0, unix.O_RDWR|flags&unix.O_NONBLOCK)
	return newFD(t, f, flags&unix.EFD_CLOEXEC != 0)
}

package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Values of sigevent's sigev_notify.
const (
	sigevSignal   = 0
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
)

// timerClock is clockOf for those clocks that timers can run on; EOPNOTSUPP for others.
// No timer wakes a sleeping machine.
func timerClock(t *kernel.Task, id int32) (ktime.Clock, error) {
	switch id {
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE,
		unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		return nil, unix.EOPNOTSUPP
	}
	return clockOf(t, id)
}

func sysTimerCreate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	args := kernel.TimerArgs{Signal: unix.SIGALRM, ValueIsID: true}
	if a[1] != 0 {
		var err error
		if args, err = loadSigevent(t, a[1]); err != nil {
			return 0, err
		}
	}
	var err error
	if args.Clock, err = timerClock(t, int32(a[0])); err != nil {
		return 0, err
	}
	id, err := t.CreateTimer(args)
	if err != nil {
		return 0, err
	}
	if err := store32(t, a[2], uint32(id)); err != nil {
		t.DeleteTimer(id) //nolint:errcheck // just made
		return 0, err
	}
	return 0, nil
}

// loadSigevent reads a struct sigevent. What SIGEV_THREAD means is the library's
// matter: for the kernel it is SIGEV_SIGNAL.
func loadSigevent(t *kernel.Task, addr uint64) (a kernel.TimerArgs, err error) {
	e, err := load(t, addr, abi.SigeventSize, abi.DecodeSigevent)
	if err != nil {
		return a, err
	}
	a.Value, a.Signal = e.Value, signal.Signal(e.Signo)
	switch e.Notify {
	case sigevSignal, sigevThread:
	case sigevNone:
		a.Silent = true
	case sigevThreadID:
		if a.Thread = e.TID; a.Thread <= 0 {
			return a, unix.EINVAL
		}
	default:
		return a, unix.EINVAL
	}
	return a, nil
}

// loadITimerspec reads a struct itimerspec: EFAULT, EINVAL for times out of range.
func loadITimerspec(t *kernel.Task, addr uint64) (ktime.Setting, error) {
	it, err := load(t, addr, abi.ItimerspecSize, abi.DecodeItimerspec)
	if err != nil {
		return ktime.Setting{}, err
	}
	for _, ts := range [...]unix.Timespec{it.Interval, it.Value} {
		if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= 1e9 {
			return ktime.Setting{}, unix.EINVAL
		}
	}
	return ktime.Setting{Interval: nanoseconds(it.Interval), Value: nanoseconds(it.Value)}, nil
}

func storeITimerspec(t *kernel.Task, addr uint64, s ktime.Setting) error {
	return t.CopyOut(mm.Addr(addr), abi.AppendItimerspec(nil, unix.ItimerSpec{
		Interval: unix.NsecToTimespec(s.Interval), Value: unix.NsecToTimespec(s.Value),
	}))
}

func sysTimerSettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[2] == 0 {
		return 0, unix.EINVAL
	}
	s, err := loadITimerspec(t, a[2])
	if err != nil {
		return 0, err
	}
	old, err := t.SetTimer(int32(a[0]), s, a[1]&unix.TIMER_ABSTIME != 0)
	if err != nil || a[3] == 0 {
		return 0, err
	}
	return 0, storeITimerspec(t, a[3], old)
}

func sysTimerGettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := t.GetTimer(int32(a[0]))
	if err != nil {
		return 0, err
	}
	return 0, storeITimerspec(t, a[1], s)
}

func sysTimerGetoverrun(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, err := t.TimerOverrun(int32(a[0]))
	return uint64(n), err
}

func sysTimerDelete(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.DeleteTimer(int32(a[0]))
}

func sysTimerfdCreate(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, flags := int32(a[0]), int(int32(a[1]))
	if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Creds().HasGlobal(unix.CAP_WAKE_ALARM) {
			return 0, unix.EPERM
		}
	default:
		return 0, unix.EINVAL
	}
	clock, err := clockOf(t, id)
	if err != nil {
		return 0, err
	}
	f := t.Kernel().NewTimerFile(clock, id, flags&unix.TFD_NONBLOCK)
	return newFD(t, f, flags&unix.TFD_CLOEXEC != 0)
}

// onTimerFile calls fn with the timer of a descriptor; EINVAL if it is none.
func onTimerFile(t *kernel.Task, fd uint64, fn func(*kernel.TimerFile) error) (uint64, error) {
	return onFile(t, fd, func(f *vfs.File) error {
		tf, ok := f.Ops().(*kernel.TimerFile)
		if !ok {
			return unix.EINVAL
		}
		return fn(tf)
	})
}

// sysTimerfdSettime accepts TFD_TIMER_CANCEL_ON_SET: nothing here sets the clock.
func sysTimerfdSettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := loadITimerspec(t, a[2])
	if err != nil {
		return 0, err
	}
	flags := uint32(a[1])
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	return onTimerFile(t, a[0], func(f *kernel.TimerFile) error {
		old := f.Set(s, flags&unix.TFD_TIMER_ABSTIME != 0, flags)
		if a[3] == 0 {
			return nil
		}
		return storeITimerspec(t, a[3], old)
	})
}

func sysTimerfdGettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return onTimerFile(t, a[0], func(f *kernel.TimerFile) error {
		return storeITimerspec(t, a[1], f.Get())
	})
}

package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"

	"golang.org/x/sys/unix"
)

// clockOf returns the clock of a clockid_t. Those of processor time are also
// named by a process or thread id: its complement shifted by 3, and a kind.
func clockOf(t *kernel.Task, id int32) (ktime.Clock, error) {
	c := t.Kernel().Clocks()
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_TAI, unix.CLOCK_REALTIME_ALARM:
		return c.Realtime(), nil
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE:
		return t.Monotonic(), nil
	case unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return t.Boottime(), nil
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return t.ThreadGroup().CPUClock(), nil
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return t.CPUClock(), nil
	}
	if id >= 0 || id&7 == 3 || id&7 == 7 {
		return nil, unix.EINVAL
	}
	return t.CPUClockOf(^(id >> 3), id&4 != 0)
}

func sysClockGettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c, err := clockOf(t, int32(a[0]))
	if err != nil {
		return 0, err
	}
	return 0, storeTimespec(t, a[1], unix.NsecToTimespec(c.Now()))
}

// coarse is the resolution of the coarse clocks in ns.
const coarse = 4_000_000

func sysClockGetres(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id := int32(a[0])
	if _, err := clockOf(t, id); err != nil {
		return 0, err
	}
	if a[1] == 0 {
		return 0, nil
	}
	res := int64(1)
	if id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE {
		res = coarse
	}
	return 0, storeTimespec(t, a[1], unix.NsecToTimespec(res))
}

func sysClockSettime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if _, err := loadTimespec(t, a[1]); err != nil {
		return 0, err
	}
	if int32(a[0]) != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

func sysGettimeofday(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	now := t.Kernel().Clocks().Realtime().Now()
	if a[0] != 0 {
		if err := t.CopyOut(mm.Addr(a[0]), abi.AppendTimeval(nil, unix.NsecToTimeval(now))); err != nil {
			return 0, err
		}
	}
	if a[1] != 0 {
		return 0, t.CopyOut(mm.Addr(a[1]), make([]byte, abi.TimezoneSize))
	}
	return 0, nil
}

func sysTime(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	now := uint64(t.Kernel().Clocks().Realtime().Now() / 1e9)
	if a[0] != 0 {
		return now, storeWords(t, a[0], now)
	}
	return now, nil
}

func sysNanosleep(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sleep(t, unix.CLOCK_MONOTONIC, 0, a[0], a[1])
}

func sysClockNanosleep(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return sleep(t, int32(a[0]), a[1], a[2], a[3])
}

func sleep(t *kernel.Task, id int32, flags, request, remain uint64) (uint64, error) {
	switch id {
	case unix.CLOCK_THREAD_CPUTIME_ID, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return 0, unix.EOPNOTSUPP
	}
	clock, err := clockOf(t, id)
	if err != nil {
		return 0, err
	}
	ts, err := loadTimespec(t, request)
	if err != nil {
		return 0, err
	}
	at := nanoseconds(ts)
	if flags&unix.TIMER_ABSTIME != 0 {
		return 0, sleepUntil(t, clock, at, kernel.ERESTARTNOHAND)
	}
	if at += clock.Now(); at < 0 {
		at = ktime.Forever - 1
	}
	r := kernel.Restart{Call: restartSleep, Deadline: at, Clock: id, Addr: [2]mm.Addr{mm.Addr(remain)}}
	return restartSleep(t, &r)
}

// restartSleep sleeps until r.Deadline; interrupted, it stores the time left.
func restartSleep(t *kernel.Task, r *kernel.Restart) (uint64, error) {
	clock, err := clockOf(t, r.Clock)
	if err != nil {
		return 0, err
	}
	err = sleepUntil(t, clock, r.Deadline, kernel.ERESTARTBLOCK)
	if err != kernel.ERESTARTBLOCK {
		return 0, err
	}
	*t.Restart() = *r
	if r.Addr[0] != 0 {
		left := max(r.Deadline-clock.Now(), 0)
		if err := storeTimespec(t, uint64(r.Addr[0]), unix.NsecToTimespec(left)); err != nil {
			return 0, err
		}
	}
	return 0, err
}

func sleepUntil(t *kernel.Task, clock ktime.Clock, at int64, interrupted error) error {
	switch err := t.BlockUntilTime(nil, clock, at); err {
	case unix.ETIMEDOUT:
		return nil
	default:
		return interrupted
	}
}

func sysTimes(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	const tick = 1_000_000_000 / abi.ClockTicks
	own, children := t.ThreadGroup().Usage(), t.ThreadGroup().ChildUsage()
	now := uint64(t.Kernel().Clocks().Monotonic().Now() / tick)
	if a[0] == 0 {
		return now, nil
	}
	return now, t.CopyOut(mm.Addr(a[0]), abi.AppendTms(make([]byte, 0, abi.TmsSize), unix.Tms{
		Utime: int64(own.User / tick), Stime: int64(own.System / tick),
		Cutime: int64(children.User / tick), Cstime: int64(children.System / tick),
	}))
}

func sysAlarm(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old, err := t.ThreadGroup().SetITimer(kernel.ITimerReal, ktime.Setting{Value: int64(uint32(a[0])) * 1e9})
	left := old.Value / 1e9
	if old.Value%1e9 >= 5e8 || left == 0 && old.Value > 0 {
		left++
	}
	return uint64(left), err
}

func sysGetitimer(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	s, err := t.ThreadGroup().ITimer(kernel.ITimerKind(int32(a[0])))
	if err != nil {
		return 0, err
	}
	return 0, storeITimer(t, a[1], s)
}

func storeITimer(t *kernel.Task, addr uint64, s ktime.Setting) error {
	return t.CopyOut(mm.Addr(addr), abi.AppendItimerval(nil, unix.Itimerval{
		Interval: unix.NsecToTimeval(s.Interval), Value: unix.NsecToTimeval(s.Value),
	}))
}

func sysSetitimer(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	var s ktime.Setting
	if a[1] != 0 {
		it, err := load(t, a[1], abi.ItimervalSize, abi.DecodeItimerval)
		if err != nil {
			return 0, err
		}
		for i, to := range []*int64{&s.Interval, &s.Value} {
			tv := [...]unix.Timeval{it.Interval, it.Value}[i]
			if tv.Sec < 0 || tv.Usec < 0 || tv.Usec >= 1e6 {
				return 0, unix.EINVAL
			}
			*to = nanoseconds(unix.Timespec{Sec: tv.Sec, Nsec: tv.Usec * 1000})
		}
	}
	old, err := t.ThreadGroup().SetITimer(kernel.ITimerKind(int32(a[0])), s)
	if err != nil || a[2] == 0 {
		return 0, err
	}
	return 0, storeITimer(t, a[2], old)
}

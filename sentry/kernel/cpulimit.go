package kernel

import (
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// SetLimitOf makes l the limit r of process pid, 0 meaning the caller's, and returns
// the old one: ESRCH, EPERM, also for more descriptors than fs.nr_open, or what limits.Set.Set gives.
func (t *Task) SetLimitOf(pid int32, r limits.Resource, l limits.Limit) (limits.Limit, error) {
	tg, err := t.limitsTarget(pid)
	if err != nil {
		return limits.Limit{}, err
	}
	if r == limits.NoFile && l.Soft <= l.Hard && l.Hard > uint64(t.k.knobs.openFiles.Load()) {
		return limits.Limit{}, unix.EPERM
	}
	old, err := tg.limits.Set(r, l, t.Creds().HasGlobal(unix.CAP_SYS_RESOURCE))
	if err == nil && r == limits.CPU {
		tg.armCPULimit()
	}
	return old, err
}

// armCPULimit makes the alarm of RLIMIT_CPU follow the limit.
func (tg *ThreadGroup) armCPULimit() {
	at := cpuLimitTime(tg.limits.Get(limits.CPU))
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	if tg.cpuLimit == nil {
		if at < 0 {
			return
		}
		tg.cpuLimit = (*groupClock)(tg).NewAlarm(tg.cpuLimitReached)
	}
	if at < 0 || tg.exiting {
		tg.cpuLimit.Stop()
		return
	}
	tg.cpuLimit.Set(at)
}

// cpuLimitTime is when l takes effect, in ns of processor time; negative: never.
// The hard limit is not below the soft one, so that one comes first.
func cpuLimitTime(l limits.Limit) int64 {
	if l.Soft == limits.Infinity || l.Soft > 1<<32 {
		return -1
	}
	return int64(l.Soft) * 1e9
}

// cpuLimitReached kills the process at the hard limit. At the soft one it sends
// SIGXCPU and raises that by a second, which setrlimit(2) describes as a signal
// each second.
func (tg *ThreadGroup) cpuLimitReached() {
	l := tg.limits.Get(limits.CPU)
	at := cpuLimitTime(l)
	if at >= 0 && tg.cpu.Now() >= at {
		sig := unix.SIGXCPU
		if l.Hard == l.Soft {
			sig = unix.SIGKILL
		} else if !tg.limits.CompareAndSet(limits.CPU, l, limits.Limit{Soft: l.Soft + 1, Hard: l.Hard}) {
			sig = 0
		}
		if sig != 0 {
			info := signal.KernelInfo(sig)
			tg.sigMu.Lock()
			tg.sendLocked(&info, nil, true) //nolint:errcheck // standard signals cannot fail
			tg.sigMu.Unlock()
		}
	}
	tg.armCPULimit()
}

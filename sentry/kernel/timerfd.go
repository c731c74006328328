package kernel

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/ktime"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// TimerFile is the file of timerfd_create(2): it is readable once its timer has
// expired, and a read tells how often.
type TimerFile struct {
	waiter.Queue
	timer *ktime.Timer
	id    int32         // of the clock
	flags atomic.Uint32 // of the last Set
}

// NewTimerFile makes a timer on clock, whose id is shown in /proc. flags may have
// O_NONBLOCK.
func (k *Kernel) NewTimerFile(clock ktime.Clock, id int32, flags int) *vfs.File {
	f := &TimerFile{id: id}
	f.timer = ktime.NewTimer(clock, func() { f.Notify(waiter.In | waiter.RdNorm) })
	return k.VFS().NewAnonFile(f, "[timerfd]", flags|unix.O_RDWR)
}

// Set sets the timer and returns its former setting. flags are those of
// timerfd_settime(2), for /proc.
func (f *TimerFile) Set(s ktime.Setting, absolute bool, flags uint32) ktime.Setting {
	f.flags.Store(flags)
	return f.timer.Set(s, absolute)
}

// Get returns the timer's setting.
func (f *TimerFile) Get() ktime.Setting { return f.timer.Get() }

// IsStream implements vfs.StreamOps.
func (*TimerFile) IsStream() {}

// Seek implements vfs.SeekOps: there is nowhere to go.
func (*TimerFile) Seek(vfs.Caller, int64, int64, int) (int64, error) { return 0, nil }

// Release implements vfs.FileOps.
func (f *TimerFile) Release() { f.timer.Stop() }

// Read gives the number of expirations since the last read, 8 bytes; EAGAIN when
// there were none.
func (f *TimerFile) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	if dst.Len() < 8 {
		return 0, unix.EINVAL
	}
	n := f.timer.Collect()
	if n == 0 {
		return 0, unix.EAGAIN
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], n)
	return dst.CopyOut(b[:])
}

// Write implements vfs.FileOps.
func (*TimerFile) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Readiness implements waiter.Waitable.
func (f *TimerFile) Readiness(wanted waiter.EventMask) waiter.EventMask {
	if f.timer.Expirations() == 0 {
		return 0
	}
	return wanted & (waiter.In | waiter.RdNorm)
}

// WriteFDInfo implements proc.FDInfo.
func (f *TimerFile) WriteFDInfo(b *bytes.Buffer) {
	s := f.timer.Get()
	fmt.Fprintf(b, "clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.id, f.timer.Expirations(), f.flags.Load(), s.Value/1e9, s.Value%1e9, s.Interval/1e9, s.Interval%1e9)
}

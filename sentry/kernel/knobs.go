package kernel

import (
	"math"
	"sync/atomic"

	"gosentry/fs/pipe"
	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

const (
	maxFailSleep = 60_000 // ms
	leastStep    = 100
	maxStep      = defaultPIDMax - 100
	maxFreeFloor = 1 << 40 // KiB

	// What fs.nr_open may be, as on Linux for amd64: whole words of the bitmap of descriptors.
	minOpenFiles = 64
	maxOpenFiles = 1<<31 - 64

	// mostInotify bounds what the limits of inotify may be: each thing costs the sentry memory.
	mostInotify = 1 << 20
)

// Knobs implements proc.Processes.
func (v *ProcView) Knobs() []proc.Knob {
	k := &v.k.knobs
	files := v.k.VFS()
	inotify := files.InotifyLimits()
	return []proc.Knob{
		{Name: "kernel/pid_max", Get: v.pidMax, Set: v.setPIDMax},
		{Name: "kernel/ns_last_pid", Everyone: true, Get: v.lastPID, Set: v.setLastPID},
		{Name: "kernel/dmesg_restrict", Get: func(vfs.Caller) int64 { return k.hideMessages.Load() }, Set: v.k.setHideMessages},
		knob("kernel/threads-max", &k.table, within(minTasks, maxTasks)),
		knob("kernel/sched_child_runs_first", &k.childFirst, within(0, 1)),
		knob("kernel/forkfsleep", &k.failSleep, within(0, maxFailSleep)),
		knob("kernel/fork_brake", &k.brake, within(0, 1)),
		knob("kernel/fork_min_free_kbytes", &k.freeFloor, within(0, maxFreeFloor)),
		knob("kernel/randompid", &k.randomStep, clampStep),
		knob("vm/max_map_count", &v.k.memory.MaxMappings, within(0, mm.MostMappings)),
		knob("fs/inotify/max_queued_events", &inotify.Queued, within(0, mostInotify)),
		knob("fs/inotify/max_user_instances", &inotify.Instances, within(0, mostInotify)),
		knob("fs/inotify/max_user_watches", &inotify.Watches, within(0, mostInotify)),
		knob("fs/pipe-max-size", &files.PipeMax, pipeSize),
		knob("fs/lease-break-time", &files.LeaseBreak, within(0, math.MaxInt32)),
		knob("kernel/core_uses_pid", &k.coreByPID, within(0, 1)),
		knob("fs/nr_open", &k.openFiles, within(minOpenFiles, maxOpenFiles)),
	}
}

// knob is a knob that holds what fit makes of what is written.
func knob(name string, value *atomic.Int64, fit func(int64) (int64, error)) proc.Knob {
	return proc.Knob{
		Name: name,
		Get:  func(vfs.Caller) int64 { return value.Load() },
		Set: func(_ vfs.Caller, n int64) error {
			n, err := fit(n)
			if err == nil {
				value.Store(n)
			}
			return err
		},
	}
}

func within(lo, hi int64) func(int64) (int64, error) {
	return func(n int64) (int64, error) {
		if n < lo || n > hi {
			return 0, unix.EINVAL
		}
		return n, nil
	}
}

// pipeSize makes a size that a pipe can have of n, upwards.
func pipeSize(n int64) (int64, error) {
	if n < 0 || n > pipe.MaxSize {
		return 0, unix.EINVAL
	}
	size := int64(mm.PageSize)
	for size < n {
		size *= 2
	}
	return size, nil
}

// clampStep makes the bound of random pid steps a sensible one; 0 means none.
func clampStep(n int64) (int64, error) {
	switch {
	case n < 0 || n > maxStep:
		return maxStep, nil
	case n < 2:
		return 0, nil
	case n < leastStep:
		return leastStep, nil
	}
	return n, nil
}

// namespaceOf is the pid namespace whose knobs the caller sees: its own.
func (v *ProcView) namespaceOf(c vfs.Caller) *PIDNamespace {
	if t := taskOf(c); t != nil {
		return t.pidns
	}
	return v.ns
}

func (v *ProcView) pidMax(c vfs.Caller) int64 {
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	return int64(v.namespaceOf(c).max)
}

// setPIDMax sets the first number that is never used; EINVAL for one so low that only reserved
// numbers would be left. Numbers in use stay.
func (v *ProcView) setPIDMax(c vfs.Caller, n int64) error {
	if n <= reservedPIDs || n > defaultPIDMax {
		return unix.EINVAL
	}
	v.k.tree.Lock()
	defer v.k.tree.Unlock()
	v.namespaceOf(c).max = int32(n)
	return nil
}

func (v *ProcView) lastPID(c vfs.Caller) int64 {
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	return int64(v.namespaceOf(c).last)
}

// setLastPID has the search for the next number begin behind n; EPERM without CAP_CHECKPOINT_RESTORE
// (pid_namespaces(7)).
func (v *ProcView) setLastPID(c vfs.Caller, n int64) error {
	ns := v.namespaceOf(c)
	if !ns.mayChoose(c.Creds()) {
		return unix.EPERM
	}
	v.k.tree.Lock()
	defer v.k.tree.Unlock()
	if n < 0 || n > int64(ns.max) {
		return unix.EINVAL
	}
	ns.last = int32(n)
	return nil
}

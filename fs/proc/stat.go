package proc

import (
	"bytes"
	"fmt"
	"strconv"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
)

const (
	// tick is the unit of times here in ns (USER_HZ is 100).
	tick = 10_000_000

	// Flags of a task in its stat: PF_FORKNOEXEC and such are not told.
	flagKernelThread = 0x00200000 // PF_KTHREAD
	flagRandomize    = 0x00400000 // PF_RANDOMIZE

	// basePriority is the priority shown for nice 0.
	basePriority = 20
)

// numbers writes decimal numbers with a blank before each.
type numbers struct{ b *bytes.Buffer }

func (n numbers) put(values ...int64) {
	for _, v := range values {
		n.b.WriteByte(' ')
		n.b.Write(strconv.AppendInt(n.b.AvailableBuffer(), v, 10))
	}
}

func (n numbers) putUnsigned(values ...uint64) {
	for _, v := range values {
		n.b.WriteByte(' ')
		n.b.Write(strconv.AppendUint(n.b.AvailableBuffer(), v, 10))
	}
}

// writeStat writes /proc/PID/stat, in the order of proc_pid_stat(5).
func writeStat(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
	s := d.task.Status(d.process)
	s.StartTime += d.fs.processes.BootOffset(c)
	var layout mm.Layout
	var size mm.Stats
	seen := d.task.MayAccess(c, false) == nil
	if m := d.task.Memory(); m != nil {
		size = m.Stats()
		if layout = m.Layout(); !seen {
			layout = mm.Layout{Code: mm.Range{Start: 1, End: 1}}
		}
	}
	flags := int64(flagRandomize)
	if s.KernelThread {
		flags = flagKernelThread
	}
	fmt.Fprintf(b, "%d (%s) %c", s.TID, s.Name, s.State)
	n := numbers{b}
	n.put(int64(s.PPID), int64(s.ProcessGroup), int64(s.Session), int64(s.TTY), int64(s.TTYGroup), flags)
	n.putUnsigned(s.MinorFaults, s.ChildMinor, s.MajorFaults, s.ChildMajor)
	n.put(s.UserTime/tick, s.SystemTime/tick, s.ChildUser/tick, s.ChildSystem/tick,
		int64(basePriority+s.Nice), int64(s.Nice), int64(s.Threads), 0, s.StartTime/tick)
	n.putUnsigned(size.Size, size.Resident/mm.PageSize, d.task.Limits().Soft(limits.RSS),
		uint64(layout.Code.Start), uint64(layout.Code.End), uint64(layout.StackStart), 0, 0)
	n.putUnsigned(low(s.Pending), low(s.Blocked), low(s.Ignored), low(s.Caught))
	waits := int64(0)
	if s.WaitChannel != "" {
		waits = 1
	}
	n.put(waits, 0, 0, int64(s.ExitSignal), int64(s.CPU), 0, 0, 0, 0, 0)
	n.putUnsigned(uint64(layout.Data.Start), uint64(layout.Data.End), uint64(layout.BrkStart),
		uint64(layout.Args.Start), uint64(layout.Args.End), uint64(layout.Env.Start), uint64(layout.Env.End))
	if seen {
		n.put(int64(s.ExitStatus))
	} else {
		n.put(0)
	}
	b.WriteByte('\n')
	return nil
}

// low is the part of a set that old formats show.
func low(s signal.Set) uint64 { return uint64(s) & 0x7fffffff }

// writeStatm writes /proc/PID/statm, in pages.
func writeStatm(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	var s mm.Stats
	var code uint64
	if m := d.task.Memory(); m != nil {
		s = m.Stats()
		code = m.Layout().Code.Length()
	}
	fmt.Fprintf(b, "%d %d %d %d 0 %d 0\n", s.Size/mm.PageSize, s.Resident/mm.PageSize,
		s.FileRSS/mm.PageSize, (code+mm.PageSize-1)/mm.PageSize, (s.Data+s.Stack)/mm.PageSize)
	return nil
}

func writeSchedstat(d *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
	s := d.task.Status(d.process)
	fmt.Fprintf(b, "%d 0 %d\n", s.UserTime+s.SystemTime, s.Switches+s.Preemptions)
	return nil
}

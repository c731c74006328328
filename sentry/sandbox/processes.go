package sandbox

import (
	"time"

	"gosentry/fs/proc"
	"gosentry/sentry/control"
)

// Bounds of what is told of the arguments of all processes together, and of one, in bytes.
const (
	maxArgs    = 4 << 20
	leastArgs  = 64
	maxOneArgs = 4096
)

// processes tells of the container's processes. One that ends meanwhile is left out.
func (c *container) processes() []control.ProcessInfo {
	view, ids := c.kernel.NewProcView(systemInfo()), c.program.Processes()
	list := make([]control.ProcessInfo, 0, len(ids))
	limit := min(max(maxArgs/max(len(ids), 1), leastArgs), maxOneArgs)
	boot := time.Unix(0, view.Info().BootTime)
	for _, id := range ids {
		t := view.Task(id)
		if t == nil {
			continue
		}
		s := t.Status(true)
		p := control.ProcessInfo{
			PID: id, PPID: s.PPID, Group: s.ProcessGroup, Session: s.Session, UID: c.owner.UserNS.ShowUID(t.Creds().RUID),
			State: s.State, Threads: s.Threads, TTY: s.TTY, Start: boot.Add(time.Duration(s.StartTime)),
			CPU: time.Duration(s.UserTime + s.SystemTime), Name: control.Bytes(s.Name),
		}
		if m := t.Memory(); m != nil {
			size := m.Stats()
			p.Size, p.Resident = size.Size, size.Resident
			args := proc.CommandLine(m)
			p.Args = args[:min(len(args), limit)]
		}
		list = append(list, p)
	}
	return list
}

package kernel

import (
	"gosentry/fs/proc"
	"gosentry/mm"
	"gosentry/sentry/cred"
)

// Creds implements proc.Task.
func (p procTask) Creds() *cred.Credentials { return p.t.Creds() }

// Memory implements proc.Task.
func (p procTask) Memory() *mm.MemoryManager { return p.t.MM() }

// Auxv implements proc.Task.
func (p procTask) Auxv() []byte {
	if a := p.t.auxv.Load(); a != nil && p.t.MM() != nil {
		return *a
	}
	return nil
}

// Sockets implements proc.Task.
func (p procTask) Sockets(table string) []byte {
	if ns := p.t.Namespaces(); ns != nil {
		return ns.Net.table(table)
	}
	return nil
}

// Namespaces implements proc.Task. They cannot be opened.
func (p procTask) Namespaces() []proc.Namespace {
	all := []proc.Namespace{
		{Name: "pid", Kind: "pid", ID: p.t.pidns.ino},
		{Name: "user", Kind: "user", ID: p.t.Creds().UserNS.Ino()},
	}
	ns := p.t.Namespaces()
	if ns == nil {
		return all
	}
	return append(all,
		proc.Namespace{Name: "cgroup", Kind: "cgroup", ID: ns.Cgroup.ino},
		proc.Namespace{Name: "ipc", Kind: "ipc", ID: ns.IPC.ino},
		proc.Namespace{Name: "mnt", Kind: "mnt", ID: ns.Mount.ino},
		proc.Namespace{Name: "net", Kind: "net", ID: ns.Net.ino},
		proc.Namespace{Name: "pid_for_children", Kind: "pid", ID: ns.PIDForChildren.ino},
		proc.Namespace{Name: "time", Kind: "time", ID: ns.Time.ino},
		proc.Namespace{Name: "time_for_children", Kind: "time", ID: ns.TimeForChildren.ino},
		proc.Namespace{Name: "uts", Kind: "uts", ID: ns.UTS.ino},
	)
}

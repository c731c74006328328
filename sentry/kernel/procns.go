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
func (p procTask) Sockets(table string) []byte { return p.t.Namespaces().Net.table(table) }

// Namespaces implements proc.Task. They cannot be opened.
func (p procTask) Namespaces() []proc.Namespace {
	ns := p.t.Namespaces()
	return []proc.Namespace{
		{Name: "mnt", Kind: "mnt", ID: p.t.k.mountNSIno},
		{Name: "net", Kind: "net", ID: ns.Net.ino},
		{Name: "pid", Kind: "pid", ID: p.t.pidns.ino},
		{Name: "user", Kind: "user", ID: p.t.k.userNSIno},
		{Name: "uts", Kind: "uts", ID: ns.UTS.ino},
	}
}

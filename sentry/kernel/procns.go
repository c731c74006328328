package kernel

import (
	"gosentry/fs/proc"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
)

// Creds implements proc.Task.
func (p procTask) Creds() *cred.Credentials { return p.t.Creds() }

// Memory implements proc.Task.
func (p procTask) Memory() *mm.MemoryManager { return p.t.MM() }

// OpenMemory implements proc.Task.
func (p procTask) OpenMemory(c vfs.Caller, attach bool) (*mm.MemoryManager, error) {
	p.t.k.tree.RLock()
	defer p.t.k.tree.RUnlock()
	return p.t.MM(), p.MayAccess(c, attach)
}

// OpenAuxv implements proc.Task.
func (p procTask) OpenAuxv(c vfs.Caller) ([]byte, error) {
	p.t.k.tree.RLock()
	defer p.t.k.tree.RUnlock()
	a := p.t.auxv.Load()
	if a == nil || p.t.MM() == nil {
		a = new([]byte)
	}
	return *a, p.MayAccess(c, false)
}

// Sockets implements proc.Task.
func (p procTask) Sockets(table string) []byte {
	if ns := p.t.Namespaces(); ns != nil {
		return ns.Net.table(table)
	}
	return nil
}

// Namespaces implements proc.Task.
func (p procTask) Namespaces() []proc.Namespace {
	var all []proc.Namespace
	add := func(refs []nsRef, suffix string) {
		for _, r := range refs {
			all = append(all, proc.Namespace{
				Name: r.name + suffix, Kind: r.name, ID: r.ino(),
				Open: func(vfs.Caller) (vfs.Path, error) { return p.t.k.nsPath(r), nil },
			})
		}
	}
	add(p.t.refs(), "")
	add(p.t.childRefs(), "_for_children")
	return all
}

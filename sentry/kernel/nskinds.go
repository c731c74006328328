package kernel

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// MountNamespace is a mount namespace (mount_namespaces(7)).
type MountNamespace struct {
	nsCommon
	*vfs.Namespace
}

// freshMount makes a copy of the mounts; move turns a path into the same one there. For another user namespace than that
// of the old one's owner it has them locked.
func (t *Task) freshMount(n *Namespaces, c *cred.Credentials) (_ *nsCommon, move func(vfs.Path) vfs.Path, err error) {
	old, fresh := n.Mount, new(MountNamespace)
	if err := fresh.initFor(t.k, cred.KindMount, c); err != nil {
		return nil, nil, err
	}
	if fresh.Namespace, move, err = old.Clone(c.UserNS != old.owner); err != nil {
		fresh.decRef()
		return nil, nil, err
	}
	fresh.close = fresh.Release
	n.Mount = fresh
	return &fresh.nsCommon, move, nil
}

// UTSNamespace holds host and domain name (uts_namespaces(7)).
type UTSNamespace struct {
	nsCommon

	// Guarded by mu.
	mu     sync.RWMutex
	host   string
	domain string
}

func (t *Task) freshUTS(n *Namespaces, c *cred.Credentials) (*nsCommon, error) {
	n.UTS = n.UTS.renamed("", "")
	return &n.UTS.nsCommon, n.UTS.initFor(t.k, cred.KindUTS, c)
}

// renamed returns a namespace, yet to be made known, with the given names, or u's for those that are empty.
func (u *UTSNamespace) renamed(host, domain string) *UTSNamespace {
	h, d := u.Names()
	return &UTSNamespace{host: cmp.Or(host, h), domain: cmp.Or(domain, d)}
}

// Names returns host and domain name.
func (u *UTSNamespace) Names() (host, domain string) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return u.host, u.domain
}

// SetHost sets the host name.
func (u *UTSNamespace) SetHost(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.host = s
}

// SetDomain sets the domain name.
func (u *UTSNamespace) SetDomain(s string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.domain = s
}

// IPCNamespace is an IPC namespace (ipc_namespaces(7)): what each mechanism with names or keys of its own
// keeps for the tasks in it.
type IPCNamespace struct {
	nsCommon

	// Guarded by mu.
	mu    sync.Mutex
	parts map[string]IPCPart
}

// IPCPart is what one mechanism (System V semaphores, message queues...) keeps in an IPC namespace.
type IPCPart interface {
	// Release removes all objects: nobody is in the namespace any more.
	Release()
}

// Part returns what the mechanism called name keeps in the namespace; who asks first makes it. create is called with
// the namespace locked.
func (n *IPCNamespace) Part(name string, create func() IPCPart) IPCPart {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.parts[name]
	if p == nil {
		p = create()
		if n.parts == nil {
			n.parts = map[string]IPCPart{}
		}
		n.parts[name] = p
	}
	return p
}

// release removes all objects.
func (n *IPCNamespace) release() {
	n.mu.Lock()
	parts := n.parts
	n.parts = nil
	n.mu.Unlock()
	for _, p := range parts {
		p.Release()
	}
}

func (n *Namespaces) freshIPC(k *Kernel, c *cred.Credentials) (*nsCommon, error) {
	n.IPC = new(IPCNamespace)
	n.IPC.close = n.IPC.release
	return &n.IPC.nsCommon, n.IPC.initFor(k, cred.KindIPC, c)
}

// NetNamespace is a network namespace (network_namespaces(7)): what the families of sockets
// keep in common for the tasks in it.
type NetNamespace struct {
	nsCommon

	settings netSettings

	// Guarded by mu.
	mu       sync.Mutex
	families map[int]any
}

// newNetNamespace makes a namespace that takes its settings from first, nil for the initial one's own.
func newNetNamespace(first *netSettings) *NetNamespace {
	n := &NetNamespace{families: make(map[int]any)}
	n.settings.reset(first)
	return n
}

func (n *Namespaces) freshNet(k *Kernel, c *cred.Credentials) (*nsCommon, error) {
	n.Net = newNetNamespace(&k.first.Net.settings)
	return &n.Net.nsCommon, n.Net.initFor(k, cred.KindNet, c)
}

// Family returns what the family of sockets (AF_*) keeps in the namespace; who asks first makes it. If
// that has a method ProcTable(name string) []byte, it gives the lines of the tables in /proc/net that are the family's.
func (n *NetNamespace) Family(family int, create func() any) any {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.families[family]
	if f == nil {
		f = create()
		n.families[family] = f
	}
	return f
}

// table returns the lines of a table in /proc/net, from the family of sockets that has it.
func (n *NetNamespace) table(name string) []byte {
	n.mu.Lock()
	families := slices.Collect(maps.Values(n.families))
	n.mu.Unlock()
	for _, f := range families {
		if t, ok := f.(interface{ ProcTable(name string) []byte }); ok {
			if b := t.ProcTable(name); b != nil {
				return b
			}
		}
	}
	return nil
}

// freshPID makes the pid namespace that the next children are born in. EINVAL where that is another than the
// caller's own already.
func (t *Task) freshPID(n *Namespaces, c *cred.Credentials) (*nsCommon, error) {
	if n.PIDForChildren != t.pidns {
		return nil, unix.EINVAL
	}
	ns, err := t.k.newPIDNamespace(t.pidns, c)
	if err != nil {
		return nil, err
	}
	n.PIDForChildren = ns
	return &ns.nsCommon, nil
}

package kernel

import (
	"maps"
	"slices"
	"sync"

	"gosentry/fs/vfs"
)

// Namespaces are a task's namespaces but for pid and user. A Namespaces is
// immutable; the objects in it are shared.
type Namespaces struct {
	UTS   *UTSNamespace
	Mount *vfs.Namespace
	Net   *NetNamespace
}

// UTSNamespace holds host and domain name (uts_namespaces(7)).
type UTSNamespace struct {
	ino uint64 // inode number in /proc/PID/ns

	// Guarded by mu.
	mu     sync.RWMutex
	host   string
	domain string
}

func (k *Kernel) newUTSNamespace(host string) *UTSNamespace {
	return &UTSNamespace{ino: k.nextNSIno(), host: host, domain: "(none)"}
}

func (k *Kernel) forkUTS(u *UTSNamespace) *UTSNamespace {
	host, domain := u.Names()
	return &UTSNamespace{ino: k.nextNSIno(), host: host, domain: domain}
}

// firstNSIno is where inode numbers of namespaces start.
const firstNSIno = 4026531832

// nextNSIno returns an inode number for a new namespace.
func (k *Kernel) nextNSIno() uint64 { return firstNSIno + k.lastNSIno.Add(1) }

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

// NetNamespace is a network namespace (network_namespaces(7)): what the families of sockets
// keep in common for the tasks in it.
type NetNamespace struct {
	ino uint64 // inode number in /proc/PID/ns

	// Guarded by mu.
	mu       sync.Mutex
	families map[int]any
}

func (k *Kernel) newNetNamespace() *NetNamespace {
	return &NetNamespace{ino: k.nextNSIno(), families: make(map[int]any)}
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

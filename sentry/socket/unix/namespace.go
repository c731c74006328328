package unix

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// maxBuffered bounds the bytes, as messages are counted, that wait in all sockets of a
// namespace together.
const maxBuffered = 128 << 20

// maxSockets bounds the sockets of a namespace that are open, but for a few that are being made.
const maxSockets = 1 << 18

// Namespace is what the sockets of one network namespace have in common.
type Namespace struct {
	sys      *vfs.System
	flight   flight
	trash    trash
	buffers  buffers
	buffered *vfs.Budget

	// Guarded by mu.
	mu       sync.Mutex
	abstract map[abstractName]*Socket
	sockets  map[*Socket]struct{} // all that are open
	lastAuto uint32               // the last name given by autobind
}

// abstractName is a name in the abstract namespace. Sockets of different types
// do not see each other's.
type abstractName struct {
	kind int
	name string
}

// NewNamespace returns a namespace without sockets. Their files belong to sys.
func NewNamespace(sys *vfs.System) *Namespace {
	n := &Namespace{
		sys: sys, buffered: vfs.NewBudget(maxBuffered),
		abstract: map[abstractName]*Socket{}, sockets: map[*Socket]struct{}{},
	}
	n.flight.sockets = map[*vfs.File]int{}
	n.flight.users = map[flightUser]int{}
	return n
}

// NamespaceOf returns the sockets of a task's network namespace.
func NamespaceOf(t *kernel.Task) *Namespace {
	return t.Namespaces().Net.Family(unix.AF_UNIX, func() any { return NewNamespace(t.Kernel().VFS()) }).(*Namespace)
}

// claim gives an abstract name to s; EADDRINUSE when another has it.
func (n *Namespace) claim(s *Socket, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key := abstractName{s.kind, name}
	if n.abstract[key] != nil {
		return unix.EADDRINUSE
	}
	n.abstract[key] = s
	return nil
}

func (n *Namespace) disclaim(s *Socket, name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.abstract, abstractName{s.kind, name})
}

// lookup finds the socket of an abstract name; nil if there is none.
func (n *Namespace) lookup(kind int, name string) *Socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.abstract[abstractName{kind, name}]
}

func (n *Namespace) enter(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sockets[s] = struct{}{}
}

// crowded tells whether there are as many sockets as there may be.
func (n *Namespace) crowded() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.sockets) >= maxSockets
}

func (n *Namespace) leave(s *Socket) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sockets, s)
}

package unix

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// Bounds of descriptors in messages: in one of them, and in all that wait.
const (
	MaxRights   = 253
	maxInFlight = 1 << 16
)

// flight is the descriptors that wait in queues, each holding a reference to its file.
type flight struct {
	// mu guards the fields, and message.rights of all messages.
	mu      sync.Mutex
	sockets map[*vfs.File]int // the AF_UNIX sockets among them, how often each
	users   map[flightUser]int
	total   int
	closed  int // sockets closed since garbage was looked for
}

// closesPerSocket is how many sockets in flight one closing makes it worth to look at for
// garbage: the search takes time by their number.
const closesPerSocket = 16

// flightUser is who a descriptor in flight is charged to.
type flightUser struct {
	ns  *cred.UserNamespace
	uid cred.UID
}

// deliver sends a message with files: their references pass to it when there is no error.
// ETOOMANYREFS when too many descriptors are in flight.
func (s *Socket) deliver(c vfs.Caller, to *Socket, m *message, files []*vfs.File) error {
	if len(files) == 0 {
		return to.enqueue(c, s, m)
	}
	f := &s.ns.flight
	m.user = flightUser{c.Creds().UserNS, c.Creds().RUID}
	f.mu.Lock()
	if f.total+len(files) > maxInFlight {
		f.mu.Unlock()
		s.ns.collect()
		f.mu.Lock()
	}
	defer f.mu.Unlock()
	if f.tooMany(c, m.user, len(files)) {
		return unix.ETOOMANYREFS
	}
	m.rights, m.carries = files, true
	f.count(m, 1)
	err := to.enqueue(c, s, m)
	if err != nil {
		f.count(m, -1)
		m.rights, m.carries = nil, false
	}
	return err
}

func (f *flight) tooMany(c vfs.Caller, u flightUser, n int) bool {
	if f.total+n > maxInFlight {
		return true
	}
	if creds := c.Creds(); creds.HasGlobal(unix.CAP_SYS_RESOURCE) || creds.HasGlobal(unix.CAP_SYS_ADMIN) {
		return false
	}
	t, ok := c.(interface{ Limits() *limits.Set })
	return ok && uint64(f.users[u]) > t.Limits().Soft(limits.NoFile)
}

// count adds a message's files, or with -1 takes them out. mu is held.
func (f *flight) count(m *message, sign int) {
	n := sign * len(m.rights)
	f.total += n
	if f.users[m.user] += n; f.users[m.user] == 0 {
		delete(f.users, m.user)
	}
	for _, file := range m.rights {
		if _, ok := file.Ops().(*Socket); ok {
			if f.sockets[file] += sign; f.sockets[file] == 0 {
				delete(f.sockets, file)
			}
		}
	}
}

// take lands a message's files: their references pass to the caller. The message must still be
// in its queue if that can be reached, so that the search for garbage finds them in either place.
func (f *flight) take(m *message) []*vfs.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takeLocked(m)
}

func (f *flight) takeLocked(m *message) []*vfs.File {
	f.count(m, -1)
	files := m.rights
	m.rights = nil
	return files
}

// peek returns a message's files with references of their own.
func (f *flight) peek(m *message) []*vfs.File {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range m.rights {
		file.IncRef()
	}
	return append([]*vfs.File(nil), m.rights...)
}

// closed looks for garbage if there can be enough of it, once a socket has been closed.
func (n *Namespace) closed() {
	f := &n.flight
	f.mu.Lock()
	f.closed++
	due := len(f.sockets) > 0 && f.closed*closesPerSocket >= len(f.sockets)
	f.mu.Unlock()
	if due {
		n.collect()
	}
}

// collect throws away what waits in the queues of sockets that nobody can reach.
func (n *Namespace) collect() {
	f := &n.flight
	f.mu.Lock()
	f.closed = 0
	var files []*vfs.File
	if len(f.sockets) > 0 {
		for s := range f.garbage() {
			s.eachRights(func(m *message) { files = append(files, f.takeLocked(m)...) })
		}
	}
	f.mu.Unlock()
	n.discard(files)
}

// garbage finds the sockets that are only referred to by messages, and not by one in the queue of a
// socket that can be reached. mu is held, so nobody can receive a reference meanwhile, and a
// socket without other references cannot get any.
func (f *flight) garbage() map[*Socket]int {
	// inner are the sockets with no references but those of messages, and how many of these
	// come from elsewhere than inner sockets' queues.
	inner := map[*Socket]int{}
	for file, n := range f.sockets {
		if file.Refs() == int64(n) {
			inner[file.Ops().(*Socket)] = n
		}
	}
	for s := range inner {
		s.eachInFlight(func(held *Socket) {
			if _, ok := inner[held]; ok {
				inner[held]--
			}
		})
	}
	var alive []*Socket
	for s, n := range inner {
		if n > 0 {
			alive = append(alive, s)
			delete(inner, s)
		}
	}
	for len(alive) > 0 {
		s := alive[len(alive)-1]
		alive = alive[:len(alive)-1]
		s.eachInFlight(func(held *Socket) {
			if _, ok := inner[held]; ok {
				delete(inner, held)
				alive = append(alive, held)
			}
		})
	}
	return inner
}

// eachInFlight calls fn for every socket that waits in the queue of s, as often as it does. flight.mu is held.
func (s *Socket) eachInFlight(fn func(*Socket)) {
	s.eachRights(func(m *message) {
		for _, file := range m.rights {
			if held, ok := file.Ops().(*Socket); ok {
				fn(held)
			}
		}
	})
}

// eachRights calls fn for every message with files that waits in the queue of s, and in those of
// connections that s has yet to accept. flight.mu is held.
func (s *Socket) eachRights(fn func(*message)) {
	s.mu.Lock()
	pending := append([]*Socket(nil), s.pending...)
	for m := s.in.head; m != nil; m = m.next {
		if len(m.rights) > 0 {
			fn(m)
		}
	}
	s.mu.Unlock()
	for _, p := range pending {
		p.eachRights(fn)
	}
}

// trash is files to be released.
type trash struct {
	mu    sync.Mutex
	files []*vfs.File
	busy  bool // somebody releases them
}

// discard drops references to files. Those that are sockets may discard more; that joins the list.
func (n *Namespace) discard(files []*vfs.File) {
	t := &n.trash
	t.mu.Lock()
	defer t.mu.Unlock()
	t.files = append(t.files, files...)
	if t.busy {
		return
	}
	t.busy = true
	for len(t.files) > 0 {
		list := t.files
		t.files = nil
		t.mu.Unlock()
		for _, file := range list {
			file.DecRef()
		}
		t.mu.Lock()
	}
	t.busy = false
}

package unix

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
)

// Lengths of struct sockaddr_un in bytes: the family alone, and all of it.
const (
	familySize  = 2
	addressSize = 110
)

// name is what a socket is bound to.
type name struct {
	addr  []byte    // as getsockname(2) tells it
	inode vfs.Inode // of a name in the file system, else nil
	// place keeps the inode's entry in the tree of names.
	place vfs.Path
}

// abstract returns the name in the abstract namespace.
func (n *name) abstract() string { return string(n.addr[familySize:]) }

// checkAddress checks length and family of an address that names a socket: EINVAL.
func checkAddress(addr []byte) error {
	if len(addr) <= familySize || len(addr) > addressSize ||
		binary.LittleEndian.Uint16(addr) != unix.AF_UNIX {
		return unix.EINVAL
	}
	return nil
}

// pathOf returns the file name in an address, "" for an abstract one. It ends with a zero or with the address.
func pathOf(addr []byte) string {
	path, _, _ := bytes.Cut(addr[familySize:], []byte{0})
	return string(path)
}

func addressOf(name string) []byte {
	return append([]byte{unix.AF_UNIX, 0}, name...)
}

// Bind implements socket.Socket. An address that is only a family gives the socket an
// abstract name of its own. EADDRINUSE when the name is taken, EINVAL for a socket that has one.
func (s *Socket) Bind(c vfs.Caller, addr []byte, at socket.Place) error {
	if len(addr) == familySize && binary.LittleEndian.Uint16(addr) == unix.AF_UNIX {
		return s.autobind()
	}
	if err := checkAddress(addr); err != nil {
		return err
	}
	s.bindMu.Lock()
	defer s.bindMu.Unlock()
	if path := pathOf(addr); path != "" {
		return s.bindFile(c, path, at)
	}
	if s.bound() {
		return unix.EINVAL
	}
	n := &name{addr: bytes.Clone(addr)}
	if err := s.ns.claim(s, n.abstract()); err != nil {
		return err
	}
	s.setName(n)
	return nil
}

// bindFile makes a file that leads to the socket: EADDRINUSE where there is a file already, even if the socket has a name. bindMu is held.
func (s *Socket) bindFile(c vfs.Caller, path string, at socket.Place) error {
	attr, err := s.inode.Attr()
	if err != nil {
		return err
	}
	place, err := vfs.Mknod(c, at.WalkArgs, path, attr.Mode, at.Umask, 0, 0)
	if err == unix.EEXIST {
		return unix.EADDRINUSE
	}
	if err != nil {
		return err
	}
	if s.bound() {
		_ = vfs.UnlinkAt(c, at.WalkArgs, path)
		return unix.EINVAL
	}
	n := &name{addr: addressOf(path + "\x00"), inode: place.Inode(), place: place}
	n.inode.State().SetObject(s)
	s.setName(n)
	return nil
}

func (s *Socket) bound() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.name != nil
}

func (s *Socket) setName(n *name) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.name = n
}

// autobind gives a socket without a name an abstract one of five hexadecimal digits.
func (s *Socket) autobind() error {
	s.bindMu.Lock()
	defer s.bindMu.Unlock()
	if s.bound() {
		return nil
	}
	const numbers = 1 << 20
	for range numbers {
		n := &name{addr: addressOf(fmt.Sprintf("\x00%05x", s.ns.nextAuto(numbers)))}
		if s.ns.claim(s, n.abstract()) == nil {
			s.setName(n)
			return nil
		}
	}
	return unix.ENOSPC
}

// nextAuto returns the next number for a name, below limit; the first is a random one.
func (n *Namespace) nextAuto(limit uint32) uint32 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.lastAuto == 0 {
		var b [4]byte
		rand.Read(b[:]) //nolint:errcheck // it never fails
		n.lastAuto = binary.LittleEndian.Uint32(b[:])
	}
	n.lastAuto++
	return n.lastAuto % limit
}

// unbind takes a closing socket's name away. A file stays, and leads nowhere.
func (s *Socket) unbind() {
	s.mu.Lock()
	n := s.name
	s.mu.Unlock()
	switch {
	case n == nil || !s.owns(n):
	case n.inode != nil:
		n.inode.State().SetObject(nil)
	default:
		s.ns.disclaim(s, n.abstract())
	}
}

// owns tells whether n leads to s: an accepted socket has the name of the one that
// listens.
func (s *Socket) owns(n *name) bool {
	if n.inode != nil {
		return n.inode.State().Object() == any(s)
	}
	return s.ns.lookup(s.kind, n.abstract()) == s
}

// find returns the socket that an address leads to. ECONNREFUSED when there is none, EPROTOTYPE
// when a file leads to one of another type, EACCES without the right to write to the file.
func (s *Socket) find(c vfs.Caller, addr []byte, at socket.Place) (*Socket, error) {
	path := pathOf(addr)
	if path == "" {
		if other := s.ns.lookup(s.kind, string(addr[familySize:])); other != nil {
			return other, nil
		}
		return nil, unix.ECONNREFUSED
	}
	p, err := vfs.Walk(c, at.WalkArgs, path)
	if err != nil {
		return nil, err
	}
	if err := vfs.Access(c, p, vfs.MayWrite); err != nil {
		return nil, err
	}
	other, ok := p.Inode().State().Object().(*Socket)
	switch {
	case p.FileType() != unix.S_IFSOCK || !ok:
		return nil, unix.ECONNREFUSED
	case other.kind != s.kind:
		return nil, unix.EPROTOTYPE
	}
	return other, nil
}

// Name implements socket.Socket. ENOTCONN without a peer.
func (s *Socket) Name(peer bool) ([]byte, error) {
	if peer {
		s.mu.Lock()
		other := s.peer
		s.mu.Unlock()
		if other == nil {
			return nil, unix.ENOTCONN
		}
		s = other
	}
	if addr := s.address(); addr != nil {
		return addr, nil
	}
	return []byte{unix.AF_UNIX, 0}, nil
}

// address returns the socket's address, nil if it has none.
func (s *Socket) address() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.name == nil {
		return nil
	}
	return s.name.addr
}

package unix

import (
	"math"
	"sync/atomic"
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/socket"

	"golang.org/x/sys/unix"
)

// caller is a task without a kernel.
type caller struct {
	creds  *cred.Credentials
	limits *limits.Set
}

func (c *caller) Creds() *cred.Credentials { return c.creds }
func (c *caller) FileSizeLimit() uint64    { return math.MaxUint64 }
func (c *caller) Interrupted() bool        { return false }
func (c *caller) Limits() *limits.Set      { return c.limits }

func user(id cred.UID) *caller {
	return &caller{cred.New(id, cred.GID(id), nil, &cred.UserNamespace{}), limits.New(limits.Defaults(100))}
}

var root = user(0)

// world is a namespace whose accounts must be even at the end of the test.
type world struct {
	*Namespace
	t     fataler
	files []*vfs.File
}

type fataler interface {
	Helper()
	Fatalf(string, ...any)
}

func newWorld(t fataler) *world { return &world{Namespace: NewNamespace(vfs.NewSystem()), t: t} }

// close closes what is still open and looks whether anything stays.
func (w *world) close() {
	w.t.Helper()
	for _, f := range w.files {
		f.DecRef()
	}
	w.files = nil
	w.collect()
	even := w.buffered.Take(maxBuffered)
	if even {
		w.buffered.Take(-maxBuffered)
	}
	if len(w.sockets) != 0 || len(w.abstract) != 0 || !even || w.flight.total != 0 ||
		len(w.flight.sockets) != 0 || len(w.flight.users) != 0 || len(w.trash.files) != 0 {
		w.t.Fatalf("left: %d sockets, %d names, %d descriptors of %d users, %d sockets in flight",
			len(w.sockets), len(w.abstract), w.flight.total, len(w.flight.users), len(w.flight.sockets))
	}
}

// forget closes a file before the end.
func (w *world) forget(f *vfs.File) {
	for i, g := range w.files {
		if g == f {
			w.files = append(w.files[:i], w.files[i+1:]...)
			f.DecRef()
			return
		}
	}
}

func (w *world) pair(kind int) (a, b *Socket) {
	w.t.Helper()
	f, g, err := w.NewPair(root, kind, 0, 0)
	if err != nil {
		w.t.Fatalf("pair: %v", err)
	}
	w.files = append(w.files, f, g)
	return f.Ops().(*Socket), g.Ops().(*Socket)
}

func (w *world) socket(kind int) *Socket {
	w.t.Helper()
	f, err := w.New(root, kind, 0, 0)
	if err != nil {
		w.t.Fatalf("socket: %v", err)
	}
	w.files = append(w.files, f)
	return f.Ops().(*Socket)
}

// fileOf returns the file of a socket that the world has open.
func (w *world) fileOf(s *Socket) *vfs.File {
	for _, f := range w.files {
		if f.Ops() == vfs.FileOps(s) {
			return f
		}
	}
	return nil
}

// accept takes a connection; nil if there is none.
func (w *world) accept(l *Socket) *Socket {
	f, err := l.Accept(root, 0, false)
	if err != nil {
		return nil
	}
	w.files = append(w.files, f)
	return f.Ops().(*Socket)
}

func abstractAddress(name string) []byte { return addressOf("\x00" + name) }

func send(s *Socket, b []byte, flags int, files ...*vfs.File) (int, error) {
	for _, f := range files {
		f.IncRef()
	}
	m := socket.Message{Data: mm.BytesBuffer(b), Flags: flags, Rights: files}
	n, err := s.Send(root, &m)
	for _, f := range m.Rights {
		f.DecRef()
	}
	return n, err
}

func receive(s *Socket, n, flags int) ([]byte, []*vfs.File, error) {
	b := make([]byte, n)
	m := socket.Message{Data: mm.BytesBuffer(b), Flags: flags | unix.MSG_DONTWAIT}
	n, err := s.Receive(root, &m)
	return b[:n], m.Rights, err
}

// marker is a file that tells when it is released.
type marker struct{ released *atomic.Int64 }

func (marker) Read(vfs.Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EINVAL }
func (marker) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }
func (m marker) Release()                                       { m.released.Add(1) }

func (w *world) marker(released *atomic.Int64) *vfs.File {
	return w.sys.NewAnonFile(marker{released}, "[marker]", unix.O_RDWR)
}

// tree returns a place in a fresh file system.
func tree(t testing.TB) socket.Place {
	file, err := mm.NewMemoryFile(64 << 20)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(file.Release)
	ns, err := vfs.NewSystem().NewNamespace(tmpfs.New(tmpfs.Config{File: file, Mode: 0o777}), 0, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	return socket.Place{WalkArgs: vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}, Umask: 0o22}
}

func emptyBuffer() *mm.Buffer { return mm.BytesBuffer(nil) }

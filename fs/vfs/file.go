package vfs

import (
	"sync"
	"sync/atomic"

	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// File is an open file description: what descriptors, in any number of processes,
// refer to. It begins with one reference.
type File struct {
	// These never change.
	ops      FileOps
	wait     waiter.Waitable // ops' own, or nil: always ready
	path     Path
	state    *InodeState
	kind     uint32 // S_IFMT
	readable bool
	writable bool
	stream   bool    // no position
	counted  bool    // among the inode's writers
	reader   bool    // among the inode's readers
	created  bool    // by the open(2) that made f; not unnamed
	held     HoldOps // of an O_PATH file, or nil

	refs   atomic.Int64
	flags  atomic.Uint32
	denies atomic.Bool // holds the inode's writers off

	// posMu guards the position, and is held during what uses it.
	posMu sync.Mutex
	pos   int64

	mu         sync.Mutex
	watches    *epollItem // a list of those that watch the file
	hasLocks   bool       // took an OFD lock, flock or lease once
	async      Async
	armed      *asyncWatch // while O_ASYNC is set
	leaseWatch *asyncWatch // while it holds a lease
}

// settable are the flags that F_SETFL changes.
const settable = unix.O_APPEND | unix.O_ASYNC | unix.O_DIRECT | unix.O_NOATIME | unix.O_NONBLOCK

// NewFile makes an open file of ops. flags are the O_ flags that are remembered;
// their access mode says what is allowed.
func NewFile(ops FileOps, path Path, flags int) *File {
	f := &File{ops: ops, path: path, state: path.Dentry.state, kind: path.Dentry.kind}
	f.refs.Store(1)
	f.flags.Store(uint32(flags))
	mode := flags & unix.O_ACCMODE
	f.readable = mode == unix.O_RDONLY || mode == unix.O_RDWR
	f.writable = mode == unix.O_WRONLY || mode == unix.O_RDWR
	f.wait, _ = ops.(waiter.Waitable)
	_, f.stream = ops.(StreamOps)
	path.Mount.files.Add(1)
	path.Dentry.fs.sys.files.Add(1)
	f.state.opens.Add(1)
	return f
}

// newPathFile makes what open(2) with O_PATH gives.
func newPathFile(p Path, flags int) *File {
	f := NewFile(pathOps{}, p, flags)
	f.readable, f.writable = false, false
	if h, ok := p.Dentry.inode.(HoldOps); ok && h.Hold() {
		f.held = h
	}
	return f
}

// pathOps are of a file that is only a place.
type pathOps struct{}

func (pathOps) Read(Caller, *mm.Buffer, int64) (int, error)  { return 0, unix.EBADF }
func (pathOps) Write(Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EBADF }
func (pathOps) Release()                                     {}

// IncRef adds a reference.
func (f *File) IncRef() { f.refs.Add(1) }

// TryIncRef adds a reference unless the last one is gone.
func (f *File) TryIncRef() bool {
	for {
		n := f.refs.Load()
		if n <= 0 {
			return false
		}
		if f.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// Refs returns the number of references, for those who look for files that only
// each other refer to. Others may change it at any time.
func (f *File) Refs() int64 { return f.refs.Load() }

// DecRef drops a reference; the last one closes the file: its locks and watches go.
func (f *File) DecRef() {
	if f.refs.Add(-1) != 0 {
		return
	}
	f.unwatchAll()
	f.disarm()
	if f.hasLocks {
		f.state.dropLocks(f)
	}
	f.ops.Release()
	if f.counted {
		f.state.dropWriter()
	}
	if f.reader {
		f.state.readers.Add(-1)
	}
	f.AllowWrite()
	if f.held != nil {
		f.held.Unhold()
	}
	f.path.Mount.files.Add(-1)
	f.path.Dentry.fs.sys.files.Add(-1)
	f.notifyClosed()
}

// notifyClosed tells of the close to who watches the file.
func (f *File) notifyClosed() {
	d := f.path.Dentry
	last := f.state.opens.Add(-1) == 0
	if f.IsPath() || d.fs.sys.inotify.active.Load() == 0 {
		return
	}
	if f.writable {
		d.notify(unix.IN_CLOSE_WRITE)
	} else {
		d.notify(unix.IN_CLOSE_NOWRITE)
	}
	if last {
		d.notifyRemoved()
	}
}

// Ops returns what the file system or device gave.
func (f *File) Ops() FileOps { return f.ops }

// Path returns the name that the file was opened by.
func (f *File) Path() Path { return f.path }

// Inode returns the inode.
func (f *File) Inode() Inode { return f.path.Dentry.inode }

// FileType returns the S_IFMT part of the mode.
func (f *File) FileType() uint32 { return f.kind }

// Created tells whether the open(2) that made f made the file too, with a name (F_CREATED_QUERY).
func (f *File) Created() bool { return f.created }

// IsPath tells whether the file was opened with O_PATH.
func (f *File) IsPath() bool { return f.flags.Load()&unix.O_PATH != 0 }

// Readable and Writable tell what the file was opened for.
func (f *File) Readable() bool { return f.readable }

// Writable tells whether the file was opened for writing.
func (f *File) Writable() bool { return f.writable }

// Flags returns the access mode and the status flags, as F_GETFL.
func (f *File) Flags() int { return int(f.flags.Load()) }

// NonBlocking tells whether O_NONBLOCK is set.
func (f *File) NonBlocking() bool { return f.flags.Load()&unix.O_NONBLOCK != 0 }

// SetFlags changes the flags that F_SETFL may: O_APPEND, O_ASYNC, O_DIRECT, O_NOATIME
// and O_NONBLOCK. fd is the descriptor by which it was asked to.
func (f *File) SetFlags(c Caller, flags int, fd int32) error {
	old := f.flags.Load()
	if (flags^int(old))&unix.O_APPEND != 0 && f.path.Dentry.flags()&FlagAppend != 0 {
		return unix.EPERM
	}
	if flags&^int(old)&unix.O_DIRECT != 0 && f.kind != unix.S_IFREG && f.kind != unix.S_IFIFO {
		return unix.EINVAL
	}
	if !f.CanAsync() {
		flags = flags&^unix.O_ASYNC | int(old)&unix.O_ASYNC
	}
	if flags&^int(old)&unix.O_NOATIME != 0 {
		attr, err := f.Attr()
		if err != nil {
			return err
		}
		if !owns(c.Creds(), &attr) {
			return unix.EPERM
		}
	}
	for {
		next := old&^settable | uint32(flags)&settable
		if f.flags.CompareAndSwap(old, next) {
			if o, ok := f.ops.(FlagOps); ok {
				o.SetFlags(int(next))
			}
			if (old^next)&unix.O_ASYNC != 0 {
				f.followAsyncFlag(fd)
			}
			return nil
		}
		old = f.flags.Load()
	}
}

// Opened tells whether open(2) may return; see OpenWaitOps.
func (f *File) Opened() bool {
	o, ok := f.ops.(OpenWaitOps)
	return !ok || o.Opened()
}

// Attr returns the attributes, as fstat(2).
func (f *File) Attr() (Attr, error) {
	var attr Attr
	var err error
	if o, ok := f.ops.(AttrOps); ok {
		attr, err = o.Attr()
	} else {
		attr, err = f.path.Dentry.inode.Attr()
	}
	if err == nil {
		f.path.fill(&attr)
	}
	return attr, err
}

// Readiness implements waiter.Waitable.
func (f *File) Readiness(wanted waiter.EventMask) waiter.EventMask {
	if f.wait == nil {
		return wanted & (waiter.In | waiter.Out | waiter.RdNorm | waiter.WrNorm)
	}
	return f.wait.Readiness(wanted)
}

// Register implements waiter.Waitable.
func (f *File) Register(e *waiter.Entry) {
	if f.wait != nil {
		f.wait.Register(e)
	}
}

// Unregister implements waiter.Waitable.
func (f *File) Unregister(e *waiter.Entry) {
	if f.wait != nil {
		f.wait.Unregister(e)
	}
}

// Pollable tells whether the file has a readiness of its own; epoll takes no others.
func (f *File) Pollable() bool { return f.wait != nil }

// DenyWrite keeps the inode from being opened for writing while a program runs
// from it, until AllowWrite or until the file is closed. ETXTBSY when it is open
// for writing.
func (f *File) DenyWrite() error {
	if err := f.state.denyWrite(); err != nil {
		return err
	}
	if f.denies.Swap(true) {
		f.state.allowWrite()
	}
	return nil
}

// AllowWrite ends DenyWrite.
func (f *File) AllowWrite() {
	if f.denies.Swap(false) {
		f.state.allowWrite()
	}
}

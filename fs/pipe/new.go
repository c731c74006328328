package pipe

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// inode is what /proc/self/fd of an unnamed pipe leads to.
type inode struct {
	vfs.AnonInode
	pipe *Pipe
}

// Open implements vfs.Inode. Unlike that of a FIFO it does not wait for the other
// end, which may be gone for good.
func (i *inode) Open(_ vfs.Caller, flags int) (vfs.FileOps, error) { return i.pipe.open(flags, true) }

// New makes a pipe, as pipe2(2); flags are O_NONBLOCK and O_DIRECT.
func New(sys *vfs.System, c vfs.Caller, flags int) (r, w *vfs.File) {
	p := newPipe(sys.Pipes())
	p.provide()
	in := &inode{pipe: p}
	sys.InitAnon(&in.AnonInode, c, unix.S_IFIFO|0o600)
	path := sys.PipePath(in)
	p.readers, p.writers, p.readersOpened, p.writersOpened = 1, 1, 1, 1
	read := &file{pipe: p, reads: true}
	write := &file{pipe: p, writes: true}
	write.packets.Store(flags&unix.O_DIRECT != 0)
	return vfs.NewFile(read, path, unix.O_RDONLY|flags), vfs.NewFile(write, path, unix.O_WRONLY|flags)
}

// FIFO is what a file system keeps for a FIFO special file: its inode's Open calls
// Open.
type FIFO struct{ pipe *Pipe }

// fifoBytes is the budget of a FIFO that shares none.
const fifoBytes = DefaultSize

// NewFIFO makes one that nobody has open.
func NewFIFO() *FIFO { return NewFIFOWithin(vfs.NewBudget(fifoBytes)) }

// NewFIFOWithin makes one that shares a budget with others.
func NewFIFOWithin(budget *vfs.Budget) *FIFO { return &FIFO{newPipe(budget)} }

// Open opens the FIFO: ENXIO for writing only, without blocking, when nobody reads.
func (f *FIFO) Open(flags int) (vfs.FileOps, error) { return f.pipe.open(flags, false) }

func (p *Pipe) open(flags int, unnamed bool) (vfs.FileOps, error) {
	f := &file{pipe: p}
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		f.reads = true
	case unix.O_WRONLY:
		f.writes = true
	case unix.O_RDWR:
		f.reads, f.writes = true, true
	default:
		return nil, unix.EINVAL
	}
	f.packets.Store(flags&unix.O_DIRECT != 0)
	p.mu.Lock()
	if !unnamed && f.writes && !f.reads && flags&unix.O_NONBLOCK != 0 && p.readers == 0 {
		p.mu.Unlock()
		return nil, unix.ENXIO
	}
	if p.readers == 0 && p.writers == 0 {
		p.provide()
	}
	f.readersBefore, f.writersBefore = p.readersOpened, p.writersOpened
	if f.reads && (unnamed || f.writes || p.writers > 0) {
		f.writersBefore-- // a writer that goes is a hang-up
	}
	if f.reads {
		p.readers++
		p.readersOpened++
	}
	if f.writes {
		p.writers++
		p.writersOpened++
	}
	f.blocks = !unnamed && f.reads != f.writes && flags&unix.O_NONBLOCK == 0
	p.mu.Unlock()
	p.queue.Notify(waiter.All)
	return f, nil
}

// Tee copies up to n bytes from one pipe to another and leaves them in the first,
// as tee(2). EINVAL for what is no pipe, and for one pipe twice; EAGAIN when
// the first has no bytes or the second no room.
func Tee(from, to *vfs.File, n int) (int, error) {
	in, ok1 := from.Ops().(*file)
	out, ok2 := to.Ops().(*file)
	switch {
	case !from.Readable() || !to.Writable():
		return 0, unix.EBADF
	case !ok1 || !ok2 || in.pipe == out.pipe:
		return 0, unix.EINVAL
	}
	data, err := in.pipe.peek(min(n, MaxSize))
	if err != nil || len(data) == 0 {
		return 0, err
	}
	return out.pipe.put(data, out.packets.Load())
}

package pipe

import (
	"encoding/binary"
	"sync/atomic"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// file is one open file of a pipe.
type file struct {
	pipe          *Pipe
	reads, writes bool
	packets       atomic.Bool // O_DIRECT
	// What open(2) found: it waits until there is more, or somebody at the other end.
	readersBefore, writersBefore uint64
	blocks                       bool // open(2) waits for the other end
}

// IsStream implements vfs.StreamOps.
func (*file) IsStream() {}

// Read implements vfs.FileOps.
func (f *file) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) { return f.pipe.read(dst) }

// Write implements vfs.FileOps.
func (f *file) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	return f.pipe.write(src, f.packets.Load())
}

// SetFlags implements vfs.FlagOps.
func (f *file) SetFlags(flags int) { f.packets.Store(flags&unix.O_DIRECT != 0) }

// Release implements vfs.FileOps.
func (f *file) Release() {
	p := f.pipe
	p.mu.Lock()
	if f.reads {
		p.readers--
	}
	if f.writes {
		p.writers--
	}
	if p.readers == 0 && p.writers == 0 {
		// What nobody read is gone when a FIFO is opened again.
		p.withdraw()
	}
	halved := (p.readers == 0) != (p.writers == 0)
	p.mu.Unlock()
	p.queue.Notify(waiter.All)
	if halved {
		p.async.Notify(waiter.In | waiter.Out)
	}
}

// AsyncQueue implements vfs.AsyncOps.
func (f *file) AsyncQueue() *waiter.Queue { return &f.pipe.async }

// Opened implements vfs.OpenWaitOps.
func (f *file) Opened() bool {
	if !f.blocks {
		return true
	}
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.reads {
		return p.writers > 0 || p.writersOpened != f.writersBefore
	}
	return p.readers > 0 || p.readersOpened != f.readersBefore
}

// Readiness implements waiter.Waitable.
func (f *file) Readiness(wanted waiter.EventMask) waiter.EventMask {
	p := f.pipe
	p.mu.Lock()
	defer p.mu.Unlock()
	var ready waiter.EventMask
	if f.reads {
		if p.filled > 0 {
			ready |= waiter.In | waiter.RdNorm
		}
		if p.writers == 0 && p.writersOpened != f.writersBefore {
			ready |= waiter.HUp
		}
	}
	if f.writes {
		if p.free() >= AtomicSize {
			ready |= waiter.Out | waiter.WrNorm
		}
		if p.readers == 0 {
			ready |= waiter.Err
		}
	}
	return ready & (wanted | waiter.HUp | waiter.Err)
}

// Register implements waiter.Waitable.
func (f *file) Register(e *waiter.Entry) { f.pipe.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (f *file) Unregister(e *waiter.Entry) { f.pipe.queue.Unregister(e) }

// PipeSize implements vfs.SizerOps.
func (f *file) PipeSize() int {
	f.pipe.mu.Lock()
	defer f.pipe.mu.Unlock()
	return f.pipe.capacity
}

// SetPipeSize implements vfs.SizerOps. EPERM over the limit for all, whoever asks, since the
// memory is the sentry's.
func (f *file) SetPipeSize(_ vfs.Caller, size int) (int, error) {
	switch {
	case size < 0:
		return 0, unix.EINVAL
	case size > MaxSize:
		return 0, unix.EPERM
	}
	return f.pipe.setCapacity(size)
}

// Ioctl implements vfs.IoctlOps: FIONREAD.
func (f *file) Ioctl(_ vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	if cmd != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	f.pipe.mu.Lock()
	n := f.pipe.filled
	f.pipe.mu.Unlock()
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(n))
	_, err := mem.CopyOut(mm.Addr(arg), b[:])
	return 0, err
}

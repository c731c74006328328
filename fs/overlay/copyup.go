package overlay

import (
	"math"
	"time"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

const (
	// copyChunk is how much content goes up at a time.
	copyChunk = 256 << 10

	// copyLook is how often one who waits for another's copy looks whether a signal is due.
	copyLook = 20 * time.Millisecond
)

// copying is a copy of a node's content that is under way, or was interrupted and may go on.
type copying struct {
	done chan struct{} // closed at the end, nil while nobody copies
	to   *tmpfs.Regular
	off  int64 // what is before it has been copied
}

// copyUp makes n have content above: what the lower file has up to limit. EINTR
// when a signal is due before it is complete; what was copied by then is kept for the next try.
func (n *node) copyUp(c vfs.Caller, limit int64) error {
	if n.content.Load() != nil {
		return nil
	}
	if err := n.pin(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for n.content.Load() == nil && n.copy != nil && n.copy.done != nil {
		done := n.copy.done
		n.mu.Unlock()
		err := await(c, done)
		n.mu.Lock()
		if err != nil {
			return err
		}
	}
	if n.content.Load() != nil {
		return nil
	}
	return n.copyAlone(c, limit)
}

// await waits for another's copy.
func await(c vfs.Caller, done <-chan struct{}) error {
	t := time.NewTicker(copyLook)
	defer t.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-t.C:
			if c != nil && c.Interrupted() {
				return unix.EINTR
			}
		}
	}
}

// copyAlone copies with n.mu given up meanwhile.
func (n *node) copyAlone(c vfs.Caller, limit int64) error {
	if _, err := n.own(); err != nil {
		return err
	}
	if n.copy == nil {
		n.copy = &copying{to: n.fs.newContent(n.ino)}
	}
	w := n.copy
	w.done = make(chan struct{})
	n.mu.Unlock()
	err := w.run(c, n, limit)
	n.mu.Lock()
	close(w.done)
	w.done = nil
	switch {
	case err == nil:
		n.content.Store(w.to)
		n.copy = nil
		if n.gone {
			w.to.Drop()
		}
	case err != unix.EINTR || n.gone:
		w.to.Drop()
		n.copy = nil
	}
	return err
}

// run copies the lower content up to limit, holes left out.
func (w *copying) run(c vfs.Caller, n *node, limit int64) error {
	if limit == 0 {
		return nil
	}
	a, err := n.lower.Attr()
	if err != nil {
		return err
	}
	from, err := n.lower.Open(c, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Release()
	if a, err = n.lower.Attr(); err != nil { // opening refreshes it
		return err
	}
	end := min(a.Size, limit)
	if err := w.to.Truncate(end); err != nil { // first, so that a hole at the end is there too
		return err
	}
	buf := n.fs.buffers.Get().(*[]byte)
	defer n.fs.buffers.Put(buf)
	for w.off < end {
		if c != nil && c.Interrupted() {
			return unix.EINTR
		}
		if err := w.piece(c, from, *buf, end); err != nil {
			return err
		}
	}
	return nil
}

// piece copies the next stretch of data.
func (w *copying) piece(c vfs.Caller, from vfs.FileOps, buf []byte, end int64) error {
	data, stop := w.off, end
	if s, ok := from.(vfs.SeekOps); ok {
		at, err := s.Seek(c, w.off, w.off, unix.SEEK_DATA)
		if err == unix.ENXIO {
			w.off = end // a hole to the end, or the file shrank
			return nil
		}
		if err == nil {
			data = at
			if hole, err := s.Seek(c, data, data, unix.SEEK_HOLE); err == nil {
				stop = min(hole, end)
			}
		}
	}
	for data < stop {
		k := int(min(int64(len(buf)), stop-data))
		got, err := from.Read(c, mm.BytesBuffer(buf[:k]), data)
		if err != nil {
			return err
		}
		if got == 0 {
			stop = math.MaxInt64 // shrank
			break
		}
		put, err := w.to.WriteAt(mm.BytesBuffer(buf[:got]), data)
		if err != nil {
			return noSpace(err)
		}
		data += int64(put)
		w.off = data
		if c != nil && c.Interrupted() && data < stop {
			return unix.EINTR
		}
	}
	w.off = min(max(stop, w.off), end)
	return nil
}

// newContent returns empty content for the file with that inode number.
func (fs *filesystem) newContent(ino uint64) *tmpfs.Regular {
	return tmpfs.NewRegular(fs.file, nil, func() (string, uint32, uint32, uint64) { return "", 0, 0, ino })
}

// truncate sets the size, copying up what stays.
func (n *node) truncate(c vfs.Caller, size int64) error {
	if err := n.copyUp(c, size); err != nil {
		return err
	}
	return noSpace(n.content.Load().Truncate(size))
}

// noSpace is what running out of memory means to a writer of files.
func noSpace(err error) error {
	if err == unix.ENOMEM {
		return unix.ENOSPC
	}
	return err
}

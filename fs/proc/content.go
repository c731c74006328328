package proc

import (
	"bytes"
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
)

const (
	// stepSize is about how many bytes one step of a long file generates.
	stepSize = 8 << 10
	// keepSize is how many bytes an open file keeps between reads. The rest of
	// what is longer is generated again.
	keepSize = 16 << 10
)

// steps generates a file piece by piece: what follows cursor, 0 at first, goes into
// b; next is where to go on, and more tells whether there is anything.
type steps func(c vfs.Caller, cursor uint64, b *bytes.Buffer) (next uint64, more bool, err error)

// whole makes steps of what is generated at once.
func whole(generate pseudo.Generate) steps {
	return func(c vfs.Caller, _ uint64, b *bytes.Buffer) (uint64, bool, error) {
		return 0, false, generate(c, b)
	}
}

// file is a regular file that is generated in steps, so that an open file holds
// little memory of the sentry however long it is. Writing is the pseudo.File's.
type file struct {
	*pseudo.File
	steps steps
	// open, when not nil, decides about each open, and returns what that reads.
	open func(c vfs.Caller) (steps, error)
}

func (f *fileSystem) newFile(mode uint32, s steps, store pseudo.Store) *file {
	return &file{File: f.NewKnob(mode, nil, store), steps: s}
}

// Open implements vfs.Inode.
func (f *file) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	s := f.steps
	if f.open != nil {
		var err error
		if s, err = f.open(c); err != nil {
			return nil, err
		}
	}
	ops, err := f.File.Open(c, flags)
	if err != nil || s == nil {
		return ops, err
	}
	return newReader(ops, s), nil
}

func newReader(ops vfs.FileOps, s steps) *reader {
	return &reader{FileOps: ops, seek: ops.(vfs.SeekOps), steps: s}
}

// reader is an open file.
type reader struct {
	vfs.FileOps
	seek  vfs.SeekOps
	steps steps

	mu sync.Mutex
	// Guarded by mu. The progress of the last read; nil while a read has it.
	last *progress
}

// progress is how far a file has been generated.
type progress struct {
	off    int64  // offset of buf in the file
	buf    []byte // generated last
	cursor uint64
	end    bool
}

// Seek implements vfs.SeekOps.
func (r *reader) Seek(c vfs.Caller, cur, off int64, whence int) (int64, error) {
	return r.seek.Seek(c, cur, off, whence)
}

// Read gives the content from off on. A read from the start sees it afresh.
func (r *reader) Read(c vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	p := r.take(off)
	done := 0
	for dst.Len() > 0 {
		at := off + int64(done) - p.off
		if at < int64(len(p.buf)) {
			n, err := dst.CopyOut(p.buf[at:])
			done += n
			if err != nil && done == 0 {
				return 0, err
			}
			if err != nil {
				break
			}
			continue
		}
		if p.end || done > 0 && c.Interrupted() {
			break
		}
		if err := p.advance(c, r.steps); err != nil {
			if done == 0 {
				return 0, err
			}
			break
		}
	}
	r.put(p, off+int64(done))
	return done, nil
}

// take returns the progress to go on from for a read at off.
func (r *reader) take(off int64) *progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.last
	r.last = nil
	if p == nil || off == 0 || off < p.off {
		return new(progress)
	}
	return p
}

// put keeps p for the next read, at off if it goes on.
func (r *reader) put(p *progress, off int64) {
	switch {
	case off >= p.off+int64(len(p.buf)):
		p.off += int64(len(p.buf))
		p.buf = nil
	case len(p.buf) > keepSize:
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = p
}

// advance generates what follows.
func (p *progress) advance(c vfs.Caller, s steps) error {
	var b bytes.Buffer
	cursor, more, err := s(c, p.cursor, &b)
	if err != nil {
		return err
	}
	p.off += int64(len(p.buf))
	p.buf, p.cursor, p.end = b.Bytes(), cursor, !more
	return nil
}

package pipe

import (
	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// maxSplice bounds the bytes that one Fill moves.
const maxSplice = DefaultSize

// Is tells whether a file is a pipe or a FIFO that is open.
func Is(f *vfs.File) bool { return of(f) != nil }

// Same tells whether two files are of one pipe.
func Same(f, g *vfs.File) bool { return of(f) != nil && of(f) == of(g) }

func of(f *vfs.File) *Pipe {
	if p, ok := f.Ops().(*file); ok {
		return p.pipe
	}
	return nil
}

// Fill has read put up to n bytes into the pipe to, as far as there is room, and returns the count. read is
// called at most once, and must not use the pipe. EAGAIN without room, EPIPE without readers.
func Fill(to *vfs.File, n int, read func([]byte) (int, error)) (int, error) {
	p := of(to)
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	p.mu.Lock()
	free, readers := p.free(), p.readers
	if free == 0 && p.need == 0 {
		p.need = AtomicSize
	}
	p.mu.Unlock()
	switch {
	case readers == 0:
		return 0, unix.EPIPE
	case free == 0:
		return 0, unix.EAGAIN
	}
	b := make([]byte, min(n, free, maxSplice))
	got, err := read(b)
	if got <= 0 {
		return 0, err
	}
	return p.writeSome(mm.BytesBuffer(b[:got]), got, false, true)
}

// Drain gives up to n bytes of the pipe from to write, and removes as many as that takes; it returns their
// count. write may be called more than once, and must not use the pipe. EAGAIN when there are none, 0 when there
// will be none.
func Drain(from *vfs.File, n int, write func([]byte) (int, error)) (int, error) {
	p := of(from)
	p.readMu.Lock()
	defer p.readMu.Unlock()
	done := 0
	for done < n {
		seg, part, idle := p.front()
		if seg.length == 0 {
			if done == 0 && idle {
				return 0, unix.EAGAIN
			}
			break
		}
		part = part[:min(len(part), n-done)]
		took, err := write(part)
		p.take(took)
		done += took
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || took < len(part) {
			break
		}
	}
	return done, nil
}

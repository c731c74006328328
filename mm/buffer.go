package mm

import (
	"golang.org/x/sys/unix"
)

// Buffer is where a read puts its bytes, or where a write takes them from: ranges of guest
// memory, or bytes of the sentry. It remembers how far it got. It is for one goroutine
// at a time.
type Buffer struct {
	m     *MemoryManager // nil: bytes
	bytes []byte         // what is left
	iovs  []Range        // what is left, but for
	off   uint64         // bytes of the first range that are done
	left  uint64         // bytes to go, at most what iovs hold
	one   [1]Range       // backs iovs of a single range

	direct *directIO // kept between uses
}

// NewBuffer returns a Buffer over ranges of m's memory. Empty ranges and bad addresses are
// allowed: they fail when they are reached. iovs is not written to.
func NewBuffer(m *MemoryManager, iovs []Range) *Buffer {
	b := &Buffer{m: m, iovs: iovs}
	for _, r := range iovs {
		r = m.clip(r)
		b.left += r.Length()
	}
	return b
}

// BytesBuffer returns a Buffer over p.
func BytesBuffer(p []byte) *Buffer { return &Buffer{bytes: p, left: uint64(len(p))} }

// SingleBuffer returns a Buffer over n bytes of m's memory at addr.
func SingleBuffer(m *MemoryManager, addr Addr, n uint64) *Buffer {
	b := new(Buffer)
	b.Reset(m, addr, n)
	return b
}

// Reset makes b a Buffer over n bytes of m's memory at addr, without allocating.
func (b *Buffer) Reset(m *MemoryManager, addr Addr, n uint64) {
	if uint64(addr) > m.hi {
		addr = Addr(m.hi)
	}
	n = min(n, ^uint64(0)-uint64(addr))
	b.m, b.bytes, b.off, b.left = m, nil, 0, n
	b.one[0] = Range{addr, addr + Addr(n)}
	b.iovs = b.one[:]
}

// clip returns r, or if it wraps around a range that fails as that must.
func (m *MemoryManager) clip(r Range) Range {
	if r.End < r.Start {
		return Range{Addr(m.hi), Addr(m.hi) + 1}
	}
	return r
}

// Len is the number of bytes left.
func (b *Buffer) Len() uint64 { return b.left }

// Take limits what is left to n bytes.
func (b *Buffer) Take(n uint64) { b.left = min(b.left, n) }

// Skip moves on by n bytes, at most to the end.
func (b *Buffer) Skip(n uint64) {
	n = min(n, b.left)
	b.left -= n
	if b.m == nil {
		b.bytes = b.bytes[n:]
		return
	}
	for n > 0 {
		k := min(n, b.head().Length())
		b.off += k
		n -= k
	}
}

// head is what is left of the first range that is not used up; something is left.
func (b *Buffer) head() Range {
	for {
		r := b.m.clip(b.iovs[0])
		if b.off < r.Length() {
			return Range{r.Start + Addr(b.off), r.End}
		}
		b.iovs, b.off = b.iovs[1:], 0
	}
}

// CopyOut puts src into the buffer: the result of a read. It moves on by what it
// returns: all, or less when the buffer is full (no error) or bad (EFAULT).
func (b *Buffer) CopyOut(src []byte) (int, error) { return b.move(src, true) }

// CopyIn takes the next bytes of the buffer: the data of a write. Counts and
// errors are as CopyOut's.
func (b *Buffer) CopyIn(dst []byte) (int, error) { return b.move(dst, false) }

func (b *Buffer) move(p []byte, write bool) (int, error) {
	p = p[:min(uint64(len(p)), b.left)]
	if b.m == nil {
		n := 0
		if write {
			n = copy(b.bytes, p)
		} else {
			n = copy(p, b.bytes)
		}
		b.Skip(uint64(n))
		return n, nil
	}
	done := 0
	for done < len(p) {
		r := b.head()
		part := p[done:]
		part = part[:min(uint64(len(part)), r.Length())]
		var n int
		var err error
		if write {
			n, err = b.m.CopyOut(r.Start, part)
		} else {
			n, err = b.m.CopyIn(r.Start, part)
		}
		done += n
		b.Skip(uint64(n))
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// ZeroOut puts up to n zeroes into the buffer.
func (b *Buffer) ZeroOut(n uint64) (uint64, error) {
	var zeroes [PageSize]byte
	n = min(n, b.left)
	for done := uint64(0); done < n; {
		k, err := b.CopyOut(zeroes[:min(n-done, PageSize)])
		if done += uint64(k); err != nil {
			return done, err
		}
	}
	return n, nil
}

// Bounds of directIO.
const (
	maxSegments = 64
	maxBounce   = 256 << 10
	maxRead     = 1 << 20 // a fork waits for it
)

// directIO is what WithBytes hands out and must give back.
type directIO struct {
	segs [][]byte
	pins []memRange
}

// WithBytes calls fn with slices of the memory behind the next at most limit bytes, and
// moves on by the count that fn returns. write says that fn writes to them. The memory is pinned while fn
// runs, and no lock is held, so fn may block; the slices are invalid
// afterwards. fn gets less than is left when memory lies in too many pieces or a part is bad; EFAULT
// when the first byte is. It is for preadv(2) and its like: with more than a few pages it spares a copy. What is written to
// is at most maxRead bytes, and no fork of the address space begins meanwhile, so fn must not wait for long then.
func (b *Buffer) WithBytes(limit int, write bool, fn func(segs [][]byte) (int, error)) (int, error) {
	want := min(uint64(max(limit, 0)), b.left)
	if b.m == nil {
		segs := [1][]byte{b.bytes[:want]}
		n, err := fn(segs[:])
		b.Skip(uint64(clampCount(n, want)))
		return n, err
	}
	if b.direct == nil {
		b.direct = new(directIO)
	}
	n, got, err := b.inPlace(want, write, fn)
	if got == 0 && want > 0 {
		return b.bounce(want, write, fn)
	}
	n = clampCount(n, got)
	b.Skip(uint64(n))
	return n, err
}

// inPlace calls fn for what can be pinned of the next want bytes, got of them; none: not at all.
func (b *Buffer) inPlace(want uint64, write bool, fn func(segs [][]byte) (int, error)) (n int, got uint64, err error) {
	d := b.direct
	if write {
		want = min(want, maxRead)
		b.m.direct.RLock()
		defer b.m.direct.RUnlock()
	}
	if got = b.gather(want, write); got == 0 && want > 0 {
		return 0, 0, nil
	}
	err = b.m.file.Guard(func() (err error) {
		n, err = fn(d.segs)
		return err
	})
	b.m.file.decRefs(d.pins)
	clear(d.segs)
	d.segs, d.pins = d.segs[:0], d.pins[:0]
	return n, got, err
}

func clampCount(n int, limit uint64) int { return int(min(uint64(max(n, 0)), limit)) }

// gather pins the next bytes that are in memory, faulting them in.
func (b *Buffer) gather(want uint64, write bool) (got uint64) {
	skip := b.off
	for _, r := range b.iovs {
		r = b.m.clip(r)
		r.Start += Addr(skip)
		skip = 0
		for at := r.Start; at < r.End && got < want; {
			n, err := b.pin(uint64(at), min(r.Length()-uint64(at-r.Start), want-got), write)
			if err != nil || n == 0 {
				return got
			}
			at += Addr(n)
			got += n
		}
		if got == want {
			break
		}
	}
	return got
}

// pin pins up to n bytes at addr; 0 when they are not in memory, but on a host file.
func (b *Buffer) pin(addr, n uint64, write bool) (uint64, error) {
	m, d := b.m, b.direct
	if len(d.segs) == maxSegments {
		return 0, nil
	}
	for range copyTries {
		m.activeMu.RLock()
		g := m.pmas.get(addr)
		if g == nil || !g.v.usable(write, false) {
			m.activeMu.RUnlock()
			if err := m.makeReady(addr, write, false); err != nil {
				return 0, unix.EFAULT
			}
			continue
		}
		if !g.v.inMemory() {
			m.activeMu.RUnlock()
			return 0, nil
		}
		n = min(n, g.end-addr)
		off := addr + g.v.delta
		first := off &^ (PageSize - 1)
		last, _ := roundUp(off + n)
		pinned := memRange{first, last - first}
		m.file.IncRef(pinned.off, pinned.length)
		m.activeMu.RUnlock()
		d.pins = append(d.pins, pinned)
		d.segs = append(d.segs, m.file.Bytes(off, n))
		return n, nil
	}
	return 0, unix.EFAULT
}

// bounce is WithBytes through a buffer, for pages on host files.
func (b *Buffer) bounce(want uint64, write bool, fn func(segs [][]byte) (int, error)) (int, error) {
	r := b.head()
	at := r.Start
	p := make([]byte, min(want, r.Length(), maxBounce))
	if write {
		// Nothing must be read that cannot be stored.
		room, err := b.m.writableFrom(uint64(at))
		if err != nil {
			return 0, err
		}
		p = p[:min(uint64(len(p)), room)]
		n, err := fn([][]byte{p})
		k, e := b.CopyOut(p[:clampCount(n, uint64(len(p)))])
		if err == nil {
			err = e
		}
		return k, err
	}
	k, err := b.m.CopyIn(at, p)
	if k == 0 && err != nil {
		return 0, err
	}
	n, err := fn([][]byte{p[:k]})
	n = clampCount(n, uint64(k))
	b.Skip(uint64(n))
	return n, err
}

// writableFrom tells how many bytes from addr on can be written in one piece.
func (m *MemoryManager) writableFrom(addr uint64) (uint64, error) {
	for range copyTries {
		m.activeMu.RLock()
		g := m.pmas.get(addr)
		if g != nil && g.v.usable(true, false) {
			defer m.activeMu.RUnlock()
			return g.end - addr, nil
		}
		m.activeMu.RUnlock()
		if m.makeReady(addr, true, false) != nil {
			break
		}
	}
	return 0, unix.EFAULT
}

// Package pipe has pipes and FIFOs.
//
// A Pipe is a ring of bytes and a queue of segments that remembers packets
// (O_DIRECT) and otherwise merges what was written. Its memory is allocated with the first
// write and grows up to its capacity.
//
// Writers hold writeMu and readers readMu for a whole call, so that each call's bytes
// stay together. The counters are guarded by mu, which is held while no byte is copied: a
// reader copies out of the filled part while a writer copies into the free part.
//
// Lock order: writeMu, readMu, then mm's locks for the copies, or mu. Notifications are
// sent without mu.
package pipe

import (
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Sizes, in bytes.
const (
	AtomicSize  = 4096  // PIPE_BUF: writes up to this are never split
	DefaultSize = 65536 // of a new pipe
	MaxSize     = 1 << 20
	leastSize   = 2 * AtomicSize // of a new pipe when there are too many
)

// Pipe is the object behind two descriptors or a FIFO. The zero Pipe is not ready: see newPipe.
type Pipe struct {
	queue waiter.Queue
	async waiter.Queue // as Linux sends SIGIO: each write and read, and the end of a side

	writeMu sync.Mutex
	readMu  sync.Mutex

	budget *vfs.Budget

	mu       sync.Mutex
	capacity int
	taken    int    // bytes of the budget
	ring     []byte // its length is a power of two, at most capacity
	start    int    // of the filled part
	filled   int
	segments []segment // oldest first, their lengths sum up to filled
	need     int       // free bytes that a writer waits for, 0 for nobody

	// Open files, and how many there ever were, for open(2) of FIFOs.
	readers, writers             int
	readersOpened, writersOpened uint64
}

// segment is a packet, or a run of bytes without borders.
type segment struct {
	length int
	packet bool
}

func newPipe(budget *vfs.Budget) *Pipe { return &Pipe{budget: budget} }

// provide makes a new pipe's capacity the default, or when the budget is used up the least
// there is. mu is held, or nobody knows the pipe.
func (p *Pipe) provide() {
	p.capacity = leastSize
	p.claim(DefaultSize)
}

// claim makes the capacity size, if the budget allows. mu is held.
func (p *Pipe) claim(size int) bool {
	taken := size
	if size <= leastSize {
		taken = 0 // not worth counting
	}
	if !p.budget.Take(int64(taken - p.taken)) {
		return false
	}
	p.capacity, p.taken = size, taken
	return true
}

// withdraw empties a pipe that nobody has open. mu is held.
func (p *Pipe) withdraw() {
	p.ring, p.start, p.filled, p.segments, p.need = nil, 0, 0, nil, 0
	p.budget.Take(int64(-p.taken))
	p.capacity, p.taken = 0, 0
}

// free is how many bytes may be written now. A packet takes a page of its own.
func (p *Pipe) free() int {
	used := p.filled
	if len(p.segments) > 1 || len(p.segments) == 1 && p.segments[0].packet {
		used = 0
		for _, s := range p.segments {
			if s.packet {
				used += AtomicSize
			} else {
				used += s.length
			}
		}
	}
	return max(p.capacity-used, 0)
}

// read moves bytes to dst: EAGAIN when there are none, 0 when there will be none.
func (p *Pipe) read(dst *mm.Buffer) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	p.readMu.Lock()
	defer p.readMu.Unlock()
	done, packet := 0, false
	for dst.Len() > 0 {
		seg, part, idle := p.front()
		if seg.length == 0 {
			if done == 0 && idle {
				return 0, unix.EAGAIN
			}
			break
		}
		if seg.packet && done > 0 && !packet {
			break
		}
		packet = seg.packet
		n, err := dst.CopyOut(part[:min(uint64(len(part)), dst.Len())])
		done += n
		ends := packet && err == nil && (dst.Len() == 0 || n == seg.length)
		if ends {
			n = seg.length // read or not
		}
		p.take(n)
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || ends {
			break
		}
	}
	return done, nil
}

// front returns the first segment and as much of it as lies in one piece; idle
// tells that more may come. readMu is held.
func (p *Pipe) front() (seg segment, part []byte, idle bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.segments) == 0 {
		return segment{}, nil, p.writers > 0
	}
	seg = p.segments[0]
	return seg, p.ring[p.start:min(len(p.ring), p.start+seg.length)], true
}

// take removes n bytes of the first segment, which has them. readMu is held.
func (p *Pipe) take(n int) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	before := p.free()
	p.advance(n)
	p.roomed(before)
}

func (p *Pipe) advance(n int) {
	p.start = (p.start + n) & (len(p.ring) - 1)
	p.filled -= n
	if p.segments[0].length -= n; p.segments[0].length == 0 {
		p.segments = p.segments[:copy(p.segments, p.segments[1:])]
	}
}

// roomed unlocks mu and tells writers if there is room for them that was not there before.
func (p *Pipe) roomed(before int) {
	now := p.free()
	tell := before < AtomicSize && now >= AtomicSize || p.need > 0 && now >= p.need
	if tell {
		p.need = 0
	}
	p.mu.Unlock()
	if tell {
		p.queue.Notify(waiter.Out | waiter.WrNorm)
	}
	if now > before {
		p.async.Notify(waiter.Out)
	}
}

// write moves bytes from src. Up to AtomicSize it is all or EAGAIN; more is
// written as far as there is room. EPIPE without readers.
func (p *Pipe) write(src *mm.Buffer, packets bool) (int, error) {
	total := src.Len()
	if total == 0 {
		return 0, nil
	}
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	done := 0
	for src.Len() > 0 {
		want := int(min(src.Len(), MaxSize))
		if packets {
			want = min(want, AtomicSize)
		}
		n, err := p.writeSome(src, want, packets, total <= AtomicSize || packets)
		done += n
		if err != nil {
			if done == 0 {
				return 0, err
			}
			break
		}
	}
	return done, nil
}

// writeSome writes up to want bytes, or with whole all of them or none. writeMu is held.
func (p *Pipe) writeSome(src *mm.Buffer, want int, packet, whole bool) (int, error) {
	p.mu.Lock()
	if p.readers == 0 {
		p.mu.Unlock()
		return 0, unix.EPIPE
	}
	free := p.free()
	least := 1
	if packet {
		least = AtomicSize
	} else if whole {
		least = want
	}
	if free < least {
		if !whole {
			least = AtomicSize // no wake-up for every byte
		}
		if p.need == 0 || least < p.need {
			p.need = least
		}
		p.mu.Unlock()
		return 0, unix.EAGAIN
	}
	want = min(want, free)
	grow := p.filled+want > len(p.ring)
	p.mu.Unlock()
	if grow {
		p.grow(want)
	}
	n, err := p.fill(src, want)
	if err != nil && whole {
		return 0, err
	}
	p.commit(n, packet)
	return n, err
}

// fill copies up to want bytes into the free part, which only writers change. writeMu is held.
func (p *Pipe) fill(src *mm.Buffer, want int) (int, error) {
	p.mu.Lock()
	ring := p.ring
	if p.filled == 0 {
		p.start = 0 // no reader looks at the ring now
	}
	end := (p.start + p.filled) & (len(ring) - 1)
	p.mu.Unlock()
	first := ring[end:min(len(ring), end+want)]
	n, err := src.CopyIn(first)
	if err != nil || n < len(first) || n == want {
		return n, err
	}
	m, err := src.CopyIn(ring[:want-n])
	return n + m, err
}

func (p *Pipe) commit(n int, packet bool) {
	if n == 0 {
		return
	}
	p.mu.Lock()
	p.filled += n
	last := len(p.segments) - 1
	if !packet && last >= 0 && !p.segments[last].packet {
		p.segments[last].length += n
	} else {
		p.segments = append(p.segments, segment{n, packet})
	}
	p.mu.Unlock()
	p.queue.Notify(waiter.In | waiter.RdNorm)
	p.async.Notify(waiter.In)
}

// grow makes the ring large enough for extra more bytes. writeMu is held.
func (p *Pipe) grow(extra int) {
	p.readMu.Lock()
	defer p.readMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	size := max(len(p.ring), AtomicSize)
	for size < p.filled+extra {
		size *= 2
	}
	if size > len(p.ring) {
		p.resize(size)
	}
}

// resize moves the content to a ring of the given size, a power of two. All locks are held.
func (p *Pipe) resize(size int) {
	ring := make([]byte, size)
	n := copy(ring, p.ring[p.start:min(len(p.ring), p.start+p.filled)])
	copy(ring[n:], p.ring[:p.filled-n])
	p.ring, p.start = ring, 0
}

// setCapacity is F_SETPIPE_SZ: rounded up to a power of two of pages; EBUSY when
// more than that is in the pipe, EPERM when all pipes have too much.
func (p *Pipe) setCapacity(size int) (int, error) {
	capacity := AtomicSize
	for capacity < size {
		capacity *= 2
	}
	p.writeMu.Lock()
	defer p.writeMu.Unlock()
	p.readMu.Lock()
	defer p.readMu.Unlock()
	p.mu.Lock()
	if p.capacity-p.free() > capacity {
		p.mu.Unlock()
		return 0, unix.EBUSY
	}
	before := p.free()
	if !p.claim(capacity) {
		p.mu.Unlock()
		return 0, unix.EPERM
	}
	if len(p.ring) > capacity {
		p.resize(capacity)
	}
	p.roomed(before)
	return capacity, nil
}

// peek returns a copy of up to n bytes without taking them.
func (p *Pipe) peek(n int) ([]byte, error) {
	p.readMu.Lock()
	defer p.readMu.Unlock()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.filled == 0 {
		if p.writers > 0 {
			return nil, unix.EAGAIN
		}
		return nil, nil
	}
	n = min(n, p.filled)
	data := make([]byte, n)
	k := copy(data, p.ring[p.start:min(len(p.ring), p.start+n)])
	copy(data[k:], p.ring)
	return data, nil
}

// put writes as much of data as there is room for.
func (p *Pipe) put(data []byte, packets bool) (int, error) {
	p.mu.Lock()
	free := p.free()
	p.mu.Unlock()
	if free == 0 {
		return 0, unix.EAGAIN
	}
	return p.write(mm.BytesBuffer(data[:min(len(data), free)]), packets)
}

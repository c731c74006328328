package pagetable

import (
	"sync"
)

const (
	// FrameSize is the size of a frame, and of a page, in bytes.
	FrameSize = 4096
	// BlockFrames is how many frames a Pool asks for at a time.
	BlockFrames = 2048
	entries     = 512
)

// Table is a frame: 512 entries.
type Table [entries]uint64

// Grow provides the memory of the n-th block: BlockFrames zeroed frames, of which the first has guest-physical
// address base + n*BlockFrames*FrameSize.
type Grow func(n int) ([]Table, error)

// Pool hands out frames.
type Pool struct {
	base   uint64
	limit  int // frames
	kernel uint64
	grow   Grow

	mu     sync.Mutex
	blocks []block
	used   int      // frames of the blocks that were ever handed out
	free   []uint64 // frames to use again
	aside  []uint64 // frames that shadows may live on of
}

// block is BlockFrames frames, with what is known of each.
type block struct {
	tables []Table
	notes  []note
}

// note is what is known of a frame that was handed out.
type note struct {
	users int32  // trees that it is part of
	born  uint64 // Tables.version when it was made
}

// NewPool returns a pool of at most limit frames from guest-physical address base on.
func NewPool(base uint64, limit int, grow Grow) *Pool {
	return &Pool{base: base, limit: limit, grow: grow}
}

// SetKernel makes entry the last one of every root made from now on.
func (p *Pool) SetKernel(entry uint64) { p.kernel = entry }

// Alloc returns a zeroed frame's address. ok is false when there is none left.
func (p *Pool) Alloc() (addr uint64, ok bool) { return p.alloc(0) }

// alloc is Alloc for a version of a tree.
func (p *Pool) alloc(version uint64) (addr uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.free); n > 0 {
		addr = p.free[n-1]
		p.free = p.free[:n-1]
		clear(p.table(addr)[:])
		*p.note(addr) = note{users: 1, born: version}
		return addr, true
	}
	if p.used == p.limit {
		return 0, false
	}
	if p.used == len(p.blocks)*BlockFrames {
		tables, err := p.grow(len(p.blocks))
		if err != nil {
			return 0, false
		}
		p.blocks = append(p.blocks, block{tables, make([]note, BlockFrames)})
	}
	addr = p.base + uint64(p.used)*FrameSize
	p.used++
	*p.note(addr) = note{users: 1, born: version}
	return addr, true
}

// SetAside takes back frames that nothing leads to any more and no processor uses.
func (p *Pool) SetAside(frames []uint64) {
	p.mu.Lock()
	p.aside = append(p.aside, frames...)
	p.mu.Unlock()
}

// share adds a user to each table that the entries of tab, one of the second level, lead to. It returns how many
// these are.
func (p *Pool) share(tab *Table) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range tab {
		if isBranch(e) {
			p.note(e&addrMask).users++
			n++
		}
	}
	return n
}

// unshare takes a user from each of these frames, and returns those that have none left, in the same memory.
func (p *Pool) unshare(frames []uint64) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	unused := frames[:0]
	for _, addr := range frames {
		n := p.note(addr)
		if n.users--; n.users == 0 {
			unused = append(unused, addr)
		}
	}
	return unused
}

// born tells which version of its tree a frame was made for.
func (p *Pool) born(addr uint64) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.note(addr).born
}

// Aside is the number of frames set aside.
func (p *Pool) Aside() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.aside)
}

// Left is how many frames Alloc can still return.
func (p *Pool) Left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit - p.used + len(p.free)
}

// Reuse has flush make every processor and shadow forget the frames set aside so far, and frees them.
func (p *Pool) Reuse(flush func()) {
	p.mu.Lock()
	aside := p.aside
	p.aside = nil
	p.mu.Unlock()
	flush()
	p.mu.Lock()
	p.free = append(p.free, aside...)
	p.mu.Unlock()
}

// Table returns the frame at addr, one of this pool's.
func (p *Pool) Table(addr uint64) *Table {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.table(addr)
}

// table is Table with mu held.
func (p *Pool) table(addr uint64) *Table {
	n := (addr - p.base) / FrameSize
	return &p.blocks[n/BlockFrames].tables[n%BlockFrames]
}

// note is what is known of the frame at addr. mu is held.
func (p *Pool) note(addr uint64) *note {
	n := (addr - p.base) / FrameSize
	return &p.blocks[n/BlockFrames].notes[n%BlockFrames]
}

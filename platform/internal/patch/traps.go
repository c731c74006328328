package patch

import (
	"io"
	"slices"
	"sync/atomic"

	"gosentry/platform"

	"golang.org/x/sys/unix"
)

const (
	// oftenRun is how often a program, or a library, is executed before CPUID is looked for in it: that takes some milliseconds, as long as several
	// hundred of these instructions where they are dear.
	oftenRun = 8
	// maxRuns bounds the files whose runs are counted, maxSeen those of one address space that are.
	maxRuns = 512
	maxSeen = 32
	// maxTrapped bounds the breakpoints of one address space, with those that have been unmapped.
	maxTrapped = 4096
	// maxSites and maxResults are for how many breakpoints and results there is room in a page.
	maxTrapSites = 127
	maxResults   = 128

	noPage = -1
)

// traps is what a Text knows of its breakpoints. They stand where CPUID was.
type traps struct {
	wanted bool      // more of them
	seen   []fileKey // files that are executed, in that case
	page   int       // of the store that says where they are, or noPage
	mapped atomic.Bool
	// at is where any were put, and whether nothing else was mapped there since. A thread may have met one just before it was taken away.
	at       map[uint64]bool
	from, to uint64 // all of them lie in [from, to)
	cuts     uint64 // how often something else was mapped where there were any
}

// trapPage is what the guest is shown of breakpoints.
type trapPage struct {
	sites   atomic.Uint32
	results atomic.Uint32
	site    [maxTrapSites]uint64
	result  [maxResults]result
}

// result is what CPUID leaves in EAX, EBX, ECX and EDX.
type result struct {
	leaf, sub uint32
	registers [4]uint32
}

// CatchCPUID has what is mapped until guest code runs, which is to say by exec, patched where CPUID is, if Config.TrapsAt says so. What a program maps itself it may
// read as well, as those do that translate others. Texts that begin as copies of others need it not: CPUID is what programs begin with.
func (t *Text) CatchCPUID() { t.traps.wanted = t.store != nil && t.store.cfg.TrapsAt != 0 }

// TrapsMapped tells whether the guest finds its breakpoints in a page at Config.TrapsAt. It may be called without the lock.
func (t *Text) TrapsMapped() bool { return t.traps.mapped.Load() }

// Trapped tells whether a breakpoint that was met at addr is one that stands for CPUID.
func (t *Text) Trapped(addr uint64) bool { return t.traps.at[addr] }

// Replaced tells whether a breakpoint that was met at addr may be one that stood for CPUID until something else was mapped there, so that what is there
// now is to be executed. seen belongs to the thread, which is told so once for each such change: a breakpoint that it meets again is the guest's own.
func (t *Text) Replaced(addr uint64, seen *uint64) bool {
	stands, had := t.traps.at[addr]
	if !had || stands || *seen == t.traps.cuts {
		return false
	}
	*seen = t.traps.cuts
	return true
}

// Leaves says what CPUID leaves for leaf and sub on whatever processor.
func (t *Text) Leaves(leaf, sub uint32, registers [4]uint32) {
	p := t.store
	p.mu.Lock()
	defer p.mu.Unlock()
	same := func(r result) bool { return r.leaf == leaf && r.sub == sub }
	if len(p.known) < maxResults && !slices.ContainsFunc(p.known, same) {
		p.known = append(p.known, result{leaf, sub, registers})
	}
	if t.traps.page != noPage {
		p.showResults(t.traps.page)
	}
}

// executes notes that file fd is executed.
func (t *Text) executes(key fileKey, fd int32) {
	if len(t.traps.seen) == maxSeen || slices.Contains(t.traps.seen, key) {
		return
	}
	t.traps.seen = append(t.traps.seen, key)
	if !t.store.executed(key) {
		return
	}
	own, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.store.looked()
		return
	}
	go func() {
		defer t.store.looked()
		defer unix.Close(own)
		t.store.trap(key, int32(own))
	}()
}

// fits tells whether there may be n more breakpoints.
func (t *traps) fits(n int) bool { return len(t.at)+n <= maxTrapped }

// addTraps says that the page at addr is about to have breakpoints at those offsets, for which there is room.
func (t *Text) addTraps(addr uint64, offsets []uint64) {
	if t.traps.at == nil {
		t.traps.at, t.traps.from = make(map[uint64]bool), addr
	}
	t.traps.from, t.traps.to = min(t.traps.from, addr), max(t.traps.to, addr+pageSize)
	for _, at := range offsets {
		t.traps.at[addr+at] = true
	}
	if t.traps.page == noPage {
		t.traps.page = t.store.takeTraps()
	}
	t.showTraps()
	if t.traps.page != noPage && !t.traps.mapped.Load() {
		t.queue.Add(platform.Change{Op: platform.Map, Prot: platform.Read, File: int32(t.store.fd), FileID: platform.PermanentID, Addr: t.store.cfg.TrapsAt, Length: pageSize,
			Offset: t.store.cfg.trapsAt() + uint64(t.traps.page)*pageSize})
		t.traps.mapped.Store(true)
	}
}

// cutTraps says that no breakpoints stand in [start, end), where something else is about to be.
func (t *Text) cutTraps(start, end uint64) {
	if end <= t.traps.from || t.traps.to <= start {
		return // as what most faults bring
	}
	cut := false
	for at, stood := range t.traps.at {
		if stood && start <= at && at < end {
			t.traps.at[at], cut = false, true
		}
	}
	if cut {
		t.traps.cuts++
		t.showTraps()
	}
}

// showTraps has the guest find its breakpoints. Those that there is no room for the platform is asked about.
func (t *Text) showTraps() {
	if t.traps.page == noPage {
		return
	}
	p := t.store.trapPage(t.traps.page)
	p.sites.Store(0)
	n := 0
	for at, stands := range t.traps.at {
		if stands && n < len(p.site) {
			p.site[n] = at
			n++
		}
	}
	p.sites.Store(uint32(n))
}

// executed notes that a file is executed once more, and tells whether that is when to look for CPUID: looked is to be called then. One
// file is looked through at a time, others wait for their next run: that takes memory and time.
func (p *Store) executed(key fileKey) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, known := p.runs[key]; !known && len(p.runs) == maxRuns {
		clear(p.runs) // what is run often counts up again
	}
	due := p.runs[key] == oftenRun-1
	if due && p.looking {
		return false
	}
	p.looking = p.looking || due
	p.runs[key]++
	return due
}

// looked says that a file has been looked through.
func (p *Store) looked() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.looking = false
}

// textFile is a file that is read by its descriptor, whose flags belong to others, too.
type textFile int32

// ReadAt implements io.ReaderAt.
func (f textFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := unix.Pread(int(f), b, at)
	if err == nil && n < len(b) {
		err = io.EOF
	}
	return max(n, 0), err
}

// trap makes versions of the pages of file fd in which every CPUID that is found is a breakpoint.
func (p *Store) trap(key fileKey, fd int32) {
	defer func() { _ = recover() }() // the decoder may meet bytes that nobody has thought of
	pages := make(map[uint64][]uint64)
	for _, at := range findCPUID(textFile(fd)) {
		pages[at&^(pageSize-1)] = append(pages[at&^(pageSize-1)], at%pageSize)
	}
	for offset, traps := range pages {
		text := make([]byte, pageSize)
		if n, err := textFile(fd).ReadAt(text, int64(offset)); n < pageSize && err != io.EOF {
			return
		}
		if now, ok := keyOf(fd); !ok || now != key {
			return
		}
		p.trapPages(key, offset, traps, text)
	}
}

// trapPages makes versions of a page that is text, with breakpoints at traps.
func (p *Store) trapPages(key fileKey, offset uint64, traps []uint64, text []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	had := p.pageLocked(key, offset)
	if p.pages+2 > maxVersions || had.traps != nil {
		return
	}
	had.traps = p.keep(version{traps: traps}, text)
	if had.jumps != nil {
		had.jumps = p.keep(version{traps: traps, sites: had.jumps.sites}, text)
	}
	p.setPage(key, offset, had)
}

// takeTraps returns a page for an address space, with the results that are known, or noPage.
func (p *Store) takeTraps() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.traps)
	if n == 0 {
		return noPage
	}
	i := p.traps[n-1]
	p.traps = p.traps[:n-1]
	p.showResults(i)
	return i
}

// showResults has page i say all results. mu is held.
func (p *Store) showResults(i int) {
	page := p.trapPage(i)
	for n := int(page.results.Load()); n < len(p.known); n++ {
		page.result[n] = p.known[n]
	}
	page.results.Store(uint32(len(p.known)))
}

// freeTraps takes page i back, if it is one. Nobody has it mapped; who gets it next is not to learn what was where.
func (p *Store) freeTraps(i int) {
	if i == noPage {
		return
	}
	page := p.trapPage(i)
	page.sites.Store(0)
	clear(page.site[:])
	p.mu.Lock()
	defer p.mu.Unlock()
	p.traps = append(p.traps, i)
}

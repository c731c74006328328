package mm

import (
	"bytes"
	"testing"

	"gosentry/platform"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// The model of an address space: a few dozen pages from modelBase on, each with
// its rights and its bytes. Shared pages are pointers that forks share.
const (
	modelBase  = 0x7000_0000_0000
	modelPages = 80
)

type modelPage struct {
	prot     platform.Prot
	shared   bool
	file     bool // of the host file
	fileOff  int  // page in it
	data     *[PageSize]byte
	wipe     bool
	dontFork bool
}

type modelSpace struct {
	m     *MemoryManager
	pages [modelPages]*modelPage
}

type model struct {
	w      *world
	host   *hostFile
	disk   []*[PageSize]byte // pages of host
	common *hostFile         // for shared mappings: what they do to private ones is not specified
	shared []*[PageSize]byte // pages of common
	spaces []*modelSpace
	focus  *modelSpace // if set, what pick returns
}

// newModel makes a model with a kind of AddressSpace: plain, counting, sharing or keeping.
func newModel(t testing.TB, kind string) *model {
	w := newWorldOn(t, &fakePlatform{share: kind == "sharing", keep: kind == "keeping"}, 1<<30)
	if kind == "counting" {
		s := w.p.spaces[0]
		w.m.as = countingSpace{s}
		w.m.space.Store(&spaceBox{w.m.as})
	}
	o := &model{w: w}
	content := make([]byte, 32*PageSize)
	for i := range content {
		content[i] = byte(i>>12 + 1)
	}
	o.host, o.common = newHostFile(t, content), newHostFile(t, content)
	for i := range 32 {
		o.disk = append(o.disk, (*[PageSize]byte)(content[i*PageSize:]))
		o.shared = append(o.shared, (*[PageSize]byte)(bytes.Clone(content[i*PageSize:][:PageSize])))
	}
	o.spaces = []*modelSpace{{m: w.m}}
	return o
}

func (o *model) pick(t *rapid.T) *modelSpace {
	if o.focus != nil {
		return o.focus
	}
	return o.spaces[rapid.IntRange(0, len(o.spaces)-1).Draw(t, "space")]
}

func span(t *rapid.T) (first, n int) {
	first = rapid.IntRange(0, modelPages-1).Draw(t, "first")
	n = min(modelPages-first, rapid.SampledFrom([]int{1, 1, 2, 5, 20, 40}).Draw(t, "pages"))
	return first, n
}

func at(page int) Addr { return modelBase + Addr(page)*PageSize }

func drawProt(t *rapid.T) platform.Prot {
	return rapid.SampledFrom([]platform.Prot{rw, rw, rw, platform.Read, 0, platform.Read | platform.Exec, platform.Write}).Draw(t, "prot")
}

// fresh is the page that a new mapping, or one that was discarded, has.
func (o *model) fresh(p *modelPage) {
	switch {
	case !p.file:
		p.data = new([PageSize]byte)
	case p.shared:
		p.data = o.shared[p.fileOff]
	default:
		p.data = nil // as the file
	}
}

func (o *model) bytesOf(p *modelPage) *[PageSize]byte {
	if p.data == nil {
		return o.disk[p.fileOff]
	}
	return p.data
}

func (o *model) mmap(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	prot := drawProt(t)
	kind := rapid.SampledFrom([]string{"private", "private", "shared", "file", "shared file"}).Draw(t, "kind")
	opts := MMapOpts{Addr: at(first), Length: uint64(n) * PageSize, Prot: prot, Fixed: true}
	opts.Private = kind == "private" || kind == "file"
	opts.Populate = rapid.Bool().Draw(t, "populate")
	off := 0
	if kind == "file" || kind == "shared file" {
		off = rapid.IntRange(0, 31).Draw(t, "offset")
		n = min(n, 32-off)
		opts.Length, opts.File, opts.Offset = uint64(n)*PageSize, o.host, uint64(off)*PageSize
		if kind == "shared file" {
			opts.File = o.common
		}
	}
	if a, err := s.m.MMap(opts); err != nil || a != at(first) {
		t.Fatalf("MMap(%+v): %#x %v", opts, a, err)
	}
	for i := range n {
		p := &modelPage{prot: prot, shared: !opts.Private, file: opts.File != nil, fileOff: off + i}
		o.fresh(p)
		s.pages[first+i] = p
	}
}

func (o *model) munmap(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	if err := s.m.MUnmap(at(first), uint64(n)*PageSize); err != nil {
		t.Fatalf("MUnmap: %v", err)
	}
	clear(s.pages[first : first+n])
}

func (o *model) mprotect(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	prot := drawProt(t)
	err := s.m.MProtect(at(first), uint64(n)*PageSize, prot, false)
	for i := first; i < first+n; i++ {
		if s.pages[i] == nil {
			if err != unix.ENOMEM {
				t.Fatalf("MProtect over a hole: %v", err)
			}
			return
		}
		p := *s.pages[i]
		p.prot = prot
		s.pages[i] = &p
	}
	if err != nil {
		t.Fatalf("MProtect: %v", err)
	}
}

func (o *model) madvise(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	advice := rapid.SampledFrom([]int{unix.MADV_DONTNEED, unix.MADV_WIPEONFORK, unix.MADV_KEEPONFORK, unix.MADV_DONTFORK, unix.MADV_DOFORK, unix.MADV_FREE}).Draw(t, "advice")
	hole, unfit := false, false
	for i := first; i < first+n; i++ {
		hole = hole || s.pages[i] == nil
		unfit = unfit || s.pages[i] != nil && (s.pages[i].file || s.pages[i].shared)
	}
	if unfit && (advice == unix.MADV_WIPEONFORK || advice == unix.MADV_FREE) {
		t.Skip("refused")
	}
	err := s.m.MAdvise(at(first), uint64(n)*PageSize, advice, nil)
	if hole && err != unix.ENOMEM || !hole && err != nil {
		t.Fatalf("MAdvise(%d): %v", advice, err)
	}
	for i := first; i < first+n; i++ {
		if s.pages[i] == nil {
			continue
		}
		p := *s.pages[i]
		s.pages[i] = &p
		switch advice {
		case unix.MADV_DONTNEED, unix.MADV_FREE:
			if !p.shared {
				o.fresh(&p)
			}
		case unix.MADV_WIPEONFORK:
			p.wipe = true
		case unix.MADV_KEEPONFORK:
			p.wipe = false
		case unix.MADV_DONTFORK:
			p.dontFork = true
		case unix.MADV_DOFORK:
			p.dontFork = false
		}
	}
}

// similar tells whether two pages, adjacent in memory, are in one vma for sure.
func similar(p, q *modelPage) bool {
	return p != nil && q != nil && p.prot == q.prot && p.wipe == q.wipe && p.dontFork == q.dontFork &&
		!p.shared && !q.shared && !p.file && !q.file
}

func (o *model) mremap(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	to, _ := span(t)
	if to+n > modelPages || to < first+n && first < to+n {
		t.Skip("overlaps")
	}
	for i := range n {
		if !similar(s.pages[first], s.pages[first+i]) {
			t.Skip("not one mapping")
		}
	}
	dontUnmap := rapid.Bool().Draw(t, "dontunmap")
	a, err := s.m.MRemap(MRemapOpts{Old: at(first), OldLength: uint64(n) * PageSize, New: at(to),
		NewLength: uint64(n) * PageSize, MayMove: true, Fixed: true, DontUnmap: dontUnmap})
	if err != nil || a != at(to) {
		t.Fatalf("MRemap: %#x %v", a, err)
	}
	copy(s.pages[to:to+n], s.pages[first:first+n])
	clear(s.pages[first : first+n])
	for i := 0; i < n && dontUnmap; i++ {
		p := *s.pages[to+i]
		o.fresh(&p)
		s.pages[first+i] = &p
	}
}

func (o *model) fork(t *rapid.T) {
	s := o.pick(t)
	if len(o.spaces) == 5 {
		t.Skip("enough")
	}
	m, err := s.m.Fork()
	if err != nil {
		t.Fatalf("Fork: %v", err)
	}
	c := &modelSpace{m: m}
	for i, p := range s.pages {
		if p == nil || p.dontFork {
			continue
		}
		q := *p
		if !p.shared && p.data != nil {
			d := *p.data
			q.data = &d
		}
		if p.wipe {
			o.fresh(&q)
		}
		c.pages[i] = &q
	}
	o.spaces = append(o.spaces, c)
}

func (o *model) exit(t *rapid.T) {
	if len(o.spaces) == 1 {
		t.Skip("the last")
	}
	i := rapid.IntRange(0, len(o.spaces)-1).Draw(t, "space")
	o.spaces[i].m.DecUsers()
	o.spaces = append(o.spaces[:i:i], o.spaces[i+1:]...)
}

// forkMuch forks a space that has much mapped, changes that a little, and touches it again, before or after the child ends.
func (o *model) forkMuch(t *rapid.T) {
	if len(o.spaces) == 5 {
		t.Skip("enough")
	}
	o.focus = o.pick(t)
	defer func() { o.focus = nil }()
	a, err := o.focus.m.MMap(MMapOpts{Addr: modelBase, Length: modelPages * PageSize, Prot: rw, Private: true, Fixed: true})
	if err != nil || a != modelBase {
		t.Fatalf("MMap: %#x %v", a, err)
	}
	for i := range modelPages {
		o.focus.pages[i] = &modelPage{prot: rw}
		o.fresh(o.focus.pages[i])
	}
	for range 8 {
		o.touch(t)
	}
	o.fork(t)
	changes := []func(*rapid.T){o.mmap, o.munmap, o.mprotect, o.madvise, o.mremap, o.touch, o.transfer}
	for range rapid.IntRange(0, 4).Draw(t, "changes") {
		rapid.SampledFrom(changes[:]).Draw(t, "change")(t)
	}
	if rapid.Bool().Draw(t, "ends") {
		child := o.spaces[len(o.spaces)-1]
		child.m.DecUsers()
		o.spaces = o.spaces[:len(o.spaces)-1]
	}
	for range 8 {
		o.touch(t)
	}
}

// touch is one access of the guest to one byte.
func (o *model) touch(t *rapid.T) {
	s := o.pick(t)
	i := rapid.IntRange(0, modelPages-1).Draw(t, "page")
	off := rapid.SampledFrom([]int{0, 1, PageSize - 1}).Draw(t, "offset")
	write := rapid.Bool().Draw(t, "write")
	known := rapid.Bool().Draw(t, "known")
	value := rapid.Byte().Draw(t, "value")
	b := value
	err := access(s.m, at(i)+Addr(off), write, known, &b)
	p := s.pages[i]
	if ok := p != nil && allowed(p.prot, platform.Write) || p != nil && p.prot != 0 && !write; !ok {
		f, is := err.(*FaultError)
		if !is || f.MapErr != (p == nil) {
			t.Fatalf("access to page %d (%+v): %v", i, p, err)
		}
		return
	}
	if err != nil {
		t.Fatalf("access to page %d (%+v), write %v: %v", i, p, write, err)
	}
	o.saw(t, s, i, off, []byte{b}, write)
}

// saw checks bytes that were read, or stores those that were written, in one page.
func (o *model) saw(t *rapid.T, s *modelSpace, page, off int, b []byte, write bool) {
	p := s.pages[page]
	if !write {
		if want := o.bytesOf(p)[off:][:len(b)]; !bytes.Equal(b, want) {
			i := 0
			for b[i] == want[i] {
				i++
			}
			t.Fatalf("page %d (prot %d shared %v file %v) at %d reads %d, want %d", page, p.prot, p.shared, p.file, off+i, b[i], want[i])
		}
		return
	}
	if p.data == nil {
		d := *o.bytesOf(p)
		p.data = &d
	}
	copy(p.data[off:], b)
}

// transfer is CopyIn or CopyOut over several pages.
func (o *model) transfer(t *rapid.T) {
	s := o.pick(t)
	first, n := span(t)
	off := rapid.SampledFrom([]int{0, 5, PageSize - 2}).Draw(t, "offset")
	write := rapid.Bool().Draw(t, "write")
	length := min(n*PageSize, (modelPages-first)*PageSize-off)
	b := bytes.Repeat([]byte{rapid.Byte().Draw(t, "value")}, length)
	want := 0
	for want < length {
		p := s.pages[first+(off+want)/PageSize]
		if p == nil || p.prot == 0 || write && p.prot&platform.Write == 0 {
			break
		}
		want = min(length, want+PageSize-(off+want)%PageSize)
	}
	var got int
	var err error
	if write {
		got, err = s.m.CopyOut(at(first)+Addr(off), b)
	} else {
		got, err = s.m.CopyIn(at(first)+Addr(off), b)
	}
	if got != want || (err != nil) != (got < length) || err != nil && err != unix.EFAULT {
		t.Fatalf("copied %d bytes of %d, want %d: %v", got, length, want, err)
	}
	for done := 0; done < got; {
		page, in := first+(off+done)/PageSize, (off+done)%PageSize
		k := min(got-done, PageSize-in)
		o.saw(t, s, page, in, b[done:done+k], write)
		done += k
	}
}

func TestAgainstModel(t *testing.T) {
	for _, kind := range []string{"plain", "counting", "sharing", "keeping"} {
		t.Run(kind, func(t *testing.T) {
			rapid.Check(t, func(r *rapid.T) {
				o := newModel(t, kind)
				r.Cleanup(func() {
					o.w.f.Release()
					o.host.f.Close()
					o.common.f.Close()
				})
				r.Repeat(map[string]func(*rapid.T){
					"mmap": o.mmap, "mmap2": o.mmap, "munmap": o.munmap, "mprotect": o.mprotect, "madvise": o.madvise, "mremap": o.mremap,
					"fork": o.fork, "fork much": o.forkMuch, "exit": o.exit, "touch": o.touch, "touch2": o.touch, "touch3": o.touch, "transfer": o.transfer, "transfer2": o.transfer,
					"drop": func(t *rapid.T) { space(o.pick(t).m).drop() },
					"fail": func(t *rapid.T) { space(o.pick(t).m).fail = unix.ENOMEM },
					"":     func(t *rapid.T) { o.check(t) },
				})
				for _, s := range o.spaces {
					s.m.DecUsers()
				}
				if n := o.w.f.Usage(); n != 0 {
					r.Fatalf("%d bytes are left allocated", n)
				}
				for _, h := range []*hostFile{o.host, o.common} {
					if h.mapped() != 0 || !h.Empty() {
						r.Fatalf("%d bytes of the file are still mapped", h.mapped())
					}
				}
			})
		})
	}
}

// check verifies the package's invariants.
func (o *model) check(t *rapid.T) {
	refs := map[uint64]uint32{}
	files := map[*anonFile]bool{}
	for _, s := range o.spaces {
		s.m.vmas.check(t, true)
		s.m.pmas.check(t, false)
		for p := s.m.vmas.first(); s.m.vmas.ok(p); p = s.m.vmas.next(p) {
			if f, ok := s.m.vmas.at(p).v.file.(*anonFile); ok {
				files[f] = true
			}
		}
		for p := s.m.pmas.first(); s.m.pmas.ok(p); p = s.m.pmas.next(p) {
			g := s.m.pmas.at(p)
			for a := g.start; a < g.end; a += PageSize {
				v := s.m.vmas.get(a)
				if v == nil || v.v.prot != g.v.prot {
					t.Fatalf("pma %#x %+v in vma %+v", a, g.v, v)
				}
				if g.v.inMemory() {
					refs[a+g.v.delta]++
				}
			}
		}
		o.checkSpace(t, s.m)
	}
	for f := range files {
		f.pages.each(0, f.size, func(a, b uint64, p anonPages) bool {
			for ; a < b; a += PageSize {
				refs[a+p.delta]++
			}
			return true
		})
	}
	n := 0
	o.w.f.refs.each(0, ^uint64(0), func(a, b uint64, r refCount) bool {
		for ; a < b; a += PageSize {
			if refs[a] != r.n {
				t.Fatalf("page %#x of the memory file has %d references, should have %d", a, r.n, refs[a])
			}
			n++
		}
		return true
	})
	if n != len(refs) {
		t.Fatalf("%d pages allocated, %d in use", n, len(refs))
	}
}

// checkSpace verifies that the host maps nothing that the record does not have.
func (o *model) checkSpace(t *rapid.T, m *MemoryManager) {
	for a, page := range space(m).pages {
		g := m.pmas.get(a)
		if g == nil {
			t.Fatalf("%#x is mapped without a pma", a)
		}
		c := m.mapChange(g.start, g.end, g.v)
		if page.fd != c.File || page.off != c.Offset+a-g.start || page.prot&^g.v.host != 0 || g.v.host&^g.v.rights() != 0 {
			t.Fatalf("%#x is mapped as %+v, the pma is %+v", a, page, g.v)
		}
	}
}

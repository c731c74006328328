package loader

import (
	"debug/elf"
	"errors"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// space is the address space that a program is mapped into.
type space struct {
	mm     *mm.MemoryManager
	limits *limits.Set
	layout mm.Layout // addresses are below its Max, far from where sums wrap
}

// placed is a program in memory. Addresses are final.
type placed struct {
	bias       uint64 // what was added to the file's addresses, modulo 2^64
	end        uint64 // behind the last page
	entry      uint64
	code, data mm.Range
}

// place maps p. A position-independent program goes to hint if that is not 0
// and is free, else where the address space has room.
func (s *space) place(p *program, hint uint64) (placed, error) {
	start, end, align, err := p.extent(uint64(s.layout.Max))
	if err != nil {
		return placed{}, err
	}
	base, err := s.reserve(start, end, align, hint, p.dynamic)
	if err != nil {
		return placed{}, err
	}
	l := placed{bias: base - start, end: base + (end - start)}
	file, err := mappable(p.head.file)
	if err != nil {
		return placed{}, err
	}
	covered := base
	for i := range p.segments {
		seg := p.segments[i]
		if seg.typ != elf.PT_LOAD || seg.memsz == 0 {
			continue
		}
		seg.vaddr += l.bias
		if err := s.mapSegment(p.head.file, file, &seg); err != nil {
			return placed{}, err
		}
		if err := s.openGap(covered, pageDown(seg.vaddr)); err != nil {
			return placed{}, err
		}
		covered = max(covered, pageUp(seg.vaddr+seg.memsz))
		l.account(&seg)
	}
	l.entry = p.entry + l.bias
	if l.entry >= uint64(s.layout.Max) {
		return placed{}, unix.EINVAL
	}
	return l, nil
}

// reserve takes the addresses [start, end), or as many elsewhere for a
// position-independent program, so that its segments cannot land on anything else.
func (s *space) reserve(start, end, align, hint uint64, dynamic bool) (uint64, error) {
	o := mm.MMapOpts{Length: end - start, Private: true, Limits: s.limits}
	switch {
	case !dynamic:
		o.Addr, o.Fixed, o.NoReplace = mm.Addr(start), true, true
	case hint != 0:
		o.Addr = mm.Addr(hint&^(align-1) + start%align)
	case align > mm.PageSize:
		o.Length += align
	}
	got, err := s.mm.MMap(o)
	if err != nil {
		return 0, err
	}
	base := uint64(got)
	if dynamic && hint == 0 && align > mm.PageSize {
		aligned := (base-start+align-1)&^(align-1) + start
		if err := s.openGap(base, aligned); err != nil {
			return 0, err
		}
		if err := s.openGap(aligned+end-start, base+o.Length); err != nil {
			return 0, err
		}
		base = aligned
	}
	return base, nil
}

// openGap unmaps [start, end), if that is not empty.
func (s *space) openGap(start, end uint64) error {
	if start >= end {
		return nil
	}
	return s.mm.MUnmap(mm.Addr(start), end-start)
}

// mapSegment maps one PT_LOAD, whose vaddr is final.
func (s *space) mapSegment(from *vfs.File, file mm.Mappable, seg *segment) error {
	prot := protOf(seg.flags)
	pageOff := seg.vaddr % mm.PageSize
	start := seg.vaddr - pageOff
	fileEnd := start
	if seg.filesz > 0 {
		fileEnd = pageUp(seg.vaddr + seg.filesz)
		err := s.fixed(mm.MMapOpts{
			Addr: mm.Addr(start), Length: fileEnd - start, Prot: prot,
			File: file, Offset: seg.off - pageOff, Source: from.Path(),
		})
		if err != nil {
			return err
		}
	}
	if seg.memsz == seg.filesz {
		return nil
	}
	// The rest of the last page shows what follows in the file: it must be zeros. Where the
	// segment cannot be written, Linux leaves it.
	if tail := seg.vaddr + seg.filesz; tail < fileEnd && prot&platform.Write != 0 {
		if _, err := s.mm.ZeroOut(mm.Addr(tail), fileEnd-tail); err != nil {
			return err
		}
	}
	if end := pageUp(seg.vaddr + seg.memsz); end > fileEnd {
		return s.fixed(mm.MMapOpts{Addr: mm.Addr(fileEnd), Length: end - fileEnd, Prot: prot})
	}
	return nil
}

// fixed maps privately at o.Addr, over the reservation or an earlier segment.
func (s *space) fixed(o mm.MMapOpts) error {
	o.Private, o.Fixed, o.Limits = true, true, s.limits
	_, err := s.mm.MMap(o)
	return err
}

// account records where a segment's code or data lies, from the lowest to the highest.
func (l *placed) account(seg *segment) {
	r := &l.data
	if seg.flags&elf.PF_X != 0 {
		r = &l.code
	}
	start, end := mm.Addr(seg.vaddr), mm.Addr(seg.vaddr+seg.filesz)
	if r.End == 0 {
		*r = mm.Range{Start: start, End: end}
	}
	r.Start, r.End = min(r.Start, start), max(r.End, end)
}

func protOf(f elf.ProgFlag) platform.Prot {
	var p platform.Prot
	if f&elf.PF_R != 0 {
		p |= platform.Read
	}
	if f&elf.PF_W != 0 {
		p |= platform.Write
	}
	if f&elf.PF_X != 0 {
		p |= platform.Exec
	}
	return p
}

// mappable returns f's pages. ENOEXEC where a file cannot be mapped.
func mappable(f *vfs.File) (mm.Mappable, error) {
	m, err := f.Mappable()
	if errors.Is(err, unix.ENODEV) {
		err = unix.ENOEXEC
	}
	return m, err
}

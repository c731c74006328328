package coredump

import (
	"bytes"
	"debug/elf"
	"io"

	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// Dump is a process to be written.
type Dump struct {
	Process Process
	Threads []Thread // the one that ended the process first
	Memory  *mm.MemoryManager
	Filter  uint32 // bits as in /proc/PID/coredump_filter (core(5))
	// FileName returns the name of a mapping's file, "" where it has none.
	FileName func(*mm.VMA) string
	Limit    uint64 // of what is written, bytes; holes do not count
}

// Bits of Filter (core(5)).
const (
	AnonymousPrivate = 1 << 0
	AnonymousShared  = 1 << 1
	FilePrivate      = 1 << 2
	FileShared       = 1 << 3
	ELFHeaders       = 1 << 4
)

const (
	headerSize  = 64
	programSize = 56
	// maxPrograms is what fits the header's count of program headers.
	maxPrograms = 0xfffe
)

// piece is a mapping, or a part of a private one of a file that is alike: the process's own copies, or
// the file's pages.
type piece struct {
	mm.VMA
	copied bool
}

// segment is a piece and how much of it the file holds.
type segment struct {
	vma  piece
	size uint64
	off  uint64
}

// Write writes the dump to w. EFBIG: it would be longer than the limit; other
// errors are w's.
func (d *Dump) Write(w io.WriterAt) error {
	var vmas []mm.VMA
	var pieces []piece
	d.Memory.VMAs(func(v mm.VMA) bool {
		vmas = append(vmas, v)
		pieces = append(pieces, d.split(v)...)
		return len(pieces) < maxPrograms
	})
	pieces = pieces[:min(len(pieces), maxPrograms)]
	notes := d.notes(vmas)
	segments, end := d.place(pieces, uint64(len(notes)))
	head := heading(segments, notes)
	out := &limited{w: w, left: d.Limit}
	if err := out.write(head, 0); err != nil {
		return err
	}
	for i := range segments {
		if err := d.writeSegment(out, &segments[i]); err != nil {
			return err
		}
	}
	if out.end < end {
		return out.write([]byte{0}, end-1)
	}
	return nil
}

// split divides a private mapping of a file into what the process wrote to and what it did not.
func (d *Dump) split(v mm.VMA) []piece {
	if v.File == nil || !v.Private {
		return []piece{{v, false}}
	}
	var list []piece
	add := func(start, end mm.Addr, copied bool) {
		if start < end {
			p := piece{v, copied}
			p.Offset += uint64(start - v.Start)
			p.Range = mm.Range{Start: start, End: end}
			list = append(list, p)
		}
	}
	at := v.Start
	for _, r := range d.Memory.Copies(v.Range) {
		add(at, r.Start, false)
		add(r.Start, r.End, true)
		at = r.End
	}
	add(at, v.End, false)
	return list
}

// limited is a file that takes so many bytes and no more.
type limited struct {
	w    io.WriterAt
	left uint64
	end  uint64 // of what was written last
}

func (l *limited) write(p []byte, off uint64) error {
	if uint64(len(p)) > l.left {
		return unix.EFBIG
	}
	l.left -= uint64(len(p))
	l.end = off + uint64(len(p))
	_, err := l.w.WriteAt(p, int64(off))
	return err
}

// place gives every mapping its place in the file and returns the file's length.
func (d *Dump) place(vmas []piece, notes uint64) ([]segment, uint64) {
	at := pageUp(headerSize + programSize*uint64(len(vmas)+1) + notes)
	segments := make([]segment, 0, len(vmas))
	for _, v := range vmas {
		s := segment{vma: v, size: d.dumped(v), off: at}
		at += s.size
		segments = append(segments, s)
	}
	return segments, at
}

func pageUp(n uint64) uint64 { return (n + mm.PageSize - 1) &^ (mm.PageSize - 1) }

// dumped tells how many bytes of a mapping the file is to hold.
func (d *Dump) dumped(v piece) uint64 {
	whole := uint64(v.End - v.Start)
	has := func(bit uint32) bool { return d.Filter&bit != 0 }
	switch {
	case v.DontDump:
		return 0
	case v.Name == vdsoName:
		return whole
	case v.File == nil, v.copied:
		if has(AnonymousPrivate) {
			return whole
		}
	case v.Private && has(FilePrivate), !v.Private && v.Ino == 0 && has(AnonymousShared), !v.Private && v.Ino != 0 && has(FileShared):
		return whole
	}
	if has(ELFHeaders) && v.Private && v.Offset == 0 && d.startsWithELF(v) {
		return mm.PageSize
	}
	return 0
}

// vdsoName is the mapping that no file on disk can stand in for.
const vdsoName = "[vdso]"

func (d *Dump) startsWithELF(v piece) bool {
	var magic [len(elf.ELFMAG)]byte
	_, err := d.Memory.CopyInForce(v.Start, magic[:])
	return err == nil && string(magic[:]) == elf.ELFMAG
}

// heading is everything before the memory.
func heading(segments []segment, notes []byte) []byte {
	var b bytes.Buffer
	h := header(len(segments) + 1)
	put(&b, &h)
	put(&b, elf.Prog64{
		Type: uint32(elf.PT_NOTE), Off: headerSize + programSize*uint64(len(segments)+1), Filesz: uint64(len(notes)), Align: 4,
	})
	for _, s := range segments {
		put(&b, elf.Prog64{
			Type: uint32(elf.PT_LOAD), Flags: programFlags(s.vma.Prot), Off: s.off, Vaddr: uint64(s.vma.Start),
			Filesz: s.size, Memsz: uint64(s.vma.End - s.vma.Start), Align: mm.PageSize,
		})
	}
	b.Write(notes)
	return b.Bytes()
}

func programFlags(p platform.Prot) uint32 {
	var f elf.ProgFlag
	for prot, flag := range map[platform.Prot]elf.ProgFlag{platform.Read: elf.PF_R, platform.Write: elf.PF_W, platform.Exec: elf.PF_X} {
		if p&prot != 0 {
			f |= flag
		}
	}
	return uint32(f)
}

// writeSegment writes the pages of a mapping that hold something.
func (d *Dump) writeSegment(w *limited, s *segment) error {
	var page, zero [mm.PageSize]byte
	for done := uint64(0); done < s.size; {
		vec := make([]byte, min(window, (s.size-done)/mm.PageSize))
		d.look(s, done, vec)
		for _, present := range vec {
			at, off := s.vma.Start+mm.Addr(done), s.off+done
			done += mm.PageSize
			if present == 0 {
				continue
			}
			n, _ := d.Memory.CopyInForce(at, page[:])
			if bytes.Equal(page[:n], zero[:n]) {
				continue
			}
			if err := w.write(page[:n], off); err != nil {
				return err
			}
		}
	}
	return nil
}

// window is how many pages are asked for at once.
const window = 4096

// look marks the pages of a mapping that may hold something. Of memory without a
// file those are the resident ones; a page of a file need not be resident.
func (d *Dump) look(s *segment, from uint64, vec []byte) {
	if s.vma.File == nil && d.Memory.Mincore(s.vma.Start+mm.Addr(from), vec) == nil {
		return
	}
	for i := range vec {
		vec[i] = 1
	}
}

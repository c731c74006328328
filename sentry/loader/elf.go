package loader

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

var le = binary.LittleEndian

// Sizes of the parts of an ELF64 file, in bytes, and bounds on what is read of one.
const (
	ehdrSize    = 64
	phdrSize    = 56
	maxPhdrs    = 65536 / phdrSize
	headSize    = 1024 // usually holds all that is needed
	maxInterp   = unix.PathMax
	elfIdentEnd = 16
)

// head is a file of which the first bytes have been read.
type head struct {
	caller vfs.Caller
	file   *vfs.File
	buf    []byte // at most headSize bytes, fewer if the file ends there
}

// readHead reads the start of f. EACCES for what is no regular file.
func readHead(c vfs.Caller, f *vfs.File) (*head, error) {
	if f.FileType() != unix.S_IFREG {
		return nil, unix.EACCES
	}
	h := &head{caller: c, file: f, buf: make([]byte, headSize)}
	n, err := h.pread(h.buf, 0)
	if err != nil {
		return nil, err
	}
	h.buf = h.buf[:n]
	return h, nil
}

// pread reads up to len(b) bytes at off, fewer only at the end of the file.
func (h *head) pread(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		n, err := h.file.PRead(h.caller, mm.BytesBuffer(b[done:]), off+int64(done))
		if err != nil {
			return done, err
		}
		if n <= 0 {
			break
		}
		done += n
	}
	return done, nil
}

// readAt reads all of b at off. EIO where the file ends before.
func (h *head) readAt(b []byte, off uint64) error {
	if off <= uint64(len(h.buf)) && uint64(len(b)) <= uint64(len(h.buf))-off {
		copy(b, h.buf[off:])
		return nil
	}
	if off > 1<<63-1-uint64(len(b)) {
		return unix.EIO
	}
	n, err := h.pread(b, int64(off))
	if err == nil && n < len(b) {
		err = unix.EIO
	}
	return err
}

func (h *head) isScript() bool { return len(h.buf) >= 2 && h.buf[0] == '#' && h.buf[1] == '!' }

// script returns what parseScript looks at.
func (h *head) script() []byte {
	line := make([]byte, scriptLine)
	copy(line, h.buf)
	return line
}

// segment is a program header.
type segment struct {
	typ    elf.ProgType
	flags  elf.ProgFlag
	off    uint64
	vaddr  uint64
	filesz uint64
	memsz  uint64
	align  uint64
}

// program is an ELF file whose headers are sound as far as they can be judged
// without an address space.
type program struct {
	head     *head
	dynamic  bool // position-independent
	osabi    byte
	entry    uint64
	phoff    uint64
	phnum    int
	segments []segment
}

// parseELF reads the headers. Whatever makes the file none of ours is the error
// bad; errors of reading come as they are.
func parseELF(h *head, bad unix.Errno) (*program, error) {
	if len(h.buf) < ehdrSize {
		return nil, bad
	}
	b := h.buf
	typ := elf.Type(le.Uint16(b[16:]))
	switch {
	case string(b[:4]) != elf.ELFMAG,
		elf.Class(b[elf.EI_CLASS]) != elf.ELFCLASS64,
		elf.Data(b[elf.EI_DATA]) != elf.ELFDATA2LSB,
		elf.Machine(le.Uint16(b[18:])) != elf.EM_X86_64,
		typ != elf.ET_EXEC && typ != elf.ET_DYN:
		return nil, bad
	}
	p := &program{
		head:    h,
		dynamic: typ == elf.ET_DYN,
		osabi:   b[elf.EI_OSABI],
		entry:   le.Uint64(b[24:]),
		phoff:   le.Uint64(b[32:]),
		phnum:   int(le.Uint16(b[56:])),
	}
	if le.Uint16(b[54:]) != phdrSize || p.phnum == 0 || p.phnum > maxPhdrs {
		return nil, bad
	}
	table := make([]byte, p.phnum*phdrSize)
	if err := h.readAt(table, p.phoff); err != nil {
		if errors.Is(err, unix.EIO) {
			err = bad
		}
		return nil, err
	}
	for ; len(table) > 0; table = table[phdrSize:] {
		p.segments = append(p.segments, decodeSegment(table))
	}
	return p, nil
}

func decodeSegment(b []byte) segment {
	return segment{
		typ:    elf.ProgType(le.Uint32(b[0:])),
		flags:  elf.ProgFlag(le.Uint32(b[4:])),
		off:    le.Uint64(b[8:]),
		vaddr:  le.Uint64(b[16:]),
		filesz: le.Uint64(b[32:]),
		memsz:  le.Uint64(b[40:]),
		align:  le.Uint64(b[48:]),
	}
}

// first returns the first segment of type typ, nil if there is none.
func (p *program) first(typ elf.ProgType) *segment {
	for i := range p.segments {
		if p.segments[i].typ == typ {
			return &p.segments[i]
		}
	}
	return nil
}

// interpreter returns the name in PT_INTERP, "" if there is none.
func (p *program) interpreter() (string, error) {
	s := p.first(elf.PT_INTERP)
	if s == nil {
		return "", nil
	}
	if s.filesz < 2 || s.filesz > maxInterp {
		return "", unix.ENOEXEC
	}
	name := make([]byte, s.filesz)
	if err := p.head.readAt(name, s.off); err != nil {
		return "", err
	}
	if name[len(name)-1] != 0 {
		return "", unix.ENOEXEC
	}
	return string(untilNUL(name)), nil
}

// execStack tells whether the program asks for a stack with code on it. Without
// PT_GNU_STACK it does not get one: that is so for 64-bit programs on Linux.
func (p *program) execStack() bool {
	s := p.first(elf.PT_GNU_STACK)
	return s != nil && s.flags&elf.PF_X != 0
}

// extent returns the addresses, whole pages, from the lowest to the highest
// PT_LOAD, and the largest alignment that one asks for, in bytes. EINVAL if one cannot be within
// limit bytes, or its place in the file does not fit its place in memory.
func (p *program) extent(limit uint64) (start, end, align uint64, err error) {
	start, align = limit, mm.PageSize
	for i := range p.segments {
		s := &p.segments[i]
		if s.typ != elf.PT_LOAD {
			continue
		}
		if s.filesz > s.memsz || s.memsz > limit || s.vaddr > limit-s.memsz {
			return 0, 0, 0, unix.EINVAL
		}
		// filesz is at most limit by now, far from where the sum wraps.
		if s.filesz > 0 && (s.off%mm.PageSize != s.vaddr%mm.PageSize || s.off > 1<<63-1-limit) {
			return 0, 0, 0, unix.EINVAL
		}
		if s.memsz == 0 {
			continue
		}
		start = min(start, pageDown(s.vaddr))
		end = max(end, pageUp(s.vaddr+s.memsz))
		if s.align&(s.align-1) == 0 && s.align <= maxAlign {
			align = max(align, s.align)
		}
	}
	if start >= end {
		return 0, 0, 0, unix.EINVAL
	}
	return start, end, align, nil
}

// phdrAddr is where the program headers are in memory, before relocation; 0 if they are not.
func (p *program) phdrAddr() uint64 {
	for _, s := range p.segments {
		if s.typ == elf.PT_LOAD && s.off <= p.phoff && p.phoff-s.off < s.filesz {
			return p.phoff - s.off + s.vaddr
		}
	}
	return 0
}

// maxAlign bounds the alignment that a program can ask for: huge pages of 1 GiB.
const maxAlign = 1 << 30

func pageDown(a uint64) uint64 { return a &^ (mm.PageSize - 1) }

// pageUp does not look for wrapping: callers pass addresses below the end of user space.
func pageUp(a uint64) uint64 { return (a + mm.PageSize - 1) &^ (mm.PageSize - 1) }

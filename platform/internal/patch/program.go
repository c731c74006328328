package patch

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"io"
	"slices"
)

// Bounds on what is read of a program's file.
const (
	maxSections = 128
	maxNames    = 1 << 12 // bytes, of sections' names
	maxUnwind   = 2 << 20 // bytes
	maxCode     = 4 << 20 // bytes
)

// program is what is read of an ELF file (elf(5)), of which nothing is believed.
type program struct {
	code      []byte // of its only executable segment
	offset    uint64 // of that in the file
	addr      uint64 // where it is to be
	functions []function
}

// function is where an entry of the section .eh_frame says that a function is.
type function struct{ start, end uint64 }

// readProgram reads a program or a library for x86-64. ok is false for other files, for those that are too large and for those that
// say nothing of their functions.
func readProgram(r io.ReaderAt) (p program, ok bool) {
	const header, segment, machine, load, executable = 64, 56, 62, 1, 1
	le := binary.LittleEndian
	h := readPart(r, 0, header, header)
	if h == nil || string(h[:6]) != "\x7fELF\x02\x01" || le.Uint16(h[18:]) != machine {
		return p, false
	}
	for s := range slices.Chunk(readPart(r, le.Uint64(h[32:]), uint64(le.Uint16(h[56:]))*segment, maxSections*segment), segment) {
		if le.Uint32(s) != load || le.Uint32(s[4:])&executable == 0 {
			continue
		}
		if p.code != nil {
			return p, false
		}
		p.offset, p.addr = le.Uint64(s[8:]), le.Uint64(s[16:])
		p.code = readPart(r, p.offset, le.Uint64(s[32:]), maxCode)
	}
	if p.code == nil || p.addr+uint64(len(p.code)) < p.addr {
		return p, false
	}
	frames, at := unwinding(r, h)
	p.functions = functions(frames, at)
	return p, len(p.functions) > 0
}

// readPart reads a part of a file, nil if there is nothing or too much.
func readPart(r io.ReaderAt, offset, length, most uint64) []byte {
	if length == 0 || length > most || offset > 1<<62 {
		return nil
	}
	b := make([]byte, length)
	if _, err := r.ReadAt(b, int64(offset)); err != nil {
		return nil
	}
	return b
}

// unwinding reads the section .eh_frame of the file with header h, which is to be at address at.
func unwinding(r io.ReaderAt, h []byte) (frames []byte, at uint64) {
	const section = 64
	le := binary.LittleEndian
	all := readPart(r, le.Uint64(h[40:]), uint64(le.Uint16(h[60:]))*section, maxSections*section)
	part := func(i, most uint64) []byte {
		if i >= uint64(len(all)/section) {
			return nil
		}
		return readPart(r, le.Uint64(all[i*section+24:]), le.Uint64(all[i*section+32:]), most)
	}
	names := part(uint64(le.Uint16(h[62:])), maxNames)
	for i := range uint64(len(all) / section) {
		s := all[i*section:]
		if name := le.Uint32(s); name < uint32(len(names)) && bytes.HasPrefix(names[name:], []byte(".eh_frame\x00")) {
			return part(i, maxUnwind), le.Uint64(s[16:])
		}
	}
	return nil, 0
}

// functions returns what the entries of .eh_frame at address at are about, in the order of their addresses (Linux Standard Base, Core, 10.6). Those that are
// written in another way than compilers do are left out.
func functions(frames []byte, at uint64) (list []function) {
	le := binary.LittleEndian
	known := make(map[int]bool) // whether the entries of a common one can be read, by its place
	for pos := 0; pos+8 <= len(frames); {
		length := int(le.Uint32(frames[pos:]))
		id, next := pos+4, pos+4+length
		if length < 4 || next > len(frames) {
			break
		}
		back := int(le.Uint32(frames[id:]))
		switch {
		case back == 0:
			known[pos] = relative(frames[id+4 : next])
		case known[id-back] && next >= id+12:
			start := at + uint64(id) + 4 + uint64(int64(int32(le.Uint32(frames[id+4:]))))
			list = append(list, function{start, start + uint64(le.Uint32(frames[id+8:]))})
		}
		pos = next
	}
	slices.SortFunc(list, func(a, b function) int { return cmp.Compare(a.start, b.start) })
	return list
}

// relative tells whether the common entry b has those that belong to it begin with the distance of the function, and its length, in four bytes each.
func relative(b []byte) bool {
	const distance, pointerSize = 0x1b, 4
	augmentation, rest, ok := bytes.Cut(b[min(1, len(b)):], []byte{0})
	if !ok || len(augmentation) == 0 || augmentation[0] != 'z' {
		return false
	}
	for range 4 { // alignments of code and data, the register of the return address, the length of what follows
		_, n := binary.Uvarint(rest)
		if n <= 0 {
			return false
		}
		rest = rest[n:]
	}
	for _, c := range augmentation[1:] {
		switch {
		case c == 'R' && len(rest) > 0:
			return rest[0] == distance
		case c == 'L' && len(rest) > 0:
			rest = rest[1:]
		case c == 'P' && len(rest) > pointerSize && (rest[0]&0xf == 3 || rest[0]&0xf == 0xb):
			rest = rest[1+pointerSize:]
		case c != 'S':
			return false
		}
	}
	return false
}

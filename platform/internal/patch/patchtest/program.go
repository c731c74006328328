// Package patchtest makes files of programs and other text for tests.
package patchtest

import (
	"encoding/binary"
	"slices"
)

// CodeAt is the offset of a program's code in its file.
const CodeAt = 0x1000

// Program is an ELF file whose code is functions, one behind the other, each of which its section .eh_frame knows.
func Program(functions ...[]byte) []byte {
	const addr, header, segment, section, names = 0x401000, 64, 56, 64, "\x00.eh_frame\x00.shstrtab\x00"
	le := binary.LittleEndian
	code := slices.Concat(functions...)
	frames := len(code) + CodeAt
	framesAddr := uint64(addr + len(code))
	unwind := entries(addr, framesAddr, functions)
	namesAt := frames + len(unwind)
	sections := namesAt + len(names)

	b := make([]byte, CodeAt, sections+3*section)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 2)  // ET_EXEC
	le.PutUint16(b[18:], 62) // EM_X86_64
	le.PutUint64(b[32:], header)
	le.PutUint64(b[40:], uint64(sections))
	le.PutUint16(b[54:], segment)
	le.PutUint16(b[56:], 1)
	le.PutUint16(b[58:], section)
	le.PutUint16(b[60:], 3)
	le.PutUint16(b[62:], 2) // the section of names
	s := b[header:]
	le.PutUint32(s, 1)     // PT_LOAD
	le.PutUint32(s[4:], 5) // read, execute
	le.PutUint64(s[8:], CodeAt)
	le.PutUint64(s[16:], addr)
	le.PutUint64(s[32:], uint64(len(code)))

	b = append(append(append(b, code...), unwind...), names...)
	for _, part := range []struct {
		name                uint32
		addr, offset, bytes int
	}{{}, {1, int(framesAddr), frames, len(unwind)}, {11, 0, namesAt, len(names)}} {
		h := make([]byte, section)
		le.PutUint32(h, part.name)
		le.PutUint64(h[16:], uint64(part.addr))
		le.PutUint64(h[24:], uint64(part.offset))
		le.PutUint64(h[32:], uint64(part.bytes))
		b = append(b, h...)
	}
	return b
}

// entries is the section .eh_frame, at address at, for functions of which the first lies at start.
func entries(start, at uint64, functions [][]byte) []byte {
	le := binary.LittleEndian
	// A common entry, of augmentation "zR": distances of four bytes.
	b := []byte{16, 0, 0, 0, 0, 0, 0, 0, 1, 'z', 'R', 0, 1, 0x78, 16, 1, 0x1b, 0, 0, 0}
	for _, f := range functions {
		b = le.AppendUint32(b, 16)
		b = le.AppendUint32(b, uint32(len(b)))
		b = le.AppendUint32(b, uint32(start-at-uint64(len(b))))
		b = le.AppendUint32(b, uint32(len(f)))
		b = le.AppendUint32(b, 0)
		start += uint64(len(f))
	}
	return append(b, 0, 0, 0, 0)
}

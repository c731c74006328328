package patch

import (
	"bytes"
	"cmp"
	"io"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

const (
	// maxCandidates bounds the places in a program that are looked at, maxFunction the bytes of a function.
	maxCandidates = 256
	maxFunction   = 1 << 16
	// breakpoint is INT3, the first byte of a patched CPUID.
	breakpoint = 0xcc
)

// findCPUID returns where instructions CPUID are in a program's file, by offset. None but whole functions count that a decoder follows from
// their first instruction to the last: bytes that look like CPUID may be a part of something else.
func findCPUID(r io.ReaderAt) (list []uint64) {
	p, ok := readProgram(r)
	if !ok {
		return nil
	}
	instruction := []byte{0x0f, 0xa2}
	var f function
	var starts []uint64 // of instructions of f
	from := 0
	for range maxCandidates {
		i := bytes.Index(p.code[from:], instruction)
		if i < 0 {
			break
		}
		addr := p.addr + uint64(from+i)
		if addr >= f.end {
			f = p.function(addr)
			starts = p.decode(f)
		}
		if _, ok := slices.BinarySearch(starts, addr); ok {
			list = append(list, addr-p.addr+p.offset)
		}
		from += i + len(instruction)
	}
	return list
}

// function is the one that addr is in, if any is.
func (p *program) function(addr uint64) function {
	i, found := slices.BinarySearchFunc(p.functions, addr, func(f function, a uint64) int { return cmp.Compare(f.start, a) })
	if !found {
		i--
	}
	if i < 0 || addr >= p.functions[i].end {
		return function{}
	}
	return p.functions[i]
}

// decode returns where the instructions of f begin, nil unless all of them can be decoded and the last one ends with it.
func (p *program) decode(f function) (starts []uint64) {
	if f.start < p.addr || f.end > p.addr+uint64(len(p.code)) || f.end-f.start > maxFunction {
		return nil
	}
	text := p.code[f.start-p.addr : f.end-p.addr]
	for at := 0; at < len(text); {
		starts = append(starts, f.start+uint64(at))
		if bytes.HasPrefix(text[at:], []byte{0xf3, 0x0f, 0x1e, 0xfa}) { // ENDBR64
			at += 4
			continue
		}
		inst, err := x86asm.Decode(text[at:], 64)
		if err != nil || inst.Op == 0 { // nothing but a prefix
			return nil
		}
		at += inst.Len
	}
	return starts
}

package platformtest

import "encoding/binary"

// program is machine code under construction.
type program []byte

// Numbers of registers in instructions.
const (
	rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi = 0, 1, 2, 3, 4, 5, 6, 7
)

// set appends mov $v, %reg.
func (p program) set(reg byte, v uint64) program {
	p = append(p, 0x48|reg>>3, 0xb8|reg&7)
	return binary.LittleEndian.AppendUint64(p, v)
}

// raw appends bytes.
func (p program) raw(b ...byte) program { return append(p, b...) }

// load appends mov (%rbx), %rax.
func (p program) load() program { return p.raw(0x48, 0x8b, 0x03) }

// store appends mov %rax, (%rbx).
func (p program) store() program { return p.raw(0x48, 0x89, 0x03) }

// syscall appends syscall.
func (p program) syscall() program { return p.raw(0x0f, 0x05) }

// back appends a short jump to offset at.
func (p program) back(at int) program { return p.raw(0xeb, byte(at-len(p)-2)) }

// Programs used by several tests.
var (
	loop     = program{}.raw(0xeb, 0xfe)                  // jmp .
	calls    = program{}.syscall().back(0)                // syscall; jmp back
	readLoop = program{}.set(rbx, dataAt).load().back(10) // forever load from dataAt
)

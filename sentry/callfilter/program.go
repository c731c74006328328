package callfilter

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// MaxInstructions bounds one program (BPF_MAXINSNS).
const MaxInstructions = 4096

// DataSize is the length of struct seccomp_data in bytes.
const DataSize = 64

// scratch is the number of words of scratch memory (BPF_MEMWORDS).
const scratch = 16

// Call is what a program sees of a system call.
type Call struct {
	Number uint32
	Arch   uint32 // AUDIT_ARCH_*
	IP     uint64
	Args   [6]uint64
}

// Encode lays c out as struct seccomp_data.
func (c *Call) Encode() (b [DataSize]byte) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], c.Number)
	le.PutUint32(b[4:], c.Arch)
	le.PutUint64(b[8:], c.IP)
	for i, a := range c.Args {
		le.PutUint64(b[16+8*i:], a)
	}
	return b
}

// Program is a checked program.
type Program []unix.SockFilter

// Codes that x/sys has in parts, as class | size or operation | mode or source.
const (
	loadAbs     = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	loadLen     = unix.BPF_LD | unix.BPF_W | unix.BPF_LEN
	loadImm     = unix.BPF_LD | unix.BPF_IMM
	loadMem     = unix.BPF_LD | unix.BPF_MEM
	loadXLen    = unix.BPF_LDX | unix.BPF_W | unix.BPF_LEN
	loadXImm    = unix.BPF_LDX | unix.BPF_IMM
	loadXMem    = unix.BPF_LDX | unix.BPF_MEM
	returnK     = unix.BPF_RET | unix.BPF_K
	returnA     = unix.BPF_RET | unix.BPF_A
	moveToX     = unix.BPF_MISC | unix.BPF_TAX
	moveToA     = unix.BPF_MISC | unix.BPF_TXA
	classMask   = 7
	opMask      = 0xf0
	sourceX     = unix.BPF_X
	jumpAlways  = unix.BPF_JMP | unix.BPF_JA
	negate      = unix.BPF_ALU | unix.BPF_NEG
	maxShift    = 31
	wordAligned = 3
)

// Check returns a program of its own for the instructions; EINVAL for what Linux refuses.
func Check(given []unix.SockFilter) (Program, error) {
	p := append(Program(nil), given...)
	if len(p) == 0 || len(p) > MaxInstructions {
		return nil, unix.EINVAL
	}
	for i, in := range p {
		if !validInstruction(in) || !validJump(in, len(p)-i-1) {
			return nil, unix.EINVAL
		}
	}
	if last := p[len(p)-1].Code; last != returnK && last != returnA || !p.storesBeforeLoads() {
		return nil, unix.EINVAL
	}
	return p, nil
}

// validInstruction tells whether a filter of calls may have the instruction, jumps aside.
func validInstruction(in unix.SockFilter) bool {
	switch in.Code {
	case loadAbs:
		return in.K < DataSize && in.K&wordAligned == 0
	case loadMem, loadXMem, unix.BPF_ST, unix.BPF_STX:
		return in.K < scratch
	case loadLen, loadImm, loadXLen, loadXImm, returnK, returnA, moveToX, moveToA, negate, jumpAlways:
		return true
	}
	op := in.Code & opMask
	switch in.Code &^ opMask {
	case unix.BPF_ALU | unix.BPF_K, unix.BPF_ALU | sourceX:
		constant := in.Code&sourceX == 0
		switch op {
		case unix.BPF_DIV:
			return !constant || in.K != 0
		case unix.BPF_LSH, unix.BPF_RSH:
			return !constant || in.K <= maxShift
		case unix.BPF_ADD, unix.BPF_SUB, unix.BPF_MUL, unix.BPF_OR, unix.BPF_AND, unix.BPF_XOR:
			return true
		}
	case unix.BPF_JMP | unix.BPF_K, unix.BPF_JMP | sourceX:
		return op == unix.BPF_JEQ || op == unix.BPF_JGT || op == unix.BPF_JGE || op == unix.BPF_JSET
	}
	return false
}

// validJump tells whether a jump stays within the left instructions that follow it.
func validJump(in unix.SockFilter, left int) bool {
	switch {
	case in.Code&classMask != unix.BPF_JMP:
		return true
	case in.Code == jumpAlways:
		return uint64(in.K) < uint64(left)
	}
	return int(in.Jt) < left && int(in.Jf) < left
}

// storesBeforeLoads tells whether each load from scratch memory comes after a store, by
// whichever way the program gets there.
func (p Program) storesBeforeLoads() bool {
	valid := make([]uint16, len(p)) // words written by all ways to an instruction
	for i := range valid {
		valid[i] = ^uint16(0)
	}
	now := uint16(0)
	for i, in := range p {
		now &= valid[i]
		switch {
		case in.Code == unix.BPF_ST || in.Code == unix.BPF_STX:
			now |= 1 << in.K
		case in.Code == loadMem || in.Code == loadXMem:
			if now>>in.K&1 == 0 {
				return false
			}
		case in.Code == jumpAlways:
			valid[i+1+int(in.K)] &= now
			now = ^uint16(0)
		case in.Code&classMask == unix.BPF_JMP:
			valid[i+1+int(in.Jt)] &= now
			valid[i+1+int(in.Jf)] &= now
			now = ^uint16(0)
		}
	}
	return true
}

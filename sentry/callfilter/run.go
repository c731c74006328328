package callfilter

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// registers are the state of a program that runs.
type registers struct {
	a, x uint32
	mem  [scratch]uint32
}

// run returns what the program says of a call: an action and its data.
func (p Program) run(data *[DataSize]byte) uint32 {
	var r registers
	for i := 0; i < len(p); i++ {
		in := &p[i]
		switch in.Code & classMask {
		case unix.BPF_RET:
			if in.Code == returnA {
				return r.a
			}
			return in.K
		case unix.BPF_JMP:
			i += r.jump(in)
		case unix.BPF_ALU:
			if !r.compute(in) {
				return 0 // a division by zero ends the program
			}
		default:
			r.move(in, data)
		}
	}
	return 0
}

// jump returns how many instructions to skip.
func (r *registers) jump(in *unix.SockFilter) int {
	if in.Code == jumpAlways {
		return int(in.K)
	}
	other, yes := r.operand(in), false
	switch in.Code & opMask {
	case unix.BPF_JEQ:
		yes = r.a == other
	case unix.BPF_JGT:
		yes = r.a > other
	case unix.BPF_JGE:
		yes = r.a >= other
	case unix.BPF_JSET:
		yes = r.a&other != 0
	}
	if yes {
		return int(in.Jt)
	}
	return int(in.Jf)
}

func (r *registers) operand(in *unix.SockFilter) uint32 {
	if in.Code&sourceX != 0 {
		return r.x
	}
	return in.K
}

// compute reports false for a division by zero.
func (r *registers) compute(in *unix.SockFilter) bool {
	v := r.operand(in)
	switch in.Code & opMask {
	case unix.BPF_ADD:
		r.a += v
	case unix.BPF_SUB:
		r.a -= v
	case unix.BPF_MUL:
		r.a *= v
	case unix.BPF_DIV:
		if v == 0 {
			return false
		}
		r.a /= v
	case unix.BPF_OR:
		r.a |= v
	case unix.BPF_AND:
		r.a &= v
	case unix.BPF_XOR:
		r.a ^= v
	case unix.BPF_LSH:
		r.a <<= v & maxShift
	case unix.BPF_RSH:
		r.a >>= v & maxShift
	case unix.BPF_NEG:
		r.a = -r.a
	}
	return true
}

// move carries out loads, stores and moves between the registers.
func (r *registers) move(in *unix.SockFilter, data *[DataSize]byte) {
	switch in.Code {
	case loadAbs:
		r.a = binary.LittleEndian.Uint32(data[in.K:])
	case loadLen:
		r.a = DataSize
	case loadImm:
		r.a = in.K
	case loadMem:
		r.a = r.mem[in.K]
	case loadXLen:
		r.x = DataSize
	case loadXImm:
		r.x = in.K
	case loadXMem:
		r.x = r.mem[in.K]
	case unix.BPF_ST:
		r.mem[in.K] = r.a
	case unix.BPF_STX:
		r.mem[in.K] = r.x
	case moveToX:
		r.x = r.a
	case moveToA:
		r.a = r.x
	}
}

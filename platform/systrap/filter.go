package systrap

import (
	"encoding/binary"
	"errors"

	"gosentry/platform/arch"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// Offsets in struct seccomp_data of the low halves of what they name.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
	dataArg1   = 24
)

// guestFilter is what is put on every thread that runs guest code: waiting and waking on words of the threads' areas,
// the number and the arguments alone deciding. The guest can make these calls as well as the handler can.
func guestFilter() ([]bpf.RawInstruction, error) {
	trap := bpf.RetConstant{Val: unix.SECCOMP_RET_TRAP}
	return bpf.Assemble([]bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.AUDIT_ARCH_X86_64, SkipTrue: 10},
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.SYS_FUTEX, SkipTrue: 8},
		bpf.LoadAbsolute{Off: dataArg0 + 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: areasAt >> 32, SkipTrue: 6},
		bpf.LoadAbsolute{Off: dataArg0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpLessThan, Val: areasAt & 0xffffffff, SkipTrue: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: (areasAt + maxSeats*areaSize) & 0xffffffff, SkipTrue: 3},
		bpf.LoadAbsolute{Off: dataArg1, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: 1, SkipTrue: 1}, // FUTEX_WAIT, FUTEX_WAKE
		bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW},
		trap,
	})
}

// mark is the no-op by which the handler marks a place; the fourth byte numbers it.
func mark(code []byte, n byte) (int, error) {
	for i := 0; i+markSize <= len(code); i++ {
		c := code[i:]
		if c[0] == 0x0f && c[1] == 0x1f && c[2] == 0x80 && c[3] == n && c[4] == 'S' && c[5] == 'T' && c[6] == 'P' {
			return i, nil
		}
	}
	return 0, errors.New("the handler lacks a mark")
}

// markSize is the length of a mark.
const markSize = 7

// image returns the handler's two pages, and where in them a new thread starts and a patched call comes in.
func image() (pages []byte, entry, call uint64, err error) {
	code := handlerCode()
	var marks [6]int
	for n := range byte(5) {
		if marks[n+1], err = mark(code, n+1); err != nil {
			return nil, 0, 0, err
		}
	}
	filter, err := guestFilter()
	if err != nil {
		return nil, 0, 0, err
	}
	pages = make([]byte, codeSize)
	copy(pages, code[:marks[4]])
	data := pages[dataAt:dataAt]
	// Two marks, a struct sock_fprog, the components of extended state to load, the filter.
	for _, v := range []uint64{uint64(marks[1]), uint64(marks[2]), uint64(len(filter)), codeAt + dataAt + 40, arch.FPUFeatures()} {
		data = binary.LittleEndian.AppendUint64(data, v)
	}
	for _, i := range filter {
		data = binary.LittleEndian.AppendUint16(data, i.Op)
		data = append(data, i.Jt, i.Jf)
		data = binary.LittleEndian.AppendUint32(data, i.K)
	}
	return pages, codeAt + uint64(marks[3]), codeAt + uint64(marks[5]) + markSize, nil
}

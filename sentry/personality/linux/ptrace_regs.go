package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Register sets by their numbers as notes of a core file (elf.h).
const (
	regsetGeneral = 1     // NT_PRSTATUS
	regsetFP      = 2     // NT_PRFPREG
	regsetXState  = 0x202 // NT_X86_XSTATE
)

// Sizes and places in bytes: of user_regs_struct, of FXSAVE's format, of struct user and its debug registers.
const (
	generalSize    = 27 * 8
	fxsaveSize     = 512
	userSize       = 928
	userDebug      = 848
	fpuMXCSR       = 24
	fpuFeatures    = 464 // of the software's bytes in XSAVE's format: the components that exist
	xsaveHeader    = 512
	fpAndSSE       = 3
	debugRegisters = 8
	debugStatus    = 6 // DR6, which reads as debugStatus0 while nothing was hit
	debugStatus0   = 0xffff0ff0
)

// regsetSize is how long a register set is; EINVAL for one that does not exist.
func regsetSize(set uint64) (uint64, error) {
	switch set {
	case regsetGeneral:
		return generalSize, nil
	case regsetFP:
		return fxsaveSize, nil
	case regsetXState:
		return uint64(arch.FPUSize()), nil
	}
	return 0, unix.EINVAL
}

// ptraceRegset is PTRACE_GETREGSET and PTRACE_SETREGSET, whose data is a struct iovec.
func ptraceRegset(t *kernel.Task, p ptraceArgs, set bool) error {
	if err := missingTracee(t, p.id, nil); err != nil {
		return err
	}
	var iov [2]uint64
	if err := loadWords(t, p.data, iov[:]); err != nil {
		return err
	}
	size, err := regsetSize(uint64(uint32(p.addr)))
	if err != nil || iov[1]%8 != 0 {
		return unix.EINVAL
	}
	size = min(size, iov[1])
	if set {
		err = setRegset(t, p.id, uint64(uint32(p.addr)), iov[0], size)
	} else {
		err = getRegset(t, p.id, uint64(uint32(p.addr)), iov[0], size)
	}
	if err != nil {
		return err
	}
	return storeWords(t, p.data+8, size)
}

// getRegset copies the first n bytes of a register set out.
func getRegset(t *kernel.Task, id int32, set, addr, n uint64) error {
	var b []byte
	var err error
	if set == regsetGeneral {
		err = t.WithTraceeRegisters(id, func(r *arch.Registers) error {
			for _, w := range r.Words() {
				b = binary.LittleEndian.AppendUint64(b, *w)
			}
			return nil
		})
	} else {
		err = t.WithTraceeFPU(id, func(fpu []byte) (bool, error) {
			b = arch.ExportFPU(fpu)
			return false, nil
		})
	}
	if err != nil {
		return err
	}
	return t.CopyOut(mm.Addr(addr), b[:n])
}

// setRegset replaces the first n bytes of a register set. Registers in front of one that is refused
// keep their new values.
func setRegset(t *kernel.Task, id int32, set, addr, n uint64) error {
	if err := missingTracee(t, id, nil); err != nil {
		return err
	}
	if set == regsetXState && n != uint64(arch.FPUSize()) {
		return unix.EFAULT
	}
	b := make([]byte, n)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return err
	}
	if set == regsetGeneral {
		return setGeneral(t, id, b)
	}
	return t.WithTraceeFPU(id, func(fpu []byte) (bool, error) {
		next := append([]byte(nil), fpu...)
		copy(next, b)
		le := binary.LittleEndian
		if set == regsetFP {
			le.PutUint64(next[xsaveHeader:], le.Uint64(next[xsaveHeader:])|fpAndSSE)
		}
		le.PutUint32(next[fpuMXCSR+4:], le.Uint32(fpu[fpuMXCSR+4:]))
		clear(next[fpuFeatures:xsaveHeader])
		if !arch.ValidFPU(next) {
			return false, unix.EINVAL
		}
		copy(fpu, next)
		return true, nil
	})
}

func setGeneral(t *kernel.Task, id int32, b []byte) error {
	var refused error
	err := t.WithTraceeRegisters(id, func(r *arch.Registers) error {
		for i := 0; i < len(b)/8 && refused == nil; i++ {
			refused = r.SetWord(i, binary.LittleEndian.Uint64(b[8*i:]))
		}
		return nil
	})
	if err == nil {
		err = refused
	}
	return err
}

// ptracePeekUser reads a word of struct user: registers, the debug registers, which are as after boot, and
// otherwise zeroes.
func ptracePeekUser(t *kernel.Task, p ptraceArgs) (uint64, error) {
	if err := missingTracee(t, p.id, nil); err != nil {
		return 0, err
	}
	var v uint64
	switch {
	case p.addr%8 != 0 || p.addr >= userSize:
		return 0, unix.EIO
	case p.addr < generalSize:
		err := t.WithTraceeRegisters(p.id, func(r *arch.Registers) error {
			v = *r.Words()[p.addr/8]
			return nil
		})
		if err != nil {
			return 0, err
		}
	case p.addr == userDebug+8*debugStatus:
		v = debugStatus0
	}
	return 0, storeWords(t, p.data, v)
}

// ptracePokeUser writes one. No debug register can be used.
func ptracePokeUser(t *kernel.Task, p ptraceArgs) (uint64, error) {
	if err := missingTracee(t, p.id, nil); err != nil {
		return 0, err
	}
	switch {
	case p.addr%8 != 0 || p.addr >= userSize:
		return 0, unix.EIO
	case p.addr < generalSize:
		return 0, t.WithTraceeRegisters(p.id, func(r *arch.Registers) error { return r.SetWord(int(p.addr/8), p.data) })
	case p.addr < userDebug || p.addr >= userDebug+8*debugRegisters:
		return 0, unix.EIO
	case p.addr != userDebug+8*debugStatus && p.data != 0:
		return 0, unix.ENOSPC
	}
	return 0, nil
}

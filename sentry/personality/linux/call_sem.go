package linux

import (
	"encoding/binary"
	"math"
	"time"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/ipc"
	"gosentry/sentry/kernel"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

func sysSemget(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, err := t.SysV().Semaphores.Get(t.IPCCaller(), ipcGet(a[0], a[2]), int32(a[1]))
	return uint64(id), err
}

func sysSemop(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ops, err := loadSemOps(t, a[1], uint32(a[2]))
	if err != nil {
		return 0, err
	}
	return 0, syscalls.SemOperate(t, int32(a[0]), ops, -1)
}

func sysSemtimedop(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[3] == 0 {
		return sysSemop(t, a)
	}
	ts, bad := loadTimespec(t, a[3])
	if bad != nil && bad != unix.EINVAL {
		return 0, bad
	}
	ops, err := loadSemOps(t, a[1], uint32(a[2]))
	if err != nil || bad != nil {
		return 0, firstError(err, bad)
	}
	return 0, syscalls.SemOperate(t, int32(a[0]), ops, time.Duration(min(nanoseconds(ts), math.MaxInt64)))
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func loadSemOps(t *kernel.Task, addr uint64, n uint32) ([]ipc.SemOp, error) {
	switch {
	case int64(n) > t.SysV().Semaphores.Info().Limits.SemOPM:
		return nil, unix.E2BIG
	case n == 0:
		return nil, unix.EINVAL
	}
	b := make([]byte, abi.SemBufSize*n)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return nil, err
	}
	ops := make([]ipc.SemOp, n)
	for i := range ops {
		word := func(at int) uint16 { return binary.LittleEndian.Uint16(b[abi.SemBufSize*i+at:]) }
		ops[i] = ipc.SemOp{Num: word(0), Op: int16(word(2)), Flags: int16(word(4))}
	}
	return ops, nil
}

// sysSemctl is semctl(2). Its commands fall in three groups: about the system, about a set, about semaphores.
func sysSemctl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, cmd, arg := int32(a[0]), int32(a[2]), a[3]
	s, c := &t.SysV().Semaphores, t.IPCCaller()
	if id < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case abi.IPCInfo, abi.SemInfo:
		i := s.Info()
		return ipcResult(t, arg, appendSemInfo(i, cmd == abi.SemInfo), i.Highest)
	case abi.IPCStat, abi.SemStat, abi.SemStatAny:
		return semStat(t, id, cmd, arg)
	case abi.IPCSet:
		o, _, err := loadOwner(t, arg, abi.SemDSSize)
		if err != nil {
			return 0, err
		}
		return 0, s.Change(c, id, o)
	case abi.IPCRmid:
		return 0, s.Remove(c, id)
	case abi.SemSetVal:
		return 0, s.SetValue(c, id, int32(a[1]), int32(arg))
	case abi.SemGetAll:
		values, err := s.Values(c, id)
		if err != nil {
			return 0, err
		}
		return 0, storeShorts(t, arg, values)
	case abi.SemSetAll:
		return 0, semSetAll(t, id, arg)
	case abi.SemGetVal, abi.SemGetPID, abi.SemGetNCnt, abi.SemGetZCnt:
		sem, err := s.Look(c, id, int32(a[1]))
		return uint64(map[int32]int{
			abi.SemGetVal: int(sem.Value), abi.SemGetPID: int(t.ProcessID(sem.Last)),
			abi.SemGetNCnt: sem.Growing, abi.SemGetZCnt: sem.Zeroing,
		}[cmd]), err
	}
	return 0, unix.EINVAL
}

// appendSemInfo makes a struct seminfo. SEM_INFO has counts in the place of two limits.
func appendSemInfo(i ipc.SemInfo, counts bool) []byte {
	const undoSize, maxUndo = 20, 32767
	l := i.Limits
	size, last := int64(undoSize), int64(maxUndo)
	if counts {
		size, last = int64(i.Sets), i.Sems
	}
	return abi.AppendInts(nil, l.SemMNS, l.SemMNI, l.SemMNS, l.SemMNS, l.SemMSL, l.SemOPM, l.SemOPM, size, maxUndo, last)
}

func semStat(t *kernel.Task, id, cmd int32, addr uint64) (uint64, error) {
	s, c := &t.SysV().Semaphores, t.IPCCaller()
	if cmd == abi.IPCStat {
		st, err := s.Stat(c, id)
		return storeSemStat(t, addr, &st, 0, err)
	}
	st, err := s.StatSlot(c, id, cmd == abi.SemStatAny)
	return storeSemStat(t, addr, &st, st.ID, err)
}

// storeSemStat stores a struct semid_ds at addr; the call returns ret.
func storeSemStat(t *kernel.Task, addr uint64, st *ipc.SemStat, ret int32, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	b := abi.AppendWords(appendPerm(t, &st.Perm), st.Operated, 0, st.Changed, 0, int64(st.Count), 0, 0)
	return ipcResult(t, addr, b, int(ret))
}

func semSetAll(t *kernel.Task, id int32, addr uint64) error {
	s, c := &t.SysV().Semaphores, t.IPCCaller()
	n, err := s.Count(c, id)
	if err != nil {
		return err
	}
	b := make([]byte, 2*n)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return err
	}
	values := make([]uint16, n)
	for i := range values {
		values[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	return s.SetValues(c, id, values)
}

func storeShorts(t *kernel.Task, addr uint64, values []uint16) error {
	b := make([]byte, 0, 2*len(values))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return t.CopyOut(mm.Addr(addr), b)
}

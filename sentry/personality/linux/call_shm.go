package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/ipc"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysShmget(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, err := t.SysV().Memory.Get(t.IPCCaller(), ipcGet(a[0], a[2]), a[1])
	return uint64(id), err
}

func sysShmat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, addr, flags := int32(a[0]), a[1], a[2]
	if off := addr % mm.PageSize; off != 0 {
		if flags&abi.ShmRnd == 0 {
			return 0, unix.EINVAL
		}
		addr -= off
	}
	if id < 0 || addr == 0 && flags&abi.ShmRemap != 0 {
		return 0, unix.EINVAL
	}
	at, err := t.SysV().Memory.Attach(t.IPCCaller(), t.MM(), id, ipc.Attach{
		Addr:     mm.Addr(addr),
		ReadOnly: flags&abi.ShmRdOnly != 0,
		Exec:     flags&abi.ShmExec != 0,
		Replace:  flags&abi.ShmRemap != 0,
		Limits:   t.Limits(),
	})
	return uint64(at), err
}

func sysShmdt(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, ipc.Detach(t.MM(), mm.Addr(a[0]))
}

func sysShmctl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, cmd, arg := int32(a[0]), int32(a[1]), a[2]
	m, c := &t.SysV().Memory, t.IPCCaller()
	if id < 0 || cmd < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case abi.IPCInfo, abi.ShmInfo:
		i := m.Info(cmd == abi.ShmInfo)
		return ipcResult(t, arg, appendShmInfo(i, cmd == abi.ShmInfo), i.Highest)
	case abi.IPCStat, abi.ShmStat, abi.ShmStatAny:
		return shmStat(t, id, cmd, arg)
	case abi.IPCSet:
		o, _, err := loadOwner(t, arg, abi.ShmDSSize)
		if err != nil {
			return 0, err
		}
		return 0, m.Change(c, id, o)
	case abi.IPCRmid:
		return 0, m.Remove(c, id)
	case abi.ShmLock, abi.ShmUnlock:
		return 0, m.Lock(c, id, cmd == abi.ShmLock)
	}
	return 0, unix.EINVAL
}

// appendShmInfo makes a struct shminfo, or with usage a struct shm_info.
func appendShmInfo(i ipc.ShmInfo, usage bool) []byte {
	if usage {
		return abi.AppendWords(nil, int64(i.Segments), int64(i.Pages), int64(i.Resident), 0, 0, 0)
	}
	l, least := i.Limits, int64(1)
	return abi.AppendWords(nil, int64(l.ShmMax), least, int64(l.ShmMNI), int64(l.ShmMNI), int64(l.ShmAll), 0, 0, 0, 0)
}

func shmStat(t *kernel.Task, id, cmd int32, addr uint64) (uint64, error) {
	m, c := &t.SysV().Memory, t.IPCCaller()
	if cmd == abi.IPCStat {
		st, err := m.Stat(c, id)
		return storeShmStat(t, addr, &st, 0, err)
	}
	st, err := m.StatSlot(c, id, cmd == abi.ShmStatAny)
	return storeShmStat(t, addr, &st, st.ID, err)
}

// storeShmStat stores a struct shmid_ds at addr; the call returns ret.
func storeShmStat(t *kernel.Task, addr uint64, st *ipc.ShmStat, ret int32, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	b := abi.AppendWords(appendPerm(t, &st.Perm), int64(st.Size), st.Attached, st.Detached, st.Changed)
	b = abi.AppendInts(b, int64(t.ProcessID(st.Creator)), int64(t.ProcessID(st.Last)))
	return ipcResult(t, addr, abi.AppendWords(b, int64(st.Attaches), 0, 0), int(ret))
}

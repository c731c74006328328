package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/ipc"
	"gosentry/sentry/kernel"
	"gosentry/sentry/syscalls"

	"golang.org/x/sys/unix"
)

func sysMsgget(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, err := t.SysV().Messages.Get(t.IPCCaller(), ipcGet(a[0], a[1]))
	return uint64(id), err
}

// sysMsgsnd is msgsnd(2): the type is a long in front of the text.
func sysMsgsnd(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, addr, size := int32(a[0]), a[1], int64(a[2])
	var kind [1]uint64
	if err := loadWords(t, addr, kind[:]); err != nil {
		return 0, err
	}
	if id < 0 || size < 0 || size > t.SysV().Messages.MaxMessage() || int64(kind[0]) < 1 {
		return 0, unix.EINVAL
	}
	text, err := loadLong(t, addr+8, uint64(size))
	if err != nil {
		return 0, err
	}
	return 0, syscalls.MsgSend(t, id, ipc.Message{Type: int64(kind[0]), Text: text}, a[3]&ipc.NoWait != 0)
}

// loadLong copies size bytes in by pieces, so that what is not there is not made room for.
func loadLong(t *kernel.Task, addr, size uint64) ([]byte, error) {
	const piece = 64 << 10
	text := make([]byte, 0, min(size, piece))
	for done := uint64(0); done < size; {
		n := min(size-done, piece)
		text = append(text, make([]byte, n)...)
		if err := t.CopyIn(mm.Addr(addr+done), text[done:]); err != nil {
			return nil, err
		}
		done += n
	}
	return text, nil
}

func sysMsgrcv(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, addr, size := int32(a[0]), a[1], int64(a[2])
	if id < 0 || size < 0 {
		return 0, unix.EINVAL
	}
	msg, err := syscalls.MsgReceive(t, id, ipc.MsgWant{Size: size, Type: int64(a[3]), Flags: uint32(a[4])})
	if err != nil {
		return 0, err
	}
	text := msg.Text[:min(int64(len(msg.Text)), size)]
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 8+len(text)), uint64(msg.Type))
	return uint64(len(text)), t.CopyOut(mm.Addr(addr), append(b, text...))
}

func sysMsgctl(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, cmd, arg := int32(a[0]), int32(a[1]), a[2]
	m, c := &t.SysV().Messages, t.IPCCaller()
	if id < 0 || cmd < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case abi.IPCInfo, abi.MsgInfo:
		i := m.Info()
		return ipcResult(t, arg, appendMsgInfo(i, cmd == abi.MsgInfo), i.Highest)
	case abi.IPCStat, abi.MsgStat, abi.MsgStatAny:
		return msgStat(t, id, cmd, arg)
	case abi.IPCSet:
		o, b, err := loadOwner(t, arg, abi.MsgDSSize)
		if err != nil {
			return 0, err
		}
		return 0, m.Change(c, id, o, binary.LittleEndian.Uint64(b[abi.MsgDSBytes:]))
	case abi.IPCRmid:
		return 0, m.Remove(c, id)
	}
	return 0, unix.EINVAL
}

// appendMsgInfo makes a struct msginfo. MSG_INFO has counts in the place of some limits.
func appendMsgInfo(i ipc.MsgInfo, counts bool) []byte {
	const (
		poolKiB     = 32000 * 16384 / 1024
		segmentSize = 16
		segments    = 0xffff
		mapAndTotal = 16384
	)
	pool, entries, headers := int64(poolKiB), int64(mapAndTotal), int64(mapAndTotal)
	if counts {
		pool, entries, headers = int64(i.Queues), i.Count, i.Bytes
	}
	l := i.Limits
	return abi.AppendInts(nil, pool, entries, l.MsgMax, l.MsgMNB, l.MsgMNI, segmentSize, headers, segments)
}

func msgStat(t *kernel.Task, id, cmd int32, addr uint64) (uint64, error) {
	m, c := &t.SysV().Messages, t.IPCCaller()
	if cmd == abi.IPCStat {
		st, err := m.Stat(c, id)
		return storeMsgStat(t, addr, &st, 0, err)
	}
	st, err := m.StatSlot(c, id, cmd == abi.MsgStatAny)
	return storeMsgStat(t, addr, &st, st.ID, err)
}

// storeMsgStat stores a struct msqid_ds at addr; the call returns ret.
func storeMsgStat(t *kernel.Task, addr uint64, st *ipc.MsgStat, ret int32, err error) (uint64, error) {
	if err != nil {
		return 0, err
	}
	b := abi.AppendWords(appendPerm(t, &st.Perm), st.Sent, st.Received, st.Changed, st.Bytes, st.Count, st.Capacity)
	b = abi.AppendInts(b, int64(t.ProcessID(st.LastSend)), int64(t.ProcessID(st.LastRecv)))
	return ipcResult(t, addr, abi.AppendWords(b, 0, 0), int(ret))
}

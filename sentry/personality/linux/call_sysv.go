package linux

import (
	"gosentry/mm"
	"gosentry/sentry/abi"
	"gosentry/sentry/ipc"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// Commands of the ctl calls in common are 0 to 3 (IPC_); those of each kind follow.

func ipcGet(key, flags uint64) ipc.Get { return ipc.Get{Key: int32(key), Flags: uint32(flags)} }

// appendPerm appends what an IPC_STAT tells of the common part, with ids as the caller's user namespace has them.
func appendPerm(t *kernel.Task, p *ipc.Perm) []byte {
	ns := t.Creds().UserNS
	return abi.AppendIPCPerm(make([]byte, 0, abi.MsgDSSize), abi.IPCPerm{
		Key: p.Key, UID: ns.ShowUID(p.UID), GID: ns.ShowGID(p.GID), CUID: ns.ShowUID(p.CUID), CGID: ns.ShowGID(p.CGID),
		Mode: p.Mode, Seq: p.Seq,
	})
}

// loadOwner reads the structure of an IPC_SET, size bytes at addr, and the owner in it; EINVAL for ids that the caller's
// user namespace does not have.
func loadOwner(t *kernel.Task, addr uint64, size int) (ipc.NewOwner, []byte, error) {
	b := make([]byte, size)
	if err := t.CopyIn(mm.Addr(addr), b); err != nil {
		return ipc.NewOwner{}, nil, err
	}
	p := abi.DecodeIPCPerm(b)
	uid, ok := t.Creds().UserNS.ToUID(p.UID)
	gid, ok2 := t.Creds().UserNS.ToGID(p.GID)
	if !ok || !ok2 {
		return ipc.NewOwner{}, nil, unix.EINVAL
	}
	return ipc.NewOwner{UID: uid, GID: gid, Mode: p.Mode}, b, nil
}

// ipcResult copies out what a ctl call tells, and returns a number besides.
func ipcResult(t *kernel.Task, addr uint64, b []byte, ret int) (uint64, error) {
	return uint64(ret), t.CopyOut(mm.Addr(addr), b)
}

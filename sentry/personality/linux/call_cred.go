package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

func sysGetuid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(showUID(t, t.Creds().RUID)), nil
}
func sysGeteuid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(showUID(t, t.Creds().EUID)), nil
}
func sysGetgid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(showGID(t, t.Creds().RGID)), nil
}
func sysGetegid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return uint64(showGID(t, t.Creds().EGID)), nil
}

// showUID and showGID are ids as the task is told them.
func showUID(t *kernel.Task, u cred.UID) uint32 { return t.Creds().UserNS.ShowUID(u) }
func showGID(t *kernel.Task, g cred.GID) uint32 { return t.Creds().UserNS.ShowGID(g) }

// loadUIDs turns a task's ids of users into the kernel's; NoID stays. EINVAL for ids that its user namespace has not.
func loadUIDs(t *kernel.Task, ids ...uint64) ([3]uint32, error) {
	return loadIDs(ids, func(id uint32) (uint32, bool) {
		u, ok := t.Creds().UserNS.ToUID(id)
		return uint32(u), ok
	})
}

// loadGIDs is loadUIDs for groups.
func loadGIDs(t *kernel.Task, ids ...uint64) ([3]uint32, error) {
	return loadIDs(ids, func(id uint32) (uint32, bool) {
		g, ok := t.Creds().UserNS.ToGID(id)
		return uint32(g), ok
	})
}

func loadIDs(ids []uint64, in func(uint32) (uint32, bool)) (out [3]uint32, err error) {
	for i, id := range ids {
		v, ok := in(uint32(id))
		if !ok && uint32(id) != cred.NoID {
			return out, unix.EINVAL
		}
		out[i] = v
	}
	return out, nil
}

// become gives the task the credentials that a rule of package cred made.
func become(t *kernel.Task, c *cred.Credentials, err error) (uint64, error) {
	if err == nil {
		t.SetCreds(c)
	}
	return 0, err
}

func sysSetuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, ok := t.Creds().UserNS.ToUID(uint32(a[0]))
	if !ok {
		return 0, unix.EINVAL
	}
	c, err := t.Creds().SetUID(id)
	return become(t, c, err)
}

func sysSetgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, ok := t.Creds().UserNS.ToGID(uint32(a[0]))
	if !ok {
		return 0, unix.EINVAL
	}
	c, err := t.Creds().SetGID(id)
	return become(t, c, err)
}

func sysSetreuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ids, err := loadUIDs(t, a[0], a[1])
	if err != nil {
		return 0, err
	}
	c, err := t.Creds().SetREUID(ids[0], ids[1])
	return become(t, c, err)
}

func sysSetregid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ids, err := loadGIDs(t, a[0], a[1])
	if err != nil {
		return 0, err
	}
	c, err := t.Creds().SetREGID(ids[0], ids[1])
	return become(t, c, err)
}

func sysSetresuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ids, err := loadUIDs(t, a[0], a[1], a[2])
	if err != nil {
		return 0, err
	}
	c, err := t.Creds().SetRESUID(ids[0], ids[1], ids[2])
	return become(t, c, err)
}

func sysSetresgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	ids, err := loadGIDs(t, a[0], a[1], a[2])
	if err != nil {
		return 0, err
	}
	c, err := t.Creds().SetRESGID(ids[0], ids[1], ids[2])
	return become(t, c, err)
}

func sysSetfsuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old := t.Creds().FSUID
	if id, ok := t.Creds().UserNS.ToUID(uint32(a[0])); ok {
		t.SetCreds(t.Creds().SetFSUID(id))
	}
	return uint64(showUID(t, old)), nil
}

func sysSetfsgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	old := t.Creds().FSGID
	if id, ok := t.Creds().UserNS.ToGID(uint32(a[0])); ok {
		t.SetCreds(t.Creds().SetFSGID(id))
	}
	return uint64(showGID(t, old)), nil
}

func sysGetresuid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	return storeIDs(t, a, showUID(t, c.RUID), showUID(t, c.EUID), showUID(t, c.SUID))
}

func sysGetresgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	c := t.Creds()
	return storeIDs(t, a, showGID(t, c.RGID), showGID(t, c.EGID), showGID(t, c.SGID))
}

func storeIDs(t *kernel.Task, a arch.SyscallArgs, ids ...uint32) (uint64, error) {
	for i, id := range ids {
		if err := store32(t, a[i], id); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func sysGetgroups(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	groups, room := t.Creds().Groups, int32(a[0])
	switch {
	case room < 0:
		return 0, unix.EINVAL
	case room == 0:
		return uint64(len(groups)), nil
	case int(room) < len(groups):
		return 0, unix.EINVAL
	}
	b := make([]byte, 0, 4*len(groups))
	for _, g := range groups {
		b = binary.LittleEndian.AppendUint32(b, showGID(t, g))
	}
	return uint64(len(groups)), t.CopyOut(mm.Addr(a[1]), b)
}

// fewGroups is up to where a list of groups is not worth counting.
const fewGroups = 64

func sysSetgroups(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if !t.Creds().Has(unix.CAP_SETGID) || !t.Creds().UserNS.MaySetgroups() {
		return 0, unix.EPERM
	}
	if uint64(uint32(a[0])) > cred.MaxGroups {
		return 0, unix.EINVAL
	}
	b := make([]byte, 4*uint32(a[0]))
	if err := t.CopyIn(mm.Addr(a[1]), b); err != nil {
		return 0, err
	}
	groups := make([]cred.GID, len(b)/4)
	for i := range groups {
		g, ok := t.Creds().UserNS.ToGID(binary.LittleEndian.Uint32(b[4*i:]))
		if !ok {
			return 0, unix.EINVAL
		}
		groups[i] = g
	}
	c, err := t.Creds().SetGroups(groups)
	if err == nil && len(groups) > fewGroups && !mm.NewAside(t.Kernel().Memory(), &c.Groups[0]).Take(int64(len(b))) {
		return 0, unix.ENOMEM
	}
	return become(t, c, err)
}

// Versions of struct __user_cap_header_struct (capget(2)).
const (
	capVersion1 = 0x19980330
	capVersion2 = 0x20071026
	capVersion3 = 0x20080522
)

// capHeader reads the header and tells how many data structures follow; 0 when
// the version is unknown, which capget and capset tell the program in the header.
func capHeader(t *kernel.Task, addr uint64) (structs int, pid int32, err error) {
	h, err := load(t, addr, abi.CapHeaderSize, abi.DecodeCapHeader)
	if err != nil {
		return 0, 0, err
	}
	switch h.Version {
	case capVersion1:
		return 1, h.PID, nil
	case capVersion2, capVersion3:
		return 2, h.PID, nil
	}
	return 0, h.PID, store32(t, addr, capVersion3)
}

func sysCapget(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, pid, err := capHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	switch {
	case a[1] == 0: // asks for the version
		return 0, nil
	case n == 0 || pid < 0:
		return 0, unix.EINVAL
	}
	c, err := t.CredsOf(pid)
	if err != nil {
		return 0, err
	}
	var b []byte
	for i := range n {
		half := 32 * i
		b = abi.AppendCapData(b, abi.CapData{
			Effective: uint32(c.Effective >> half), Permitted: uint32(c.Permitted >> half), Inheritable: uint32(c.Inheritable >> half),
		})
	}
	return 0, t.CopyOut(mm.Addr(a[1]), b)
}

func sysCapset(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	n, pid, err := capHeader(t, a[0])
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, unix.EINVAL
	}
	if pid != 0 && pid != t.TID() {
		return 0, unix.EPERM
	}
	b := make([]byte, abi.CapDataSize*n)
	if err := t.CopyIn(mm.Addr(a[1]), b); err != nil {
		return 0, err
	}
	var effective, permitted, inheritable cred.CapSet
	for i := range n {
		d, half := abi.DecodeCapData(b[abi.CapDataSize*i:]), 32*i
		effective |= cred.CapSet(d.Effective) << half
		permitted |= cred.CapSet(d.Permitted) << half
		inheritable |= cred.CapSet(d.Inheritable) << half
	}
	c, err := t.Creds().SetCaps(effective&cred.AllCaps, permitted&cred.AllCaps, inheritable&cred.AllCaps)
	return become(t, c, err)
}

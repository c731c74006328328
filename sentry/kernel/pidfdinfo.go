package kernel

import (
	"encoding/binary"
	"slices"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// Requests of pidfds (linux/pidfd.h): 0xff as the type, the number below. Those of namespaces have no argument.
const (
	pidfdType    = 0xff00
	pidfdGetInfo = 11

	pidfdNoArg = pidfdType
	pidfdInOut = 0xc000_0000 | pidfdType
)

// pidfdNamespaces are the links of /proc/PID/ns that the requests from 1 on open.
var pidfdNamespaces = [...]string{
	1: "cgroup", 2: "ipc", 3: "mnt", 4: "net", 5: "pid", 6: "pid_for_children", 7: "time", 8: "time_for_children", 9: "user", 10: "uts",
}

// Bits of the mask in struct pidfd_info, and what its coredump_mask says.
const (
	pidfdInfoPID      = 1 << 0
	pidfdInfoCreds    = 1 << 1
	pidfdInfoCgroup   = 1 << 2
	pidfdInfoExit     = 1 << 3
	pidfdInfoCoredump = 1 << 4

	pidfdDumped   = 1 << 0
	pidfdDumpSkip = 1 << 1
	pidfdDumpUser = 1 << 2

	leastPIDFDInfo = 64
)

// pidfdInfo is struct pidfd_info.
type pidfdInfo struct {
	Mask, CgroupID                                   uint64
	PID, TGID, PPID                                  int32
	RUID, RGID, EUID, EGID, SUID, SGID, FSUID, FSGID uint32
	ExitCode                                         int32
	CoredumpMask, _                                  uint32
}

// Ioctl implements vfs.IoctlOps.
func (p *pidFile) Ioctl(c vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	t := taskOf(c)
	number, size := cmd&0xff, uint64(cmd>>16&0x3fff)
	switch {
	case t == nil:
		return 0, unix.ENOTTY
	case cmd&0xc000_ff00 == pidfdInOut && number == pidfdGetInfo && size >= leastPIDFDInfo:
		return 0, p.info(t, arg, size, mem)
	case cmd&^0xff == pidfdNoArg && number > 0 && int(number) < len(pidfdNamespaces):
		return p.namespace(t, pidfdNamespaces[number], arg)
	}
	return 0, unix.ENOTTY
}

// PIDFD implements proc.Processes.
func (v *ProcView) PIDFD(file vfs.FileOps) []int32 {
	p, ok := file.(*pidFile)
	if !ok {
		return nil
	}
	v.k.tree.RLock()
	defer v.k.tree.RUnlock()
	switch {
	case p.pid.task == nil:
		return []int32{-1}
	case p.pid.In(v.ns) == 0:
		return []int32{0}
	}
	return slices.Clone(p.pid.numbers[v.ns.level:])
}

// goneLocked tells whether the process was waited for, or the thread has ended and nobody is to wait for it, and how it ended.
func (p *pidFile) goneLocked() (how ExitStatus, gone bool) {
	if p.ofProcess() {
		return p.tg.exitStatus, p.tg.reaped
	}
	return p.first.status, p.pid.task == nil
}

// info is PIDFD_GET_INFO: what the mask asks for and there is.
func (p *pidFile) info(t *Task, arg, size uint64, mem *mm.MemoryManager) error {
	var mask [8]byte
	if arg == 0 {
		return unix.EINVAL
	}
	if _, err := mem.CopyIn(mm.Addr(arg), mask[:]); err != nil {
		return unix.EFAULT
	}
	i, err := p.tell(t, binary.NativeEndian.Uint64(mask[:]))
	if err != nil {
		return err
	}
	b, _ := binary.Append(nil, binary.NativeEndian, &i)
	b = append(b, make([]byte, max(int(size)-len(b), 0))...)
	if _, err := mem.CopyOut(mm.Addr(arg), b[:size]); err != nil {
		return unix.EFAULT
	}
	return nil
}

// tell fills in the answer for t. ESRCH: of a process that was waited for there is only how it ended, and of those out of
// sight nothing.
func (p *pidFile) tell(t *Task, asked uint64) (i pidfdInfo, err error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	if p.pid.In(t.pidns) == 0 {
		return i, unix.ESRCH
	}
	if attr, err := p.tg.cgroup.Inode().Attr(); err == nil {
		i.Mask, i.CgroupID = pidfdInfoCgroup, attr.Ino
	}
	how, gone := p.goneLocked()
	if gone {
		if asked&pidfdInfoExit == 0 {
			return i, unix.ESRCH
		}
		i.Mask |= pidfdInfoExit
		i.ExitCode = how.Wait()
	}
	if asked&pidfdInfoCoredump != 0 {
		i.Mask |= pidfdInfoCoredump
		i.CoredumpMask = p.tg.coredumpMask()
	}
	if gone {
		return i, nil
	}
	o := p.threadLocked()
	i.PID, i.TGID = o.pid.In(t.pidns), p.tg.pid.In(t.pidns)
	if p.tg.parent != nil {
		i.PPID = p.tg.parent.pid.In(t.pidns)
	}
	i.Mask |= pidfdInfoPID | pidfdInfoCreds
	c, ns := o.Creds(), t.Creds().UserNS
	i.RUID, i.EUID, i.SUID, i.FSUID = ns.ShowUID(c.RUID), ns.ShowUID(c.EUID), ns.ShowUID(c.SUID), ns.ShowUID(c.FSUID)
	i.RGID, i.EGID, i.SGID, i.FSGID = ns.ShowGID(c.RGID), ns.ShowGID(c.EGID), ns.ShowGID(c.SGID), ns.ShowGID(c.FSGID)
	return i, nil
}

// coredumpMask tells whether the process left a core file, or would. The tree is locked.
func (tg *ThreadGroup) coredumpMask() uint32 {
	switch {
	case tg.exited && tg.exitStatus.Core:
		return pidfdDumped | pidfdDumpUser
	case tg.exited:
		return 0
	case tg.Dumpable():
		return pidfdDumpUser
	}
	return pidfdDumpSkip
}

// namespace opens a namespace of the process as /proc/PID/ns does; ESRCH of one that has ended, EACCES.
func (p *pidFile) namespace(t *Task, name string, arg uint64) (uint64, error) {
	t.k.tree.RLock()
	o := procTask{t: p.threadLocked()}
	t.k.tree.RUnlock()
	switch {
	case arg != 0:
		return 0, unix.EINVAL
	case o.t == nil || o.t.Namespaces() == nil:
		return 0, unix.ESRCH
	}
	if err := o.MayAccess(t, false); err != nil {
		return 0, err
	}
	for _, n := range o.Namespaces() {
		if n.Name == name {
			return t.openNSFile(n.Open(t))
		}
	}
	return 0, unix.ESRCH
}

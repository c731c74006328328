package linux

import (
	"encoding/binary"

	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// Flags of clone(2) that x/sys lacks.
const (
	cloneClearSighand = 0x100000000
	cloneIntoCgroup   = 0x200000000
	cloneNewTime      = unix.CLONE_NEWTIME
	csignal           = 0xff
)

// shareFlags and freshFlags translate CLONE_ flags.
var shareFlags = [...]struct {
	flag  uint64
	share kernel.Share
}{
	{unix.CLONE_VM, kernel.ShareMM},
	{unix.CLONE_FS, kernel.ShareFS},
	{unix.CLONE_FILES, kernel.ShareFiles},
	{unix.CLONE_SIGHAND, kernel.ShareActions},
	{unix.CLONE_THREAD, kernel.ShareThread},
	{unix.CLONE_PARENT, kernel.ShareParent},
	{unix.CLONE_SYSVSEM, kernel.ShareSysVSem},
	{unix.CLONE_IO, kernel.ShareIO},
}

var freshFlags = [...]struct {
	flag  uint64
	fresh kernel.Fresh
}{
	{unix.CLONE_NEWNS, kernel.FreshMount},
	{unix.CLONE_NEWCGROUP, kernel.FreshCgroup},
	{unix.CLONE_NEWUTS, kernel.FreshUTS},
	{unix.CLONE_NEWIPC, kernel.FreshIPC},
	{unix.CLONE_NEWUSER, kernel.FreshUser},
	{unix.CLONE_NEWPID, kernel.FreshPID},
	{unix.CLONE_NEWNET, kernel.FreshNet},
	{cloneNewTime, kernel.FreshTime},
}

// cloneArgs is struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal uint64
	stack, stackSize, tls                         uint64
	setTID, setTIDSize, cgroup                    uint64
}

// Sizes of struct clone_args: of its first version and of the one known here.
const (
	cloneArgsMin = 64
	cloneArgsMax = 88
)

func sysFork(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return doClone(t, "fork", &cloneArgs{exitSignal: uint64(unix.SIGCHLD)})
}

func sysVfork(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return doClone(t, "vfork", &cloneArgs{
		flags: unix.CLONE_VM | unix.CLONE_VFORK, exitSignal: uint64(unix.SIGCHLD),
	})
}

// sysClone is clone(2): the low byte of the flags is the exit signal, and parent_tid is
// where a pidfd goes. Bits above 32 are clone3's own and ignored here.
func sysClone(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	args := cloneArgs{
		flags: a[0] & 0xffffffff &^ csignal, exitSignal: a[0] & csignal,
		stack: a[1], parentTID: a[2], childTID: a[3], tls: a[4],
	}
	if args.flags&unix.CLONE_PIDFD != 0 {
		if args.flags&(unix.CLONE_PARENT_SETTID|unix.CLONE_DETACHED) != 0 {
			return 0, unix.EINVAL
		}
		args.pidfd = a[2]
	}
	args.flags &^= unix.CLONE_DETACHED
	return doClone(t, "clone", &args)
}

// sysClone3 is clone3(2).
func sysClone3(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	addr, size := a[0], a[1]
	if size > mm.PageSize {
		return 0, unix.E2BIG
	}
	if size < cloneArgsMin {
		return 0, unix.EINVAL
	}
	b := make([]byte, max(size, cloneArgsMax))
	if err := t.CopyIn(mm.Addr(addr), b[:size]); err != nil {
		return 0, err
	}
	for _, tail := range b[cloneArgsMax:] {
		if tail != 0 {
			return 0, unix.E2BIG
		}
	}
	var w [cloneArgsMax / 8]uint64
	for i := range w {
		w[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	args := cloneArgs{w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7], w[8], w[9], w[10]}
	if err := args.check(); err != nil {
		return 0, err
	}
	if args.stack != 0 {
		args.stack += args.stackSize
	}
	return doClone(t, "clone3", &args)
}

// check refuses what only clone3 refuses.
func (c *cloneArgs) check() error {
	bad := []bool{
		c.flags&(csignal|unix.CLONE_DETACHED) != 0,
		c.flags>>34 != 0,
		c.exitSignal > 64,
		c.flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && c.exitSignal != 0,
		(c.stack == 0) != (c.stackSize == 0),
		c.stack != 0 && (c.stack+c.stackSize < c.stack || c.stack+c.stackSize > userTop),
		c.setTID == 0 && c.setTIDSize > 0,
		c.setTID != 0 && c.setTIDSize == 0,
		c.setTIDSize > 32,
		c.flags&cloneIntoCgroup != 0 && c.cgroup > 1<<31-1,
	}
	for _, b := range bad {
		if b {
			return unix.EINVAL
		}
	}
	return nil
}

// userTop is TASK_SIZE_MAX of amd64.
const userTop = 1<<47 - mm.PageSize

// doClone decodes the flags into the kernel's general arguments.
func doClone(t *kernel.Task, kind string, c *cloneArgs) (uint64, error) {
	args := kernel.ForkArgs{
		Kind: kind, Stack: c.stack, ExitSignal: signal.Signal(c.exitSignal),
		Vfork:        c.flags&unix.CLONE_VFORK != 0,
		ClearActions: c.flags&cloneClearSighand != 0,
		WantPIDFD:    c.flags&unix.CLONE_PIDFD != 0,
		PIDFD:        mm.Addr(c.pidfd),
	}
	for _, f := range shareFlags {
		if c.flags&f.flag != 0 {
			args.Share |= f.share
		}
	}
	for _, f := range freshFlags {
		if c.flags&f.flag != 0 {
			args.Fresh |= f.fresh
		}
	}
	if c.flags&(unix.CLONE_PTRACE|cloneIntoCgroup) != 0 {
		return 0, unix.EINVAL
	}
	if c.flags&unix.CLONE_SETTLS != 0 {
		if c.tls >= userTop {
			return 0, unix.EPERM
		}
		args.TLS = &c.tls
	}
	if c.flags&unix.CLONE_PARENT_SETTID != 0 {
		args.ParentTID = mm.Addr(c.parentTID)
	}
	if c.flags&unix.CLONE_CHILD_SETTID != 0 {
		args.ChildTID = mm.Addr(c.childTID)
	}
	if c.flags&unix.CLONE_CHILD_CLEARTID != 0 {
		args.ClearTID = mm.Addr(c.childTID)
	}
	for i := range c.setTIDSize {
		id, err := load32(t, c.setTID+4*i)
		if err != nil {
			return 0, err
		}
		args.SetTID = append(args.SetTID, int32(id))
	}
	id, err := t.Fork(&args)
	return uint64(id), err
}

package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
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

func sysFork(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return doClone(t, "fork", &abi.CloneArgs{ExitSignal: uint64(unix.SIGCHLD)})
}

func sysVfork(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	return doClone(t, "vfork", &abi.CloneArgs{
		Flags: unix.CLONE_VM | unix.CLONE_VFORK, ExitSignal: uint64(unix.SIGCHLD),
	})
}

// sysClone is clone(2): the low byte of the flags is the exit signal, and parent_tid is
// where a pidfd goes. Bits above 32 are clone3's own and ignored here.
func sysClone(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	args := abi.CloneArgs{
		Flags: a[0] & 0xffffffff &^ csignal, ExitSignal: a[0] & csignal,
		Stack: a[1], ParentTID: a[2], ChildTID: a[3], TLS: a[4],
	}
	if args.Flags&unix.CLONE_PIDFD != 0 {
		if args.Flags&(unix.CLONE_PARENT_SETTID|unix.CLONE_DETACHED) != 0 {
			return 0, unix.EINVAL
		}
		args.PidFD = a[2]
	}
	args.Flags &^= unix.CLONE_DETACHED
	return doClone(t, "clone", &args)
}

// sysClone3 is clone3(2).
func sysClone3(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	addr, size := a[0], a[1]
	if size > mm.PageSize {
		return 0, unix.E2BIG
	}
	if size < abi.CloneArgsSizeMin {
		return 0, unix.EINVAL
	}
	b := make([]byte, max(size, abi.CloneArgsSize))
	if err := t.CopyIn(mm.Addr(addr), b[:size]); err != nil {
		return 0, err
	}
	for _, tail := range b[abi.CloneArgsSize:] {
		if tail != 0 {
			return 0, unix.E2BIG
		}
	}
	args := abi.DecodeCloneArgs(b)
	if err := checkClone3(&args); err != nil {
		return 0, err
	}
	if args.Stack != 0 {
		args.Stack += args.StackSize
	}
	return doClone(t, "clone3", &args)
}

// checkClone3 refuses what only clone3 refuses.
func checkClone3(c *abi.CloneArgs) error {
	bad := []bool{
		c.Flags&(csignal&^cloneNewTime|unix.CLONE_DETACHED) != 0,
		c.Flags>>34 != 0,
		c.ExitSignal > 64,
		c.Flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && c.ExitSignal != 0,
		(c.Stack == 0) != (c.StackSize == 0),
		c.Stack != 0 && (c.Stack+c.StackSize < c.Stack || c.Stack+c.StackSize > userTop),
		c.SetTID == 0 && c.SetTIDSize > 0,
		c.SetTID != 0 && c.SetTIDSize == 0,
		c.SetTIDSize > 32,
		c.Flags&cloneIntoCgroup != 0 && c.Cgroup > 1<<31-1,
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
func doClone(t *kernel.Task, kind string, c *abi.CloneArgs) (uint64, error) {
	args := kernel.ForkArgs{
		Kind: kind, Stack: c.Stack, ExitSignal: signal.Signal(c.ExitSignal),
		Vfork:        c.Flags&unix.CLONE_VFORK != 0,
		ClearActions: c.Flags&cloneClearSighand != 0,
		WantPIDFD:    c.Flags&unix.CLONE_PIDFD != 0,
		PIDFD:        mm.Addr(c.PidFD),
		IntoCgroup:   c.Flags&cloneIntoCgroup != 0, CgroupFD: int32(c.Cgroup),
	}
	for _, f := range shareFlags {
		if c.Flags&f.flag != 0 {
			args.Share |= f.share
		}
	}
	args.Fresh, _ = freshOf(c.Flags)
	args.Untraced, args.Traced = c.Flags&unix.CLONE_UNTRACED != 0, c.Flags&unix.CLONE_PTRACE != 0
	if c.Flags&unix.CLONE_SETTLS != 0 {
		if c.TLS >= userTop {
			return 0, unix.EPERM
		}
		args.TLS = &c.TLS
	}
	if c.Flags&unix.CLONE_PARENT_SETTID != 0 {
		args.ParentTID = mm.Addr(c.ParentTID)
	}
	if c.Flags&unix.CLONE_CHILD_SETTID != 0 {
		args.ChildTID = mm.Addr(c.ChildTID)
	}
	if c.Flags&unix.CLONE_CHILD_CLEARTID != 0 {
		args.ClearTID = mm.Addr(c.ChildTID)
	}
	for i := range c.SetTIDSize {
		id, err := load32(t, c.SetTID+4*i)
		if err != nil {
			return 0, err
		}
		args.SetTID = append(args.SetTID, int32(id))
	}
	id, err := t.Fork(&args)
	return uint64(id), err
}

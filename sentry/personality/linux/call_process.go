package linux

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/kernel"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

func sysGetpid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error)  { return uint64(t.TGID()), nil }
func sysGettid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error)  { return uint64(t.TID()), nil }
func sysGetppid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) { return uint64(t.PPID()), nil }

func sysExit(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	t.Exit(int32(a[0]))
	return 0, nil
}

func sysExitGroup(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	t.ExitGroup(int32(a[0]))
	return 0, nil
}

func sysSetpgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return 0, t.SetPGID(int32(a[0]), int32(a[1]))
}

func sysGetpgid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, err := t.GetPGID(int32(a[0]))
	return uint64(id), err
}

func sysGetpgrp(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	id, err := t.GetPGID(0)
	return uint64(id), err
}

func sysGetsid(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	id, err := t.GetSID(int32(a[0]))
	return uint64(id), err
}

func sysSetsid(t *kernel.Task, _ arch.SyscallArgs) (uint64, error) {
	id, err := t.SetSID()
	return uint64(id), err
}

func sysSetTIDAddress(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	t.SetClearTID(mm.Addr(a[0]))
	return uint64(t.TID()), nil
}

func sysSetRobustList(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if a[1] != abi.RobustListHeadSize {
		return 0, unix.EINVAL
	}
	t.SetRobustList(mm.Addr(a[0]))
	return 0, nil
}

func sysGetRobustList(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	head, err := t.RobustList(int32(a[0]))
	if err != nil {
		return 0, err
	}
	if err := storeWords(t, a[2], abi.RobustListHeadSize); err != nil {
		return 0, err
	}
	return 0, storeWords(t, a[1], uint64(head))
}

func sysExecve(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doExec(t, unix.AT_FDCWD, a[0], a[1], a[2], 0)
}

func sysExecveat(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	return doExec(t, int32(a[0]), a[1], a[2], a[3], a[4])
}

func doExec(t *kernel.Task, dirfd int32, name, argv, envv, flags uint64) (uint64, error) {
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	filename, err := path(t, name)
	if err != nil {
		return 0, err
	}
	args := kernel.ExecArgs{Filename: filename}
	if args.File, err = openProgram(t, dirfd, &args, flags); err != nil {
		return 0, err
	}
	if args.Argv, err = stringVector(t, argv); err == nil {
		args.Envv, err = stringVector(t, envv)
	}
	if err != nil {
		args.File.DecRef()
		return 0, err
	}
	return 0, t.Exec(args)
}

// openProgram opens the file to run. One named by a descriptor gets the name
// under /dev/fd that Linux gives it.
func openProgram(t *kernel.Task, dirfd int32, a *kernel.ExecArgs, flags uint64) (*vfs.File, error) {
	w, err := walkFrom(t, dirfd, a.Filename, flags&unix.AT_EMPTY_PATH != 0)
	if err != nil {
		return nil, err
	}
	w.NoFollow = flags&unix.AT_SYMLINK_NOFOLLOW != 0
	file, err := t.OpenExecAt(w, a.Filename)
	if err != nil {
		return nil, err
	}
	if dirfd != unix.AT_FDCWD && (a.Filename == "" || a.Filename[0] != '/') {
		a.Filename = fdName(dirfd, a.Filename)
		closes, err := t.FDs().CloseOnExec(dirfd)
		a.NoScript = err == nil && closes
	}
	return file, nil
}

func sysPidfdOpen(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	pid, flags := int32(a[0]), a[1]
	if flags&^(unix.PIDFD_NONBLOCK|unix.PIDFD_THREAD) != 0 || pid <= 0 {
		return 0, unix.EINVAL
	}
	file, err := t.OpenPIDFD(pid, flags&unix.PIDFD_THREAD != 0)
	if err != nil {
		return 0, err
	}
	if err := file.SetFlags(t, int(flags)&unix.O_NONBLOCK, 0); err != nil {
		return 0, err
	}
	return newFD(t, file, true)
}

func sysPidfdGetfd(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if uint32(a[2]) != 0 {
		return 0, unix.EINVAL
	}
	pidfd, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer pidfd.DecRef()
	file, err := t.FileOf(pidfd, int32(a[1]))
	if err != nil {
		return 0, err
	}
	return dupFD(t, file, 0, true)
}

func sysProcessMrelease(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	if uint32(a[1]) != 0 {
		return 0, unix.EINVAL
	}
	pidfd, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer pidfd.DecRef()
	return 0, t.ReleaseMemory(pidfd)
}

// pidfdScopes are the flags of pidfd_send_signal(2): a thread, a process, a process group.
var pidfdScopes = map[uint64]kernel.PIDFDScope{0: kernel.ScopeOfPIDFD, 1: kernel.ScopeThread, 2: kernel.ScopeProcess, 4: kernel.ScopeGroup}

func sysPidfdSendSignal(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	scope, ok := pidfdScopes[a[3]&0xffffffff]
	if !ok {
		return 0, unix.EINVAL
	}
	file, err := t.FDs().Get(int32(a[0]))
	if err != nil {
		return 0, err
	}
	defer file.DecRef()
	sig := signal.Signal(a[1])
	var info *signal.Info
	if a[2] != 0 {
		if info, err = loadSiginfo(t, a[2]); err != nil {
			return 0, err
		}
		if info.Signo != sig {
			return 0, unix.EINVAL
		}
	}
	return 0, t.SignalPIDFD(file, sig, info, scope)
}

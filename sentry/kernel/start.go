package kernel

import (
	"fmt"
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// InitArgs describe the program that a sandbox is for.
type InitArgs struct {
	// Filename is a path, or a name that is looked up in the PATH of Env.
	Filename string
	Argv     []string
	Env      []string
	CWD      string
	Umask    uint32
	UID      cred.UID
	GID      cred.GID
	Groups   []cred.GID
	// Stdio are the files of descriptors 0 to 2, taken over; nil: closed.
	Stdio  [3]*vfs.File
	Limits limits.Table
	// Terminal makes the terminal among Stdio the session's own.
	Terminal bool
}

// StartError tells why a program could not be started. Err is of execve(2) or
// chdir(2).
type StartError struct {
	What string
	Err  error
}

func (e *StartError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Start creates the program's process and lets it run.
func (k *Kernel) Start(a InitArgs) error {
	t, err := k.newProcess(&a)
	if err != nil {
		return err
	}
	if err := t.prepareProgram(&a); err != nil {
		t.abandon()
		return err
	}
	k.tree.Lock()
	k.main = t.tg
	k.tree.Unlock()
	t.start()
	return nil
}

// newProcess makes a process whose parent is the kernel's init, without a program.
func (k *Kernel) newProcess(a *InitArgs) (*Task, error) {
	k.tree.Lock()
	defer k.tree.Unlock()
	pid, err := newPIDLocked(k.rootPIDNS, nil, false)
	if err != nil {
		return nil, err
	}
	t := k.newTask(pid, k.rootPIDNS, cred.New(a.UID, a.GID, a.Groups, k.rootUserNS), "init")
	t.tg = newThreadGroup(k, pid, limits.New(a.Limits), new(signal.Handlers))
	if err := k.enter(t, t); err != nil {
		pid.freeLocked()
		return nil, err
	}
	t.ctx = k.platform.NewContext(nil)
	k.linkFirstLocked(t, t.tg, k.init)
	t.tracing = k.tracing
	t.traceStart(k.init.leader)
	return t, nil
}

// prepareProgram gives the process files, directories and its program.
func (t *Task) prepareProgram(a *InitArgs) error {
	root := t.k.first.Mount.Root()
	t.fs.Store(newFSContext(root, root, a.Umask))
	t.fds.Store(NewFDTable())
	for fd, f := range a.Stdio {
		if f != nil {
			t.FDs().install(int32(fd), f, false)
		}
	}
	if a.Terminal {
		if err := t.adoptTerminal(a.Stdio[:]); err != nil {
			return err
		}
	}
	empty, err := mm.New(t.k.platform, t.k.memory)
	if err != nil {
		return err
	}
	t.mm.Store(empty)
	cwd, err := vfs.Walk(t, vfs.WalkArgs{Root: root, Start: root, Directory: true}, a.CWD)
	if err != nil {
		return &StartError{"cannot use working directory " + a.CWD, err}
	}
	t.FS().SetCWD(cwd)
	name, file, err := t.findProgram(a)
	if err != nil {
		return &StartError{a.Filename, err}
	}
	if err := t.Exec(ExecArgs{File: file, Filename: name, Argv: a.Argv, Envv: a.Env}); err != nil {
		return &StartError{a.Filename, err}
	}
	t.call.keepRegisters = false
	return nil
}

// findProgram opens the program; a name without a slash is looked up in PATH as
// execvp(3) does.
func (t *Task) findProgram(a *InitArgs) (string, *vfs.File, error) {
	if strings.Contains(a.Filename, "/") {
		f, err := t.OpenExec(a.Filename)
		return a.Filename, f, err
	}
	result := error(unix.ENOENT)
	for _, dir := range strings.Split(pathOf(a.Env), ":") {
		if dir == "" {
			dir = "."
		}
		name := dir + "/" + a.Filename
		f, err := t.OpenExec(name)
		if err == nil {
			return name, f, nil
		}
		if err == unix.EACCES {
			result = err
		}
	}
	return "", nil, result
}

func pathOf(env []string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, "PATH="); ok {
			return v
		}
	}
	return "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

// abandon takes a process apart that never ran.
func (t *Task) abandon() {
	if t.mm.Load() == nil {
		m, err := mm.New(t.k.platform, t.k.memory)
		if err != nil {
			t.k.fail(fmt.Errorf("giving up a process: %w", err))
			return
		}
		t.mm.Store(m)
	}
	t.tg.killAll(ExitStatus{Code: 127})
	t.exit()
	t.ctx.Release()
}

// SendExternal hands a signal from outside the sandbox to the program: to the
// terminal's foreground group if it has one, else to its own process.
func (k *Kernel) SendExternal(sig signal.Signal) {
	k.tree.RLock()
	defer k.tree.RUnlock()
	if k.main == nil || !signal.Valid(sig) {
		return
	}
	if tty := k.main.group.session.tty; tty != nil && tty.foreground != nil {
		tty.foreground.sendLocked(sig)
		return
	}
	info := signal.Info{Signo: sig, Code: signal.CodeUser}
	if err := k.main.SendSignal(&info); err != nil {
		k.log.Warnf("signal %d from outside: %v", sig, err)
	}
}

package kernel

import (
	"strings"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/callfilter"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// InitArgs describe a program that is started from outside: the one that the sandbox is for, or
// one that joins it.
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
	Stdio [3]*vfs.File
	// More are the files of the descriptors from 3 on, taken over.
	More   []*vfs.File
	Limits limits.Table
	// Terminal makes the terminal among Stdio the session's own.
	Terminal bool
	// Creds are the credentials before the program is executed; nil: those that the user has anywhere.
	Creds *cred.Credentials
	// Filter judges the program's calls from its first one on (seccomp(2)); empty: none.
	Filter callfilter.Program
	Traits
	// Container is the one that the program is for; nil: the whole sandbox.
	Container *Container
	// Beside is a program whose container and namespaces this one joins; nil: it is the one that the container is for.
	Beside *Program
}

// StartError tells why a program could not be started. Err is of execve(2) or
// chdir(2).
type StartError struct {
	What string
	Err  error
	// Directory says that it is the working directory, and not the program.
	Directory bool
}

func (e *StartError) Error() string { return e.What + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *StartError) Unwrap() error { return e.Err }

// Start creates the program that the sandbox is for and lets it run.
func (k *Kernel) Start(a InitArgs) error {
	p, err := k.Prepare(a)
	if err == nil {
		p.Start()
	}
	return err
}

// Prepare creates a program's process, which waits for Program.Start. ESRCH when the one it is to join has ended.
func (k *Kernel) Prepare(a InitArgs) (*Program, error) {
	t, err := k.newProcess(&a)
	if err != nil {
		return nil, err
	}
	if err := t.prepareProgram(&a); err != nil {
		t.abandon(ExitStatus{Code: 127})
		return nil, err
	}
	if a.Beside == nil {
		k.tree.Lock()
		t.container.main = t.tg
		k.tree.Unlock()
	}
	begin := make(chan struct{})
	t.gate = begin
	t.start()
	return &Program{task: t, begin: begin}, nil
}

// containerFor returns the container of a new program.
func (k *Kernel) containerFor(a *InitArgs) *Container {
	switch {
	case a.Beside != nil:
		return a.Beside.task.container
	case a.Container != nil:
		return a.Container
	}
	return k.whole
}

// namespacesFor returns the namespaces of a new program, with a reference, and the pid namespace of its own ids.
func (k *Kernel) namespacesFor(a *InitArgs) (*Namespaces, *PIDNamespace, error) {
	if a.Beside == nil {
		c := k.containerFor(a)
		return c.ns.incRef(), c.pids, nil
	}
	k.tree.RLock()
	defer k.tree.RUnlock()
	n := a.Beside.task.Namespaces()
	if n == nil {
		return nil, nil, unix.ESRCH
	}
	return n.incRef(), a.Beside.task.pidns, nil
}

// newProcess makes a process whose parent is the kernel's init, without a program.
func (k *Kernel) newProcess(a *InitArgs) (*Task, error) {
	c := a.Creds
	if c == nil {
		c = cred.New(a.UID, a.GID, a.Groups, k.rootUserNS)
	}
	c = a.credentials(c)
	ns, pidns, err := k.namespacesFor(a)
	if err != nil {
		return nil, err
	}
	in := k.containerFor(a)
	k.tree.Lock()
	defer k.tree.Unlock()
	if in.ending || pidns.dying {
		ns.decRef()
		return nil, unix.ESRCH
	}
	pid, err := newPIDLocked(pidns, nil, false)
	if err != nil {
		ns.decRef()
		return nil, err
	}
	t := k.newTask(in, pid, pidns, c, "init")
	t.setNamespaces(ns)
	t.tg = newThreadGroup(k, pid, limits.New(a.Limits), new(signal.Handlers))
	a.give(t)
	if err := k.enter(t, t); err != nil {
		t.unmakeLocked()
		return nil, err
	}
	if err := k.linkFirstLocked(t, t.tg); err != nil {
		k.users.withdraw(t)
		t.unmakeLocked()
		return nil, err
	}
	t.runIn(k.platform.NewContext(nil))
	if pidns.init == nil {
		pidns.init, t.tg.initOf = t.tg, pidns
	}
	t.tracing = k.tracing
	t.traceStart(k.init.leader)
	return t, nil
}

// unmakeLocked takes back what newTask and newPIDLocked gave a task that nobody knows.
func (t *Task) unmakeLocked() {
	t.pid.freeLocked()
	t.leaveNamespaces()
	t.Creds().UserNS.Drop()
}

// prepareProgram gives the process files, directories and its program.
func (t *Task) prepareProgram(a *InitArgs) error {
	root := t.MountsOf().Root()
	t.fs.Store(newFSContext(root, root, a.Umask))
	t.fds.Store(newFDTable(t.k))
	for fd, f := range a.Stdio {
		if f != nil {
			t.FDs().install(int32(fd), f, false)
		}
	}
	for i, f := range a.More {
		t.FDs().install(int32(len(a.Stdio)+i), f, false)
	}
	if a.Terminal {
		if err := t.adoptTerminal(a.Stdio[:]); err != nil {
			return err
		}
	}
	empty, err := mm.New(t.k.platform, t.Payer())
	if err != nil {
		return err
	}
	t.mm.Store(empty)
	cwd, err := vfs.Walk(t, vfs.WalkArgs{Root: root, Start: root, Directory: true}, a.CWD)
	if err != nil {
		return &StartError{What: "cannot use working directory " + a.CWD, Err: err, Directory: true}
	}
	t.FS().SetCWD(cwd)
	name, file, err := t.findProgram(a)
	if err != nil {
		return &StartError{What: a.Filename, Err: err}
	}
	if err := t.Exec(ExecArgs{File: file, Filename: name, Argv: a.Argv, Envv: a.Env}); err != nil {
		return &StartError{What: a.Filename, Err: err}
	}
	t.call.keepRegisters = false
	if len(a.Filter) == 0 {
		return nil
	}
	_, err = t.AddCallFilter(a.Filter, false, nil)
	return err
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
func (t *Task) abandon(s ExitStatus) {
	t.tg.killAll(s)
	t.exit()
	t.ctx.Release()
}

// SendExternal hands a signal from outside the sandbox to the program: to the
// terminal's foreground group if it has one, else to its own process.
func (k *Kernel) SendExternal(sig signal.Signal) {
	k.tree.RLock()
	defer k.tree.RUnlock()
	main := k.whole.main
	if main == nil || !signal.Valid(sig) {
		return
	}
	if tty := main.group.session.tty; tty != nil && tty.foreground != nil {
		tty.foreground.sendLocked(sig)
		return
	}
	info := signal.Info{Signo: sig, Code: signal.CodeUser}
	if err := main.SendSignal(&info); err != nil {
		k.log.Warnf("signal %d from outside: %v", sig, err)
	}
}

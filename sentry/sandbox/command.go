package sandbox

import (
	"errors"
	"fmt"
	"slices"

	"gosentry/fs/vfs"
	"gosentry/sentry/control"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/personality/linux"

	"golang.org/x/sys/unix"
)

// prepare makes a container's program ready.
func (c *container) prepare() error {
	args, err := c.programArgs(c.in.Container.Process)
	if err != nil {
		return err
	}
	args.Container = c.kernel
	files := slices.Concat(c.in.Stdio[:], c.in.More)
	c.in.Stdio, c.in.More = [3]int{-1, -1, -1}, nil
	if c.console, err = c.openFiles(&args, files); err != nil {
		return err
	}
	c.program, err = c.m.kernel.Prepare(args)
	return startError(err)
}

func startError(err error) error {
	se := new(kernel.StartError)
	switch {
	case !errors.As(err, &se):
		return err
	case se.Directory:
		return startFailure(se.What, se.Err)
	}
	return se.Err
}

// programArgs translates a process, its descriptors aside.
func (c *container) programArgs(p *control.Process) (kernel.InitArgs, error) {
	args := control.Strings(p.Args)
	creds, err := c.credentials(p)
	if err != nil {
		return kernel.InitArgs{}, err
	}
	traits := scheduled(p.Schedule, p.OOMScoreAdj)
	traits.Scheduling.Affinity = ofProcessors(c.in.Container.Affinity, linux.CPUs())
	return kernel.InitArgs{
		Filename: args[0], Argv: args, Env: control.Strings(p.Env), CWD: string(p.Cwd), Umask: p.Umask,
		UID: creds.RUID, GID: creds.RGID, Groups: creds.Groups, Creds: creds, Limits: p.Limits, Terminal: p.Terminal,
		Filter: c.in.Container.Seccomp, Traits: traits,
	}, nil
}

// credentials are those of a process, in the container's user namespace.
func (c *container) credentials(p *control.Process) (*cred.Credentials, error) {
	ns := c.owner.UserNS
	uid, known := ns.ToUID(p.UID)
	if !known {
		return nil, fmt.Errorf("process.user.uid: %d is not in linux.uidMappings", p.UID)
	}
	groups := make([]cred.GID, len(p.Groups)+1)
	for i, g := range append([]uint32{p.GID}, p.Groups...) {
		if groups[i], known = ns.ToGID(g); !known {
			return nil, fmt.Errorf("process.user: the group %d is not in linux.gidMappings", g)
		}
	}
	out := cred.New(uid, groups[0], groups[1:], ns)
	switch caps := p.Capabilities; {
	case caps != nil:
		out.Bounding, out.Effective, out.Permitted = cred.CapSet(caps.Bounding), cred.CapSet(caps.Effective), cred.CapSet(caps.Permitted)
		out.Inheritable = cred.CapSet(caps.Inheritable)
		out.Ambient = cred.CapSet(caps.Ambient) & out.Permitted & out.Inheritable
	case p.UID == 0:
		out.Permitted, out.Effective = cred.AllCaps, cred.AllCaps
	}
	out.NoNewPrivs = p.NoNewPrivs
	return out, nil
}

// handle answers a request about the container.
func (c *container) handle(r control.Request) control.Answer {
	var err error
	switch r.Op {
	case control.OpStatus:
		return control.Answer{Status: c.status()}
	case control.OpStart:
		err = c.startProgram()
	case control.OpSignal:
		err = c.signal(r)
	case control.OpPS:
		return control.Answer{PIDs: c.program.Processes()}
	case control.OpLook:
		return control.Answer{Processes: c.processes()}
	case control.OpStats:
		return control.Answer{Stats: c.stats()}
	case control.OpUpdate:
		err = c.update(r.Limits)
	case control.OpPause:
		err = c.pause(true)
	case control.OpResume:
		err = c.pause(false)
	default:
		err = fmt.Errorf("the sandbox knows no request %q", r.Op)
	}
	if err != nil {
		return control.Answer{Error: err.Error()}
	}
	return control.Answer{}
}

func (c *container) stats() *control.Stats {
	s := c.kernel.Stats()
	return &control.Stats{
		CPUUser: uint64(s.User), CPUSystem: uint64(s.System), Memory: s.Memory, MemoryLimit: s.MemoryLimit,
		Tasks: s.Tasks, TaskLimit: s.TaskLimit, OOMKills: s.OOMKills,
	}
}

// update changes limits: all of them, or none.
func (c *container) update(l *control.Limits) error {
	if l == nil {
		return errors.New("no limits given")
	}
	if l.Memory != nil {
		limit, used := uint64(*l.Memory), c.kernel.Stats().Memory
		switch {
		case *l.Memory <= 0:
			limit = c.m.hostMemory
		case limit < used:
			return fmt.Errorf("a memory limit of %d bytes is below what is in use, %d", limit, used)
		}
		c.kernel.SetMemoryLimit(limit)
	}
	if l.Tasks != nil {
		c.kernel.SetTaskLimit(int(max(*l.Tasks, 0)))
	}
	return nil
}

func (c *container) status() control.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.over():
		return control.Stopped
	case !c.started:
		return control.Created
	case c.paused:
		return control.Paused
	}
	return control.Running
}

func (c *container) startProgram() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.started {
		return errors.New("it was started before")
	}
	c.started = true
	c.console.start()
	c.program.Start()
	return nil
}

// signal passes a signal on. One that would kill a program which never ran ends the container.
func (c *container) signal(r control.Request) error {
	sig := unix.Signal(r.Signal)
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	switch {
	case !started && r.PID == 0 && sig != 0:
		switch sig {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			return nil
		}
		c.program.Abort(sig)
		return nil
	case r.All:
		return c.program.SignalAll(sig)
	}
	return c.program.Signal(r.PID, sig)
}

func (c *container) pause(on bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case !c.started:
		return errors.New("its program was not started yet")
	case c.paused == on && on:
		return errors.New("it is paused already")
	case c.paused == on:
		return errors.New("it is not paused")
	}
	c.paused = on
	c.kernel.Pause(on)
	return nil
}

// exec runs a further program in the container.
func (c *container) exec(p *control.Process, files []int) (int32, func() int, error) {
	if len(p.Args) == 0 {
		closeAll(files)
		return 0, nil, errors.New("no program given")
	}
	args, err := c.programArgs(p)
	if err != nil {
		closeAll(files)
		return 0, nil, err
	}
	args.Beside = c.program
	tty, err := c.openFiles(&args, files)
	if err != nil {
		return 0, nil, err
	}
	program, err := c.m.kernel.Prepare(args)
	if err != nil {
		tty.close()
		return 0, nil, startFailure(args.Filename, startError(err))
	}
	tty.start()
	program.Start()
	return program.ID(), func() int {
		s := program.Wait()
		tty.finish(outputPatience(s.Signal != 0))
		return s.Shell()
	}, nil
}

// openFiles makes files of descriptors, which it takes over even when it fails, and a terminal of the first ones where there is to be one.
func (c *container) openFiles(args *kernel.InitArgs, descriptors []int) (tty *console, err error) {
	var files []*vfs.File
	if n := len(args.Stdio); args.Terminal && len(descriptors) >= n {
		closeAll(descriptors[1:n]) // all of them are the same terminal
		if tty, err = newConsole(descriptors[0], c.terminals, args.Creds); err == nil {
			files, err = tty.files(c.mounts.Root())
		}
		descriptors = descriptors[n:]
	}
	for i, fd := range descriptors {
		var f *vfs.File
		if err == nil {
			f, err = c.m.streams.File(fd, "")
		}
		if err != nil {
			closeAll(descriptors[i:])
			break
		}
		files = append(files, f)
	}
	if err != nil {
		for _, f := range files {
			f.DecRef()
		}
		tty.close()
		return nil, startWith(err)
	}
	n := copy(args.Stdio[:], files)
	args.More = files[n:]
	return tty, nil
}

// startWith says of what is no failure yet that a program's files are the matter.
func startWith(err error) error {
	if f := new(Failure); errors.As(err, &f) {
		return f
	}
	return &Failure{What: "cannot use the caller's descriptors", Cause: err}
}

func closeAll(descriptors []int) {
	for _, fd := range descriptors {
		unix.Close(fd)
	}
}

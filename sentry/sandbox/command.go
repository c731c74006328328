package sandbox

import (
	"errors"
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/sentry/control"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"

	"golang.org/x/sys/unix"
)

// prepare makes a container's program ready and answers its control socket.
func (m *machine) prepare() error {
	args, err := m.programArgs(m.in.Container.Process)
	if err != nil {
		return err
	}
	args.PIDs = m.pids
	if m.console, err = m.openFiles(&args, append(m.in.Stdio[:], m.in.More...)); err != nil {
		return err
	}
	p, err := m.kernel.Prepare(args)
	if err != nil {
		return startError(err)
	}
	m.program = p
	go m.server.Serve(m) //nolint:errcheck // it ends with the process
	return nil
}

func startError(err error) error {
	if se := new(kernel.StartError); errors.As(err, &se) {
		return se.Err
	}
	return err
}

// programArgs translates a process, its descriptors aside.
func (m *machine) programArgs(p *control.Process) (kernel.InitArgs, error) {
	args := control.Strings(p.Args)
	c, err := m.credentials(p)
	if err != nil {
		return kernel.InitArgs{}, err
	}
	return kernel.InitArgs{
		Filename: args[0], Argv: args, Env: control.Strings(p.Env), CWD: string(p.Cwd), Umask: p.Umask,
		UID: c.RUID, GID: c.RGID, Groups: c.Groups, Creds: c, Limits: p.Limits, Terminal: p.Terminal, OOMScoreAdj: p.OOMScoreAdj,
		Filter:     m.in.Container.Seccomp,
		Scheduling: kernel.Scheduling{Policy: p.Schedule.Policy, Priority: p.Schedule.Priority},
		Nice:       p.Schedule.Nice, IOPriority: p.Schedule.IOPriority,
	}, nil
}

// credentials are those of a process, in the container's user namespace.
func (m *machine) credentials(p *control.Process) (*cred.Credentials, error) {
	ns := m.owner.UserNS
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
	c := cred.New(uid, groups[0], groups[1:], ns)
	switch caps := p.Capabilities; {
	case caps != nil:
		c.Bounding, c.Effective, c.Permitted = cred.CapSet(caps.Bounding), cred.CapSet(caps.Effective), cred.CapSet(caps.Permitted)
		c.Inheritable = cred.CapSet(caps.Inheritable)
		c.Ambient = cred.CapSet(caps.Ambient) & c.Permitted & c.Inheritable
	case p.UID == 0:
		c.Permitted, c.Effective = cred.AllCaps, cred.AllCaps
	}
	c.NoNewPrivs = p.NoNewPrivs
	return c, nil
}

// Handle implements control.Handler.
func (m *machine) Handle(r control.Request) control.Answer {
	var err error
	switch r.Op {
	case control.OpStatus:
		return control.Answer{Status: m.status()}
	case control.OpStart:
		err = m.startProgram()
	case control.OpSignal:
		err = m.signal(r)
	case control.OpPS:
		return control.Answer{PIDs: m.program.Processes()}
	case control.OpStats:
		return control.Answer{Stats: m.stats()}
	case control.OpUpdate:
		err = m.update(r.Limits)
	case control.OpWait:
		<-m.ended
		return control.Answer{Exit: &m.exit}
	case control.OpPause:
		err = m.pause(true)
	case control.OpResume:
		err = m.pause(false)
	default:
		err = fmt.Errorf("the sandbox knows no request %q", r.Op)
	}
	if err != nil {
		return control.Answer{Error: err.Error()}
	}
	return control.Answer{}
}

func (m *machine) stats() *control.Stats {
	s := m.kernel.Stats()
	return &control.Stats{
		CPUUser: uint64(s.User), CPUSystem: uint64(s.System), Memory: s.Memory, MemoryLimit: s.MemoryLimit,
		Tasks: s.Tasks, TaskLimit: s.TaskLimit, OOMKills: s.OOMKills,
	}
}

// update changes limits: all of them, or none.
func (m *machine) update(l *control.Limits) error {
	if l == nil {
		return errors.New("no limits given")
	}
	if l.Memory != nil {
		limit, used := uint64(*l.Memory), m.kernel.Stats().Memory
		switch {
		case *l.Memory <= 0:
			limit = m.hostMemory
		case limit < used:
			return fmt.Errorf("a memory limit of %d bytes is below what is in use, %d", limit, used)
		}
		m.kernel.SetMemoryLimit(limit)
	}
	if l.Tasks != nil {
		m.kernel.SetTaskLimit(int(max(*l.Tasks, 0)))
	}
	return nil
}

func (m *machine) status() control.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.draining.Load():
		return control.Stopped
	case !m.started:
		return control.Created
	case m.paused:
		return control.Paused
	}
	return control.Running
}

func (m *machine) startProgram() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.started {
		return errors.New("it was started before")
	}
	m.started = true
	m.console.start()
	m.program.Start()
	return nil
}

// signal passes a signal on. One that would kill a program which never ran ends the sandbox.
func (m *machine) signal(r control.Request) error {
	sig := unix.Signal(r.Signal)
	m.mu.Lock()
	started := m.started
	m.mu.Unlock()
	switch {
	case !started && r.PID == 0 && sig != 0:
		switch sig {
		case unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH, unix.SIGCONT, unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
			return nil
		}
		m.kernel.Abort(sig)
		return nil
	case r.All:
		return m.program.SignalAll(sig)
	}
	return m.program.Signal(r.PID, sig)
}

func (m *machine) pause(on bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case !m.started:
		return errors.New("its program was not started yet")
	case m.paused == on && on:
		return errors.New("it is paused already")
	case m.paused == on:
		return errors.New("it is not paused")
	}
	m.paused = on
	m.kernel.Pause(on)
	return nil
}

// Exec implements control.Handler.
func (m *machine) Exec(p *control.Process, files []int) (int32, func() int, error) {
	if len(p.Args) == 0 {
		closeAll(files)
		return 0, nil, errors.New("no program given")
	}
	args, err := m.programArgs(p)
	if err != nil {
		closeAll(files)
		return 0, nil, err
	}
	args.Beside = m.program
	tty, err := m.openFiles(&args, files)
	if err != nil {
		return 0, nil, err
	}
	program, err := m.kernel.Prepare(args)
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
func (m *machine) openFiles(args *kernel.InitArgs, descriptors []int) (tty *console, err error) {
	var files []*vfs.File
	if n := len(args.Stdio); args.Terminal && len(descriptors) >= n {
		closeAll(descriptors[1:n]) // all of them are the same terminal
		if tty, err = newConsole(descriptors[0], m.terminals, args.Creds); err == nil {
			files, err = tty.files(m.mounts.Root())
		}
		descriptors = descriptors[n:]
	}
	for i, fd := range descriptors {
		var f *vfs.File
		if err == nil {
			f, err = m.streams.File(fd, "")
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

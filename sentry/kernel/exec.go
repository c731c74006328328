package kernel

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/abi"
	"gosentry/sentry/cred"
	"gosentry/sentry/loader"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// ExecArgs are the arguments of execve(2) and execveat(2), resolved.
type ExecArgs struct {
	File     *vfs.File // the program, opened for execution; Exec takes the reference over
	Filename string    // as it was asked for
	Argv     []string
	Envv     []string
	NoScript bool // a "#!" script could not be opened by its name
}

// Exec replaces the program of the process. The new address space is made whole
// before anything of the old one goes; after the other threads have ended it
// cannot fail any more.
func (t *Task) Exec(a ExecArgs) error {
	was := t.pid
	p, err := t.load(&a)
	a.File.DecRef()
	if err != nil {
		return err
	}
	if err := t.becomeSingle(); err != nil {
		p.img.Exec.DecRef()
		p.mm.DecUsers()
		return err
	}
	t.installImage(p)
	t.resetForExec(p)
	t.startImage(&p.img)
	t.k.execed(t, a.Filename, was)
	t.releaseVfork()
	t.ptraceExec(was)
	return nil
}

// program is a program that is loaded and not run yet.
type program struct {
	mm     *mm.MemoryManager
	img    loader.Image
	creds  *cred.Credentials
	secure bool // it has rights that the caller has not
	alone  bool // nobody traced the thread who may not see it gain rights
	bound  bool // the thread may not use all processors
}

// load makes a fresh address space with the program in it.
func (t *Task) load(a *ExecArgs) (*program, error) {
	if err := t.checkNProc(); err != nil {
		return nil, err
	}
	fresh, err := mm.New(t.k.platform, t.Payer())
	if err != nil {
		return nil, err
	}
	fresh.SetOwner(t.tg.pid)
	p := &program{mm: fresh, creds: t.Creds()}
	vdso, err := t.k.vdsoIn(t.Namespaces().TimeForChildren)
	if err != nil {
		fresh.DecUsers()
		return nil, err
	}
	p.img, err = loader.Load(loader.Args{
		MM: fresh, Caller: t, Exec: a.File, Filename: a.Filename,
		Argv: a.Argv, Envv: a.Envv, NoScript: a.NoScript,
		OpenExec: t.OpenExec,
		VDSO:     vdso, Limits: t.Limits(), Creds: p.creds,
		Gain: func(f *vfs.File) (_ *cred.Credentials, _ bool, err error) {
			p.alone = !t.tracedUnsafely()
			p.creds, p.secure, err = t.credsForExec(f, p.alone)
			return p.creds, p.secure, err
		},
		NoRandomize: t.tg.persona.Load()&personaNoRandomize != 0,
	})
	if err != nil {
		fresh.DecUsers()
		return nil, err
	}
	return p, nil
}

// OpenExec opens a program by name as execve(2) does.
func (t *Task) OpenExec(path string) (*vfs.File, error) {
	return t.OpenExecAt(t.WalkArgs(), path)
}

// WalkArgs starts a path walk at the working directory.
func (t *Task) WalkArgs() vfs.WalkArgs {
	fs := t.FS()
	return vfs.WalkArgs{Root: fs.Root(), Start: fs.CWD()}
}

// OpenExecAt opens a program relative to w.Start: a regular file, executable for
// the caller, not on a mount with noexec; EACCES otherwise. Until the file is closed,
// nobody can open it for writing; ETXTBSY when somebody has it so.
func (t *Task) OpenExecAt(w vfs.WalkArgs, path string) (*vfs.File, error) {
	p, err := vfs.Walk(t, w, path)
	if err != nil {
		return nil, err
	}
	if err := mayExec(t, p); err != nil {
		return nil, err
	}
	ops, err := p.Inode().Open(t, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	file := vfs.NewFile(ops, p, unix.O_RDONLY)
	if err := file.DenyWrite(); err != nil {
		file.DecRef()
		return nil, err
	}
	return file, nil
}

// mayExec checks type, mount and permission; execute permission is enough, the
// program need not be readable.
func mayExec(c vfs.Caller, p vfs.Path) error {
	if p.FileType() == unix.S_IFLNK {
		return unix.ELOOP
	}
	if p.FileType() != unix.S_IFREG || p.Mount.Flags()&vfs.NoExec != 0 {
		return unix.EACCES
	}
	return vfs.Access(c, p, vfs.MayExec)
}

// becomeSingle ends all other threads of the process; the caller then is its
// leader. ERESTARTNOINTR when another thread ends or execs the process first.
func (t *Task) becomeSingle() error {
	tg := t.tg
	tg.sigMu.Lock()
	if t.dying || tg.exiting || tg.execing != nil {
		tg.sigMu.Unlock()
		return ERESTARTNOINTR
	}
	tg.execing = t
	for _, o := range tg.tasks {
		if o != t {
			o.dieLocked(ExitStatus{})
		}
	}
	tg.sigMu.Unlock()
	t.waitAlone()
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	tg.sigMu.Lock()
	defer tg.sigMu.Unlock()
	tg.execing = nil
	if t.dying || tg.exiting {
		return ERESTARTNOINTR
	}
	t.takeLeadershipLocked()
	return nil
}

// waitAlone waits until the other threads of the process have ended.
func (t *Task) waitAlone() {
	if t.aloneInGroup() {
		return
	}
	t.ctx.Leave()
	t.switchMode(cpuOff)
	defer t.switchMode(cpuSystem)
	for !t.aloneInGroup() {
		<-t.tg.execWait
	}
}

func (t *Task) aloneInGroup() bool {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	return t.tg.live == 1
}

// takeLeadershipLocked gives the thread the process's id, if it is not the
// leader's already; the old leader has ended.
func (t *Task) takeLeadershipLocked() {
	tg := t.tg
	old := tg.leader
	if old == t {
		return
	}
	own := t.pid
	t.pid, old.pid = old.pid, own
	t.pid.task = t
	own.leaveLocked(old)
	old.discharge()
	for n := own.ns; n != nil; n = n.parent {
		n.tasks--
	}
	if old.tracee != nil {
		old.unlinkLocked()
	}
	old.gone = true
	old.pending.Discard(signal.All)
	tg.leader = t
	tg.tasks = []*Task{t}
	for c := range tg.children {
		c.parentTask = t
	}
}

// installImage gives the task its new address space and drops the old one.
func (t *Task) installImage(p *program) {
	t.releaseRobustList()
	old := t.mm.Load()
	t.clearChildTID(old)
	// Who sees the new memory, as in /proc/PID/cmdline, sees the name and the file that go with it.
	t.SetName(p.img.Comm)
	exe := t.exe.Swap(p.img.Exec)
	if t.becomeImage(p); p.bound {
		followAffinity(p.mm)
	}
	if exe != nil {
		exe.DecRef()
	}
	old.DecUsers()
}

// becomeImage changes memory, what tells of its layout, and credentials together for who looks into the task: nobody gets at the new
// program's memory by what the old one was. A tracer that came meanwhile and could not have come now lets go.
func (t *Task) becomeImage(p *program) {
	t.k.tree.Lock()
	defer t.k.tree.Unlock()
	t.mm.Store(p.mm)
	auxv := abi.AppendAuxv(nil, p.img.Auxv)
	t.auxv.Store(&auxv)
	t.SetCreds(p.creds)
	t.tg.SetDumpable(p.creds.EUID == p.creds.RUID && p.creds.EGID == p.creds.RGID)
	t.tg.execs++
	t.tg.exitSignal = unix.SIGCHLD
	t.payLocked()
	p.bound = t.sched.Affinity != nil
	if a := t.tracee; a != nil && p.alone && !t.opensTo(a.creds, a.creds.RUID, a.creds.RGID, a.creds.Permitted) {
		t.tg.sigMu.Lock()
		t.unlinkLocked()
		t.tg.sigMu.Unlock()
	}
}

// resetForExec does what execve(2) lists under "process attributes".
func (t *Task) resetForExec(p *program) {
	tg := t.tg
	if p.secure {
		tg.persona.And(^uint32(personaInsecure))
	}
	if t.FDs().refs.Load() > 1 {
		own, ok := t.FDs().copy()
		if t.setFiles(own); !ok {
			tg.killAll(ExitStatus{Signal: unix.SIGKILL})
		}
	}
	t.FDs().closeOnExec(t)
	tg.sigMu.Lock()
	tg.handlers = tg.handlers.CopyForExec()
	tg.posix.deleteAllLocked()
	tg.sigMu.Unlock()
	t.altStack = signal.NoStack()
	t.robustList.Store(0)
	t.clearTID = 0
	t.ns.Store(t.Namespaces().inTime())
}

// startImage points the registers at the program's first instruction.
func (t *Task) startImage(img *loader.Image) {
	t.Regs = arch.NewRegisters(img.Entry, img.SP)
	arch.ResetFPU(t.ctx.FPU())
	t.ctx.FPUChanged()
	t.call.keepRegisters = true
}

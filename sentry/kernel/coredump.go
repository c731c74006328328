package kernel

import (
	"slices"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/coredump"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// coreDump is a process on its way out that writes its core file first. Its
// threads meet in exit: the others leave their registers and wait, the dumper
// waits for them and writes.
type coreDump struct {
	dumper *Task
	all    chan struct{} // closed when nobody is missing
	done   chan struct{} // closed when the file is written, or not

	// Guarded by ThreadGroup.sigMu.
	missing []*Task
	threads []coredump.Thread
}

// beginCoreLocked makes the end of the process by sig, which t took, one with a
// core file, if the process may have one (core(5)).
func (tg *ThreadGroup) beginCoreLocked(t *Task, sig signal.Signal) {
	if tg.exiting || signal.Default(sig) != signal.Core || !tg.Dumpable() || tg.limits.Soft(limits.Core) < mm.PageSize {
		return
	}
	c := &coreDump{dumper: t, all: make(chan struct{}), done: make(chan struct{})}
	for _, o := range tg.tasks {
		if o != t && !o.dying {
			c.missing = append(c.missing, o)
		}
	}
	if len(c.missing) == 0 {
		close(c.all)
	}
	tg.core = c
}

// joinCoreDump takes part in the process's core dump, if there is one.
func (t *Task) joinCoreDump() {
	t.tg.sigMu.Lock()
	c := t.tg.core
	t.tg.sigMu.Unlock()
	if c == nil {
		return
	}
	self := t.coreThread()
	t.ctx.Leave()
	t.tg.sigMu.Lock()
	status := t.tg.exitStatus
	i := slices.Index(c.missing, t)
	if i >= 0 {
		c.threads = append(c.threads, self)
		c.missing = slices.Delete(c.missing, i, i+1)
		if len(c.missing) == 0 {
			close(c.all)
		}
	}
	t.tg.sigMu.Unlock()
	switch {
	case i >= 0:
		<-c.done
	case t == c.dumper:
		<-c.all
		self.Signal = int32(status.Signal)
		written := t.writeCore(append([]coredump.Thread{self}, c.threads...), t.coreName(status.Signal))
		t.tg.sigMu.Lock()
		t.tg.exitStatus.Core = written
		t.tg.sigMu.Unlock()
		close(c.done)
	}
}

func (t *Task) coreThread() coredump.Thread {
	s := procTask{t, t.pidns}.Status(false)
	return coredump.Thread{
		ID: s.TID, Regs: t.Regs, FPU: arch.ExportFPU(t.ctx.FPU()), Pending: uint64(s.Pending), Blocked: uint64(s.Blocked),
		UserNS: s.UserTime, SysNS: s.SystemTime, ChildUserNS: s.ChildUser, ChildSysNS: s.ChildSystem,
	}
}

// writeCore writes the core file called name and tells whether there is one.
func (t *Task) writeCore(threads []coredump.Thread, name string) bool {
	f, err := t.createCore(name)
	if err != nil {
		return false
	}
	defer f.DecRef()
	p := procTask{t, t.pidns}
	s := p.Status(true)
	c := t.Creds()
	d := coredump.Dump{
		Threads: threads, Memory: t.MM(), Filter: t.tg.coreFilter.Load(), Limit: t.tg.limits.Soft(limits.Core),
		Process: coredump.Process{
			PID: s.TGID, Parent: s.PPID, Group: s.ProcessGroup, Session: s.Session, UID: uint32(c.RUID), GID: uint32(c.RGID),
			Nice: s.Nice, Name: t.Name(), Args: t.commandLine(),
		},
	}
	d.FileName = func(v *mm.VMA) string {
		p, ok := v.Source.(vfs.Path)
		if !ok {
			return ""
		}
		name, _ := vfs.PathName(t.FS().Root(), p)
		return name
	}
	if auxv := t.auxv.Load(); auxv != nil {
		d.Process.Auxv = *auxv
	}
	// A file cut short by the limit, or by a full disk, counts as well.
	d.Write(coreFile{t, f}) //nolint:errcheck // there is nobody to tell
	return true
}

// createCore opens the core file, seen from the working directory: a regular file of the caller's alone, never
// through a symbolic link.
func (t *Task) createCore(name string) (*vfs.File, error) {
	flags := unix.O_CREAT | unix.O_WRONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	f, err := vfs.Open(t, t.WalkArgs(), name, vfs.OpenArgs{Flags: flags, Mode: 0o600})
	if err != nil {
		return nil, err
	}
	a, err := f.Attr()
	if err == nil && (a.Mode&unix.S_IFMT != unix.S_IFREG || a.Nlink != 1 || a.UID != t.Creds().FSUID) {
		err = unix.EPERM
	}
	if err == nil {
		err = f.Truncate(t, 0)
	}
	if err != nil {
		f.DecRef()
		return nil, err
	}
	return f, nil
}

// coreFile writes as the dying task.
type coreFile struct {
	t *Task
	f *vfs.File
}

// WriteAt implements io.WriterAt.
func (c coreFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := c.f.PWrite(c.t, mm.BytesBuffer(p), off)
	if err == nil && n < len(p) {
		err = unix.ENOSPC
	}
	return n, err
}

// commandLine is the start of the program's arguments, blanks between them.
func (t *Task) commandLine() string {
	l := t.MM().Layout()
	b := make([]byte, min(uint64(l.Args.End-l.Args.Start), 80))
	n, _ := t.MM().CopyIn(l.Args.Start, b)
	for i := range b[:n] {
		if b[i] == 0 {
			b[i] = ' '
		}
	}
	return string(b[:n])
}

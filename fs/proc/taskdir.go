package proc

import (
	"bytes"
	"slices"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// taskDir is /proc/PID, or with process unset /proc/PID/task/TID.
type taskDir struct {
	*pseudo.SourceDir
	fs      *fileSystem
	task    Task
	process bool
	base    uint64 // inode number
}

// entry is a name in the directory of a task.
type entry struct {
	name  string
	where place
	kind  uint8 // DT_*
	make  func(d *taskDir) vfs.Inode
}

// ProcessOfDir returns the leader of the process whose directory inode is, nil if it is
// another file. Such a directory stands for the process in pidfd_send_signal(2).
func ProcessOfDir(inode vfs.Inode) Task {
	if d, ok := inode.(*taskDir); ok && d.process {
		return d.task
	}
	return nil
}

// place says in which directories an entry is.
type place int

const (
	both place = iota
	processOnly
	threadOnly
)

func (f *fileSystem) newTaskDir(t Task, process bool) *taskDir {
	d := &taskDir{fs: f, task: t, process: process}
	d.SourceDir = f.NewSourceDir(0o555, taskSource{d})
	d.SetOwnerFunc(d.user)
	d.base = inoOfTask(t, process)
	d.SetIno(d.base)
	return d
}

// Inode numbers below tasks are made of the thread's id, whether it is the process's
// directory, the entry, and what is in that.
const (
	inoTaskShift   = 32
	microsecond    = 1000
	inoProcessBit  = 1 << 31
	inoEntryShift  = 24
	inoWithinEntry = 1<<inoEntryShift - 1
)

func inoOfTask(t Task, process bool) uint64 {
	s := t.Status(false)
	// The time of birth tells processes apart that had the same id.
	ino := uint64(uint32(s.TID))<<inoTaskShift | uint64(s.StartTime/microsecond)<<1&inoWithinEntry | 1
	if process {
		ino |= inoProcessBit
	}
	return ino
}

// inoOf is the inode number of an entry, and with within not 0 of what is in it.
func (d *taskDir) inoOf(name string, within uint64) uint64 {
	i := slices.IndexFunc(d.fs.entries, func(e entry) bool { return e.name == name })
	return d.base&^inoWithinEntry | uint64(i+1)<<inoEntryShift | within&inoWithinEntry
}

// owner is who owns the files: the task's effective user, or root of its user namespace where the task may
// not be looked into.
func (d *taskDir) owner() (cred.UID, cred.GID) {
	if d.task.Status(false).Dumpable {
		return d.user()
	}
	ns := d.task.Creds().UserNS
	uid, uidOK := ns.ToUID(0)
	gid, gidOK := ns.ToGID(0)
	if !uidOK || !gidOK {
		return 0, 0
	}
	return uid, gid
}

// user is the task's effective user, who owns the directories that everybody may read whatever they tell.
func (d *taskDir) user() (cred.UID, cred.GID) {
	c := d.task.Creds()
	return c.EUID, c.EGID
}

// current tells whether d still stands for name among all tasks.
func (d *taskDir) current(name string) bool { return d.fs.task(name) == d.task }

// has tells whether e is in the directory.
func (d *taskDir) has(e *entry) bool {
	return e.where == both || (e.where == processOnly) == d.process
}

// taskSource computes a taskDir's entries.
type taskSource struct{ *taskDir }

// Lookup implements pseudo.Source.
func (d taskSource) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if !d.task.Exists() {
		return nil, unix.ENOENT
	}
	for i := range d.fs.entries {
		if e := &d.fs.entries[i]; e.name == name && d.has(e) {
			in := e.make(d.taskDir)
			if n, ok := in.(interface{ SetIno(uint64) }); ok {
				n.SetIno(d.inoOf(name, 0))
			}
			return in, nil
		}
	}
	return nil, unix.ENOENT
}

// Valid implements pseudo.Validator: the entries are fixed.
func (d taskSource) Valid(vfs.Caller, string, vfs.Inode) bool { return d.task.Exists() }

// List implements pseudo.Source.
func (d taskSource) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	if !d.task.Exists() {
		return unix.ENOENT
	}
	for i := range d.fs.entries {
		e, next := &d.fs.entries[i], int64(i+1)
		if next <= pos || !d.has(e) {
			continue
		}
		if !emit(vfs.Dirent{Name: e.name, Ino: d.inoOf(e.name, 0), Type: e.kind, Next: next}) {
			break
		}
	}
	return nil
}

// threads is the source of /proc/PID/task.
type threads struct{ *taskDir }

// Lookup implements pseudo.Source.
func (d threads) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	t := d.fs.task(name)
	if t == nil || t.Status(false).TGID != d.task.Status(false).TGID {
		return nil, unix.ENOENT
	}
	return d.fs.newTaskDir(t, false), nil
}

// Valid implements pseudo.Validator.
func (d threads) Valid(_ vfs.Caller, name string, child vfs.Inode) bool {
	t, ok := child.(*taskDir)
	return ok && t.current(name)
}

// List implements pseudo.Source.
func (d threads) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	if !d.task.Exists() {
		return unix.ENOENT
	}
	d.fs.listIDs(d.task.Threads(), false, pos, emit)
	return nil
}

// generator writes the content of a file of a task.
type generator func(d *taskDir, c vfs.Caller, b *bytes.Buffer) error

// stepper is steps for a file of a task.
type stepper func(d *taskDir, c vfs.Caller, cursor uint64, b *bytes.Buffer) (next uint64, more bool, err error)

// storer takes what was written to a file of a task.
type storer func(d *taskDir, c vfs.Caller, data []byte) error

// inSteps makes a stepper of a generator.
func inSteps(generate generator) stepper {
	return func(d *taskDir, c vfs.Caller, _ uint64, b *bytes.Buffer) (uint64, bool, error) {
		return 0, false, generate(d, c, b)
	}
}

// file makes a regular file of d's task. A nil step or store refuses.
func (d *taskDir) file(mode uint32, step stepper, store storer) *file {
	var s pseudo.Store
	if store != nil {
		s = func(c vfs.Caller, data []byte) error {
			if !d.task.Exists() {
				return unix.ESRCH
			}
			return store(d, c, data)
		}
	}
	f := d.fs.newFile(mode, d.whileItExists(step), s)
	f.SetOwnerFunc(d.owner)
	return f
}

// whileItExists makes steps of a stepper, ESRCH once the task is gone; nil of nil.
func (d *taskDir) whileItExists(step stepper) steps {
	if step == nil {
		return nil
	}
	return func(c vfs.Caller, cursor uint64, b *bytes.Buffer) (uint64, bool, error) {
		if !d.task.Exists() {
			return 0, false, unix.ESRCH
		}
		return step(d, c, cursor, b)
	}
}

// guarded makes a file that only those may open who may look into the task.
func (d *taskDir) guarded(mode uint32, step stepper) *file {
	f := d.file(mode, step, nil)
	f.open = func(c vfs.Caller) (steps, error) {
		if !d.task.Exists() {
			return nil, unix.ESRCH
		}
		return f.steps, d.task.MayAccess(c, false)
	}
	return f
}

// readable returns a table's make for a file that everybody may read.
func readable(generate generator) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode { return d.file(0o444, inSteps(generate), nil) }
}

// knob returns a table's make for a file that is read by everybody and written by the owner.
func knob(generate generator, store storer) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode { return d.file(0o644, inSteps(generate), store) }
}

// private returns a table's make for a file that those may open who may look into the task, and read who may then.
func private(mode uint32, generate generator) func(*taskDir) vfs.Inode {
	checked := func(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
		if err := d.task.MayAccess(c, false); err != nil {
			return err
		}
		return generate(d, c, b)
	}
	return func(d *taskDir) vfs.Inode { return d.guarded(mode, inSteps(checked)) }
}

// stepwise returns a table's make for a long file that everybody may read.
func stepwise(step stepper) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode { return d.file(0o444, step, nil) }
}

// text returns a generator of fixed content.
func text(s string) generator {
	return func(_ *taskDir, _ vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(s)
		return nil
	}
}

// link returns a table's make for a link to a place of the task.
func link(find func(Places) vfs.Path) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode {
		return d.magicLink(0o777, func(vfs.Caller) (vfs.Path, error) {
			if p := find(d.task.Places()); p.Ok() {
				return p, nil
			}
			return vfs.Path{}, unix.ENOENT
		})
	}
}

// magicLink makes a link to what find returns, for those who may look into the
// task. It reads as the name seen by the reader.
func (d *taskDir) magicLink(mode uint32, find func(vfs.Caller) (vfs.Path, error)) *magicLink {
	l := &magicLink{dir: d, find: find}
	l.Init(&d.fs.FS, unix.S_IFLNK|mode)
	l.SetOwnerFunc(d.owner)
	return l
}

// magicLink is a link to an object.
type magicLink struct {
	pseudo.Node
	dir  *taskDir
	find func(vfs.Caller) (vfs.Path, error)
}

// Target implements vfs.MagicLink.
func (l *magicLink) Target(c vfs.Caller) (vfs.Path, error) {
	if !l.dir.task.Exists() {
		return vfs.Path{}, unix.ENOENT
	}
	if err := l.dir.task.MayAccess(c, false); err != nil {
		return vfs.Path{}, err
	}
	return l.find(c)
}

// Readlink implements vfs.Inode.
func (l *magicLink) Readlink(c vfs.Caller) (string, error) {
	p, err := l.Target(c)
	if err != nil {
		return "", err
	}
	name, _ := vfs.PathName(l.dir.fs.processes.Root(c), p)
	return name, nil
}

// dir makes a directory of what source computes, owned as the task's.
func (d *taskDir) dir(mode uint32, source pseudo.Source) *pseudo.SourceDir {
	s := d.fs.NewSourceDir(mode, source)
	s.SetOwnerFunc(d.owner)
	if mode == 0o555 {
		s.SetOwnerFunc(d.user)
	}
	return s
}

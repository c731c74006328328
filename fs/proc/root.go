package proc

import (
	"bytes"
	"slices"
	"strconv"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

const (
	// magic is what statfs(2) tells (PROC_SUPER_MAGIC).
	magic = 0x9fa0
	// firstTask is the position in the root directory before that of id 0.
	firstTask = 256
)

// fileSystem is one instance of procfs.
type fileSystem struct {
	pseudo.FS
	processes Processes
	entries   []entry // in the directories of tasks
}

// New returns the root directory of a procfs that shows p.
func New(p Processes) vfs.Inode {
	f := &fileSystem{processes: p, entries: taskEntries}
	f.Magic = magic
	r := &root{fs: f, byName: make(map[string]vfs.Inode)}
	r.add("self", f.NewSymlink(f.self))
	r.add("thread-self", f.NewSymlink(f.threadSelf))
	r.add("mounts", f.NewFixedSymlink("self/mounts"))
	r.add("net", f.NewFixedSymlink("self/net"))
	r.add("sentry", f.NewDir(0o555).Add("forks", f.infoFile(writeForks)).Add("contract", f.contract()))
	r.add("sys", f.sysctl())
	r.add("sysvipc", f.sysvipc())
	for _, e := range systemFiles {
		r.add(e.name, f.infoFile(e.generate))
	}
	return f.NewSourceDir(0o555, r)
}

func (f *fileSystem) infoFile(generate func(*bytes.Buffer, *Info)) vfs.Inode {
	return f.newFile(0o444, whole(func(c vfs.Caller, b *bytes.Buffer) error {
		info := f.processes.Info()
		ahead := f.processes.BootOffset(c)
		info.Uptime += ahead
		info.BootTime -= ahead
		generate(b, &info)
		return nil
	}), nil)
}

func (f *fileSystem) self(c vfs.Caller) (string, error) {
	pid, _ := f.processes.Self(c)
	if pid == 0 {
		return "", unix.ENOENT
	}
	return strconv.Itoa(int(pid)), nil
}

func (f *fileSystem) threadSelf(c vfs.Caller) (string, error) {
	pid, tid := f.processes.Self(c)
	if pid == 0 {
		return "", unix.ENOENT
	}
	return strconv.Itoa(int(pid)) + "/task/" + strconv.Itoa(int(tid)), nil
}

// root is the source of the root directory: fixed entries, then processes.
type root struct {
	fs     *fileSystem
	names  []string
	byName map[string]vfs.Inode
}

func (r *root) add(name string, inode vfs.Inode) {
	r.names = append(r.names, name)
	r.byName[name] = inode
}

// Lookup finds threads too, though only processes are listed.
func (r *root) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	if in := r.byName[name]; in != nil {
		return in, nil
	}
	if t := r.fs.task(name); t != nil {
		return r.fs.newTaskDir(t, true), nil
	}
	return nil, unix.ENOENT
}

// task returns the task that name is the number of, or nil.
func (f *fileSystem) task(name string) Task {
	id, ok := parseID(name)
	if !ok {
		return nil
	}
	t := f.processes.Task(id)
	if t == nil || !t.Exists() {
		return nil
	}
	return t
}

// parseID reads a number in its only form.
func parseID(name string) (int32, bool) {
	if len(name) > 10 || name == "" || name[0] < '0' || name[0] > '9' || name[0] == '0' && name != "0" {
		return 0, false
	}
	n, err := strconv.ParseInt(name, 10, 32)
	return int32(n), err == nil
}

// Valid implements pseudo.Validator.
func (r *root) Valid(_ vfs.Caller, name string, child vfs.Inode) bool {
	if in := r.byName[name]; in != nil {
		return in == child
	}
	d, ok := child.(*taskDir)
	if !ok {
		_, isID := parseID(name)
		return !isID
	}
	return d.current(name)
}

// List implements pseudo.Source.
func (r *root) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	for i, name := range r.names {
		next := int64(i + 1)
		if next <= pos {
			continue
		}
		if !emit(entryOf(name, r.byName[name], next)) {
			return nil
		}
	}
	r.fs.listIDs(r.fs.processes.PIDs(), true, pos, emit)
	return nil
}

func entryOf(name string, in vfs.Inode, next int64) vfs.Dirent {
	e := vfs.Dirent{Name: name, Next: next}
	if attr, err := in.Attr(); err == nil {
		e.Ino, e.Type = attr.Ino, uint8(attr.Mode>>12&15)
	}
	return e
}

// listIDs gives the directories of the threads with these ids, ascending.
func (f *fileSystem) listIDs(ids []int32, process bool, pos int64, emit func(vfs.Dirent) bool) {
	slices.Sort(ids)
	from, _ := slices.BinarySearchFunc(ids, pos, func(id int32, pos int64) int {
		if int64(id)+firstTask <= pos {
			return -1
		}
		return 1
	})
	for _, id := range ids[from:] {
		t := f.processes.Task(id)
		if t == nil {
			continue
		}
		e := vfs.Dirent{
			Name: strconv.Itoa(int(id)), Ino: inoOfTask(t, process),
			Type: unix.DT_DIR, Next: int64(id) + firstTask,
		}
		if !emit(e) {
			return
		}
	}
}

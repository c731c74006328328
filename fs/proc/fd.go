package proc

import (
	"bytes"
	"fmt"
	"strconv"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// fdDir is a directory of descriptors, which a process may always look into
// itself.
type fdDir struct {
	*pseudo.SourceDir
	dir *taskDir
}

func (d *taskDir) newFDDir(mode uint32, s pseudo.Source) *fdDir {
	return &fdDir{SourceDir: d.dir(mode, s), dir: d}
}

// Permission implements vfs.PermissionOps.
func (f *fdDir) Permission(c vfs.Caller, want uint32) error {
	pid, _ := f.dir.fs.processes.Self(c)
	if pid != 0 && pid == f.dir.task.Status(false).TGID && want&vfs.MayWrite == 0 {
		return nil
	}
	attr, err := f.Attr()
	if err != nil {
		return err
	}
	return vfs.PermissionCheck(c, &attr, want)
}

// listFDs gives an entry of the given type for each descriptor.
func (d *taskDir) listFDs(name string, kind uint8, pos int64, emit func(vfs.Dirent) bool) error {
	if !d.task.Exists() {
		return unix.ENOENT
	}
	for _, fd := range d.task.Descriptors() {
		next := int64(fd) + 1
		if next <= pos {
			continue
		}
		if !emit(vfs.Dirent{Name: strconv.Itoa(int(fd)), Ino: d.inoOf(name, uint64(next)), Type: kind, Next: next}) {
			break
		}
	}
	return nil
}

// descriptors is the source of /proc/PID/fd.
type descriptors struct{ *taskDir }

// List implements pseudo.Source.
func (d descriptors) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	return d.listFDs("fd", unix.DT_LNK, pos, emit)
}

// Lookup implements pseudo.Source.
func (d descriptors) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	fd, ok := parseID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	file, _ := d.task.Descriptor(fd)
	if file == nil {
		return nil, unix.ENOENT
	}
	defer file.DecRef()
	mode := uint32(0o100)
	if file.Readable() {
		mode |= 0o400
	}
	if file.Writable() {
		mode |= 0o200
	}
	l := d.magicLink(mode, func(vfs.Caller) (vfs.Path, error) {
		file, _ := d.task.Descriptor(fd)
		if file == nil {
			return vfs.Path{}, unix.ENOENT
		}
		defer file.DecRef()
		return file.Path(), nil
	})
	l.SetIno(d.inoOf("fd", uint64(fd)+1))
	return l, nil
}

// Valid implements pseudo.Validator: a number may mean another file at any
// time, with another mode.
func (descriptors) Valid(vfs.Caller, string, vfs.Inode) bool { return false }

// descriptorInfos is the source of /proc/PID/fdinfo.
type descriptorInfos struct{ *taskDir }

// List implements pseudo.Source.
func (d descriptorInfos) List(_ vfs.Caller, pos int64, emit func(vfs.Dirent) bool) error {
	return d.listFDs("fdinfo", unix.DT_REG, pos, emit)
}

// Lookup implements pseudo.Source.
func (d descriptorInfos) Lookup(_ vfs.Caller, name string) (vfs.Inode, error) {
	fd, ok := parseID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	file, _ := d.task.Descriptor(fd)
	if file == nil {
		return nil, unix.ENOENT
	}
	file.DecRef()
	f := d.guarded(0o444, inSteps(func(d *taskDir, c vfs.Caller, b *bytes.Buffer) error {
		return d.writeFDInfo(c, fd, b)
	}))
	f.SetIno(d.inoOf("fdinfo", uint64(fd)+1))
	return f, nil
}

// Valid implements pseudo.Validator.
func (descriptorInfos) Valid(vfs.Caller, string, vfs.Inode) bool { return false }

// FDInfo is what a FileOps may have to add lines to its /proc/PID/fdinfo.
type FDInfo interface {
	// WriteFDInfo appends whole lines.
	WriteFDInfo(b *bytes.Buffer)
}

func (d *taskDir) writeFDInfo(c vfs.Caller, fd int32, b *bytes.Buffer) error {
	file, cloexec := d.task.Descriptor(fd)
	if file == nil {
		return unix.ENOENT
	}
	defer file.DecRef()
	pos, err := file.Seek(c, 0, unix.SEEK_CUR)
	if err != nil {
		pos = 0
	}
	flags := file.Flags()
	if cloexec {
		flags |= unix.O_CLOEXEC
	}
	attr, err := file.Attr()
	if err != nil {
		attr = vfs.Attr{}
	}
	fmt.Fprintf(b, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", pos, flags, file.Path().Mount.ID(), attr.Ino)
	if more, ok := file.Ops().(FDInfo); ok {
		more.WriteFDInfo(b)
	}
	if ids := d.fs.processes.PIDFD(file.Ops()); ids != nil {
		fmt.Fprintf(b, "Pid:\t%d\n", ids[0])
		writeIDs(b, "NSpid", ids)
	}
	return nil
}

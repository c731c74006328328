package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// nsFile is a file that tells of the user namespace that its task had when it was opened, and whose writers are judged by
// who opened it too.
type nsFile struct {
	*pseudo.File
	dir   *taskDir
	read  func(ns, viewer *cred.UserNamespace, b *bytes.Buffer)
	write func(ns *cred.UserNamespace, text string, opener, writer *cred.Credentials) error
	// size is how many bytes are too many to be written, in the one call that may.
	size uint64
	// guarded files may be opened for writing by those only who have CAP_SYS_ADMIN in the namespace.
	guarded bool
}

func (d *taskDir) newNSFile(f nsFile) vfs.Inode {
	f.File, f.dir = d.fs.NewKnob(0o644, nil, nil), d
	f.SetOwnerFunc(d.owner)
	return &f
}

// idMap returns a table's make for uid_map and its like.
func idMap(k cred.MapKind) func(*taskDir) vfs.Inode {
	return func(d *taskDir) vfs.Inode {
		return d.newNSFile(nsFile{
			size: mm.PageSize,
			read: func(ns, viewer *cred.UserNamespace, b *bytes.Buffer) {
				for _, e := range ns.Extents(k, viewer) {
					fmt.Fprintf(b, "%10d %10d %10d\n", e.Inside, e.Outside, e.Count)
				}
			},
			write: func(ns *cred.UserNamespace, text string, opener, writer *cred.Credentials) error {
				return ns.WriteMap(k, text, opener, writer)
			},
		})
	}
}

// setgroups makes /proc/PID/setgroups.
func setgroups(d *taskDir) vfs.Inode {
	return d.newNSFile(nsFile{
		size: 8, guarded: true,
		read: func(ns, _ *cred.UserNamespace, b *bytes.Buffer) {
			if ns.SetgroupsAllowed() {
				b.WriteString("allow\n")
			} else {
				b.WriteString("deny\n")
			}
		},
		write: func(ns *cred.UserNamespace, text string, _, _ *cred.Credentials) error {
			switch strings.TrimRight(text, " \t\n\v\f\r") {
			case "allow":
				return ns.AllowSetgroups(true)
			case "deny":
				return ns.AllowSetgroups(false)
			}
			return unix.EINVAL
		},
	})
}

// Open implements vfs.Inode.
func (f *nsFile) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	if !f.dir.task.Exists() {
		return nil, unix.ESRCH
	}
	o := &openNSFile{file: f, ns: f.dir.task.Creds().UserNS, opener: c.Creds()}
	if f.guarded && flags&unix.O_ACCMODE != unix.O_RDONLY && !o.opener.HasIn(unix.CAP_SYS_ADMIN, o.ns) {
		return nil, unix.EACCES
	}
	return o, nil
}

// openNSFile is an nsFile that is open.
type openNSFile struct {
	file   *nsFile
	ns     *cred.UserNamespace
	opener *cred.Credentials
}

// Read implements vfs.FileOps.
func (o *openNSFile) Read(_ vfs.Caller, dst *mm.Buffer, off int64) (int, error) {
	var b bytes.Buffer
	o.file.read(o.ns, o.opener.UserNS, &b)
	if off >= int64(b.Len()) {
		return 0, nil
	}
	return dst.CopyOut(b.Bytes()[off:])
}

// Write implements vfs.FileOps: all is written at once.
func (o *openNSFile) Write(c vfs.Caller, src *mm.Buffer, off int64) (int, error) {
	n := src.Len()
	if off != 0 || n >= o.file.size {
		return 0, unix.EINVAL
	}
	data := make([]byte, n)
	if _, err := src.CopyIn(data); err != nil {
		return 0, err
	}
	if err := o.file.write(o.ns, string(data), o.opener, c.Creds()); err != nil {
		return 0, err
	}
	return int(n), nil
}

// Seek implements vfs.SeekOps.
func (*openNSFile) Seek(_ vfs.Caller, cur, off int64, whence int) (int64, error) {
	if whence != unix.SEEK_SET && whence != unix.SEEK_CUR {
		return 0, unix.EINVAL
	}
	return vfs.SeekTo(cur, 0, off, whence)
}

// Release implements vfs.FileOps.
func (*openNSFile) Release() {}

// limitFile is a file of /proc/sys/user: how many namespaces of a kind a user may have in the caller's user namespace.
type limitFile struct{ *pseudo.File }

// Permission implements vfs.PermissionOps: the limit is root's to set, and of whoever has CAP_SYS_RESOURCE in
// the namespace.
func (f *limitFile) Permission(c vfs.Caller, want uint32) error {
	if want&vfs.MayExec != 0 || want&vfs.MayWrite != 0 && !c.Creds().Has(unix.CAP_SYS_RESOURCE) {
		return unix.EACCES
	}
	return nil
}

// limitFiles adds /proc/sys/user.
func (t *tree) limitFiles() {
	for name, k := range map[string]cred.Kind{
		"cgroup": cred.KindCgroup, "ipc": cred.KindIPC, "mnt": cred.KindMount, "net": cred.KindNet,
		"pid": cred.KindPID, "time": cred.KindTime, "user": cred.KindUser, "uts": cred.KindUTS,
	} {
		t.add("user/max_"+name+"_namespaces", &limitFile{t.fs.NewKnob(0o644, func(c vfs.Caller, b *bytes.Buffer) error {
			fmt.Fprintln(b, c.Creds().UserNS.Limit(k))
			return nil
		}, func(c vfs.Caller, data []byte) error {
			n, err := strconv.ParseUint(strings.TrimSpace(string(data)), 0, 31)
			if err != nil {
				return unix.EINVAL
			}
			c.Creds().UserNS.SetLimit(k, int64(n))
			return nil
		})})
	}
}

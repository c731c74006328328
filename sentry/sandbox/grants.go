package sandbox

import (
	"errors"
	"fmt"

	"gosentry/fs/host"
	"gosentry/sentry/limits"

	"golang.org/x/sys/unix"
)

// grants are what the outer process opened for the sandbox. Descriptors are the
// outer process's.
type grants struct {
	root  grant
	binds []grant
	log   int // -1: none
	trace int // -1: none
	// device is what the platform needs, -1 for none.
	device int
	opens  []int
	// limits are the caller's, as they were before this process made room for the sandbox.
	limits limits.Table
}

// openGrants opens everything that spec asks for.
func openGrants(spec Spec) (*grants, error) {
	g := &grants{log: -1, trace: -1, device: -1, limits: resourceLimits()}
	if err := makeRoom(spec); err != nil {
		return nil, err
	}
	if err := g.open(spec); err != nil {
		g.close()
		return nil, err
	}
	return g, nil
}

func (g *grants) open(spec Spec) error {
	write := spec.Persist && (spec.Container == nil || !spec.Container.Container.ReadOnlyRoot)
	root, err := g.directory(Bind{Host: spec.Root, Inside: "/", Writable: write}, "root file system", false)
	if err != nil {
		return err
	}
	g.root = root
	// A path descriptor is given of any directory, and nothing can be mounted in one that this user may not search.
	if err := unix.Faccessat(root.FD, ".", unix.X_OK, 0); err != nil {
		return &Failure{What: "cannot open the root file system " + spec.Root, Cause: err, Way: wayToOpen(err)}
	}
	for _, b := range spec.Binds {
		d, err := g.directory(b, "directory to bind", spec.Container != nil)
		if err != nil {
			return err
		}
		g.binds = append(g.binds, d)
	}
	if g.device, err = openDevice(spec.Platform); err != nil {
		return err
	}
	if g.device >= 0 {
		g.opens = append(g.opens, g.device)
	}
	if spec.Trace.File != "" {
		if g.trace, err = g.output(spec.Trace.File, unix.O_TRUNC, "trace"); err != nil {
			return err
		}
	}
	return g.openLog(spec)
}

// openLog opens the log, or takes standard error where messages shall go there.
func (g *grants) openLog(spec Spec) (err error) {
	if spec.Log.File == "" {
		if spec.Log.Debug || spec.Strace.On || raceDetector {
			g.log = 2
		}
		return nil
	}
	g.log, err = g.output(spec.Log.File, unix.O_APPEND, "log")
	return err
}

// output opens a file that the sentry itself writes; flags are added to those of open(2).
func (g *grants) output(file string, flags int, what string) (int, error) {
	fd, err := unix.Open(file, unix.O_WRONLY|unix.O_CREAT|unix.O_CLOEXEC|flags, 0o644)
	if err != nil {
		return -1, &Failure{What: fmt.Sprintf("cannot open the %s %s", what, file), Cause: err, Way: wayToWrite(err)}
	}
	g.opens = append(g.opens, fd)
	return fd, nil
}

// directory opens a directory, or for a container a file, sealed where this process may do that.
func (g *grants) directory(b Bind, what string, file bool) (grant, error) {
	flags := unix.O_PATH | unix.O_CLOEXEC
	if !file {
		flags |= unix.O_DIRECTORY
	}
	fd, err := unix.Open(b.Host, flags, 0)
	if err != nil {
		return grant{}, &Failure{What: fmt.Sprintf("cannot open the %s %s", what, b.Host), Cause: err, Way: wayToOpen(err)}
	}
	out := grant{FD: fd, Host: opaque(b.Host), Inside: opaque(b.Inside), Write: b.Writable, Devices: host.Devices()}
	if err := out.check(what); err != nil {
		unix.Close(fd)
		return grant{}, err
	}
	if sealed, err := sealTree(b.Host, b.Writable); err == nil {
		unix.Close(fd)
		out.FD, out.Sealed = sealed, true
	}
	if file {
		if err := out.openFile(); err != nil {
			unix.Close(out.FD)
			return grant{}, &Failure{What: fmt.Sprintf("cannot open the %s %s", what, b.Host), Cause: err}
		}
	}
	g.opens = append(g.opens, out.FD)
	return out, nil
}

// check refuses what shows the host's kernel or devices, of which fs/host would show nothing.
func (g *grant) check(what string) error {
	var st unix.Stat_t
	var fs unix.Statfs_t
	err := unix.Fstat(g.FD, &st)
	if err == nil {
		err = unix.Fstatfs(g.FD, &fs)
	}
	f := &Failure{What: fmt.Sprintf("cannot open the %s %s", what, g.Host), Cause: err}
	kind := host.KernelType(&fs)
	switch {
	case err != nil:
		return f
	case kind != "":
		f.Cause = fmt.Errorf("its file system, %s, shows the host's kernel, which no sandbox sees", kind)
	case g.Devices != 0 && host.Device(&st) == g.Devices:
		f.Cause = errors.New("it is among the devices of the host, which no sandbox sees")
	default:
		return nil
	}
	f.Way = "the sandbox has a /proc, a /sys and a /dev of its own"
	return f
}

// openFile replaces the descriptor of a regular file by one that it can be read through, and written
// where that was asked for: the sandbox has no path that leads to the file. A directory stays as it is.
func (g *grant) openFile() error {
	var st unix.Stat_t
	if err := unix.Fstat(g.FD, &st); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return nil
	case unix.S_IFREG:
	default:
		return errors.New("it is neither a directory nor a regular file")
	}
	access := unix.O_RDONLY
	if g.Write {
		access = unix.O_RDWR
	}
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", g.FD), access|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	unix.Close(g.FD)
	// The inner process must not replace it by a clone that cannot be read.
	g.FD, g.Sealed = fd, true
	return nil
}

func (g *grants) close() {
	for _, fd := range g.opens {
		unix.Close(fd)
	}
	g.opens = nil
}

func wayToOpen(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "make it first, or name another"
	case errors.Is(err, unix.ENOTDIR):
		return "name a directory"
	case errors.Is(err, unix.EACCES):
		return "name one that this user may search"
	}
	return ""
}

// wayToWrite is for files that are made where they are missing.
func wayToWrite(err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return "make its directory first, or name another file"
	case errors.Is(err, unix.EISDIR), errors.Is(err, unix.ENOTDIR):
		return "name a file"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EROFS):
		return "name one that this user may write"
	}
	return ""
}

// sealTree clones the mounts under path into a detached tree without devices
// and set-id programs, read-only unless write is set. EPERM without
// CAP_SYS_ADMIN over the mount namespace, ENOSYS on old kernels.
func sealTree(path string, write bool) (int, error) {
	const recursive = unix.AT_RECURSIVE
	fd, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|recursive)
	if err != nil {
		return -1, err
	}
	attr := unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		// What the host mounts later must not appear in the clone.
		Propagation: unix.MS_PRIVATE,
	}
	if !write {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH|recursive, &attr); err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"gosentry/sentry/kernel"
	"gosentry/sentry/limits"
	"gosentry/sentry/sandbox/inherited"

	"golang.org/x/sys/unix"
)

// The first argument of a process inside: what IsInner looks for, and what a process list shows.
const (
	innerName  = "sentry-sandbox"
	keeperName = "sentry-keeper"
)

// self names the running program for execve, whatever became of its path.
const self = "/proc/self/exe"

const namespaces = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// child is the inner process as the outer one sees it.
type child struct {
	pid    int
	link   *link
	stderr *os.File // what the inner process's Go runtime says when it fails
}

// spawn starts the inner process with g and sends it its config, once ready is closed, unless it is nil. The traits are those of a
// program that no configuration describes.
func spawn(spec Spec, g *grants, traits kernel.Traits, ready <-chan struct{}) (*child, error) {
	cfg, err := newConfig(spec, g, traits)
	if err != nil {
		return nil, err
	}
	c, err := newChild(innerName, cfg.Container != nil, func(control, stderr int) []uintptr { return cfg.place(control, stderr, g) })
	if err != nil {
		return nil, err
	}
	if err := spec.place(c.pid); err != nil {
		c.end()
		return nil, err
	}
	if ready != nil {
		<-ready
	}
	// An error here means that the inner process is gone; why, its end tells.
	c.link.send(cfg)
	return c, nil
}

// newChild starts this program under a name with the descriptors that place makes of its end of the link and its standard
// error; stays says that it may outlive this process.
func newChild(name string, stays bool, place func(control, stderr int) []uintptr) (*child, error) {
	sockets, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, &Failure{What: "cannot make a socket pair", Cause: err}
	}
	defer unix.Close(sockets[1])
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		unix.Close(sockets[0])
		return nil, &Failure{What: "cannot make a pipe", Cause: err}
	}
	defer unix.Close(pipe[1])
	c := &child{stderr: os.NewFile(uintptr(pipe[0]), "pipe")}
	if c.link, err = newLink(sockets[0]); err != nil {
		return nil, &Failure{What: "cannot set up the control socket", Cause: err}
	}
	if c.pid, err = start(name, place(sockets[1], pipe[1]), stays); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// end kills the process.
func (c *child) end() {
	unix.Kill(c.pid, unix.SIGKILL) //nolint:errcheck // our own child, not yet waited for
	c.reap()
	c.close()
}

func newConfig(spec Spec, g *grants, traits kernel.Traits) (*config, error) {
	cwd, must := spec.cwd()
	groups, _ := os.Getgroups()
	cfg := &config{
		Platform: spec.Platform, NoPatch: spec.NoPatch, Args: opaques(spec.Args), Env: opaques(spec.Env),
		Cwd: opaque(cwd), MustCwd: must, Hostname: opaque(spec.Hostname), PIDs: spec.PIDs, Memory: spec.Memory,
		Strace: spec.Strace, Debug: spec.Log.Debug, JSON: spec.Log.JSON,
		Root: g.root, Binds: append([]grant(nil), g.binds...), LogFD: -1, DeviceFD: -1,
		TraceFD: -1, Trace: Trace{Format: spec.Trace.Format, FirstOnly: spec.Trace.FirstOnly},
		Stdio: [3]int{0, 1, 2},
		UID:   os.Getuid(), GID: os.Getgid(), Groups: groups,
		Umask: umask(), Limits: g.limits, Traits: traits,
	}
	if a := spec.Container; a != nil {
		text, err := json.Marshal(a.Container)
		if err != nil {
			return nil, &Failure{What: "cannot pass the container's configuration on", Cause: err}
		}
		if spec.Persist {
			cfg.Capabilities = fileCapabilities
		}
		cfg.Container, cfg.ListenFD, cfg.Stdio, cfg.More = text, a.Listener, a.Stdio, slices.Clone(a.Preserved)
	}
	return cfg, nil
}

// umask reads the process's file mode creation mask.
func umask() uint32 {
	mask := unix.Umask(0)
	unix.Umask(mask)
	return uint32(mask)
}

// resourceLimits are the caller's, as they were before Go changed them.
func resourceLimits() limits.Table {
	table := limits.Defaults(limits.Infinity)
	for r := range table {
		var l unix.Rlimit
		if unix.Getrlimit(r, &l) == nil {
			table[r] = limits.Limit{Soft: l.Cur, Hard: l.Max}
		}
	}
	files := &table[limits.NoFile]
	files.Soft, files.Hard = inherited.OpenFiles()
	files.Hard = min(files.Hard, limits.MaxNoFile)
	files.Soft = min(files.Soft, files.Hard)
	return table
}

// place lists the descriptors of the inner process, in the order of their
// numbers there, and writes those numbers into the config.
func (cfg *config) place(control, stderr int, g *grants) []uintptr {
	files := []uintptr{0, 0, uintptr(stderr), uintptr(control)}
	add := func(fd int) int {
		files = append(files, uintptr(fd))
		return len(files) - 1
	}
	for i, fd := range cfg.Stdio {
		cfg.Stdio[i] = add(fd)
	}
	for i, fd := range cfg.More {
		cfg.More[i] = add(fd)
	}
	if cfg.Container != nil {
		cfg.ListenFD = add(cfg.ListenFD)
	}
	cfg.Root.FD = add(g.root.FD)
	for i := range cfg.Binds {
		cfg.Binds[i].FD = add(g.binds[i].FD)
	}
	if g.log >= 0 {
		cfg.LogFD = add(g.log)
	}
	if g.device >= 0 {
		cfg.DeviceFD = add(g.device)
	}
	if g.trace >= 0 {
		cfg.TraceFD = add(g.trace)
	}
	return files
}

// start executes this program under a name in its new namespaces with files as its descriptors, of which the
// first two become /dev/null. stays says that it may outlive this process.
func start(name string, files []uintptr, stays bool) (int, error) {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return 0, &Failure{What: "cannot open /dev/null", Cause: err}
	}
	defer unix.Close(null)
	files[0], files[1] = uintptr(null), uintptr(null)
	// What the caller left open by accident is not the sandbox's.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil && !errors.Is(err, unix.ENOSYS) {
		return 0, &Failure{What: "cannot mark descriptors close-on-exec", Cause: err}
	}
	if all, ok := allIDs(); ok {
		if pid, err := execute(name, files, all, stays); err == nil {
			return pid, nil
		}
	}
	pid, err := execute(name, files, ownIDs(), stays)
	if err != nil {
		f := &Failure{What: "cannot make the sandbox's namespaces", Cause: err, Way: wayToNamespaces()}
		if errors.Is(err, unix.EAGAIN) {
			f.Way = wayToThreads
		}
		return 0, f
	}
	return pid, nil
}

func execute(name string, files []uintptr, ids idMaps, stays bool) (int, error) {
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Files: files,
		// A known number of processors saves the runtime its search in the cgroup tree. Without a time zone it
		// reads no file for one; the log is in UTC.
		Env: append(detectorEnv(), fmt.Sprintf("GOMAXPROCS=%d", runtime.GOMAXPROCS(0)), "TZ="),
		Sys: &syscall.SysProcAttr{
			Cloneflags:  namespaces,
			UidMappings: ids.uid, GidMappings: ids.gid, GidMappingsEnableSetgroups: ids.setgroups,
			Pdeathsig: unix.SIGKILL,
			// Away from the terminal's job control: its signals are for the outer process, which forwards them.
			Setsid: true,
		},
	}
	if stays {
		// The signal could not be taken back from all threads; the socket's end does the same.
		attr.Sys.Pdeathsig = 0
	}
	if os.Getuid() != 0 {
		// Another user than 0 would lose the new namespace's capabilities in execve.
		attr.Sys.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_CHROOT, unix.CAP_SETPCAP}
	}
	pid, _, err := syscall.StartProcess(self, []string{name}, attr)
	return pid, err
}

// wayToNamespaces looks for the switch that forbids user namespaces.
func wayToNamespaces() string {
	for _, s := range []struct{ file, forbids, way string }{
		{"/proc/sys/user/max_user_namespaces", "0", "allow user namespaces: sysctl user.max_user_namespaces=10000"},
		{"/proc/sys/kernel/unprivileged_userns_clone", "0", "allow user namespaces: sysctl kernel.unprivileged_userns_clone=1, or run as root"},
		{"/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "allow user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or run as root"},
	} {
		if text, err := os.ReadFile(s.file); err == nil && strings.TrimSpace(string(text)) == s.forbids {
			return s.way
		}
	}
	if way := wayToOwnID(); way != "" {
		return way
	}
	return "user namespaces are needed; a container must allow clone and unshare in its seccomp profile, or run as root"
}

func (c *child) close() {
	c.link.file.Close()
	c.stderr.Close()
}

// reap waits for the end of the inner process.
func (c *child) reap() unix.WaitStatus {
	var status unix.WaitStatus
	for {
		if _, err := unix.Wait4(c.pid, &status, 0, nil); err != unix.EINTR {
			return status
		}
	}
}

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"sync/atomic"

	"gosentry/platform"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/oci"
	"gosentry/sentry/sandbox/seccomp"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Inside is what the boot function gets: what the sandbox may have, opened.
type Inside struct {
	Platform string
	NoPatch  bool // systrap leaves the guest's text as it is
	Args     []string
	Env      []string
	Cwd      string
	MustCwd  bool // the caller insists on Cwd; else "/" does where it is missing
	Hostname string
	PIDs     int // see Spec
	Memory   uint64
	Strace   Strace
	Trace    Trace
	TraceFD  int // where Trace is written, -1 for nowhere

	Root  Directory
	Binds []Directory
	Stdio [3]int // descriptors
	More  []int  // further descriptors of a container's program
	// Container is what a container is made from, nil for a program of "sentry do"; ListenFD is its
	// control socket.
	Container *oci.Container
	ListenFD  int
	// DeviceFD is the device that the platform needs, -1 for none.
	DeviceFD int

	UID, GID int // the caller's, and the guest's
	Groups   []int
	Umask    uint32
	Limits   limits.Table
	Traits   kernel.Traits

	Clocks *ktime.Clocks
	Log    *logrus.Entry
	Opened *atomic.Uint32 // see host.Config
}

// Directory is a host directory that the sandbox may have.
type Directory struct {
	FD       int
	Inside   string // absolute path in the guest
	Writable bool
	Sealed   bool   // the host itself keeps it as it is given; else fs/host alone does
	Devices  uint64 // see host.Config
	// MaxDirs bounds its descriptors of directories below; 0: as many as fs/host thinks right.
	MaxDirs int
}

// Exit is how the guest's first process ended.
type Exit struct {
	Status int
	Signal unix.Signal // 0: it exited
}

// Guest is a kernel put together and not yet started.
type Guest interface {
	// HostCalls are the host system calls it makes once the lock is on, besides those of Go's runtime.
	HostCalls() []seccomp.Rule
	// Start starts the first process, or makes that of a container ready to start on command; it runs behind
	// the lock. Its error is a unix.Errno where the program could not be run.
	Start() error
	// Wait waits for the first process to end. An error is a fault of the sentry's own; its
	// first line says what, the rest is a stack trace.
	Wait() (Exit, error)
	// SendExternal delivers a signal from outside.
	SendExternal(sig unix.Signal)
}

// Boot puts a kernel together from what the sandbox may have, platform included; it runs with an
// empty root and without capabilities, on the process's main thread. Its error
// should be a *Failure.
type Boot func(*Inside) (Guest, error)

// IsInner tells whether this process is the inner one of a sandbox, or stands for a container of one, and must call Inner.
func IsInner() bool { return len(os.Args) > 0 && (os.Args[0] == innerName || os.Args[0] == keeperName) }

// Inner runs the inner process to its end.
func Inner(boot Boot) {
	runtime.LockOSThread()
	nameProcess()
	if os.Args[0] == keeperName {
		keep()
	}
	l, err := newLink(controlFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sentry: this name is for sentry's own use: no control socket:", err)
		os.Exit(Failed)
	}
	r, err := inner(l, boot)
	if err != nil {
		r.Status, r.Error = ExitStatus(err), err.Error()
	}
	l.send(r)
	os.Exit(r.Status)
}

// inner is the way to the first guest instruction and to the guest's end; the
// package's documentation has the order of the steps.
func inner(l *link, boot Boot) (r report, err error) {
	var cfg config
	if err := l.dec.Decode(&cfg); err != nil {
		return r, &Failure{What: "cannot read the config", Cause: err}
	}
	cfg.tune()
	if err := cfg.sealGrants(); err != nil {
		return r, err
	}
	// The clocks look at the host's clock source, which no path leads to afterwards.
	clocks := ktime.New(ktime.Config{})
	if err := emptyRoot(); err != nil {
		return r, err
	}
	cfg.showGrants()
	if err := dropPrivileges(cfg.Capabilities); err != nil {
		return r, err
	}
	if cfg.Container == nil {
		if err := dieWithParent(); err != nil {
			return r, err
		}
	}
	in, err := cfg.inside()
	if err != nil {
		return r, err
	}
	in.Clocks = clocks
	guest, err := boot(in)
	if err != nil {
		return r, err
	}
	if err := lock(guest.HostCalls(), cfg.Debug); err != nil {
		return r, err
	}
	if err := guest.Start(); err != nil {
		return r, startFailure(string(cfg.Args[0]), err)
	}
	if cfg.Container != nil {
		l.send(report{Ready: true})
	}
	go obey(l, guest.SendExternal)
	runtime.UnlockOSThread()
	err = r.wait(guest)
	return r, err
}

// wait makes the report of the guest's end.
func (r *report) wait(guest Guest) error {
	e, err := guest.Wait()
	if err != nil {
		r.Broken = true
		return errors.New(firstLine([]byte(err.Error())))
	}
	r.Status = e.Status
	if e.Signal != 0 {
		r.Status = bySignal + int(e.Signal)
	}
	return nil
}

// gcPercent trades processor time for memory: the sentry's live heap is small, and what a sandbox
// costs when idle counts.
const gcPercent = 50

// tune sets up Go's runtime.
func (cfg *config) tune() {
	reportTo(cfg.LogFD)
	debug.SetGCPercent(gcPercent)
	if cfg.Debug {
		debug.SetTraceback("all")
	}
}

// obey carries out the outer process's commands. The end of the socket means that it is gone, and
// this process with it unless it was told to stay.
func obey(l *link, send func(unix.Signal)) {
	detached := false
	for {
		var c command
		if err := l.dec.Decode(&c); err != nil {
			if detached {
				return
			}
			os.Exit(Failed)
		}
		if c.Signal > 0 && c.Signal <= 64 {
			send(c.Signal)
		}
		if c.Detach {
			detached = true
			l.send(report{Ready: true})
		}
	}
}

func (cfg *config) inside() (*Inside, error) {
	in := &Inside{
		Platform: cfg.Platform, NoPatch: cfg.NoPatch, Args: plain(cfg.Args), Env: plain(cfg.Env),
		Cwd: string(cfg.Cwd), MustCwd: cfg.MustCwd, Hostname: string(cfg.Hostname), PIDs: cfg.PIDs, Memory: cfg.Memory, Strace: cfg.Strace,
		Trace: cfg.Trace, TraceFD: cfg.TraceFD,
		Root: cfg.Root.directory(), Stdio: cfg.Stdio, More: cfg.More, ListenFD: cfg.ListenFD, DeviceFD: cfg.DeviceFD,
		UID: cfg.UID, GID: cfg.GID, Groups: cfg.Groups, Umask: cfg.Umask, Limits: cfg.Limits, Traits: cfg.Traits,
		Log:    logrus.NewEntry(openLogger(cfg.LogFD, cfg.JSON, cfg.Debug)),
		Opened: new(atomic.Uint32),
	}
	in.Opened.Store(platform.PermanentID)
	if raceDetector {
		in.Log.Warn("this sentry looks for its own data races and does not confine what it runs: it is for tests alone")
	}
	for _, b := range cfg.Binds {
		in.Binds = append(in.Binds, b.directory())
	}
	if cfg.Container == nil {
		return in, nil
	}
	if err := json.Unmarshal(cfg.Container, &in.Container); err != nil {
		return nil, &Failure{What: "cannot read the container's configuration", Cause: err}
	}
	return in, nil
}

func (g grant) directory() Directory {
	return Directory{FD: g.FD, Inside: string(g.Inside), Writable: g.Write, Sealed: g.Sealed, Devices: g.Devices}
}

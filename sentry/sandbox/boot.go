package sandbox

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"gosentry/fs/host"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/control"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/klog"
	"gosentry/sentry/loader"
	"gosentry/sentry/personality/linux"
	"gosentry/sentry/sandbox/seccomp"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// machine is the Guest of a sandbox: the real kernel and what it stands on.
type machine struct {
	in      *Inside
	kernel  *kernel.Kernel
	mounts  *vfs.Namespace // the first
	streams *host.Streams
	stdio   [3]*vfs.File
	calls   []seccomp.Rule
	counts  func() string   // what the platform has counted; nil: nothing
	tracing *kernel.Tracing // nil: none
	// hostMemory is the limit of memory where none is asked for, in bytes.
	hostMemory uint64

	server *control.Server // of a container's sandbox
	first  *container      // that the sandbox is for; nil for a program of "sentry do"
	pod    pod
	shared sharedMemories

	draining atomic.Bool // the guest has ended
	hurry    sync.Once
	hurried  chan struct{} // closed when a signal says not to wait for the readers of its output
}

// BootKernel is the Boot of the sentry itself.
func BootKernel(in *Inside) (Guest, error) {
	room, err := guestRoom()
	if err != nil {
		return nil, err
	}
	m := &machine{in: in, hurried: make(chan struct{}), hostMemory: room}
	sameCPUs := numbersCPUsAlike()
	plat, calls, err := in.newPlatform()
	if err != nil {
		return nil, err
	}
	m.calls, m.counts = in.hostCalls(calls), counter(plat)
	memory, err := mm.NewMemoryFile(m.hostMemory)
	if err != nil {
		return nil, &Failure{What: "cannot make the memory file", Cause: err}
	}
	if in.Memory > 0 {
		memory.SetLimit(in.Memory)
	}
	sys := vfs.NewSystem()
	if m.mounts, err = in.mountRoot(sys, memory, m.devices(memory, func() *container { return m.first })); err != nil {
		return nil, err
	}
	if err := m.openStdio(sys); err != nil {
		return nil, err
	}
	vdso, err := loader.NewVDSO(memory, loader.VDSOConfig{HostCPU: sameCPUs})
	if err == nil {
		err = in.Clocks.Attach(vdso.Params())
	}
	if err != nil {
		return nil, &Failure{What: "cannot make the vDSO", Cause: err}
	}
	if m.tracing, err = in.tracing(); err != nil {
		return nil, err
	}
	m.kernel, err = kernel.New(kernel.Config{
		Platform: plat, Memory: memory, VDSO: vdso, Clocks: in.Clocks, Mounts: m.mounts,
		Personality: linux.New(in.strace()), Hostname: in.Hostname, Tasks: in.PIDs, Log: in.Log,
		Tracing: m.tracing,
	})
	if err != nil {
		return nil, &Failure{What: "cannot make the kernel", Cause: err}
	}
	m.kernel.Messages().Add(klog.Notice, fmt.Sprintf("%s version %s (gosentry) %s", linux.Sysname, linux.Release, linux.Version))
	if in.Container == nil {
		return m, in.mountSystem(m.kernel, m.mounts, memory)
	}
	return m, m.bootContainer()
}

// numbersCPUsAlike tells whether the host's processors that this process may use are its first ones, so that each has its number inside, too.
func numbersCPUsAlike() bool {
	var may unix.CPUSet
	if unix.SchedGetaffinity(0, &may) != nil {
		return false
	}
	for cpu := range linux.CPUs() {
		if !may.IsSet(cpu) {
			return false
		}
	}
	return true
}

// openStdio makes files of the caller's standard streams.
func (m *machine) openStdio(sys *vfs.System) (err error) {
	if m.streams, err = host.NewStreams(sys); err != nil {
		return &Failure{What: "cannot watch the standard streams", Cause: err}
	}
	if m.in.Container != nil {
		return nil
	}
	for i, fd := range m.in.Stdio {
		if m.stdio[i], err = m.streams.File(fd, ""); err != nil {
			return &Failure{What: fmt.Sprintf("cannot use the caller's descriptor %d", i), Cause: err}
		}
	}
	return nil
}

// HostCalls implements Guest.
func (m *machine) HostCalls() []seccomp.Rule { return m.calls }

// SendExternal implements Guest.
func (m *machine) SendExternal(sig unix.Signal) {
	m.kernel.SendExternal(sig)
	switch sig {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		if m.draining.Load() {
			m.hurry.Do(func() { close(m.hurried) })
		}
	}
}

// Wait implements Guest.
func (m *machine) Wait() (Exit, error) {
	s, err := m.kernel.Wait()
	m.endTrace()
	if m.counts != nil && m.in.Log.Logger.IsLevelEnabled(logrus.DebugLevel) {
		m.in.Log.Debugf("platform: %s", m.counts())
	}
	if err != nil {
		return Exit{}, err
	}
	if m.first != nil {
		m.first.end(s.Shell())
	}
	m.drain(s.Signal != 0)
	if m.server != nil {
		m.server.Drain(answerPatience)
	}
	return Exit{Status: int(s.Code), Signal: s.Signal}, nil
}

// answerPatience is how long the end of a container waits for those who were promised an answer.
const answerPatience = time.Second

// drain waits until the host has taken the guest's output. On a host a program that exits has
// written all of it, however long its reader took; one that was killed need not have.
func (m *machine) drain(killed bool) {
	m.draining.Store(true)
	done := make(chan struct{})
	go func() {
		if m.first != nil {
			m.first.console.finish(outputPatience(killed))
		}
		m.streams.Drain(outputPatience(killed))
		close(done)
	}()
	select {
	case <-done:
	case <-m.hurried:
	}
}

// outputPatience is how long a reader may take for what a program wrote before its end.
func outputPatience(killed bool) time.Duration {
	const forever, moment = 1 << 62, 100 * time.Millisecond
	if killed {
		return moment
	}
	return forever
}

// Start implements Guest.
func (m *machine) Start() error {
	in := m.in
	if in.Container != nil {
		if err := m.first.prepare(); err != nil {
			return err
		}
		go m.server.Serve(m) //nolint:errcheck // it ends with the process
		return nil
	}
	cwd, err := m.firstDirectory()
	if err != nil {
		return err
	}
	err = m.kernel.Start(kernel.InitArgs{
		Filename: in.Args[0], Argv: in.Args, Env: in.Env, CWD: cwd, Umask: in.Umask,
		UID: cred.UID(in.UID), GID: cred.GID(in.GID), Groups: in.groups(),
		Stdio: m.stdio, Limits: in.Limits, Terminal: true,
		Traits: in.Traits,
	})
	return startError(err)
}

// firstDirectory is where the program starts: "/" where the caller's own directory is not there inside.
func (m *machine) firstDirectory() (string, error) {
	root := m.mounts.Root()
	user := builder{cred.New(cred.UID(m.in.UID), cred.GID(m.in.GID), m.in.groups(), nil)}
	_, err := vfs.Walk(user, vfs.WalkArgs{Root: root, Start: root, Directory: true}, m.in.Cwd)
	switch {
	case err == nil:
		return m.in.Cwd, nil
	case m.in.MustCwd:
		return "", &Failure{What: "cannot start in the directory " + m.in.Cwd, Cause: err, Way: "name one that is there inside"}
	}
	return "/", nil
}

func (in *Inside) groups() []cred.GID {
	var list []cred.GID
	for _, g := range in.Groups {
		list = append(list, cred.GID(g))
	}
	return list
}

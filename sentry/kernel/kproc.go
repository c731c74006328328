package kernel

import (
	"errors"
	"fmt"

	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// A process of the kernel's own is forked, named, shown and ended as any other; what it runs is a function of the kernel's.
// It has no memory, no program and no context of the platform, so there is nothing in which it could run guest code, and it
// counts for no user's limit. Its function ends it by Exit or when it is killed. Init is one, made by process 0,
// which is there for that fork alone.

// kernelContext is the context of a process that has no user mode.
type kernelContext struct{}

var errNoUserMode = errors.New("a process of the kernel's own was to run guest code")

func (kernelContext) Run(platform.AddressSpace, *arch.Registers) (platform.Event, error) {
	return platform.Event{}, errNoUserMode
}
func (kernelContext) FPU() []byte { return nil }
func (kernelContext) FPUChanged() {}
func (kernelContext) Interrupt()  {}
func (kernelContext) Leave()      {}
func (kernelContext) Release()    {}

// runMain runs the function of a process of the kernel's own. If that returns before the process is to end, it is
// reported, and the process ends all the same.
func (t *Task) runMain() {
	t.switchMode(cpuSystem)
	t.main(t)
	if t.ending() {
		return
	}
	t.returned = true
	t.k.log.Errorf("the kernel's own process %d (%s) ends: its function has returned", t.pid.numbers[0], t.Name())
	t.ExitGroup(0)
}

// forkKernel makes a process of the kernel's own, a child of init's but for init itself.
func (t *Task) forkKernel(name string, main func(*Task)) error {
	_, err := t.Fork(&ForkArgs{Kind: "kernel", Main: main, Name: name, CleanFiles: true, ToInit: true, ExitSignal: unix.SIGCHLD})
	return err
}

// makeInit makes process 1. Process 0, which forks it, is in no list and is gone afterwards.
func (k *Kernel) makeInit() error {
	pid := &PID{numbers: []int32{0}, ns: k.rootPIDNS}
	t := k.newTask(k.whole, pid, k.rootPIDNS, cred.New(0, 0, nil, k.rootUserNS), "kernel")
	t.tg = newThreadGroup(k, pid, limits.New(limits.Defaults(maxTasks)), new(signal.Handlers))
	t.tg.leader, t.tg.cgroup = t, k.cgroups.Root()
	// Children of init leave no zombies.
	if _, err := t.tg.handlers.Set(unix.SIGCHLD, signal.Action{Handler: signal.HandlerIgnore}); err != nil {
		return err
	}
	if k.tracing != nil && k.tracing.Inherit {
		t.tracing = k.tracing
	}
	root := k.first.Mount.Root()
	t.fs.Store(newFSContext(root, root, 0o22))
	err := t.forkKernel("init", initMain)
	t.fs.Load().decRef()
	t.leaveNamespaces()
	t.Creds().UserNS.Drop()
	if err != nil {
		return fmt.Errorf("making the first process: %w", err)
	}
	k.init = k.rootPIDNS.init
	return nil
}

// initMain is what init runs. Orphans are reaped as they end, so it waits for the end of the sandbox; its own is
// that of everybody in its pid namespace, as with any init.
func initMain(t *Task) {
	t.BlockKillable(t.k.end) //nolint:errcheck // killed or not, it ends
	t.ExitGroup(0)
}

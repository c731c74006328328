package sandbox

import (
	"fmt"
	"runtime"

	"gosentry/sentry/control"
	"gosentry/sentry/kernel"
	"gosentry/sentry/oci"

	"golang.org/x/sys/unix"
)

// Options are what containers' sandboxes have in common.
type Options struct {
	Platform string
	NoPatch  bool // see Spec
	Strace   Strace
	Log      Log
	Persist  bool // see Spec
}

// Launcher returns what makes the sandboxes of containers: the same as Run makes, but told by
// a configuration, and able to outlive the process that made them.
func (o Options) Launcher() oci.Launch {
	return func(a oci.LaunchArgs) (oci.Sandbox, error) {
		launch := o.launch
		if a.Join != "" {
			launch = o.join
		}
		b, err := launch(a)
		if err != nil {
			return nil, err
		}
		return b, nil
	}
}

func (o Options) launch(a oci.LaunchArgs) (*box, error) {
	// The parent-death signal comes when the thread ends that started the child.
	runtime.LockOSThread()
	spec, err := o.spec(&a)
	if err != nil {
		return nil, err
	}
	g, err := openGrants(spec)
	if err != nil {
		return nil, err
	}
	child, err := spawn(spec, g, kernel.Traits{}, nil)
	if err != nil {
		g.close()
		return nil, err
	}
	b := &box{child: child, spec: spec, grants: g}
	if err := b.ready(); err != nil {
		return nil, err
	}
	return b, nil
}

// spec is what a container's sandbox is made from.
func (o Options) spec(a *oci.LaunchArgs) (Spec, error) {
	c := a.Container
	spec := Spec{
		Platform: o.Platform, NoPatch: o.NoPatch, Strace: o.Strace, Log: o.Log, Root: c.Root, Cwd: string(c.Process.Cwd),
		Args: control.Strings(c.Process.Args), Env: control.Strings(c.Process.Env), Hostname: c.Hostname, PIDs: int(c.PIDs), Memory: uint64(c.Memory),
		Persist: o.Persist, Container: a,
	}
	spec, err := spec.complete()
	if err != nil {
		return Spec{}, err
	}
	for i, m := range c.Mounts {
		if m.Type == "bind" || m.Type == "overlay" {
			spec.Binds = append(spec.Binds, Bind{Host: m.Source, Inside: m.At, Writable: m.Type == "bind" && !m.ReadOnly})
			c.Mounts[i].Bind = len(spec.Binds) - 1
		}
	}
	return spec, nil
}

// place moves the process of a container's sandbox to where it belongs on the host.
func (s Spec) place(pid int) error {
	if s.Container == nil || s.Container.Place == nil {
		return nil
	}
	return s.Container.Place(pid)
}

// box is the sandbox of a container as its maker sees it.
type box struct {
	child  *child
	spec   Spec
	grants *grants
}

// ready waits until the program could start; if that fails the sandbox is gone.
func (b *box) ready() error {
	var r report
	err := b.child.link.dec.Decode(&r)
	if err == nil && r.Ready {
		return nil
	}
	if err != nil || r.Error == "" {
		_, err = b.child.outcome(r, err, b.spec, b.grants, b.child.collect())
	} else {
		b.child.reap()
		err = &Failure{What: r.Error, Status: r.Status}
	}
	b.release()
	if err == nil {
		err = &Failure{What: "the sandbox ended before its program could start"}
	}
	return err
}

// PID implements oci.Sandbox.
func (b *box) PID() int { return b.child.pid }

// Detach implements oci.Sandbox.
func (b *box) Detach() error {
	if err := b.child.link.send(command{Detach: true}); err != nil {
		return err
	}
	var r report
	if err := b.child.link.dec.Decode(&r); err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	return nil
}

// Wait implements oci.Sandbox.
func (b *box) Wait() (int, error) {
	defer b.release()
	return b.child.follow(b.spec, b.grants)
}

// Kill implements oci.Sandbox.
func (b *box) Kill() {
	unix.Kill(b.child.pid, unix.SIGKILL) //nolint:errcheck // our own child, not yet waited for
}

func (b *box) release() {
	b.child.close()
	b.grants.close()
}

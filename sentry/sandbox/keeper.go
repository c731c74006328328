package sandbox

import (
	"encoding/json"
	"fmt"
	"os"

	"gosentry/sentry/control"
	"gosentry/sentry/oci"
	"gosentry/sentry/sandbox/seccomp"

	"golang.org/x/sys/unix"
)

// A container that is added to a sandbox has a process of its own on the host, its keeper: engines wait for it, take
// its exit status, and look for the container's namespaces and control group by its id. It holds the connection over which
// the container was made, and the container lives as long as that. It needs nothing else, so it
// is locked as the inner process is.

// keptFD is the keeper's connection to the sandbox, behind the link.
const keptFD = controlFD + 1

// join adds a container to a sandbox that runs.
func (o Options) join(a oci.LaunchArgs) (*box, error) {
	spec, err := o.spec(&a)
	if err != nil {
		return nil, err
	}
	// What has to do with the sandbox's own process is its first container's affair.
	spec.Platform, spec.Log, spec.Strace = "", Log{}, Strace{}
	g, err := openGrants(spec)
	if err != nil {
		return nil, err
	}
	defer g.close()
	text, files, err := additionOf(&a, g)
	if err != nil {
		return nil, err
	}
	made, err := control.Create(a.Join, a.Container.ID, text, files)
	if err != nil {
		return nil, &Failure{What: "the pod's sandbox cannot add the container", Cause: err}
	}
	b := &box{spec: spec, grants: &grants{log: -1}}
	err = made.Hand(func(fd int) (err error) {
		b.child, err = newChild(keeperName, true, func(link, stderr int) []uintptr {
			return []uintptr{0, 0, uintptr(stderr), uintptr(link), uintptr(fd)}
		})
		return err
	})
	if err == nil {
		if err = spec.place(b.child.pid); err != nil {
			b.child.end()
		}
	}
	if err != nil {
		return nil, err
	}
	if err := b.ready(); err != nil {
		return nil, err
	}
	return b, nil
}

// additionOf is the message that describes a container, and the descriptors that go with it.
func additionOf(a *oci.LaunchArgs, g *grants) ([]byte, []int, error) {
	m := addition{Container: a.Container, Root: g.root, Binds: append([]grant(nil), g.binds...)}
	files := []int{}
	number := func(fd int) int {
		files = append(files, fd)
		return len(files) - 1
	}
	m.Root.FD = number(m.Root.FD)
	for i, fd := range a.Stdio {
		m.Stdio[i] = number(fd)
	}
	for i := range m.Binds {
		m.Binds[i].FD = number(m.Binds[i].FD)
	}
	for _, fd := range a.Preserved {
		m.More = append(m.More, number(fd))
	}
	text, err := json.Marshal(&m)
	return text, files, err
}

// keep runs a keeper to its end: the container's, the sandbox's, or until then its maker's.
func keep() {
	l, err := newLink(controlFD)
	if err != nil {
		fmt.Fprintln(os.Stderr, "sentry: this name is for sentry's own use: no control socket:", err)
		os.Exit(Failed)
	}
	made, err := lockKeeper()
	if err != nil {
		l.send(report{Status: ExitStatus(err), Error: err.Error()})
		os.Exit(Failed)
	}
	l.send(report{Ready: true})
	go obey(l, func(unix.Signal) {})
	status, err := made.Wait()
	if err != nil {
		// The sandbox took it along.
		status = bySignal + int(unix.SIGKILL)
	}
	l.send(report{Status: status})
	os.Exit(status)
}

func lockKeeper() (*control.Program, error) {
	made, err := control.Take(keptFD)
	if err != nil {
		return nil, err
	}
	if err := emptyRoot(); err != nil {
		return nil, err
	}
	if err := dropPrivileges(0); err != nil {
		return nil, err
	}
	return made, lock(seccomp.Allow(control.HostCalls()...), false)
}

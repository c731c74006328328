package oci

import (
	"fmt"
	"os"
	"strings"

	"gosentry/sentry/callfilter"
	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Container is what a sandbox is made from: the configuration, decoded.
type Container struct {
	ID           string
	Root         string // host directory
	ReadOnlyRoot bool
	Mounts       []Mount
	// RootPropagation is done to the root once all is mounted; Kind 0: nothing.
	RootPropagation Propagation
	Devices         []Device
	Hostname        string
	Domainname      string
	Process         *control.Process
	Masked          []string // paths inside
	ReadOnly        []string // paths inside
	Sysctl          map[string]string
	Memory          int64 // limit in bytes, 0 for none
	PIDs            int64 // limit, 0 for none
	// Affinity has a bit for each processor that its programs may use at first; nil: all.
	Affinity []uint64
	// UIDs and GIDs are the maps of the user namespace, as written to /proc/PID/uid_map; empty: there is none.
	UIDs, GIDs string
	// Namespaces are those that it has for itself or joins. Others are those of the sandbox that it is added to.
	Namespaces []Namespace
	// Seccomp judges every program's calls; empty: nothing does.
	Seccomp callfilter.Program
}

// LaunchArgs are what a container and its sandbox are made with.
type LaunchArgs struct {
	Container *Container
	// Join is the directory of the control socket of a sandbox that the container is added to; empty: it gets one of its own.
	Join     string
	Listener int    // listening control socket, where Join is empty
	Stdio    [3]int // descriptors
	// Preserved are further descriptors of the program, from 3 on.
	Preserved []int
	// Place moves the sandbox's process to where it belongs on the host, before it does anything; nil: it stays.
	Place func(pid int) error
}

// Launch makes a container whose program is ready to start.
type Launch func(LaunchArgs) (Sandbox, error)

// Sandbox is the sandbox of a container that was just made, or what stands for a container that was added to
// one. It ends with the calling process until Detach.
type Sandbox interface {
	// PID is the process that is the container for the host.
	PID() int
	// Detach lets it live on alone.
	Detach() error
	// Wait waits for its end and returns its exit status.
	Wait() (int, error)
	// Kill ends it.
	Kill()
}

// container decodes the configuration.
func (b *Bundle) container(id string) (*Container, error) {
	s := b.Config
	if s.Process == nil {
		return nil, refuse("process", "missing: a container cannot be created without one")
	}
	c := &Container{
		ID: id, Root: b.rootDir(), ReadOnlyRoot: s.Root.Readonly, Hostname: s.Hostname, Domainname: s.Domainname,
		Process: ProcessOf(s.Process),
	}
	if info, err := os.Stat(c.Root); err != nil {
		return nil, refuse("root.path", "%v", err)
	} else if !info.IsDir() {
		return nil, refuse("root.path", "%s is not a directory", c.Root)
	}
	var err error
	if c.Mounts, err = b.mounts(); err != nil {
		return nil, err
	}
	l := s.Linux
	if l == nil {
		return c, nil
	}
	c.RootPropagation = rootPropagation(l.RootfsPropagation)
	c.Masked, c.ReadOnly, c.Sysctl = l.MaskedPaths, l.ReadonlyPaths, l.Sysctl
	c.UIDs, c.GIDs = idMap(l.UIDMappings), idMap(l.GIDMappings)
	if c.Devices, err = devices(l); err != nil {
		return nil, err
	}
	if c.Seccomp, err = seccompProgram(l.Seccomp); err != nil {
		return nil, err
	}
	if l.Resources != nil {
		err = c.limit(l.Resources)
	}
	return c, err
}

// idMap is the text of a user namespace's map (user_namespaces(7)).
func idMap(list []specs.LinuxIDMapping) string {
	var b strings.Builder
	for _, m := range list {
		fmt.Fprintln(&b, m.ContainerID, m.HostID, m.Size)
	}
	return b.String()
}

// checkMappings refuses maps without a namespace and the other way round.
func checkMappings(l *specs.Linux) error {
	user, joined := false, false
	for _, n := range l.Namespaces {
		if n.Type == specs.UserNamespace {
			user, joined = n.Path == "", n.Path != ""
		}
	}
	for _, m := range []struct {
		field string
		list  []specs.LinuxIDMapping
	}{{"linux.uidMappings", l.UIDMappings}, {"linux.gidMappings", l.GIDMappings}} {
		switch {
		case joined:
			continue // the maps are those of whoever made it
		case user && len(m.list) == 0:
			return refuse(m.field, "missing: linux.namespaces has a user namespace")
		case !user && len(m.list) > 0:
			return refuse(m.field, "given without a user namespace in linux.namespaces")
		}
		for i, e := range m.list {
			if e.Size == 0 {
				return refuse(fmt.Sprintf("%s[%d].size", m.field, i), "0")
			}
		}
	}
	return nil
}

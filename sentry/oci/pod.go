package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// A pod is one sandbox with several containers. Whoever manages pods says so by annotations: the first container, which
// does nothing but hold what the others share, is the sandbox, and each other one names it. Any container's sandbox can
// be joined so: podman does not mark those that are meant to be.

// podAnnotations are the names of a container's part in its pod and of the pod's sandbox, by those who use them: containerd,
// CRI-O and podman.
var podAnnotations = [...]struct{ part, sandbox string }{
	{"io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"},
	{"io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"},
}

// podSandbox returns the id of the sandbox that a container belongs to, empty for one that has its own.
func podSandbox(annotations map[string]string) string {
	for _, a := range podAnnotations {
		if annotations[a.part] == "container" {
			return annotations[a.sandbox]
		}
	}
	return ""
}

// podName is a link in the directory of a container that was added to a sandbox, to the directory of that one.
const podName = "pod"

// added tells whether the container was added to another's sandbox.
func (c *container) added() bool {
	_, err := os.Lstat(filepath.Join(c.dir, podName))
	return err == nil
}

// sandboxDir is where the control socket of the container's sandbox is.
func (c *container) sandboxDir() string {
	if c.added() {
		return filepath.Join(c.dir, podName)
	}
	return c.dir
}

// name is what the sandbox calls the container.
func (c *container) name() string {
	if c.added() {
		return filepath.Base(c.dir)
	}
	return ""
}

// request sends a request about the container to its sandbox.
func (c *container) request(q control.Request) (control.Answer, error) {
	q.Container = c.name()
	return control.Ask(c.sandboxDir(), q)
}

// forget ends an added container inside, if its sandbox is still there.
func (c *container) forget() {
	if c.added() {
		c.request(control.Request{Op: control.OpDelete}) //nolint:errcheck // with the sandbox all is gone
	}
}

// sandboxOf returns the sandbox that a container with these annotations is to be added to, nil for one of its own. A sandbox
// that this runtime does not have is somebody else's affair.
func (r *Runtime) sandboxOf(annotations map[string]string) (*container, error) {
	of := podSandbox(annotations)
	if of == "" {
		return nil, nil
	}
	c, err := r.open(of, look)
	if errors.Is(err, ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the pod's sandbox: %w", err)
	}
	if s := c.status(); s == control.Stopped {
		return nil, fmt.Errorf("the pod's sandbox, container %q, is stopped", of)
	}
	return c, nil
}

// Namespace is one that a container has for itself, or in common with another of its pod.
type Namespace struct {
	Type string // as in a configuration
	Of   string // the other's id; empty: its own
}

// namespaceFiles are the names in /proc/PID/ns of the types of a configuration that are called otherwise there.
var namespaceFiles = map[specs.LinuxNamespaceType]string{specs.NetworkNamespace: "net", specs.MountNamespace: "mnt"}

// namespaces finds out whose namespaces a container is to have; pod is its sandbox, nil for one of its own.
func (r *Runtime) namespaces(list []specs.LinuxNamespace, pod *container) ([]Namespace, error) {
	var out []Namespace
	for i, n := range list {
		field := fmt.Sprintf("linux.namespaces[%d].path", i)
		if n.Path == "" {
			out = append(out, Namespace{Type: string(n.Type)})
			continue
		}
		if n.Type == specs.NetworkNamespace {
			if err := checkNetwork(n.Path); err != nil {
				return nil, refuse(field, "%s: %v", n.Path, err)
			}
		}
		of, err := r.owner(n, pod)
		switch {
		case err != nil:
			return nil, refuse(field, "%v", err)
		case of != "" && n.Type == specs.MountNamespace:
			return nil, refuse(field, "a container of a pod has mounts of its own")
		case of != "":
			out = append(out, Namespace{Type: string(n.Type), Of: of})
		case n.Type != specs.NetworkNamespace:
			return nil, refuse(field, "a namespace of the host cannot be joined: the container has a kernel of its own")
		}
	}
	return out, nil
}

// owner returns the id of the container of the pod whose process on the host has a namespace; empty for none.
func (r *Runtime) owner(n specs.LinuxNamespace, pod *container) (string, error) {
	var want, got unix.Stat_t
	if err := unix.Stat(n.Path, &want); err != nil {
		return "", fmt.Errorf("%s: %w", n.Path, err)
	}
	if pod == nil {
		return "", nil
	}
	file := namespaceFiles[n.Type]
	if file == "" {
		file = string(n.Type)
	}
	for _, c := range append([]*container{pod}, r.others(pod)...) {
		if !c.alive() {
			continue
		}
		if unix.Stat(fmt.Sprintf("/proc/%d/ns/%s", c.PID, file), &got) == nil && got.Dev == want.Dev && got.Ino == want.Ino {
			return c.ID, nil
		}
	}
	return "", nil
}

// others are the containers that were added to a sandbox.
func (r *Runtime) others(pod *container) []*container {
	names, err := os.ReadDir(r.Root)
	if err != nil {
		return nil
	}
	var list []*container
	for _, n := range names {
		if of, err := os.Readlink(filepath.Join(r.Root, n.Name(), podName)); err != nil || filepath.Base(of) != pod.ID {
			continue
		}
		if c, err := r.open(n.Name(), look); err == nil {
			list = append(list, c)
		}
	}
	return list
}

// checkNetwork refuses a path that leads to something other than a network namespace.
func checkNetwork(path string) error {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	switch kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); {
	case err != nil:
		return errors.New("it is no namespace")
	case kind != unix.CLONE_NEWNET:
		return errors.New("it is not a network namespace")
	}
	return nil
}

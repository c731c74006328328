package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// CreateArgs are the flags of create and run.
type CreateArgs struct {
	ID            string
	Bundle        string
	PIDFile       string
	ConsoleSocket string
	PreserveFDs   int
}

// Create makes a container; its program waits for Start.
func (r *Runtime) Create(a CreateArgs) error {
	made, err := r.create(a, false)
	if err != nil {
		return err
	}
	defer made.close()
	return nil
}

// creation is a container on its way, and what to undo if it fails.
type creation struct {
	*container
	bundle  *Bundle
	box     *Container
	pod     *container // whose sandbox it is added to, nil for one of its own
	sandbox Sandbox
	console *console
}

// create makes a container and leaves it locked. With foreground the sandbox stays tied to this process.
func (r *Runtime) create(a CreateArgs, foreground bool) (*creation, error) {
	if err := checkID(a.ID); err != nil {
		return nil, err
	}
	b, err := LoadBundle(a.Bundle)
	if err != nil {
		return nil, err
	}
	box, err := b.container(a.ID)
	if err != nil {
		return nil, err
	}
	if list := unknownCapabilities(b.Config.Process.Capabilities); len(list) > 0 {
		fmt.Fprintf(os.Stderr, "sentry: warning: process.capabilities: %q are not known, and left out\n", list)
	}
	c := &creation{bundle: b, box: box}
	if c.pod, err = r.sandboxOf(b.Config.Annotations); err != nil {
		return nil, err
	}
	if l := b.Config.Linux; l != nil {
		if box.Namespaces, err = r.namespaces(l.Namespaces, c.pod); err != nil {
			return nil, err
		}
	}
	if c.container, err = r.claim(a.ID, b, c.pod); err != nil {
		return nil, err
	}
	if err = c.launch(r.Launch, a, foreground); err == nil {
		err = c.publish(a, foreground)
	}
	if err != nil {
		c.undo()
		return nil, err
	}
	return c, nil
}

// claim makes the container's directory, which nobody else has, and locks it. pod is whose sandbox it is added to.
func (r *Runtime) claim(id string, b *Bundle, pod *container) (*container, error) {
	if err := os.MkdirAll(r.Root, 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the directory of containers (--root names another): %w", err)
	}
	c := &container{dir: filepath.Join(r.Root, id)}
	if err := os.Mkdir(c.dir, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("container with id %q exists", id)
		}
		return nil, err
	}
	c.state = state{
		Version: specs.Version, ID: id, Bundle: b.Dir, RootDir: b.rootDir(), Created: time.Now().UTC(),
		Owner: os.Geteuid(), Annotations: b.Config.Annotations,
	}
	err := c.acquire()
	if err == nil {
		err = writeWhole(filepath.Join(c.dir, configName), b.text)
	}
	if err == nil && pod != nil {
		err = os.Symlink(filepath.Join("..", pod.ID), filepath.Join(c.dir, podName))
	}
	if err == nil {
		err = c.save()
	}
	if err != nil {
		c.discard() //nolint:errcheck // the first error counts
		c.close()
		return nil, fmt.Errorf("cannot make container %q: %w", id, err)
	}
	return c, nil
}

// launch makes the sandbox, and the console where there is to be one.
func (c *creation) launch(launch Launch, a CreateArgs, foreground bool) error {
	args := LaunchArgs{Container: c.box, Stdio: [3]int{0, 1, 2}}
	for i := range a.PreserveFDs {
		args.Preserved = append(args.Preserved, 3+i)
	}
	var err error
	if c.console, err = openConsole(c.bundle.Config.Process, a.ConsoleSocket, foreground); err != nil {
		return err
	}
	if c.console != nil {
		args.Stdio = c.console.stdio()
	}
	if c.pod != nil {
		args.Join = c.pod.dir
	} else {
		if args.Listener, err = control.Listen(c.dir); err != nil {
			return fmt.Errorf("cannot make the control socket: %w", err)
		}
		defer closeFD(args.Listener)
	}
	if args.Place, err = c.joinHost(); err != nil {
		return err
	}
	if c.sandbox, err = launch(args); err != nil {
		return err
	}
	c.PID = c.sandbox.PID()
	c.PIDStart, _ = startTime(c.PID)
	return c.save()
}

// publish runs the hooks of creation and lets the world know.
func (c *creation) publish(a CreateArgs, foreground bool) error {
	if h := c.bundle.Config.Hooks; h != nil {
		s := c.specState(control.Status(specs.StateCreating))
		for _, hooks := range []struct {
			kind string
			list []specs.Hook
		}{{"prestart", h.Prestart}, {"createRuntime", h.CreateRuntime}, {"createContainer", h.CreateContainer}} { //nolint:staticcheck // as in check
			if err := runHooks(hooks.kind, hooks.list, s); err != nil {
				return err
			}
		}
	}
	if c.console != nil && a.ConsoleSocket != "" {
		if err := c.console.send(a.ConsoleSocket); err != nil {
			return err
		}
		c.console = nil
	}
	if !foreground {
		if err := c.sandbox.Detach(); err != nil {
			return fmt.Errorf("the sandbox ended: %w", err)
		}
	}
	return WritePIDFile(a.PIDFile, c.PID)
}

// WritePIDFile writes a process id, whole or not at all; no name means no file.
func WritePIDFile(name string, pid int) error {
	if name == "" {
		return nil
	}
	if err := writeWhole(name, []byte(fmt.Sprint(pid))); err != nil {
		return fmt.Errorf("cannot write the pid file: %w", err)
	}
	return nil
}

// undo takes a failed creation back.
func (c *creation) undo() {
	if c.sandbox != nil {
		c.sandbox.Kill()
		c.sandbox.Wait() //nolint:errcheck // it was killed
	}
	c.console.close()
	if c.sandbox != nil {
		c.remove() //nolint:errcheck // the first error counts
	} else {
		c.forget()
		c.leaveHost() //nolint:errcheck // as above
		c.discard()   //nolint:errcheck // the first error counts
	}
	c.close()
}

// RunArgs are the flags of run.
type RunArgs struct {
	CreateArgs
	Detach bool
	Keep   bool // do not delete the container when it has ended
}

// Run creates and starts a container; unless it is detached it waits for its end and deletes
// it. It returns the program's exit status.
func (r *Runtime) Run(a RunArgs) (int, error) {
	c, err := r.create(a.CreateArgs, !a.Detach)
	if err != nil {
		return 0, err
	}
	if err := c.start(); err != nil {
		c.sandbox.Kill()
		c.sandbox.Wait() //nolint:errcheck // it was killed
		c.console.close()
		c.remove() //nolint:errcheck // the first error counts
		c.close()
		return 0, err
	}
	// The lock is for changes, and the program may run for long.
	c.close()
	if a.Detach {
		return 0, nil
	}
	stop := c.relay()
	status, err := c.sandbox.Wait()
	stop()
	c.console.close()
	if !a.Keep {
		if deleted := r.Delete(a.ID, true); err == nil {
			err = deleted
		}
	}
	return status, err
}

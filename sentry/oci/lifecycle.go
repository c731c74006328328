package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// config is the configuration as it was when the container was made.
func (c *container) config() (*specs.Spec, error) {
	text, err := readBounded(filepath.Join(c.dir, configName), maxConfig)
	if _, gone := os.Stat(c.dir); err != nil && errors.Is(gone, os.ErrNotExist) {
		return nil, fmt.Errorf("container %q %w", c.ID, ErrNotExist) // deleted meanwhile
	}
	if err != nil {
		return nil, fmt.Errorf("container %q: its configuration cannot be read (delete --force removes it): %w", c.ID, err)
	}
	return parseConfig(text)
}

func (c *container) ask(q control.Request) (control.Answer, error) {
	a, err := c.request(q)
	if err != nil {
		return a, fmt.Errorf("container %q: %w", c.ID, err)
	}
	return a, nil
}

// must refuses what the container's status does not allow.
func (c *container) must(verb string, allowed ...control.Status) error {
	s := c.status()
	for _, a := range allowed {
		if s == a {
			return nil
		}
	}
	if s == control.Stopped {
		return fmt.Errorf("cannot %s container %q: container not running", verb, c.ID)
	}
	return fmt.Errorf("cannot %s container %q: it is %s", verb, c.ID, s)
}

// Start lets a created container's program run.
func (r *Runtime) Start(id string) error {
	c, err := r.open(id, change)
	if err != nil {
		return err
	}
	defer c.close()
	return c.start()
}

func (c *container) start() error {
	if err := c.must("start", control.Created); err != nil {
		return err
	}
	config, err := c.config()
	if err != nil {
		return err
	}
	h := config.Hooks
	if h == nil {
		h = &specs.Hooks{}
	}
	if err := c.startContainerHooks(h.StartContainer); err != nil {
		c.kill()
		return err
	}
	if _, err := c.ask(control.Request{Op: control.OpStart}); err != nil {
		return err
	}
	if err := runHooks("poststart", h.Poststart, c.specState(control.Running)); err != nil {
		c.kill()
		return err
	}
	return nil
}

// startContainerHooks runs hooks inside the container, where their programs are.
func (c *container) startContainerHooks(hooks []specs.Hook) error {
	for i, h := range hooks {
		if err := c.hookInside(h); err != nil {
			return fmt.Errorf("hook startContainer[%d] %s: %w", i, h.Path, err)
		}
	}
	return nil
}

// Kill sends a signal to the container's first process, or to all of them.
func (r *Runtime) Kill(id string, sig unix.Signal, all bool) error {
	c, err := r.open(id, look)
	if err != nil {
		return err
	}
	allowed := []control.Status{control.Created, control.Running, control.Paused}
	if err := c.must("kill", allowed...); err != nil {
		if all {
			return nil
		}
		return err
	}
	_, err = c.ask(control.Request{Op: control.OpSignal, Signal: int32(sig), All: all})
	if err != nil && !c.alive() {
		return nil
	}
	return err
}

// kill ends the sandbox itself and waits until it is gone.
func (c *container) kill() {
	fd, err := unix.PidfdOpen(c.PID, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	// The number may have gone to another process before the descriptor was opened.
	if !c.alive() {
		return
	}
	unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) //nolint:errcheck // it is gone, or not ours: alive tells
	for end := time.Now().Add(killPatience); c.alive() && time.Now().Before(end); {
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(killPatience.Milliseconds())) //nolint:errcheck // as above
	}
}

// killPatience is how long a killed sandbox may take to go.
const killPatience = 10 * time.Second

// Delete removes a container that has ended; with force it is ended first, and one that is not there is fine.
func (r *Runtime) Delete(id string, force bool) error {
	what := change
	if force {
		what = end
	}
	c, err := r.open(id, what)
	switch {
	case err != nil && force && errors.Is(err, ErrNotExist):
		return os.RemoveAll(discarded(filepath.Join(r.Root, id)))
	case err != nil && force && checkID(id) == nil && !errors.Is(err, errBusy):
		return r.removeDamaged(id, err)
	case err != nil:
		return err
	}
	defer c.close()
	switch s := c.status(); {
	case s == control.Stopped:
		c.kill()
		c.killUnknown() // the state may name a process that is not the sandbox
	case force, s == control.Created:
		c.kill()
	default:
		return fmt.Errorf("cannot delete container %q that is %s (kill it first, or use --force)", id, s)
	}
	if c.alive() {
		return fmt.Errorf("container %q: process %d does not end", id, c.PID)
	}
	return c.remove()
}

// removeDamaged removes a container whose state cannot be read, unless somebody is at work on it.
func (r *Runtime) removeDamaged(id string, cause error) error {
	c := &container{dir: filepath.Join(r.Root, id)}
	if err := c.acquireFor(end); err != nil {
		return cause
	}
	defer c.close()
	c.killUnknown()
	return c.discard()
}

// killUnknown ends a container whose process nobody knows, through the sandbox's socket, and waits until it is gone.
func (c *container) killUnknown() {
	if c.added() {
		c.forget()
		return
	}
	q := control.Request{Op: control.OpSignal, Signal: int32(unix.SIGKILL)}
	for end := time.Now().Add(killPatience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if _, err := c.request(q); err != nil {
			return
		}
	}
}

// remove removes the directory and runs the last hooks. A hook that fails does not keep the container.
func (c *container) remove() error {
	c.forget()
	if err := c.leaveHost(); err != nil {
		return err
	}
	config, err := c.config()
	if gone := c.discard(); gone != nil {
		return gone
	}
	if err != nil || config.Hooks == nil {
		return nil
	}
	s := c.specState(control.Stopped)
	var failed error
	for _, h := range config.Hooks.Poststop {
		failed = errors.Join(failed, runHooks("poststop", []specs.Hook{h}, s))
	}
	return failed
}

// Processes returns the ids of the container's processes as seen inside.
func (r *Runtime) Processes(id string) ([]int32, error) {
	a, err := r.running(id, "list the processes of", control.Request{Op: control.OpPS})
	return a.PIDs, err
}

// Look tells of the container's processes, in the order of their ids.
func (r *Runtime) Look(id string) ([]control.ProcessInfo, error) {
	a, err := r.running(id, "list the processes of", control.Request{Op: control.OpLook})
	return a.Processes, err
}

// Pause stops all processes of the container where they are.
func (r *Runtime) Pause(id string) error {
	_, err := r.running(id, "pause", control.Request{Op: control.OpPause})
	return err
}

// Resume lets the processes of a paused container go on.
func (r *Runtime) Resume(id string) error {
	_, err := r.running(id, "resume", control.Request{Op: control.OpResume})
	return err
}

func (r *Runtime) running(id, verb string, q control.Request) (control.Answer, error) {
	c, err := r.open(id, look)
	if err != nil {
		return control.Answer{}, err
	}
	if err := c.must(verb, control.Created, control.Running, control.Paused); err != nil {
		return control.Answer{}, err
	}
	return c.ask(q)
}

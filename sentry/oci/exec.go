package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// ExecArgs are the flags of exec.
type ExecArgs struct {
	ID            string
	Process       *specs.Process
	ConsoleSocket string
	PreserveFDs   int
	// Detached says that nobody relays a terminal: it goes over the console socket.
	Detached bool
	// Started is called once the program runs, before Exec waits for its end.
	Started func() error
}

// ProcessFile reads the file of exec --process.
func ProcessFile(name string) (*specs.Process, error) {
	text, err := readBounded(name, maxConfig)
	if err != nil {
		return nil, err
	}
	var p specs.Process
	if err := json.Unmarshal(text, &p); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return &p, CheckProcess(&p, "process")
}

// ContainerProcess returns the process of the container's configuration, for exec to change.
func (r *Runtime) ContainerProcess(id string) (*specs.Process, error) {
	c, err := r.open(id, look)
	if err != nil {
		return nil, err
	}
	config, err := c.config()
	if err != nil {
		return nil, err
	}
	return config.Process, nil
}

// Exec runs a program in a container and returns its exit status.
func (r *Runtime) Exec(a ExecArgs) (int, error) {
	if err := CheckProcess(a.Process, "process"); err != nil {
		return 0, err
	}
	c, err := r.open(a.ID, look)
	if err != nil {
		return 0, err
	}
	if err := c.must("exec in", control.Created, control.Running); err != nil {
		return 0, err
	}
	tty, err := openConsole(a.Process, a.ConsoleSocket, !a.Detached)
	if err != nil {
		return 0, err
	}
	defer tty.close()
	files := []int{0, 1, 2}
	if tty != nil {
		stdio := tty.stdio()
		files = stdio[:]
	}
	for i := range a.PreserveFDs {
		files = append(files, 3+i)
	}
	p, err := control.Exec(c.sandboxDir(), c.name(), ProcessOf(a.Process), files)
	if err != nil {
		return 0, fmt.Errorf("container %q: %w", a.ID, err)
	}
	return c.follow(p, tty, a)
}

// follow stands between this process and a program in the container until that ends.
func (c *container) follow(p *control.Program, tty *console, a ExecArgs) (int, error) {
	if tty != nil && a.ConsoleSocket != "" {
		if err := tty.send(a.ConsoleSocket); err != nil {
			return 0, err
		}
		tty = nil
	}
	if a.Started != nil {
		if err := a.Started(); err != nil {
			return 0, err
		}
	}
	stop := relay(tty, func(sig unix.Signal) {
		c.ask(control.Request{Op: control.OpSignal, PID: p.PID, Signal: int32(sig)}) //nolint:errcheck // it may have ended
	})
	defer stop()
	status, err := p.Wait()
	if err != nil {
		return 0, fmt.Errorf("container %q: it was killed from outside: %w", c.ID, err)
	}
	return status, nil
}

// hookInside runs a hook in the container and waits for it.
func (c *container) hookInside(h specs.Hook) error {
	args := h.Args
	if len(args) == 0 {
		args = []string{h.Path}
	}
	in, err := stateFile(c.specState(control.Created))
	if err != nil {
		return err
	}
	defer in.Close()
	process := &specs.Process{Args: append([]string{h.Path}, args[1:]...), Env: h.Env, Cwd: "/"}
	p := ProcessOf(process)
	p.Capabilities = nil
	run, err := control.Exec(c.sandboxDir(), c.name(), p, []int{int(in.Fd()), 1, 2})
	if err != nil {
		return err
	}
	status, err := waitFor(run, h.Timeout)
	if err != nil {
		c.ask(control.Request{Op: control.OpSignal, PID: run.PID, Signal: int32(unix.SIGKILL)}) //nolint:errcheck // it may have ended
	}
	if err == nil && status != 0 {
		err = fmt.Errorf("exit status %d", status)
	}
	return err
}

// stateFile is a file to read the state from.
func stateFile(s *specs.State) (*os.File, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	// Annotations can make it longer than a pipe holds; somebody else writes it then.
	if len(text) > pipeSize {
		r.Close()
		return nil, fmt.Errorf("the state is too long for a hook: %d bytes", len(text))
	}
	_, err = strings.NewReader(string(text)).WriteTo(w)
	return r, err
}

// pipeSize is what a new pipe holds, in bytes (pipe(7)).
const pipeSize = 65536

package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"

	"gosentry/fs/tty"
	"gosentry/fs/vfs"
	"gosentry/sentry/control"
	"gosentry/sentry/cred"
	"gosentry/sentry/kernel"
	"gosentry/sentry/oci"

	"golang.org/x/sys/unix"
)

// container is one inside the sandbox: the one that it is for, or one that was added.
type container struct {
	m       *machine
	in      *Inside // what it may have
	kernel  *kernel.Container
	owner   *cred.Credentials // of its namespaces, in its user namespace
	mounts  *vfs.Namespace
	program *kernel.Program
	// terminals are those of /dev/pts; console is the program's, nil: it has none.
	terminals *tty.FileSystem
	console   *console
	sharing   []hostFile // of sharedMemories; only for who makes and ends the container

	mu      sync.Mutex
	started bool // guarded by mu, as is paused
	paused  bool
	exit    int // status of the program, once ended is closed
	ended   chan struct{}
}

func (m *machine) newContainer(in *Inside) *container {
	return &container{m: m, in: in, ended: make(chan struct{})}
}

// end records how the program ended.
func (c *container) end(status int) {
	c.exit = status
	close(c.ended)
}

// over tells whether the program has ended.
func (c *container) over() bool {
	select {
	case <-c.ended:
		return true
	default:
		return c == c.m.first && c.m.draining.Load()
	}
}

// Wait implements control.Added.
func (c *container) Wait() int {
	<-c.ended
	return c.exit
}

// End implements control.Added.
func (c *container) End() {
	c.mu.Lock()
	ran := c.started
	c.started = true
	c.mu.Unlock()
	switch {
	case c.over():
	case ran:
		c.kernel.Kill()
	default:
		c.program.Abort(unix.SIGKILL)
	}
}

// release takes apart an added container in which nothing runs any more, or will.
func (c *container) release() {
	c.kernel.Release()
	c.m.shared.give(c)
}

// maxAdded bounds the containers that are added to a sandbox: each costs it memory and descriptors.
const maxAdded = 200

// pod are the containers that were added to a sandbox.
type pod struct {
	mu    sync.Mutex
	added map[string]*container // nil for one that is being made
}

// claim takes an id for a container to be made.
func (p *pod) claim(id string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c, known := p.added[id]; {
	case known && (c == nil || !c.over()):
		return fmt.Errorf("the sandbox has a container %q", id)
	case len(p.added) >= maxAdded:
		return fmt.Errorf("the sandbox has %d containers, which is all that it takes", len(p.added))
	}
	if p.added == nil {
		p.added = map[string]*container{}
	}
	p.added[id] = nil
	return nil
}

func (p *pod) set(id string, c *container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c == nil {
		delete(p.added, id)
	} else {
		p.added[id] = c
	}
}

// container returns the one that a request names.
func (m *machine) container(id string) (*container, error) {
	if id == "" || id == m.in.Container.ID {
		return m.first, nil
	}
	m.pod.mu.Lock()
	defer m.pod.mu.Unlock()
	if c := m.pod.added[id]; c != nil {
		return c, nil
	}
	return nil, fmt.Errorf("the sandbox has no container %q", id)
}

// Handle implements control.Handler.
func (m *machine) Handle(r control.Request) control.Answer {
	if r.Op == control.OpDelete {
		m.remove(r.Container)
		return control.Answer{}
	}
	c, err := m.container(r.Container)
	if err != nil {
		return control.Answer{Error: err.Error()}
	}
	return c.handle(r)
}

// Exec implements control.Handler.
func (m *machine) Exec(id string, p *control.Process, files []int) (int32, func() int, error) {
	c, err := m.container(id)
	if err != nil {
		closeAll(files)
		return 0, nil, err
	}
	return c.exec(p, files)
}

// Ended implements control.Handler.
func (m *machine) Ended(id string) (<-chan struct{}, func() int, error) {
	c, err := m.container(id)
	if err != nil {
		return nil, nil, err
	}
	return c.ended, c.Wait, nil
}

// remove ends a container that was added and forgets it; one that is not there is fine.
func (m *machine) remove(id string) {
	c, err := m.container(id)
	if err != nil || c == m.first {
		return
	}
	c.End()
	c.Wait()
	m.pod.set(id, nil)
	// Descriptors of its directories are closed when nothing leads to them any more, which is so in a moment.
	time.AfterFunc(answerPatience, func() {
		m.kernel.VFS().DropCache()
		runtime.GC()
	})
}

// addition is what a container is made from that is added to a sandbox. Descriptors are numbers among those that come
// with it.
type addition struct {
	Container *oci.Container
	Root      grant
	Binds     []grant
	Stdio     [3]int
	More      []int
}

// Create implements control.Handler.
func (m *machine) Create(id string, text []byte, files []int) (control.Added, error) {
	c, err := m.add(id, text, files)
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (m *machine) add(id string, text []byte, files []int) (*container, error) {
	var a addition
	err := json.Unmarshal(text, &a)
	if err == nil && (id == "" || a.Container == nil || a.Container.Process == nil) {
		err = errors.New("no container is described")
	}
	if err == nil {
		err = a.resolve(files)
	}
	if err == nil {
		err = m.pod.claim(id)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	c := m.newContainer(a.inside(m.in))
	if err := c.build(id); err != nil {
		c.closeUnused()
		m.pod.set(id, nil)
		return nil, err
	}
	m.pod.set(id, c)
	go func() {
		s := c.program.Wait()
		c.release()
		c.console.finish(answerPatience)
		m.streams.Drain(answerPatience)
		c.end(s.Shell())
	}()
	return c, nil
}

// resolve replaces numbers among files by files, each of which has one use.
func (a *addition) resolve(files []int) error {
	used := 0
	places := []*int{&a.Root.FD, &a.Stdio[0], &a.Stdio[1], &a.Stdio[2]}
	for i := range a.Binds {
		places = append(places, &a.Binds[i].FD)
	}
	for i := range a.More {
		places = append(places, &a.More[i])
	}
	for _, p := range places {
		if *p != used || used >= len(files) {
			return fmt.Errorf("%d descriptors came with the container, which are not as they should", len(files))
		}
		*p = files[used]
		used++
	}
	if used != len(files) {
		return errors.New("descriptors came with the container that nobody asked for")
	}
	return nil
}

// addedDirs bounds the descriptors of directories of each host directory of an added container.
const addedDirs = 64

// inside is what the container may have in a sandbox that may have in.
func (a *addition) inside(in *Inside) *Inside {
	out := *in
	out.Container, out.Stdio, out.More = a.Container, a.Stdio, a.More
	out.Root, out.Binds = a.Root.directory(), nil
	out.Root.MaxDirs = addedDirs
	for _, g := range a.Binds {
		d := g.directory()
		d.MaxDirs = addedDirs
		out.Binds = append(out.Binds, d)
	}
	return &out
}

// closeUnused closes what a container that could not be made did not take over.
func (c *container) closeUnused() {
	for _, d := range append(c.in.Binds, c.in.Root) {
		if d.FD >= 0 {
			unix.Close(d.FD)
		}
	}
	if c.in.Stdio[0] >= 0 {
		closeAll(append(c.in.Stdio[:], c.in.More...))
	}
}

// build makes an added container with its program, or nothing.
func (c *container) build(id string) (err error) {
	box, k := c.in.Container, c.m.kernel
	args := kernel.ContainerArgs{Name: id, Tasks: int(box.PIDs), Host: box.Hostname, Domain: box.Domainname}
	if err := c.enter(&args); err != nil {
		return err
	}
	limit := uint64(box.Memory)
	if limit == 0 {
		limit = c.m.hostMemory
	}
	args.Memory = k.Memory().Part(limit)
	if c.mounts, err = c.in.mountRoot(k.VFS(), args.Memory, c.m.devices(args.Memory, func() *container { return c })); err != nil {
		args.Memory.ClosePart()
		return err
	}
	args.Owner, args.Mounts = c.owner, c.mounts
	if c.kernel, err = k.AddContainer(args); err != nil {
		return &Failure{What: "cannot add a container to the sandbox", Cause: err}
	}
	if err = c.mountAll(); err == nil {
		err = c.prepare()
	}
	if err != nil {
		c.console.close()
		c.release()
		return startFailure(string(box.Process.Args[0]), err)
	}
	return nil
}

// namespaceKinds are the namespaces that a container can have for itself or in common with another, by their names
// in a configuration. The one of mounts is always its own.
var namespaceKinds = map[string]kernel.Fresh{
	"pid": kernel.FreshPID, "ipc": kernel.FreshIPC, "uts": kernel.FreshUTS, "network": kernel.FreshNet,
	"cgroup": kernel.FreshCgroup, "time": kernel.FreshTime,
}

// enter finds out which namespaces an added container has.
func (c *container) enter(args *kernel.ContainerArgs) (err error) {
	box := c.in.Container
	c.owner = c.m.first.owner
	args.Join = map[kernel.Fresh]*kernel.Container{}
	for _, n := range box.Namespaces {
		kind := namespaceKinds[n.Type]
		if n.Of == "" {
			args.Fresh |= kind
			continue
		}
		of, err := c.m.container(n.Of)
		if err != nil {
			return fmt.Errorf("linux.namespaces: %w", err)
		}
		if n.Type == "user" {
			c.owner = of.owner
		}
		args.Join[kind] = of.kernel
	}
	if box.UIDs != "" {
		if c.owner, err = c.m.kernel.NewUserNamespace(box.UIDs, box.GIDs); err != nil {
			return badMaps(err)
		}
	}
	return nil
}

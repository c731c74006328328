package kernel

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"
	"gosentry/platform/arch"
	"gosentry/sentry/cred"
	"gosentry/sentry/ktime"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// machine is the platform, the personality and the kernel of one test.
type machine struct {
	testing.TB
	k *Kernel

	mu       sync.Mutex
	programs map[uint64]script
	contexts atomic.Int64
	// liveSpaces are the address spaces that there are.
	liveSpaces atomic.Int64
	// onForkChild, if there is one, sees the children whose registers are made.
	onForkChild func(*Task)
	// working is how long the guests have something to do, at most.
	working time.Duration
	// failSpaces makes the host refuse address spaces.
	failSpaces atomic.Bool
	// spaces and changes count what was asked of the platform.
	spaces, changes atomic.Int64
}

// number gives p a number, by which forks and execs name it.
func (m *machine) number(p script) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := uint64(len(m.programs)) + 1
	m.programs[n] = p
	return n
}

// start makes a guest that runs p. It is a goroutine that goes on and stops by turns with its task's: a
// coroutine of package iter would do, but the race detector never forgets one that has ended.
func (m *machine) start(p script) *guest {
	g := &guest{test: m, goOn: make(chan bool), stops: make(chan stop), done: make(chan struct{})}
	go func() {
		defer close(g.done)
		defer func() {
			if r := recover(); r != nil && r != errEnded {
				panic(r)
			}
		}()
		if !<-g.goOn {
			return
		}
		g.handle() // what came before it began
		p(g)
		g.exitGroup(0)
	}()
	return g
}

// machine implements platform.Platform.

func (m *machine) NewAddressSpace(platform.AddressSpace) (platform.AddressSpace, error) {
	if m.failSpaces.Load() {
		return nil, unix.ENOMEM
	}
	m.spaces.Add(1)
	m.liveSpaces.Add(1)
	return fakeSpace{m}, nil
}

func (m *machine) NewContext(fpu []byte) platform.Context {
	m.contexts.Add(1)
	return &fakeContext{m: m, fpu: arch.NewFPU(), kick: make(chan struct{}, 1)}
}

func (m *machine) UserRange() (lo, hi uint64) { return 0x10000, 0x7fff_ffff_f000 }
func (m *machine) Release()                   {}

type fakeSpace struct{ m *machine }

func (s fakeSpace) Apply(list []platform.Change) error {
	s.m.changes.Add(int64(len(list)))
	return nil
}

func (s fakeSpace) Release() { s.m.liveSpaces.Add(-1) }

type fakeContext struct {
	m    *machine
	g    *guest
	fpu  []byte
	kick chan struct{}

	answers atomic.Pointer[[]platform.Answer]
}

func (c *fakeContext) Run(_ platform.AddressSpace, regs *arch.Registers) (platform.Event, error) {
	select {
	case <-c.kick:
		return platform.Event{Kind: platform.Interrupted}, nil
	default:
	}
	why, ok := c.guest(regs).next()
	switch {
	case !ok:
		return platform.Event{}, errors.New("the program went past its end")
	case why == stopCall:
		return platform.Event{Kind: platform.Syscall}, nil
	}
	<-c.kick
	return platform.Event{Kind: platform.Interrupted}, nil
}

// guest returns the program that runs in the context, or that regs say is to begin.
func (c *fakeContext) guest(regs *arch.Registers) *guest {
	if c.g == nil {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		c.g = c.m.start(c.m.programs[regs.Rsp])
	}
	return c.g
}

func (c *fakeContext) FPU() []byte { return c.fpu }
func (c *fakeContext) FPUChanged() {}
func (c *fakeContext) Leave()      {}

func (c *fakeContext) Interrupt() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

func (c *fakeContext) Release() {
	c.m.contexts.Add(-1)
	if c.g != nil {
		c.g.end()
	}
}

// machine implements Personality.

func (m *machine) Name() string { return "script" }

func (m *machine) Syscall(t *Task) error {
	c := t.ctx.(*fakeContext)
	g := c.g
	g.again = false
	m.checkAnswers(t, c)
	ret, err := g.op(t)
	if t.RegistersKept() {
		// An exec: the thread's name is the number of the new program.
		t.Regs.Rsp, _ = strconv.ParseUint(t.Name(), 10, 64)
		g.end()
		c.g = nil
		return nil
	}
	if IsRestart(err) {
		return err
	}
	g.ret, g.err = ret, err
	return nil
}

func guestOf(t *Task) *guest { return t.ctx.(*fakeContext).guest(&t.Regs) }

func (m *machine) PushFrame(t *Task, info *signal.Info, _ signal.Action, mask signal.Set) error {
	g := guestOf(t)
	g.frames = append(g.frames, frame{*info, mask})
	return nil
}

func (m *machine) ForkChild(c *Task, a *ForkArgs) {
	c.Regs.Rsp = a.Stack
	if m.onForkChild != nil {
		m.onForkChild(c)
	}
}

func (m *machine) RewindToRestart(t *Task, _ uint64, err error) {
	g := guestOf(t)
	g.again = true
	if err == ERESTARTBLOCK {
		g.op = func(t *Task) (uint64, error) {
			r := t.restart
			return r.Call(t, &r)
		}
	}
}

func (m *machine) FailInterrupted(t *Task) {
	g := guestOf(t)
	g.ret, g.err = 0, unix.EINTR
}

// locked runs op, which looks at locked state, with the tree locked.
func (m *machine) locked(op func()) {
	m.k.tree.Lock()
	defer m.k.tree.Unlock()
	op()
}

// exited tells whether process id has ended; a reaped one has.
func (m *machine) exited(id int32) (yes bool) {
	m.locked(func() {
		p := m.k.rootPIDNS.ids[id]
		yes = p == nil || p.tg == nil || p.tg.exited
	})
	return yes
}

// stateOf returns the state of thread id in the initial namespace; -1: none.
func (m *machine) stateOf(id int32) runState {
	m.k.tree.RLock()
	defer m.k.tree.RUnlock()
	if p := m.k.rootPIDNS.ids[id]; p != nil && p.task != nil {
		return runState(p.task.state.Load())
	}
	return -1
}

// newMachine makes a kernel with one file, /prog, which can be executed.
func newMachine(t testing.TB) *machine {
	memory, err := mm.NewMemoryFile(1 << 30)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(memory.Release)
	m := &machine{TB: t, programs: map[uint64]script{}}
	mounts, err := vfs.NewSystem().NewNamespace(tmpfs.New(tmpfs.Config{File: memory}), 0, "tmpfs", "none")
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	m.k, err = New(Config{
		Platform: m, Memory: memory, Clocks: ktime.New(ktime.Config{}), Mounts: mounts,
		Personality: m, Hostname: "test", Log: logrus.NewEntry(log),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.k.answersAfter = 0
	writeProgram(t, mounts.Root())
	return m
}

// anybody is root as a caller of package vfs.
type anybody struct{}

func (anybody) Creds() *cred.Credentials { return cred.New(0, 0, nil, nil) }
func (anybody) FileSizeLimit() uint64    { return limits.Infinity }
func (anybody) Interrupted() bool        { return false }

// writeProgram makes /prog, the smallest program that can be loaded.
func writeProgram(t testing.TB, root vfs.Path) {
	t.Helper()
	w := vfs.WalkArgs{Root: root, Start: root}
	f, err := vfs.Open(anybody{}, w, "prog", vfs.OpenArgs{Flags: unix.O_CREAT | unix.O_WRONLY, Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	defer f.DecRef()
	if _, err := f.Write(anybody{}, mm.BytesBuffer(smallestELF())); err != nil {
		t.Fatal(err)
	}
}

// smallestELF is a program for a machine that is not there.
func smallestELF() []byte {
	const base, size = 0x400000, 64 + 56
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(b, uint16(elf.ET_EXEC))
	b = le.AppendUint16(b, uint16(elf.EM_X86_64))
	b = le.AppendUint32(b, 1)
	for _, w := range []uint64{base, 64, 0} { // entry, program headers, section headers
		b = le.AppendUint64(b, w)
	}
	b = le.AppendUint32(b, 0)
	for _, h := range []uint16{64, 56, 1, 64, 0, 0} { // sizes and counts of headers
		b = le.AppendUint16(b, h)
	}
	b = le.AppendUint32(b, uint32(elf.PT_LOAD))
	b = le.AppendUint32(b, uint32(elf.PF_R|elf.PF_X))
	for _, w := range []uint64{0, base, base, size, size, mm.PageSize} {
		b = le.AppendUint64(b, w)
	}
	return b
}

// run runs p as the first program, as user uid, until it ends, and checks that
// nothing is left then.
func (m *machine) run(uid cred.UID, p script) ExitStatus {
	m.Helper()
	a := InitArgs{
		Filename: "/prog", Argv: []string{"prog"}, CWD: "/", UID: uid, GID: cred.GID(uid),
		Limits: limits.Defaults(1000),
	}
	t, err := m.k.newProcess(&a)
	if err == nil {
		err = t.prepareProgram(&a)
	}
	if err != nil {
		m.Fatal(err)
	}
	t.Regs.Rsp = m.number(p)
	m.k.whole.main = t.tg
	t.start()
	return m.finish()
}

// finish waits for the program and everything it started to be gone.
func (m *machine) finish() ExitStatus {
	m.Helper()
	type result struct {
		status ExitStatus
		err    error
	}
	done := make(chan result, 1)
	go func() {
		s, err := m.k.Wait()
		done <- result{s, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			m.Errorf("the kernel failed: %v", r.err)
		}
		m.checkEmpty()
		return r.status
	case <-time.After(2*time.Minute + m.working):
		buf := make([]byte, 1<<20)
		os.Stderr.Write(buf[:runtime.Stack(buf, true)])
		m.Fatal("the guests do not end")
	}
	return ExitStatus{}
}

// checkEmpty checks that nothing is left, not even the kernel's init.
func (m *machine) checkEmpty() {
	m.Helper()
	k := m.k
	k.tree.Lock()
	defer k.tree.Unlock()
	if ids := slices.Collect(maps.Keys(k.rootPIDNS.ids)); len(ids) != 0 || k.rootPIDNS.tasks != 0 {
		m.Errorf("ids %v and %d tasks are left", ids, k.rootPIDNS.tasks)
	}
	if n, _ := k.Processes(); n != 0 {
		m.Errorf("%d processes are left", n)
	}
	if n := len(k.init.children); n != 0 || k.init.zombies.Len() != 0 {
		m.Errorf("%d children and %d zombies of init are left", n, k.init.zombies.Len())
	}
	if n := m.k.awake.Load(); n != 0 {
		m.Errorf("%d tasks are awake after the end", n)
	}
	if n := m.contexts.Load(); n != 0 {
		m.Errorf("%d contexts are left", n)
	}
	if n := k.cgroups.Root().Tasks(); n != 0 {
		m.Errorf("%d tasks are charged to the root of the cgroups", n)
	}
	if n := m.liveSpaces.Load(); n != 0 {
		m.Errorf("%d address spaces are left", n)
	}
	for _, kind := range []cred.Kind{cred.KindUser, cred.KindPID} {
		if n := k.rootUserNS.Made(0, kind); n != 0 {
			m.Errorf("%d namespaces of kind %d are left", n, kind)
		}
	}
	u := k.users
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.users) != 0 || u.tasks != 0 || u.queued != 0 {
		m.Errorf("users %v, %d tasks and %d queued signals are left", u.users, u.tasks, u.queued)
	}
}

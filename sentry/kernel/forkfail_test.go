package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/platform"

	"golang.org/x/sys/unix"
)

// errInjected is how a fork fails that a test makes fail.
var errInjected = errors.New("injected")

// inventory is everything that a fork counts, takes or refers to, by name.
type inventory map[string]int64

func (m *machine) inventory(tk *Task) inventory {
	k, inv := m.k, inventory{}
	k.tree.RLock()
	defer k.tree.RUnlock()
	inv["processes"] = k.counts.processes.Load()
	inv["contexts"], inv["address spaces"] = m.contexts.Load(), m.liveSpaces.Load()
	inv["memory"] = int64(k.memory.Usage())
	inv["users of the memory"] = int64(tk.MM().Users())
	inv["children"], inv["threads"] = int64(len(tk.tg.children)), int64(len(tk.tg.tasks))
	inv["live threads"], inv["members of the group"] = int64(tk.tg.live), int64(len(tk.tg.group.members))
	inv["references on the table"], inv["references on directories"] = int64(tk.FDs().refs.Load()), int64(tk.FS().refs.Load())
	if exe := tk.Executable(); exe != nil {
		inv["references on the program"] = exe.Refs()
	}
	inv["descriptors"] = 0
	for _, w := range tk.FDs().slots.used {
		inv["descriptors"] += int64(bits.OnesCount64(w))
	}
	tk.FDs().Each(func(fd int32, file *vfs.File, _ bool) bool {
		inv[fmt.Sprint("references on descriptor ", fd)] = file.Refs()
		return true
	})
	inv["users of the semaphore adjustments"] = int64(tk.SemUndo().Users())
	inv["tasks of the cgroups"] = k.cgroups.Root().Tasks()
	m.inventoryOfUsers(inv, tk)
	inv["references on the namespaces"] = int64(tk.Namespaces().refs.Load())
	for _, ns := range tk.Namespaces().all() {
		inv[fmt.Sprintf("references on namespace %d", ns.ino)] = ns.refs.Load()
	}
	for ns := tk.Namespaces().PIDForChildren; ns != nil; ns = ns.parent {
		name := fmt.Sprint("pids of level ", ns.level)
		inv[name+", ids"], inv[name+", tasks"] = int64(len(ns.ids)), int64(ns.tasks)
		inv[name+", last"] = int64(ns.last)
		for _, c := range ns.used {
			inv[name+", map"] += int64(c.used)
		}
	}
	return inv
}

// differ lists what is not the same in two inventories.
func (inv inventory) differ(other inventory) (list []string) {
	for _, name := range slices.Sorted(maps.Keys(inv)) {
		if other[name] != inv[name] {
			list = append(list, fmt.Sprintf("%s: %d, then %d", name, inv[name], other[name]))
		}
	}
	for name := range other {
		if _, ok := inv[name]; !ok {
			list = append(list, fmt.Sprintf("%s: none, then %d", name, other[name]))
		}
	}
	return list
}

// failEach makes the fork fail before its first step, its second, and so on, until it does not fail any
// more, and compares everything before and after. The forks happen in the call of the guest.
func failEach(g *guest, name string, args ForkArgs) {
	m := g.test
	g.eventually("nothing is left of reaped tasks", func(*Task) (yes bool) {
		m.locked(func() { yes = m.contexts.Load() == int64(m.k.rootPIDNS.tasks)-1 }) // init has none
		return yes
	})
	for at := 0; ; at++ {
		forked := false
		var id int32
		_, err := g.call(func(tk *Task) (uint64, error) {
			m.k.forkFault = func(step int) error {
				if step == at {
					return errInjected
				}
				return nil
			}
			defer func() { m.k.forkFault = nil }()
			before := m.inventory(tk)
			a := args
			a.Stack, a.ExitSignal = m.number(exits(0)), unix.SIGCHLD
			if a.Share&ShareThread != 0 {
				a.Stack = m.number(func(g *guest) { g.exit(0) })
			}
			var err error
			if id, err = tk.Fork(&a); err == nil {
				forked = true
				return 0, nil
			}
			if err != errInjected {
				return 0, err
			}
			if d := before.differ(m.inventory(tk)); d != nil {
				m.Errorf("%s failed at step %d; before and after: %q", name, at, d)
			}
			return 0, nil
		})
		if err != nil {
			m.Errorf("%s, step %d: %v", name, at, err)
			return
		}
		if forked {
			settle(g, id, args)
			if at < 9 {
				m.Errorf("%s has only %d steps", name, at)
			}
			return
		}
	}
}

// settle ends and reaps what a fork has made.
func settle(g *guest, id int32, args ForkArgs) {
	closePIDFD(g, args)
	switch {
	case args.BornStopped:
		g.kill(id, unix.SIGCONT)
	case args.Share&(ShareThread) != 0:
		g.eventually("the thread has ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		return
	}
	if args.Share&ShareParent != 0 || args.ToInit {
		g.eventually("init has reaped the child", func(*Task) bool { return g.test.exited(id) })
		return
	}
	g.reap(id)
}

// touched gives the guest a page and some descriptors to lose. It returns an address in the page.
func touched(g *guest) (word mm.Addr) {
	g.do(func(tk *Task) (err error) {
		word, err = tk.MM().MMap(mm.MMapOpts{
			Length: 1 << 20, Prot: platform.Read | platform.Write, Private: true,
		})
		if err != nil {
			return err
		}
		return tk.CopyOut(word, bytes.Repeat([]byte{7}, 1<<20))
	})
	return word
}

// testForkFailures makes each kind of fork fail at each step.
func testForkFailures(t *testing.T) {
	m := newMachine(t)
	m.run(0, func(g *guest) {
		p := prepareForks(g)
		for name, args := range p.kinds() {
			failEach(g, name, args)
		}
		failWithFresh(g, p)
		word := p.word
		g.do(func(tk *Task) error {
			b := make([]byte, 1<<20-64)
			if err := tk.CopyIn(word+64, b); err != nil || len(bytes.Trim(b, "\x07")) != 0 {
				t.Errorf("the parent's memory changed: %v", err)
			}
			return nil
		})
	})
}

// testForkFailuresUnderLoad has 8 threads fork at once, half of the forks failing somewhere. In the end
// everything must be as it was in the beginning.
func testForkFailuresUnderLoad(t *testing.T) {
	m := newMachine(t)
	m.k.forkFault = func(int) error {
		if rand.IntN(15) == 0 {
			return errInjected
		}
		return nil
	}
	m.run(0, func(g *guest) {
		p := prepareForks(g)
		var before inventory
		g.do(func(tk *Task) error { before = m.inventory(tk); return nil })
		var forked, failed atomic.Int64
		for i := range 8 {
			for started := false; !started; {
				_, err := g.clone(func(g *guest) {
					forkAtRandom(g, p.at(64*i), &forked, &failed)
					g.exit(0)
				}, ForkArgs{Share: threadShare})
				started = err == nil
			}
		}
		g.eventually("the threads have ended", func(tk *Task) bool { return tk.tg.threads() == 1 })
		g.eventually("init has reaped the rest", func(tk *Task) bool {
			n, _ := m.k.Processes()
			return n == 2
		})
		if forked.Load() < 20 || failed.Load() < 20 {
			t.Errorf("%d forks, %d failed", forked.Load(), failed.Load())
		}
		g.do(func(tk *Task) error {
			after := m.inventory(tk)
			delete(before, "pids of level 0, last")
			delete(after, "pids of level 0, last")
			if d := before.differ(after); d != nil {
				t.Errorf("before and after: %q", d)
			}
			return nil
		})
	})
}

// forkAtRandom makes children of all kinds, with what p has for them, and reaps them.
func forkAtRandom(g *guest, p forkProps, forked, failed *atomic.Int64) {
	kinds := p.kinds()
	names := slices.Sorted(maps.Keys(kinds))
	for range 60 {
		a := kinds[names[rand.IntN(len(names))]]
		if a.SetTID != nil || a.BornStopped || a.Share&ShareThread != 0 {
			continue
		}
		a.ExitSignal = unix.SIGCHLD
		id, err := g.clone(exits(0), a)
		if err != nil {
			failed.Add(1)
			continue
		}
		forked.Add(1)
		closePIDFD(g, a)
		if !a.ToInit && a.Share&ShareParent == 0 {
			g.reap(id)
		}
	}
}

// closePIDFD closes the descriptor that a fork has made.
func closePIDFD(g *guest, a ForkArgs) {
	if !a.WantPIDFD {
		return
	}
	g.do(func(tk *Task) error {
		var b [4]byte
		if err := tk.CopyIn(a.PIDFD, b[:]); err != nil {
			return err
		}
		return tk.FDs().Close(tk, int32(binary.LittleEndian.Uint32(b[:])))
	})
}

package kernel

import (
	"gosentry/fs/cgroup"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// New memory is charged to the part of the memory file that a process's cgroup has, or the nearest group above it, up to its container's: out of that
// nobody comes by moving. A process that shares another's memory, after vfork, has no say about that while the other lives.

// payerIn is what processes of the container in group g are charged to.
func (c *Container) payerIn(g *cgroup.Group) *mm.MemoryFile {
	if g.Within(c.group) {
		return g.Memory()
	}
	return c.memory
}

// Payer is what memory that the task asks for now is charged to.
func (t *Task) Payer() *mm.MemoryFile { return t.container.payerIn(t.tg.Cgroup()) }

// payLocked has the task's memory charged from now on as its group wants it. The tree is locked.
func (t *Task) payLocked() {
	m := t.MM()
	if m == nil {
		return
	}
	if owner, ok := m.Owner().(*PID); ok && owner != t.tg.pid && owner.tg != nil && owner.tg.live > 0 {
		return
	}
	m.SetPayer(t.container.payerIn(t.tg.cgroup))
}

// Charge implements cgroup.Tasks.
func (c cgroupTasks) Charge(g *cgroup.Group) {
	c.k.tree.Lock()
	defer c.k.tree.Unlock()
	c.eachLocked(g, (*ThreadGroup).payLocked)
}

func (tg *ThreadGroup) payLocked() {
	for _, t := range tg.tasks {
		t.payLocked()
	}
}

// outOfMemory kills the process for want of memory.
func (t *Task) outOfMemory() {
	t.container.oomKilled()
	t.tg.Cgroup().OutOfMemory()
	t.k.log.Warnf("out of memory: killed process %d (%s)", t.tg.pid.numbers[0], t.Name())
	t.tg.killAll(ExitStatus{Signal: unix.SIGKILL})
}

package kernel

import "time"

// Stats are what a container uses of what is limited; of the whole sandbox, what all use together.
type Stats struct {
	User, System time.Duration // of all processes, those that have ended too
	// Memory is what is allocated, in bytes.
	Memory, MemoryLimit uint64
	Tasks, TaskLimit    int64
	// OOMKills is how many processes were killed for want of memory.
	OOMKills uint64
}

// Stats returns what the container uses now.
func (c *Container) Stats() Stats {
	s := Stats{
		Memory: c.memory.Usage(), MemoryLimit: c.memory.Limit(),
		TaskLimit: c.taskLimit.Load(), OOMKills: c.oomKills.Load(),
	}
	k := c.k
	k.tree.RLock()
	defer k.tree.RUnlock()
	u := c.used
	for _, p := range k.rootPIDNS.ids {
		if p.tg == nil || p.tg.exited || p.tg == k.init || c != k.whole && p.tg.leader.container != c {
			continue
		}
		u.Add(p.tg.usageLocked())
		s.Tasks += int64(p.tg.live)
	}
	s.User, s.System = u.User, u.System
	return s
}

package kernel

import "time"

// Stats are what a sandbox uses of what is limited.
type Stats struct {
	User, System time.Duration // of all processes, without those that nobody waited for
	// Memory is what is allocated, in bytes.
	Memory, MemoryLimit uint64
	Tasks, TaskLimit    int64
	// OOMKills is how many processes were killed for want of memory.
	OOMKills uint64
}

// Stats returns what the sandbox uses now.
func (k *Kernel) Stats() Stats {
	s := Stats{
		Memory: k.memory.Usage(), MemoryLimit: k.memory.Limit(),
		TaskLimit: k.knobs.container.Load(), OOMKills: k.counts.oomKills.Load(),
	}
	k.tree.RLock()
	defer k.tree.RUnlock()
	for _, p := range k.rootPIDNS.ids {
		if p.tg == nil {
			continue
		}
		u := p.tg.usageLocked()
		u.Add(p.tg.childUsage)
		s.User += u.User
		s.System += u.System
		if p.tg != k.init {
			s.Tasks += int64(p.tg.live)
		}
	}
	return s
}

// SetTaskLimit changes how many tasks there may be in the sandbox; 0: as many as the kernel takes.
func (k *Kernel) SetTaskLimit(tasks int) { k.knobs.setContainer(tasks) }

// SetMemoryLimit changes how many bytes may be allocated.
func (k *Kernel) SetMemoryLimit(limit uint64) { k.memory.SetLimit(limit) }

package kernel

import "golang.org/x/sys/unix"

// IOPriority returns the highest I/O priority, as ioprio_get(2) shows it, of those meant; ESRCH. Without a
// class, 0, it is below all that have one.
func (t *Task) IOPriority(kind NiceKind, who int32) (int32, error) {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	best, found := int32(0), false
	for _, o := range t.niceTargetsLocked(kind, who) {
		p := o.ioPriority.Load()
		if !found || p != 0 && (best == 0 || p < best) {
			best = p
		}
		found = true
	}
	if !found {
		return 0, unix.ESRCH
	}
	return best, nil
}

// SetIOPriority sets it; it is remembered, the host decides. ESRCH, EPERM for others' tasks.
func (t *Task) SetIOPriority(kind NiceKind, who, priority int32) error {
	t.k.tree.RLock()
	defer t.k.tree.RUnlock()
	targets := t.niceTargetsLocked(kind, who)
	if len(targets) == 0 {
		return unix.ESRCH
	}
	for _, o := range targets {
		if !t.owns(o) {
			return unix.EPERM
		}
		o.ioPriority.Store(priority)
	}
	return nil
}

package kernel

// countReport counts a stop or continue of tg that its parent, in the same pid namespace or one outside, may wait for.
func (tg *ThreadGroup) countReport() {
	for ns := tg.pid.ns; ns != nil; ns = ns.parent {
		ns.reports.Add(1)
	}
}

// quietLocked tells whether no child has a stop or continue to report, so that a wait need not
// look at each of them. It looks itself only if in its namespace a report came up since it last did.
func (tg *ThreadGroup) quietLocked() bool {
	now := tg.pid.ns.reports.Load() + 1
	if tg.quietSince == now {
		return true
	}
	for c := range tg.children {
		c.sigMu.Lock()
		due := c.stop.reportStop || c.stop.reportContinue
		c.sigMu.Unlock()
		if due {
			return false
		}
	}
	tg.quietSince = now
	return true
}

package patch

// worthIt is how often a call is seen before its site is patched.
const worthIt = 32

// Calls counts a thread's calls by their place.
type Calls [64]struct {
	rip  uint64
	seen uint32
}

// Count notes a call that ended at rip and tells whether it is time to patch its site.
func (c *Calls) Count(rip uint64) bool {
	e := &c[(rip^rip>>6)%uint64(len(c))]
	if e.rip != rip {
		e.rip, e.seen = rip, 0
	}
	e.seen++
	return e.seen == worthIt
}

package patch

const (
	// worthIt is how often a call is seen before its site is patched.
	worthIt = 32
	// seldom is how often it is seen, at most, from one try to the next.
	seldom = 1 << 12
)

// Calls counts a thread's calls by their place.
type Calls struct {
	text  *Text // of the address space that they were made in
	sites [64]struct {
		rip  uint64
		seen uint32 // since the last try
		next uint32 // how many it takes until the next one
	}
}

// Count notes a call in text that ended at rip and tells whether it is time to patch its site. A call that is seen after that is one that could not
// be patched or is not any more, as other text is there now: each further try comes later than the one before.
func (c *Calls) Count(text *Text, rip uint64) bool {
	if c.text != text {
		*c = Calls{text: text} // another program
	}
	e := &c.sites[(rip^rip>>6)%uint64(len(c.sites))]
	if e.rip != rip {
		e.rip, e.seen, e.next = rip, 0, worthIt
	}
	if e.seen++; e.seen < e.next {
		return false
	}
	e.seen, e.next = 0, min(2*e.next, seldom)
	return true
}

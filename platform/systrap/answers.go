package systrap

import (
	"sync"
	"sync/atomic"

	"gosentry/platform"
)

// answers are what calls of a context are answered with on the spot.
type answers struct {
	// now is what the kernel said last, nil for nothing. It is written with mu held.
	now atomic.Pointer[[]platform.Answer]

	mu sync.Mutex
	on *seat // the context's, if it shows any
}

// SetAnswers implements platform.Answerer. What a seat shows is taken back at once; the rest is done when the context runs.
func (c *context) SetAnswers(list []platform.Answer) {
	a := &c.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	if list == nil {
		a.now.Store(nil)
	} else {
		a.now.Store(&list)
	}
	if a.on != nil {
		a.on.hide(a.on.shown)
		a.on = nil
	}
}

// show has s, which c holds, answer what c may be answered.
func (c *context) show(s *seat) {
	a := &c.answers
	a.mu.Lock()
	defer a.mu.Unlock()
	s.hide(s.shown)
	s.shown = a.now.Load()
	a.on = nil
	if s.shown == nil {
		return
	}
	a.on = s
	for _, one := range *s.shown {
		if one.Number < answerCount {
			atomic.StoreUint64(s.answer(one.Number), answerValid|uint64(one.Value))
		}
	}
}

// unshow takes back what c's seat, which it is about to let go, has shown.
func (c *context) unshow() {
	c.answers.mu.Lock()
	defer c.answers.mu.Unlock()
	c.s.hide(c.s.shown)
	c.s.shown, c.answers.on = nil, nil
}

// hide takes back what the seat has shown.
func (s *seat) hide(shown *[]platform.Answer) {
	if shown == nil {
		return
	}
	for _, one := range *shown {
		if one.Number < answerCount {
			atomic.StoreUint64(s.answer(one.Number), 0)
		}
	}
}

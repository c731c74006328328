package patch

import (
	"sync"
	"sync/atomic"

	"gosentry/platform"
)

// An answer is a word of 8 bytes in a page, at the index of its call's number: the value, and answerValid if there is one.
const (
	// AnswerCount is the number of the first call that cannot be answered.
	AnswerCount = pageSize/8 - 1
	// SpareAt is the offset in the page of the word behind the answers, which is the platform's.
	SpareAt     = 8 * AnswerCount
	answerValid = 1 << 32
)

// Page is what a guest thread finds its answers in, and cannot write. It belongs to whoever holds the thread.
type Page struct {
	words *[AnswerCount + 1]atomic.Uint64
	shown *[]platform.Answer // what it holds, if it still does
}

// Answers are what calls of a guest thread are answered with on the spot.
type Answers struct {
	// now is what the kernel said last, nil for nothing. It is written with mu held.
	now atomic.Pointer[[]platform.Answer]

	mu sync.Mutex
	on *Page // the thread's, if it shows any
}

// Set says what calls may be answered. What a page shows is taken back at once; the rest is done by Show.
func (a *Answers) Set(list []platform.Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if list == nil {
		a.now.Store(nil)
	} else {
		a.now.Store(&list)
	}
	if a.on != nil {
		a.on.hide()
		a.on = nil
	}
}

// Show has p, which the thread holds, say what calls may be answered now.
func (a *Answers) Show(p *Page) {
	if p.shown == a.now.Load() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.hide()
	p.shown = a.now.Load()
	a.on = nil
	if p.shown == nil {
		return
	}
	a.on = p
	for _, one := range *p.shown {
		if one.Number < AnswerCount {
			p.words[one.Number].Store(answerValid | uint64(one.Value))
		}
	}
}

// Spare is the word at SpareAt.
func (p *Page) Spare() *atomic.Uint64 { return &p.words[AnswerCount] }

// Unshow takes back what p, which the thread is about to let go, has shown.
func (a *Answers) Unshow(p *Page) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p.hide()
	p.shown, a.on = nil, nil
}

// hide takes back what the page has shown.
func (p *Page) hide() {
	if p.shown == nil {
		return
	}
	for _, one := range *p.shown {
		if one.Number < AnswerCount {
			p.words[one.Number].Store(0)
		}
	}
}

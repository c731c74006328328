// Package waiter lets goroutines learn that an object became ready.
//
// An object that can be waited for embeds a Queue and calls Notify with the
// events that just became true. Who waits registers an Entry, looks whether the
// object is ready already, and only then sleeps: a notification between the two
// is in the entry's channel and cannot be lost.
//
// Lock order: a Queue's lock is innermost. Notify may be called with the
// object's locks held; callbacks must not block nor take locks of the object.
package waiter

import "sync"

// EventMask is a set of poll(2) events: POLLIN and so on, with Linux's values.
type EventMask uint32

// Events, with the values of poll(2).
const (
	In     EventMask = 0x1
	Pri    EventMask = 0x2
	Out    EventMask = 0x4
	Err    EventMask = 0x8
	HUp    EventMask = 0x10
	NVal   EventMask = 0x20
	RdNorm EventMask = 0x40
	RdBand EventMask = 0x80
	WrNorm EventMask = 0x100
	WrBand EventMask = 0x200
	Msg    EventMask = 0x400
	RdHUp  EventMask = 0x2000

	// All is every event that an object may report.
	All EventMask = 0x27df
)

// Waitable is an object that can be waited for.
type Waitable interface {
	// Readiness returns those of the wanted events that hold now, and Err, HUp
	// and NVal whether wanted or not.
	Readiness(wanted EventMask) EventMask
	// Register adds e to the object's queue.
	Register(e *Entry)
	// Unregister removes e.
	Unregister(e *Entry)
}

// Entry is one waiter in one Queue.
type Entry struct {
	// Mask is what is waited for; Err and HUp are implied.
	Mask EventMask
	// Notify is called for each notification that has an event of Mask. It must
	// not block.
	Notify func(EventMask)
	// Offer, unless nil, is called in place of Notify. Once one entry has returned true, the later ones that have it are
	// not told, unless the events are Err or HUp, or In as well as Out, for which different ones may wait (EPOLLEXCLUSIVE).
	Offer func(EventMask) bool

	prev, next *Entry
	queue      *Queue
}

// NewChannelEntry returns an entry whose notifications arrive in a channel of
// one slot.
func NewChannelEntry(mask EventMask) (*Entry, <-chan struct{}) {
	ch := make(chan struct{}, 1)
	return &Entry{Mask: mask, Notify: func(EventMask) {
		select {
		case ch <- struct{}{}:
		default:
		}
	}}, ch
}

// Queue is the list of those who wait for an object. The zero value is empty.
type Queue struct {
	mu         sync.Mutex
	head, tail *Entry
}

// Register adds e, which must not be in a queue.
func (q *Queue) Register(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e.prev, e.next, e.queue = q.tail, nil, q
	if q.tail != nil {
		q.tail.next = e
	} else {
		q.head = e
	}
	q.tail = e
}

// Unregister removes e if it is in q. When it returns, no notification runs.
func (q *Queue) Unregister(e *Entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.queue != q {
		return
	}
	if e.prev != nil {
		e.prev.next = e.next
	} else {
		q.head = e.next
	}
	if e.next != nil {
		e.next.prev = e.prev
	} else {
		q.tail = e.prev
	}
	e.prev, e.next, e.queue = nil, nil, nil
}

// Notify tells every entry that waits for one of the events.
func (q *Queue) Notify(events EventMask) {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken, several := false, events&(In|Out) == In|Out
	for e := q.head; e != nil; e = e.next {
		got := events & (e.Mask | Err | HUp | NVal)
		switch {
		case got == 0:
		case e.Offer == nil:
			e.Notify(got)
		case !taken || several || got&(Err|HUp) != 0:
			taken = e.Offer(got) || taken
		}
	}
}

// Empty tells whether nobody waits.
func (q *Queue) Empty() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.head == nil
}

package vfs

import (
	"sync"

	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// maxWatches bounds the files that all epoll instances of a System watch.
const maxWatches = 1 << 20

// EpollEvent is what epoll_ctl(2) takes and epoll_wait(2) gives.
type EpollEvent struct {
	Events uint32 // EPOLL*
	Data   uint64
}

// EventPoll is an epoll instance.
//
// A file that becomes ready calls the item's notification, which puts the item into the ready list; Collect asks
// each file there for what it really has. The ready list has a lock of its
// own, innermost, since notifications come with a file's locks held.
type EventPoll struct {
	queue waiter.Queue // who polls it, or watches it as a file
	sleep waiter.Queue // who is in epoll_wait(2)
	sys   *System
	self  *File

	// mu guards items and orders Collect; it is held while files are asked for
	// their readiness.
	mu    sync.Mutex
	items map[epollKey]*epollItem

	readyMu sync.Mutex
	ready   epollList
}

type epollKey struct {
	file *File
	fd   int32
}

// epollItem is one watched descriptor.
type epollItem struct {
	ep    *EventPoll
	key   epollKey
	entry waiter.Entry

	// Guarded by ep.mu.
	event EpollEvent
	gone  bool

	// A list of who watches a file, guarded by File.mu.
	fileNext, filePrev *epollItem
	watching           bool

	// Guarded by ep.readyMu.
	next, prev *epollItem
	listed     bool
}

// epollList is a list of items in the order they became ready.
type epollList struct{ head, tail *epollItem }

func (l *epollList) push(it *epollItem) {
	it.listed, it.prev, it.next = true, l.tail, nil
	if l.tail != nil {
		l.tail.next = it
	} else {
		l.head = it
	}
	l.tail = it
}

func (l *epollList) remove(it *epollItem) {
	if !it.listed {
		return
	}
	if it.prev != nil {
		it.prev.next = it.next
	} else {
		l.head = it.next
	}
	if it.next != nil {
		it.next.prev = it.prev
	} else {
		l.tail = it.prev
	}
	it.listed, it.prev, it.next = false, nil, nil
}

// NewEventPoll makes an epoll instance.
func (s *System) NewEventPoll() *File {
	ep := &EventPoll{sys: s, items: map[epollKey]*epollItem{}}
	ep.self = s.NewAnonFile(ep, "[eventpoll]", unix.O_RDWR)
	return ep.self
}

// Private flags of an event and what comes with every one.
const (
	epollPrivate = unix.EPOLLET&0xffffffff | unix.EPOLLONESHOT | unix.EPOLLEXCLUSIVE | unix.EPOLLWAKEUP
	epollAlways  = unix.EPOLLERR | unix.EPOLLHUP
	epollExclOK  = unix.EPOLLIN | unix.EPOLLOUT | epollAlways | unix.EPOLLWAKEUP | unix.EPOLLET&0xffffffff | unix.EPOLLEXCLUSIVE
)

// Ctl is epoll_ctl(2). EPERM for files without readiness, EINVAL for itself and for the wrong use of
// EPOLLEXCLUSIVE, ELOOP for circles and deep nesting, EEXIST, ENOENT, ENOSPC.
// The caller holds a reference to f.
func (ep *EventPoll) Ctl(op int, fd int32, f *File, ev EpollEvent) error {
	if !f.Pollable() {
		return unix.EPERM
	}
	inner, nested := f.ops.(*EventPoll)
	if inner == ep {
		return unix.EINVAL
	}
	ev.Events |= epollAlways
	if op != unix.EPOLL_CTL_DEL && ev.Events&unix.EPOLLEXCLUSIVE != 0 {
		if op == unix.EPOLL_CTL_MOD || nested || ev.Events&^epollExclOK != 0 {
			return unix.EINVAL
		}
	}
	key := epollKey{f, fd}
	switch op {
	case unix.EPOLL_CTL_ADD:
		if nested {
			ep.sys.nesting.Lock()
			defer ep.sys.nesting.Unlock()
			if err := mayNest(ep, inner); err != nil {
				return err
			}
		}
		return ep.add(key, ev)
	case unix.EPOLL_CTL_MOD:
		return ep.modify(key, ev)
	case unix.EPOLL_CTL_DEL:
		ep.mu.Lock()
		defer ep.mu.Unlock()
		it := ep.items[key]
		if it == nil {
			return unix.ENOENT
		}
		ep.remove(it)
		return nil
	}
	return unix.EINVAL
}

func (ep *EventPoll) add(key epollKey, ev EpollEvent) error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.items[key] != nil {
		return unix.EEXIST
	}
	if ep.sys.watches.Add(1) > maxWatches {
		ep.sys.watches.Add(-1)
		return unix.ENOSPC
	}
	it := &epollItem{ep: ep, key: key, event: ev}
	it.entry.Notify = it.notify
	if ev.Events&unix.EPOLLEXCLUSIVE != 0 {
		it.entry.Offer = it.offer
	}
	key.file.watch(it)
	ep.items[key] = it
	ep.arm(it)
	return nil
}

func (ep *EventPoll) modify(key epollKey, ev EpollEvent) error {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	it := ep.items[key]
	if it == nil {
		return unix.ENOENT
	}
	if it.event.Events&unix.EPOLLEXCLUSIVE != 0 {
		return unix.EINVAL
	}
	key.file.Unregister(&it.entry)
	it.event = ev
	ep.arm(it)
	return nil
}

// arm starts watching by it.event, and looks whether the file is ready already. ep.mu is held.
func (ep *EventPoll) arm(it *epollItem) {
	it.entry.Mask = it.mask()
	it.key.file.Register(&it.entry)
	if got := it.key.file.Readiness(it.mask()); got&it.mask() != 0 {
		it.notify(got)
	}
}

func (it *epollItem) mask() waiter.EventMask {
	return waiter.EventMask(it.event.Events &^ epollPrivate)
}

// notify is called with the file's locks held.
func (it *epollItem) notify(events waiter.EventMask) { it.offer(events) }

// offer is notify; it tells whether somebody is woken who was not before and will look: not who polls the instance.
func (it *epollItem) offer(waiter.EventMask) bool {
	ep := it.ep
	ep.readyMu.Lock()
	fresh := !it.listed
	if fresh {
		ep.ready.push(it)
	}
	ep.readyMu.Unlock()
	wakes := fresh && !ep.sleep.Empty()
	ep.sleep.Notify(waiter.In)
	ep.queue.Notify(waiter.In | waiter.RdNorm)
	return wakes
}

// remove stops watching. ep.mu is held.
func (ep *EventPoll) remove(it *epollItem) {
	it.key.file.Unregister(&it.entry)
	it.key.file.unwatch(it)
	ep.forget(it)
}

func (ep *EventPoll) forget(it *epollItem) {
	if it.gone {
		return
	}
	it.gone = true
	delete(ep.items, it.key)
	ep.readyMu.Lock()
	ep.ready.remove(it)
	ep.readyMu.Unlock()
	ep.sys.watches.Add(-1)
}

// watch adds it to the list of those that watch f.
func (f *File) watch(it *epollItem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	it.watching, it.fileNext = true, f.watches
	if f.watches != nil {
		f.watches.filePrev = it
	}
	f.watches = it
}

func (f *File) unwatch(it *epollItem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !it.watching {
		return
	}
	if it.filePrev != nil {
		it.filePrev.fileNext = it.fileNext
	} else {
		f.watches = it.fileNext
	}
	if it.fileNext != nil {
		it.fileNext.filePrev = it.filePrev
	}
	it.watching, it.fileNext, it.filePrev = false, nil, nil
}

// unwatchAll takes a closing file out of every epoll instance.
func (f *File) unwatchAll() {
	for {
		f.mu.Lock()
		it := f.watches
		f.mu.Unlock()
		if it == nil {
			return
		}
		it.ep.mu.Lock()
		it.ep.remove(it)
		it.ep.mu.Unlock()
	}
}

// Sleep has e told what comes in while its owner is in epoll_wait(2). Events that only some are to be told of may be kept for the owner
// until Wake, so that it has to collect them afterwards.
func (ep *EventPoll) Sleep(e *waiter.Entry) { ep.sleep.Register(e) }

// Wake ends Sleep.
func (ep *EventPoll) Wake(e *waiter.Entry) { ep.sleep.Unregister(e) }

// Collect fills out with what is ready now, without waiting, and returns how many
// it filled.
func (ep *EventPoll) Collect(out []EpollEvent) int {
	if len(out) == 0 {
		return 0
	}
	ep.mu.Lock()
	defer ep.mu.Unlock()
	return ep.collect(out)
}

// collect is Collect with ep.mu held. With out nil it only looks: it returns 1 as
// soon as something is ready, and leaves that.
func (ep *EventPoll) collect(out []EpollEvent) int {
	ep.readyMu.Lock()
	last := ep.ready.tail
	ep.readyMu.Unlock()
	n := 0
	for last != nil && (out == nil || n < len(out)) {
		ep.readyMu.Lock()
		it := ep.ready.head
		if it == nil {
			ep.readyMu.Unlock()
			break
		}
		ep.ready.remove(it)
		ep.readyMu.Unlock()
		end := it == last
		events := uint32(it.key.file.Readiness(it.mask())) & it.event.Events
		if it.event.Events&^epollPrivate == 0 {
			events = 0
		}
		if events != 0 {
			if out == nil {
				ep.again(it)
				return 1
			}
			out[n] = EpollEvent{Events: events, Data: it.event.Data}
			n++
			switch {
			case it.event.Events&unix.EPOLLONESHOT != 0:
				it.event.Events &= epollPrivate
			case it.event.Events&(unix.EPOLLET&0xffffffff) == 0:
				ep.again(it)
			}
		}
		if end {
			break
		}
	}
	return n
}

// again puts a ready item back for the next look.
func (ep *EventPoll) again(it *epollItem) {
	ep.readyMu.Lock()
	defer ep.readyMu.Unlock()
	if !it.listed {
		ep.ready.push(it)
	}
}

// Read implements FileOps.
func (*EventPoll) Read(Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Write implements FileOps.
func (*EventPoll) Write(Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// IsStream implements StreamOps.
func (*EventPoll) IsStream() {}

// Seek implements SeekOps: it goes nowhere.
func (*EventPoll) Seek(Caller, int64, int64, int) (int64, error) { return 0, nil }

// Release implements FileOps.
func (ep *EventPoll) Release() {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	for _, it := range ep.items {
		ep.remove(it)
	}
}

// Readiness implements waiter.Waitable.
func (ep *EventPoll) Readiness(wanted waiter.EventMask) waiter.EventMask {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	if ep.collect(nil) == 0 {
		return 0
	}
	return wanted & (waiter.In | waiter.RdNorm)
}

// Register implements waiter.Waitable.
func (ep *EventPoll) Register(e *waiter.Entry) { ep.queue.Register(e) }

// Unregister implements waiter.Waitable.
func (ep *EventPoll) Unregister(e *waiter.Entry) { ep.queue.Unregister(e) }

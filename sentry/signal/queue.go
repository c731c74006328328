package signal

import "golang.org/x/sys/unix"

// Ledger counts queued signals against RLIMIT_SIGPENDING of a user.
type Ledger interface {
	// Charge counts one more, or reports false when the limit is reached. With
	// force it counts in any case.
	Charge(force bool) bool
	// Uncharge takes one back.
	Uncharge()
}

// Source is the origin of a signal that brings its own entry and is pending at
// most once: a POSIX timer. Its methods are called with the queue's owner's
// lock held and must not block.
type Source interface {
	// Collected is called when the signal is dequeued and may complete the
	// siginfo (the overrun count).
	Collected(*Info)
	// Dropped is called when the signal is discarded.
	Dropped()
}

// entry is one queued signal.
type entry struct {
	info   Info
	ledger Ledger
	source Source
	order  uint64
	next   *entry
}

// release gives the entry's charge back.
func (e *entry) release() {
	if e.ledger != nil {
		e.ledger.Uncharge()
	}
}

type entryList struct{ head, tail *entry }

// Queue is the pending signals of a thread or of a thread group. The zero value
// is empty. Its owner's lock guards it.
type Queue struct {
	pending Set
	lists   map[Signal]entryList
	arrived uint64
}

// Pending returns the set of pending signals.
func (q *Queue) Pending() Set { return q.pending }

// Enqueue makes info.Signo pending. It reports false when the signal was
// pending already and is not queued again. l (nil: unbounded) is charged for
// it; over the limit a real-time signal that was not sent by kill(2) fails with
// EAGAIN, another one becomes pending without its siginfo.
func (q *Queue) Enqueue(info Info, l Ledger) (bool, error) {
	sig := info.Signo
	if !Valid(sig) {
		return false, unix.EINVAL
	}
	if !IsRealTime(sig) && q.pending.Has(sig) {
		return false, nil
	}
	if sig == unix.SIGKILL {
		q.pending = q.pending.Add(sig)
		return true, nil
	}
	if l != nil && !l.Charge(!IsRealTime(sig) && info.Code >= 0) {
		if IsRealTime(sig) && info.Code != CodeUser {
			return false, unix.EAGAIN
		}
		fresh := !q.pending.Has(sig)
		q.pending = q.pending.Add(sig)
		return fresh, nil
	}
	q.push(&entry{info: info, ledger: l})
	return true, nil
}

// EnqueueFrom makes info.Signo pending for src, whose entry is paid for. It
// reports false when src's signal is pending here already: src counts an overrun.
// A standard signal is then pending twice if another sender's was.
func (q *Queue) EnqueueFrom(info Info, src Source) bool {
	sig := info.Signo
	if !Valid(sig) {
		return false
	}
	for e := q.lists[sig].head; e != nil; e = e.next {
		if e.source == src {
			return false
		}
	}
	q.push(&entry{info: info, source: src})
	return true
}

func (q *Queue) push(e *entry) {
	if q.lists == nil {
		q.lists = make(map[Signal]entryList)
	}
	q.arrived++
	e.order = q.arrived
	sig := e.info.Signo
	l := q.lists[sig]
	if l.tail == nil {
		l.head = e
	} else {
		l.tail.next = e
	}
	l.tail = e
	q.lists[sig] = l
	q.pending = q.pending.Add(sig)
}

// Next returns the signal that Dequeue would take, 0 when there is none that
// is not in blocked. Faults of the thread itself come first, in order of
// arrival, then synchronous signals from elsewhere, then the lowest number.
func (q *Queue) Next(blocked Set) Signal {
	due := q.pending &^ blocked
	if due == 0 {
		return 0
	}
	var first Signal
	var order uint64
	for s := due & Synchronous; s != 0; s = s.Remove(s.Lowest()) {
		sig := s.Lowest()
		e := q.lists[sig].head
		if e != nil && e.info.Code > CodeUser && (first == 0 || e.order < order) {
			first, order = sig, e.order
		}
	}
	if first != 0 {
		return first
	}
	return due.Next()
}

// Dequeue takes the next signal that is not in blocked. It reports false when
// there is none.
func (q *Queue) Dequeue(blocked Set) (Info, bool) {
	sig := q.Next(blocked)
	if sig == 0 {
		return Info{}, false
	}
	return q.take(sig), true
}

// take removes one entry of the pending signal sig.
func (q *Queue) take(sig Signal) Info {
	l := q.lists[sig]
	e := l.head
	if e == nil {
		q.pending = q.pending.Remove(sig)
		return Info{Signo: sig, Code: CodeUser}
	}
	l.head = e.next
	if l.head != nil {
		q.lists[sig] = l
	} else {
		delete(q.lists, sig)
		q.pending = q.pending.Remove(sig)
	}
	e.release()
	if e.source != nil {
		e.source.Collected(&e.info)
	}
	return e.info
}

// Discard drops all pending signals of set and returns those that were pending.
func (q *Queue) Discard(set Set) Set {
	gone := q.pending & set
	for s := gone; s != 0; s = s.Remove(s.Lowest()) {
		sig := s.Lowest()
		for e := q.lists[sig].head; e != nil; e = e.next {
			e.release()
			if e.source != nil {
				e.source.Dropped()
			}
		}
		delete(q.lists, sig)
	}
	q.pending &^= gone
	return gone
}

// RemoveSource drops src's pending entries: the timer is deleted.
func (q *Queue) RemoveSource(src Source) {
	for sig, l := range q.lists {
		var kept entryList
		for e := l.head; e != nil; {
			next := e.next
			if e.source != src {
				e.next = nil
				if kept.tail == nil {
					kept.head = e
				} else {
					kept.tail.next = e
				}
				kept.tail = e
			}
			e = next
		}
		if kept.head != nil {
			q.lists[sig] = kept
			continue
		}
		delete(q.lists, sig)
		q.pending = q.pending.Remove(sig)
	}
}

// Snapshot returns the siginfo of up to limit entries from position from on, in
// order of arrival, and leaves them queued (PTRACE_PEEKSIGINFO).
func (q *Queue) Snapshot(from uint64, limit int) []Info {
	return q.inOrder(from, limit)
}

// Len is the number of queued entries.
func (q *Queue) Len() int {
	n := 0
	for _, l := range q.lists {
		for e := l.head; e != nil; e = e.next {
			n++
		}
	}
	return n
}

package mqueue

import (
	"container/list"

	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Waiter is a sender or a receiver that waits.
type Waiter struct {
	queue *Queue

	// Guarded by Queue.mu.
	line    *list.List // nil: not waiting any more
	place   *list.Element
	message *Message // to be sent, or received
	done    chan struct{}
}

// putLocked adds a message behind those of its priority.
func (q *Queue) putLocked(m *Message) {
	q.last++
	q.messages.Set(uint64(MaxPriority-m.Priority)<<48|q.last&(1<<48-1), m)
	q.bytes += int64(len(m.Text))
}

// Send puts a message in, or leaves a waiter while the queue is full, EAGAIN with noWait. EMSGSIZE, ENOMEM.
func (q *Queue) Send(c vfs.Caller, m *Message, noWait bool) (*Waiter, error) {
	if int64(len(m.Text)) > q.sizes.Size {
		return nil, unix.EMSGSIZE
	}
	q.mu.Lock()
	if int64(q.messages.Len()) >= q.sizes.Messages {
		defer q.mu.Unlock()
		if noWait {
			return nil, unix.EAGAIN
		}
		return q.waitLocked(&q.senders, m, m.cost())
	}
	if e := q.receivers.Front(); e != nil {
		defer q.mu.Unlock()
		e.Value.(*Waiter).finishLocked(m)
		return nil, nil
	}
	if err := q.fs.config.Take(m.cost()); err != nil {
		q.mu.Unlock()
		return nil, err
	}
	q.putLocked(m)
	var n *Notification
	if q.messages.Len() == 1 {
		n, q.notify = q.notify, nil
	}
	q.mu.Unlock()
	if n != nil {
		n.Send(c)
	}
	q.Notify(waiter.In | waiter.RdNorm)
	return nil, nil
}

// Receive takes the first message of the highest priority, or leaves a waiter while there is none, EAGAIN with noWait.
func (q *Queue) Receive(noWait bool) (*Message, *Waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	at, m, ok := q.messages.Min()
	if !ok {
		if noWait {
			return nil, nil, unix.EAGAIN
		}
		w, err := q.waitLocked(&q.receivers, nil, 0)
		return nil, w, err
	}
	q.messages.Delete(at)
	q.bytes -= int64(len(m.Text))
	q.fs.config.Give(m.cost())
	if e := q.senders.Front(); e != nil {
		// The sender's message stays charged, now as one of the queue's.
		next := e.Value.(*Waiter)
		q.putLocked(next.message)
		next.finishLocked(nil)
		return m, nil, nil
	}
	q.Notify(waiter.Out | waiter.WrNorm)
	return m, nil, nil
}

func (q *Queue) waitLocked(line *list.List, m *Message, cost int) (*Waiter, error) {
	if err := q.fs.config.Take(waiterCost + cost); err != nil {
		return nil, err
	}
	w := &Waiter{queue: q, line: line, message: m, done: make(chan struct{})}
	w.place = line.PushBack(w)
	return w, nil
}

// Done is closed when the waiter was served.
func (w *Waiter) Done() <-chan struct{} { return w.done }

// Cancel stops waiting. It tells whether the waiter was served before, with the message of a receiver.
func (w *Waiter) Cancel() (m *Message, served bool) {
	w.queue.mu.Lock()
	defer w.queue.mu.Unlock()
	if w.line == nil {
		return w.message, true
	}
	if m := w.message; m != nil {
		w.queue.fs.config.Give(m.cost())
	}
	w.finishLocked(nil)
	return nil, false
}

func (w *Waiter) finishLocked(m *Message) {
	w.line.Remove(w.place)
	w.line, w.message = nil, m
	w.queue.fs.config.Give(waiterCost)
	close(w.done)
}

package ipc

import (
	"container/list"
	"math"
	"sync"

	"golang.org/x/sys/unix"
)

// Messages are the System V message queues of a namespace.
type Messages struct {
	config *Config
	limits *limits

	// mu guards the registry and all queues.
	mu     sync.Mutex
	queues registry[*msgQueue]
	bytes  int64 // in all queues
	count  int64
}

// msgQueue is one queue. Its fields are guarded by Messages.mu.
type msgQueue struct {
	Perm
	messages            list.List // *Message
	bytes, capacity     int64
	stime, rtime, ctime int64
	lastSend, lastRecv  Process
	receivers           list.List // *MsgWait
	senders             list.List // *MsgWait
}

func (q *msgQueue) perm() *Perm { return &q.Perm }

// Message is one message.
type Message struct {
	Type int64
	Text []byte
}

func (m *Message) cost() int { return messageCost + len(m.Text) }

// Flags of msgrcv(2).
const (
	MsgNoError = 0o10000
	MsgExcept  = 0o20000
	MsgCopy    = 0o40000
)

// MsgWait is a sender or a receiver that waits.
type MsgWait struct {
	msgs  *Messages
	queue *msgQueue
	by    Process

	// of a receiver
	want  MsgWant
	isFor func(*Message) bool

	// Guarded by Messages.mu.
	line  *list.List // nil: not waiting any more
	place *list.Element
	got   *Message
	err   error
	done  chan struct{}
}

// Get is msgget(2).
func (m *Messages) Get(c Caller, g Get) (int32, error) {
	l := m.limits.get()
	m.mu.Lock()
	defer m.mu.Unlock()
	fits := func(*msgQueue) error { return nil }
	q, err := m.queues.get(g, &c, m.config.Owner, fits, func(p Perm) (*msgQueue, error) {
		if err := m.config.Budget.Take(objectCost); err != nil {
			return nil, err
		}
		return &msgQueue{Perm: p, capacity: l.MsgMNB, ctime: m.config.Now()}, nil
	}, uint64(l.MsgMNI))
	if err != nil {
		return 0, err
	}
	return q.ID, nil
}

// MaxMessage is the longest text that may be sent, in bytes.
func (m *Messages) MaxMessage() int64 { return m.limits.get().MsgMax }

// Send is msgsnd(2). It returns a waiter if the queue is full; when that was told, the call is to be made
// again.
func (m *Messages) Send(c Caller, id int32, msg Message, noWait bool) (*MsgWait, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.openLocked(&c, id, mayWrite)
	if err != nil {
		return nil, err
	}
	if int64(len(msg.Text))+q.bytes > q.capacity || 1+int64(q.messages.Len()) > q.capacity {
		if noWait {
			return nil, unix.EAGAIN
		}
		return m.waitLocked(q, &q.senders, &MsgWait{by: c.Process})
	}
	if err := m.config.Budget.Take(msg.cost()); err != nil {
		return nil, err
	}
	q.lastSend, q.stime = c.Process, m.config.Now()
	if m.handOverLocked(q, &msg) {
		m.config.Budget.Give(msg.cost())
		return nil, nil
	}
	q.messages.PushBack(&msg)
	q.bytes += int64(len(msg.Text))
	m.bytes += int64(len(msg.Text))
	m.count++
	return nil, nil
}

// handOverLocked gives a message to the first receiver that waits for it. Receivers without room for it fail.
func (m *Messages) handOverLocked(q *msgQueue, msg *Message) bool {
	for e := q.receivers.Front(); e != nil; {
		w := e.Value.(*MsgWait)
		e = e.Next()
		switch {
		case !w.isFor(msg):
		case !w.want.hasRoom(msg):
			w.finishLocked(nil, unix.E2BIG)
		default:
			q.lastRecv, q.rtime = w.by, m.config.Now()
			w.finishLocked(msg, nil)
			return true
		}
	}
	return false
}

func (m *Messages) waitLocked(q *msgQueue, line *list.List, w *MsgWait) (*MsgWait, error) {
	if err := m.config.Budget.Take(waiterCost); err != nil {
		return nil, err
	}
	w.msgs, w.queue, w.line, w.done = m, q, line, make(chan struct{})
	w.place = line.PushBack(w)
	return w, nil
}

// MsgWant says which message a receiver takes.
type MsgWant struct {
	Size  int64 // room, in bytes
	Type  int64
	Flags uint32
}

func (w *MsgWant) hasRoom(m *Message) bool {
	return int64(len(m.Text)) <= w.Size || w.Flags&MsgNoError != 0
}

// matcher returns a test for messages, and whether the least type is to be had instead of the first.
func (w *MsgWant) matcher() (isFor func(*Message) bool, least bool) {
	t := w.Type
	switch {
	case t == 0:
		return func(*Message) bool { return true }, false
	case t < 0:
		t = -max(t, -math.MaxInt64)
		return func(m *Message) bool { return m.Type <= t }, true
	case w.Flags&MsgExcept != 0:
		return func(m *Message) bool { return m.Type != t }, false
	}
	return func(m *Message) bool { return m.Type == t }, false
}

// Receive is msgrcv(2). It returns a message, or a waiter that will have one.
func (m *Messages) Receive(c Caller, id int32, want MsgWant) (*Message, *MsgWait, error) {
	if want.Flags&MsgCopy != 0 && (want.Flags&MsgExcept != 0 || want.Flags&NoWait == 0) {
		return nil, nil, unix.EINVAL
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	q, err := m.openLocked(&c, id, mayRead)
	if err != nil {
		return nil, nil, err
	}
	if want.Flags&MsgCopy != 0 {
		msg, err := q.copyLocked(want)
		return msg, nil, err
	}
	isFor, least := want.matcher()
	if e := q.findLocked(isFor, least); e != nil {
		msg := e.Value.(*Message)
		if !want.hasRoom(msg) {
			return nil, nil, unix.E2BIG
		}
		m.takeLocked(q, e)
		q.lastRecv, q.rtime = c.Process, m.config.Now()
		return msg, nil, nil
	}
	if want.Flags&NoWait != 0 {
		return nil, nil, unix.ENOMSG
	}
	w, err := m.waitLocked(q, &q.receivers, &MsgWait{by: c.Process, want: want, isFor: isFor})
	return nil, w, err
}

// copyLocked returns the message at position want.Type, which stays (MSG_COPY).
func (q *msgQueue) copyLocked(want MsgWant) (*Message, error) {
	n := want.Type
	for e := q.messages.Front(); e != nil && n >= 0; e = e.Next() {
		msg := e.Value.(*Message)
		switch {
		case n > 0:
			n--
			continue
		case !want.hasRoom(msg):
			return nil, unix.E2BIG
		case int64(len(msg.Text)) > want.Size:
			return nil, unix.EINVAL
		}
		return msg, nil
	}
	return nil, unix.ENOMSG
}

func (q *msgQueue) findLocked(isFor func(*Message) bool, least bool) (found *list.Element) {
	for e := q.messages.Front(); e != nil; e = e.Next() {
		msg := e.Value.(*Message)
		if !isFor(msg) || found != nil && found.Value.(*Message).Type <= msg.Type {
			continue
		}
		found = e
		if !least || msg.Type == 1 {
			break
		}
	}
	return found
}

// takeLocked takes a message out, and lets senders try again that may find room now.
func (m *Messages) takeLocked(q *msgQueue, e *list.Element) {
	msg := q.messages.Remove(e).(*Message)
	n := int64(len(msg.Text))
	q.bytes -= n
	m.bytes -= n
	m.count--
	m.config.Budget.Give(msg.cost())
	for s := q.senders.Front(); s != nil; s = q.senders.Front() {
		s.Value.(*MsgWait).finishLocked(nil, nil)
	}
}

// Done is closed when the waiter was told.
func (w *MsgWait) Done() <-chan struct{} { return w.done }

// Cancel stops waiting. It tells whether the waiter was told before, and what.
func (w *MsgWait) Cancel() (told bool, msg *Message, err error) {
	w.msgs.mu.Lock()
	defer w.msgs.mu.Unlock()
	if w.line == nil {
		return true, w.got, w.err
	}
	w.finishLocked(nil, unix.EINTR)
	return false, nil, nil
}

func (w *MsgWait) finishLocked(msg *Message, err error) {
	w.line.Remove(w.place)
	w.line, w.got, w.err = nil, msg, err
	w.msgs.config.Budget.Give(waiterCost)
	close(w.done)
}

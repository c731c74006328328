package kernel

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/callfilter"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// A filter can leave calls to a process that listens (seccomp_unotify(2)): the thread that calls waits while the
// listener is told of the call by its file, and answers.

// CallListener is the file that a filter's calls are told by.
type CallListener struct {
	waiter.Queue
	// killable: once a call was told of, only what kills its thread ends the wait for the answer.
	killable bool
	arrived  waiter.Queue // of those that wait for a call to be told of

	// Guarded by mu, which comes after descriptor tables' owners and before the tables' own locks.
	mu     sync.Mutex
	closed bool
	users  int // threads that have the filter
	nextID uint64
	calls  []*notifiedCall // in the order of arrival
}

// Steps of a call.
const (
	callArrived = iota
	callTold
	callAnswered
)

// notifiedCall is a call that waits for an answer. The listener's mu guards it.
type notifiedCall struct {
	id    uint64
	task  *Task
	data  [callfilter.DataSize]byte
	state int
	ready chan struct{}

	value   uint64 // the result, as the registers have it
	carryOn bool   // carry it out after all
}

// NewCallListener returns a listener without a filter; killable as of SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV.
func NewCallListener(killable bool) *CallListener {
	return &CallListener{killable: killable, nextID: rand.Uint64()}
}

// ListenerFile makes the file of l.
func (k *Kernel) ListenerFile(l *CallListener) *vfs.File {
	return k.VFS().NewAnonFile(l, "seccomp notify", unix.O_RDWR)
}

// attend counts threads that have the filter.
func (l *CallListener) attend(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.users += more
}

// leave says that a thread that has the filter ends.
func (l *CallListener) leave() {
	l.attend(-1)
	l.Notify(waiter.HUp)
	l.arrived.Notify(waiter.In)
}

// ask has the listener answer a call. carryOut says that the call is to be carried out after all; else result is its result,
// unless err is to interrupt it. ENOSYS where nobody listens.
func (l *CallListener) ask(t *Task, call *callfilter.Call) (carryOut bool, result uint64, err error) {
	n := &notifiedCall{task: t, data: call.Encode(), ready: make(chan struct{}, 1)}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return false, negative(unix.ENOSYS), nil
	}
	n.id = l.nextID
	l.nextID++
	l.calls = append(l.calls, n)
	l.mu.Unlock()
	l.Notify(waiter.In | waiter.RdNorm)
	l.arrived.Notify(waiter.In)
	for killable := false; ; killable = true {
		err = t.block(n.ready, nil, killable)
		l.mu.Lock()
		told := l.killable && n.state == callTold
		if err != nil && !killable && told {
			l.mu.Unlock()
			continue
		}
		l.calls = slices.DeleteFunc(l.calls, func(o *notifiedCall) bool { return o == n })
		l.mu.Unlock()
		return n.carryOn, n.value, err
	}
}

// answerLocked ends the wait of n.
func (n *notifiedCall) answerLocked(value uint64, carryOn bool) {
	n.state, n.value, n.carryOn = callAnswered, value, carryOn
	n.ready <- struct{}{}
}

// Release implements vfs.FileOps: calls that wait are ENOSYS.
func (l *CallListener) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, n := range l.calls {
		if n.state != callAnswered {
			n.answerLocked(negative(unix.ENOSYS), false)
		}
	}
}

// Read implements vfs.FileOps.
func (*CallListener) Read(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Write implements vfs.FileOps.
func (*CallListener) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Readiness implements waiter.Waitable: readable when a call has arrived, writable when one waits for its answer.
func (l *CallListener) Readiness(wanted waiter.EventMask) waiter.EventMask {
	l.mu.Lock()
	defer l.mu.Unlock()
	var is waiter.EventMask
	for _, n := range l.calls {
		switch n.state {
		case callArrived:
			is |= waiter.In | waiter.RdNorm
		case callTold:
			is |= waiter.Out | waiter.WrNorm
		}
	}
	if l.users == 0 {
		is |= waiter.HUp
	}
	return is & (wanted | waiter.HUp)
}

// Requests of seccomp_unotify(2), of any size for the one that may grow.
const (
	notifyRecv    = 0xc0502100
	notifySend    = 0xc0182101
	notifyValid   = 0x40082102
	notifyValid0  = 0x80082102 // as it was first
	notifyAddFD   = 0x2103
	notifyFlags   = 0x40082104
	requestNumber = 0xffff
	requestSize   = 16 // bits from the size on
)

// Ioctl implements vfs.IoctlOps.
func (l *CallListener) Ioctl(c vfs.Caller, cmd uint32, arg uint64, m *mm.MemoryManager) (uint64, error) {
	t := taskOf(c)
	if t == nil {
		return 0, unix.EINVAL
	}
	switch cmd {
	case notifyRecv:
		return 0, l.tell(t, m, mm.Addr(arg))
	case notifySend:
		return 0, l.answer(m, mm.Addr(arg))
	case notifyValid, notifyValid0:
		return 0, l.valid(m, mm.Addr(arg))
	case notifyFlags:
		const syncWakeUp = 1 // a hint to the scheduler
		if arg&^syncWakeUp != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	const write = 1
	if cmd&requestNumber == notifyAddFD && cmd>>30 == write {
		fd, err := l.addFD(t, m, mm.Addr(arg), int(cmd>>requestSize&0x3fff))
		return uint64(fd), err
	}
	return 0, unix.EINVAL
}

// notificationSize is that of struct seccomp_notif.
const notificationSize = 80

// tell waits for a call and writes what it is. EINVAL unless the structure is zero, ENOENT when nobody has the filter
// any more, or the call has ended meanwhile.
func (l *CallListener) tell(t *Task, m *mm.MemoryManager, addr mm.Addr) error {
	var b [notificationSize]byte
	if _, err := m.CopyIn(addr, b[:]); err != nil {
		return err
	}
	if b != [notificationSize]byte{} {
		return unix.EINVAL
	}
	n, err := l.next(t)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	le.PutUint64(b[:], n.id)
	le.PutUint32(b[8:], uint32(n.task.pid.In(t.pidns)))
	copy(b[16:], n.data[:])
	if _, err = m.CopyOut(addr, b[:]); err == nil {
		l.Notify(waiter.Out | waiter.WrNorm)
		return nil
	}
	l.mu.Lock()
	if n.state == callTold {
		n.state = callArrived
	}
	l.mu.Unlock()
	l.arrived.Notify(waiter.In)
	return err
}

// next waits for a call that nobody was told of. ENOENT, ERESTARTSYS.
func (l *CallListener) next(t *Task) (*notifiedCall, error) {
	e, arrived := t.NewEntry(waiter.In)
	l.arrived.Register(e)
	defer l.arrived.Unregister(e)
	for {
		l.mu.Lock()
		for _, n := range l.calls {
			if n.state == callArrived {
				n.state = callTold
				l.mu.Unlock()
				return n, nil
			}
		}
		none := l.users == 0
		l.mu.Unlock()
		if none {
			return nil, unix.ENOENT
		}
		if err := t.Block(arrived); err != nil {
			return nil, err
		}
	}
}

// toldLocked returns the call that waits for an answer: ENOENT, EINPROGRESS for one that nobody was told of or that has one.
func (l *CallListener) toldLocked(id uint64) (*notifiedCall, error) {
	for _, n := range l.calls {
		if n.id != id {
			continue
		}
		if n.state != callTold {
			return nil, unix.EINPROGRESS
		}
		return n, nil
	}
	return nil, unix.ENOENT
}

// answer gives a call its result.
func (l *CallListener) answer(m *mm.MemoryManager, addr mm.Addr) error {
	var b [24]byte // struct seccomp_notif_resp
	if _, err := m.CopyIn(addr, b[:]); err != nil {
		return err
	}
	le := binary.LittleEndian
	id, value, errno, flags := le.Uint64(b[:]), le.Uint64(b[8:]), int32(le.Uint32(b[16:])), le.Uint32(b[20:])
	const carryOn = 1
	if flags&^carryOn != 0 || flags != 0 && (errno != 0 || value != 0) {
		return unix.EINVAL
	}
	if errno != 0 {
		value = uint64(int64(errno))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n, err := l.toldLocked(id)
	if err != nil {
		return err
	}
	n.answerLocked(value, flags != 0)
	return nil
}

// valid is ENOENT unless the call waits for its answer still.
func (l *CallListener) valid(m *mm.MemoryManager, addr mm.Addr) error {
	var b [8]byte
	if _, err := m.CopyIn(addr, b[:]); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, err := l.toldLocked(binary.LittleEndian.Uint64(b[:])); err != nil {
		return unix.ENOENT
	}
	return nil
}

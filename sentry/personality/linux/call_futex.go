package linux

import (
	"gosentry/mm"
	"gosentry/platform/arch"
	"gosentry/sentry/futex"
	"gosentry/sentry/kernel"
	"gosentry/sentry/ktime"

	"golang.org/x/sys/unix"
)

// Operations of futex(2).
const (
	futexWait          = 0
	futexWake          = 1
	futexRequeue       = 3
	futexCmpRequeue    = 4
	futexWakeOp        = 5
	futexLockPI        = 6
	futexUnlockPI      = 7
	futexTrylockPI     = 8
	futexWaitBitset    = 9
	futexWakeBitset    = 10
	futexWaitRequeuePI = 11
	futexCmpRequeuePI  = 12
	futexLockPI2       = 13

	futexPrivate  = 128
	futexRealtime = 256
)

// futexCall is one call of futex(2), decoded.
type futexCall struct {
	t          *kernel.Task
	m          *futex.Manager[mm.FutexKey]
	op         int
	private    bool
	realtime   bool
	val        uint32
	val2       int
	val3       uint32
	addr       mm.Addr
	addr2      mm.Addr
	key        mm.FutexKey
	word       kernel.FutexWord
	otherKey   mm.FutexKey
	otherWord  kernel.FutexWord
	timeoutPtr uint64
}

func sysFutex(t *kernel.Task, a arch.SyscallArgs) (uint64, error) {
	op := a[1]
	c := futexCall{
		t: t, m: t.Kernel().Futexes(),
		op:      int(op &^ (futexPrivate | futexRealtime)),
		private: op&futexPrivate != 0, realtime: op&futexRealtime != 0,
		addr: mm.Addr(a[0]), val: uint32(a[2]), timeoutPtr: a[3],
		val2: int(int32(a[3])), addr2: mm.Addr(a[4]), val3: uint32(a[5]),
	}
	if c.realtime && c.op != futexWait && c.op != futexWaitBitset && c.op != futexWaitRequeuePI && c.op != futexLockPI2 {
		return 0, unix.ENOSYS
	}
	var err error
	if c.key, err = t.MM().FutexKey(c.addr, c.private); err != nil {
		return 0, err
	}
	c.word = kernel.FutexWord{MM: t.MM(), Addr: c.addr}
	switch c.op {
	case futexRequeue, futexCmpRequeue, futexWakeOp, futexWaitRequeuePI, futexCmpRequeuePI:
		if c.otherKey, err = t.MM().FutexKey(c.addr2, c.private); err != nil {
			return 0, err
		}
		c.otherWord = kernel.FutexWord{MM: t.MM(), Addr: c.addr2}
	}
	return c.run()
}

func (c *futexCall) run() (uint64, error) {
	n := int(int32(c.val))
	switch c.op {
	case futexWait:
		return c.wait(futex.BitsetAll)
	case futexWaitBitset:
		return c.wait(c.val3)
	case futexWake:
		return count(c.m.Wake(c.key, max(n, 1), futex.BitsetAll))
	case futexWakeBitset:
		return count(c.m.Wake(c.key, max(n, 1), c.val3))
	case futexRequeue:
		return total(c.m.Requeue(c.key, c.otherKey, n, c.val2))
	case futexCmpRequeue:
		return total(c.m.CmpRequeue(c.key, c.otherKey, c.word, c.val3, n, c.val2))
	case futexWakeOp:
		return count(c.m.WakeOp(c.key, c.otherKey, c.otherWord, n, c.val2, c.val3))
	case futexLockPI, futexLockPI2:
		return c.lockPI(false)
	case futexTrylockPI:
		return c.lockPI(true)
	case futexUnlockPI:
		return 0, c.m.UnlockPI(c.key, c.locker(), c.word)
	case futexWaitRequeuePI:
		return c.waitRequeuePI()
	case futexCmpRequeuePI:
		if n != 1 {
			return 0, unix.EINVAL
		}
		return count(c.m.CmpRequeuePI(c.key, c.otherKey, c.word, c.otherWord, c.val3, c.val2, c.t.FutexOwner))
	}
	return 0, unix.ENOSYS
}

func count(n int, err error) (uint64, error) { return uint64(n), err }

func total(woken, moved int, err error) (uint64, error) { return uint64(woken + moved), err }

func (c *futexCall) locker() futex.Locker {
	return futex.Locker{TID: uint32(c.t.TID()), Self: c.t}
}

// deadline returns the clock and the time at which a wait ends. FUTEX_WAIT's
// timeout is relative, the others' are absolute.
func (c *futexCall) deadline() (ktime.Clock, int64, error) {
	clock := c.t.Monotonic()
	if c.realtime || c.op == futexLockPI {
		clock = c.t.Kernel().Clocks().Realtime()
	}
	if c.timeoutPtr == 0 {
		return clock, ktime.Forever, nil
	}
	ts, err := loadTimespec(c.t, c.timeoutPtr)
	if err != nil {
		return nil, 0, err
	}
	at := nanoseconds(ts)
	if c.op == futexWait {
		if at += clock.Now(); at < 0 {
			at = ktime.Forever
		}
	}
	return clock, at, nil
}

func (c *futexCall) wait(bitset uint32) (uint64, error) {
	clock, at, err := c.deadline()
	if err != nil {
		return 0, err
	}
	r := kernel.Restart{
		Call: restartFutex, Deadline: at, Addr: [2]mm.Addr{c.addr},
		Value: [3]uint64{uint64(c.val), uint64(bitset), flagsOf(c.private, c.realtime)},
	}
	err = waitFutex(c.t, c.key, c.word, c.val, bitset, clock, at)
	if err == kernel.ERESTARTSYS && c.timeoutPtr != 0 {
		*c.t.Restart() = r
		return 0, kernel.ERESTARTBLOCK
	}
	return 0, err
}

func flagsOf(private, realtime bool) (f uint64) {
	if private {
		f |= futexPrivate
	}
	if realtime {
		f |= futexRealtime
	}
	return f
}

// restartFutex goes on with a wait whose timeout is still running.
func restartFutex(t *kernel.Task, r *kernel.Restart) (uint64, error) {
	key, err := t.MM().FutexKey(r.Addr[0], r.Value[2]&futexPrivate != 0)
	if err != nil {
		return 0, err
	}
	clock := t.Monotonic()
	if r.Value[2]&futexRealtime != 0 {
		clock = t.Kernel().Clocks().Realtime()
	}
	word := kernel.FutexWord{MM: t.MM(), Addr: r.Addr[0]}
	err = waitFutex(t, key, word, uint32(r.Value[0]), uint32(r.Value[1]), clock, r.Deadline)
	if err == kernel.ERESTARTSYS {
		*t.Restart() = *r
		return 0, kernel.ERESTARTBLOCK
	}
	return 0, err
}

func waitFutex(t *kernel.Task, key mm.FutexKey, word kernel.FutexWord, val, bitset uint32, clock ktime.Clock, at int64) error {
	m := t.Kernel().Futexes()
	w := t.FutexWaiter()
	if err := m.Wait(w, key, word, val, bitset); err != nil {
		return err
	}
	err := t.BlockUntilTime(w.C, clock, at)
	if m.Cancel(w) {
		return nil
	}
	return err
}

func (c *futexCall) lockPI(try bool) (uint64, error) {
	clock, at, err := c.deadline()
	if err != nil {
		return 0, err
	}
	w := c.t.FutexWaiter()
	got, err := c.m.LockPI(w, c.key, c.locker(), c.word, c.t.FutexOwner, try)
	if err != nil || got {
		return 0, err
	}
	return c.finishPI(w, c.word, c.t.BlockUntilTime(w.C, clock, at), kernel.ERESTARTNOINTR)
}

// finishPI ends a wait for ownership; interrupted is the error for a signal.
func (c *futexCall) finishPI(w *futex.Waiter[mm.FutexKey], word kernel.FutexWord, waited, interrupted error) (uint64, error) {
	got, err := c.m.FinishPI(w, word)
	switch {
	case got || err != nil:
		return 0, err
	case waited == kernel.ERESTARTSYS:
		return 0, interrupted
	case waited == nil:
		return 0, unix.EAGAIN
	}
	return 0, waited
}

func (c *futexCall) waitRequeuePI() (uint64, error) {
	clock, at, err := c.deadline()
	if err != nil {
		return 0, err
	}
	w := c.t.FutexWaiter()
	if err := c.m.WaitRequeuePI(w, c.key, c.word, c.val, c.val3, c.otherKey, c.locker()); err != nil {
		return 0, err
	}
	return c.finishPI(w, c.otherWord, c.t.BlockUntilTime(w.C, clock, at), unix.EINTR)
}

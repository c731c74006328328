package tty

import (
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// chunk is how much one write moves at most, in bytes.
const chunk = 2048

// Slave is an open file of a slave, a terminal as programs know it.
type Slave struct {
	t     *Terminal
	epoch int

	// Guarded by Terminal.mu.
	nonblock bool
	waits    bool // a read was told to wait
	wait     timedRead
}

// timedRead is a read that VTIME bounds.
type timedRead struct {
	timer *time.Timer // nil: not running
	seen  int         // cells when it was set
	over  bool
}

// Terminal returns the pair that the file belongs to.
func (s *Slave) Terminal() *Terminal { return s.t }

// IsTerminal tells the kernel so.
func (*Slave) IsTerminal() bool { return true }

// IsStream implements vfs.StreamOps.
func (*Slave) IsStream() {}

// SetFlags implements vfs.FlagOps.
func (s *Slave) SetFlags(flags int) {
	s.t.mu.Lock()
	s.nonblock = flags&unix.O_NONBLOCK != 0
	s.t.mu.Unlock()
}

// HungUp tells whether the terminal was hung up since the file was opened.
func (s *Slave) HungUp() bool {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	return s.deadLocked()
}

// StopsWriters tells whether tasks in the background may not write (TOSTOP).
func (s *Slave) StopsWriters() bool {
	s.t.mu.Lock()
	defer s.t.mu.Unlock()
	return s.t.termios.local(unix.TOSTOP)
}

// deadLocked tells whether the file was hung up.
func (s *Slave) deadLocked() bool { return s.epoch != s.t.epoch }

// Read implements vfs.FileOps: a line or what there is of one, or raw characters as VMIN and VTIME say.
func (s *Slave) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	t := s.t
	room := int(min(dst.Len(), inputSize))
	t.mu.Lock()
	var text []byte
	var err error
	switch {
	case s.deadLocked() && s.waits:
		err = unix.EIO // who waited hears of the hang-up, who comes later finds the end
	case s.deadLocked() || room == 0:
	case t.termios.local(unix.ICANON):
		text, err = t.takeLineLocked(room)
	case s.enoughLocked(room):
		text = t.takeRawLocked(room)
		s.stopTimerLocked()
	default:
		err = unix.EAGAIN
	}
	s.waits = err == unix.EAGAIN && !s.nonblock
	t.unlock(writable, 0)
	if len(text) == 0 {
		return 0, err
	}
	return dst.CopyOut(text)
}

// takeLineLocked takes at most room characters of the first line.
func (t *Terminal) takeLineLocked(room int) (text []byte, err error) {
	if t.canon == 0 {
		return nil, unix.EAGAIN
	}
	n := 0
	for n < t.canon && len(text) < room {
		x := t.in[n]
		n++
		if !x.eof {
			text = append(text, x.c)
		}
		if x.end {
			break
		}
	}
	t.in, t.canon = t.in[n:], t.canon-n
	return text, nil
}

func (t *Terminal) takeRawLocked(room int) []byte {
	n := min(room, len(t.in))
	text := make([]byte, 0, n)
	for _, x := range t.in[:n] {
		text = append(text, x.c)
	}
	t.in = t.in[n:]
	return text
}

// enoughLocked tells whether a raw read of room characters is to end now, and sets its timer if not.
func (s *Slave) enoughLocked(room int) bool {
	t := s.t
	least, limit := min(int(t.termios.Chars[unix.VMIN]), room), t.termios.Chars[unix.VTIME]
	have := len(t.in)
	switch {
	case have >= max(least, 1), least == 0 && limit == 0:
		return true
	case s.nonblock:
		return have > 0
	case limit == 0:
		return false
	case s.wait.over && s.wait.seen == have:
		return true
	case least > 0 && have == 0:
		return false // the time counts from the first character
	}
	s.startTimerLocked(time.Duration(limit)*tick, have)
	return false
}

func (s *Slave) startTimerLocked(d time.Duration, have int) {
	if s.wait.timer != nil && s.wait.seen == have {
		return
	}
	s.stopTimerLocked()
	s.wait.seen = have
	var timer *time.Timer
	timer = time.AfterFunc(d, func() {
		s.t.mu.Lock()
		if s.wait.timer == timer {
			s.wait.timer, s.wait.over = nil, true
		}
		s.t.mu.Unlock()
		s.t.slaveWait.Notify(readable)
	})
	s.wait.timer = timer
}

func (s *Slave) stopTimerLocked() {
	if s.wait.timer != nil {
		s.wait.timer.Stop()
	}
	s.wait = timedRead{}
}

// roomLocked is how many characters of output there is room for, each of which may become several.
func (t *Terminal) roomLocked() int {
	widest := 2
	if t.termios.Output&unix.TABDLY == xtabs {
		widest = 8
	}
	if t.stopped {
		return 0
	}
	return max(0, (outputSize-len(t.out))/widest-8)
}

// Write implements vfs.FileOps.
func (s *Slave) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	t := s.t
	t.mu.Lock()
	dead, n := s.deadLocked(), min(t.roomLocked(), chunk, int(min(src.Len(), chunk)))
	t.mu.Unlock()
	switch {
	case dead:
		return 0, unix.EIO
	case src.Len() == 0:
		return 0, nil
	case n == 0:
		return 0, unix.EAGAIN
	}
	text := make([]byte, n)
	n, err := src.CopyIn(text)
	t.mu.Lock()
	for _, c := range text[:n] {
		t.out = t.processLocked(t.out, c)
	}
	t.unlock(readable, 0)
	if n > 0 {
		t.masterAsync.Notify(waiter.In)
	}
	return n, err
}

// AsyncQueue implements vfs.AsyncOps.
func (s *Slave) AsyncQueue() *waiter.Queue { return &s.t.slaveAsync }

// Readiness implements waiter.Waitable.
func (s *Slave) Readiness(wanted waiter.EventMask) waiter.EventMask {
	t := s.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.deadLocked() {
		return ended & (wanted | waiter.Err | waiter.HUp)
	}
	var ready waiter.EventMask
	if t.availableLocked() || s.wait.over {
		ready |= readable
	}
	if t.roomLocked() > 0 {
		ready |= writable
	}
	return ready & wanted
}

// availableLocked tells whether a read has something by the modes as they are.
func (t *Terminal) availableLocked() bool {
	m := &t.termios
	switch {
	case m.local(unix.ICANON):
		return t.canon > 0
	case m.Chars[unix.VTIME] == 0 && m.Chars[unix.VMIN] > 0:
		return len(t.in) >= int(m.Chars[unix.VMIN])
	}
	return len(t.in) > 0
}

// Register implements waiter.Waitable.
func (s *Slave) Register(e *waiter.Entry) { s.t.slaveWait.Register(e) }

// Unregister implements waiter.Waitable.
func (s *Slave) Unregister(e *waiter.Entry) { s.t.slaveWait.Unregister(e) }

// Release implements vfs.FileOps.
func (s *Slave) Release() {
	t := s.t
	t.mu.Lock()
	s.stopTimerLocked()
	if s.deadLocked() {
		t.mu.Unlock()
		return
	}
	if t.slaves--; t.slaves > 0 {
		t.mu.Unlock()
		return
	}
	t.only = false
	t.unlock(readable|waiter.HUp, 0)
}

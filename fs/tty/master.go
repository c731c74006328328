package tty

import (
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Master is the open file of a master.
type Master struct{ t *Terminal }

// Terminal returns the pair that the file belongs to.
func (m *Master) Terminal() *Terminal { return m.t }

// IsStream implements vfs.StreamOps.
func (*Master) IsStream() {}

// Release implements vfs.FileOps.
func (m *Master) Release() { m.t.closeMaster() }

// aloneLocked tells whether the last slave has closed.
func (t *Terminal) aloneLocked() bool { return t.opened && t.slaves == 0 }

// Read implements vfs.FileOps: what the slave wrote, behind a byte that tells of events in packet mode. EIO when no
// slave is left.
func (m *Master) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	t := m.t
	if dst.Len() == 0 {
		return 0, nil // even of a packet nothing is taken
	}
	t.mu.Lock()
	text, err := t.takeOutputLocked(int(min(dst.Len(), outputSize)))
	t.unlock(0, writable)
	if err != nil {
		return 0, err
	}
	return dst.CopyOut(text)
}

func (t *Terminal) takeOutputLocked(room int) ([]byte, error) {
	if t.packet && t.status != 0 {
		s := t.status
		t.status = 0
		return []byte{s}, nil
	}
	if len(t.out) == 0 {
		if t.aloneLocked() {
			return nil, unix.EIO
		}
		return nil, unix.EAGAIN
	}
	var text []byte
	if t.packet && room > 0 {
		text = append(text, unix.TIOCPKT_DATA)
		room--
	}
	n := min(room, len(t.out))
	text = append(text, t.out[:n]...)
	t.out = t.out[n:]
	return text, nil
}

// typingRoomLocked is how many characters may be typed now.
func (t *Terminal) typingRoomLocked() int {
	room := inputSize - 1 - len(t.in)
	if room <= 0 && t.canon == 0 && t.termios.local(unix.ICANON) {
		return 1 // what does not fit a line is dropped
	}
	return max(room, 0)
}

// Write implements vfs.FileOps: it types.
func (m *Master) Write(_ vfs.Caller, src *mm.Buffer, _ int64) (int, error) {
	t := m.t
	t.mu.Lock()
	n := min(t.typingRoomLocked(), chunk, int(min(src.Len(), chunk)))
	t.mu.Unlock()
	if n == 0 && src.Len() > 0 {
		return 0, unix.EAGAIN
	}
	text := make([]byte, n)
	n, err := src.CopyIn(text)
	t.mu.Lock()
	stopped, lines, shown := t.stopped, t.canon, len(t.out)
	for _, c := range text[:n] {
		t.inputLocked(c)
	}
	slave := waiter.EventMask(readable)
	if stopped && !t.stopped {
		slave |= writable
	}
	typed := t.canon > lines || !t.termios.local(unix.ICANON) && len(t.in) > 0
	echoed := len(t.out) > shown
	t.unlock(readable|waiter.Pri, slave)
	if typed {
		t.slaveAsync.Notify(waiter.In)
	}
	if echoed {
		t.masterAsync.Notify(waiter.In)
	}
	return n, err
}

// AsyncQueue implements vfs.AsyncOps.
func (m *Master) AsyncQueue() *waiter.Queue { return &m.t.masterAsync }

// Readiness implements waiter.Waitable.
func (m *Master) Readiness(wanted waiter.EventMask) waiter.EventMask {
	t := m.t
	t.mu.Lock()
	defer t.mu.Unlock()
	var ready waiter.EventMask
	if len(t.out) > 0 {
		ready |= readable
	}
	if t.packet && t.status != 0 {
		ready |= readable | waiter.Pri
	}
	if t.typingRoomLocked() > 0 {
		ready |= writable
	}
	if t.aloneLocked() {
		ready |= waiter.HUp
	}
	return ready & (wanted | waiter.HUp)
}

// Register implements waiter.Waitable.
func (m *Master) Register(e *waiter.Entry) { m.t.masterWait.Register(e) }

// Unregister implements waiter.Waitable.
func (m *Master) Unregister(e *waiter.Entry) { m.t.masterWait.Unregister(e) }

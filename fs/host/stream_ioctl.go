package host

import (
	"encoding/binary"
	"time"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// ioctlRule says how one ioctl of an inherited descriptor is passed on.
type ioctlRule struct {
	cmd    uint32
	in     int  // bytes the host reads through the argument
	out    int  // bytes the host writes through it
	value  bool // the argument is a number
	waits  bool // may wait for output to drain
	anyone bool // for pipes and sockets too
}

const (
	termiosSize  = 36 // struct termios of the kernel
	termios2Size = 44
	termioSize   = 18 // of System V
	winsizeSize  = 8

	// tcgeta is TCGETA; TCSETA, TCSETAW and TCSETAF follow it.
	tcgeta = 0x5405

	// drainGrace bounds the wait for output to drain.
	drainGrace = 2 * time.Second
)

// ioctlRules are all that guests may do to the host's terminal: look, change
// its modes and size, flush it. Nothing that concerns sessions, process
// groups or what others type.
var ioctlRules = [...]ioctlRule{
	{cmd: unix.TCGETS, out: termiosSize},
	{cmd: unix.TCSETS, in: termiosSize},
	{cmd: unix.TCSETSW, in: termiosSize, waits: true},
	{cmd: unix.TCSETSF, in: termiosSize, waits: true},
	{cmd: unix.TCGETS2, out: termios2Size},
	{cmd: unix.TCSETS2, in: termios2Size},
	{cmd: unix.TCSETSW2, in: termios2Size, waits: true},
	{cmd: unix.TCSETSF2, in: termios2Size, waits: true},
	{cmd: tcgeta, out: termioSize},
	{cmd: tcgeta + 1, in: termioSize},
	{cmd: tcgeta + 2, in: termioSize, waits: true},
	{cmd: tcgeta + 3, in: termioSize, waits: true},
	{cmd: unix.TIOCGWINSZ, out: winsizeSize},
	{cmd: unix.TIOCSWINSZ, in: winsizeSize},
	{cmd: unix.TIOCINQ, out: 4, anyone: true},
	{cmd: unix.TIOCOUTQ, out: 4},
	{cmd: unix.TCFLSH, value: true},
	{cmd: unix.TCXONC, value: true},
	{cmd: unix.TCSBRK, value: true, waits: true},
}

// Ioctl implements vfs.IoctlOps.
func (st *stream) Ioctl(_ vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	for i := range ioctlRules {
		if r := &ioctlRules[i]; r.cmd == cmd && (st.tty || r.anyone) {
			return 0, st.ioctl(r, arg, mem)
		}
	}
	return 0, unix.ENOTTY
}

func (st *stream) ioctl(r *ioctlRule, arg uint64, mem *mm.MemoryManager) error {
	if r.value {
		return st.maybeWait(r, func() error { return ioctlValue(st.fd, r.cmd, uint32(arg)) })
	}
	buf := make([]byte, r.in+r.out)
	if r.in > 0 {
		if _, err := mem.CopyIn(mm.Addr(arg), buf); err != nil {
			return err
		}
	}
	if err := st.maybeWait(r, func() error { return ioctlBytes(st.fd, r.cmd, buf) }); err != nil {
		return err
	}
	if r.out == 0 {
		return nil
	}
	if r.cmd == unix.TIOCINQ {
		st.mu.Lock()
		kept := len(st.got)
		st.mu.Unlock()
		binary.LittleEndian.PutUint32(buf, binary.LittleEndian.Uint32(buf)+uint32(kept))
	}
	_, err := mem.CopyOut(mm.Addr(arg), buf)
	return err
}

// maybeWait runs fn, aside where it may wait. EINTR when it waits for too long.
func (st *stream) maybeWait(r *ioctlRule, fn func() error) error {
	if !r.waits {
		return fn()
	}
	st.mu.Lock()
	if st.writing || st.closed {
		st.mu.Unlock()
		return unix.EINTR
	}
	st.writing = true
	st.mu.Unlock()
	var err error
	done := make(chan struct{})
	go func() {
		err = fn()
		st.mu.Lock()
		st.finish(&st.writing)
		st.mu.Unlock()
		close(done)
	}()
	if !within(done, drainGrace) {
		return unix.EINTR
	}
	return err
}

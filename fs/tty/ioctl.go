package tty

import (
	"encoding/binary"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// Requests without a name in package unix.
const (
	tiocgptlck = 0x80045439
	tiocgpkt   = 0x80045438
	tiocsig    = 0x40045436
	tiocgexcl  = 0x80045440
	tcgeta     = 0x5405 // those of struct termio
	tcseta     = 0x5406
	tcsetaw    = 0x5407
	tcsetaf    = 0x5408
)

// winsizeSize is the size of struct winsize in bytes.
const winsizeSize = 8

// call is one ioctl(2).
type call struct {
	t   *Terminal
	who vfs.Caller
	cmd uint32
	arg uint64
	mem *mm.MemoryManager
}

func (c *call) load(n int) ([]byte, error) {
	b := make([]byte, n)
	_, err := c.mem.CopyIn(mm.Addr(c.arg), b)
	return b, err
}

func (c *call) store(b []byte) error {
	_, err := c.mem.CopyOut(mm.Addr(c.arg), b)
	return err
}

func (c *call) storeInt(v int) error {
	return c.store(binary.LittleEndian.AppendUint32(nil, uint32(v)))
}

// Ioctl implements vfs.IoctlOps: EIO once hung up.
func (s *Slave) Ioctl(who vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	s.t.mu.Lock()
	dead, have := s.deadLocked(), s.t.unreadLocked()
	s.t.mu.Unlock()
	c := &call{s.t, who, cmd, arg, mem}
	switch {
	case dead:
		return 0, unix.EIO
	case cmd == unix.TIOCINQ:
		return 0, c.storeInt(have)
	}
	return 0, c.common()
}

// unreadLocked is how much a read would give: of lines in canonical mode.
func (t *Terminal) unreadLocked() int {
	if !t.termios.local(unix.ICANON) {
		return len(t.in)
	}
	n := 0
	for _, x := range t.in[:t.canon] {
		if !x.eof {
			n++
		}
	}
	return n
}

// Ioctl implements vfs.IoctlOps: what concerns the master alone.
func (m *Master) Ioctl(who vfs.Caller, cmd uint32, arg uint64, mem *mm.MemoryManager) (uint64, error) {
	t := m.t
	c := &call{t, who, cmd, arg, mem}
	t.mu.Lock()
	locked, packet, have := t.locked, t.packet, len(t.out)
	t.mu.Unlock()
	switch cmd {
	case unix.TIOCGPTN:
		return 0, c.storeInt(t.number)
	case unix.TIOCSPTLCK, unix.TIOCPKT:
		return 0, c.setSwitch()
	case tiocgptlck:
		return 0, c.storeInt(intOf(locked))
	case tiocgpkt:
		return 0, c.storeInt(intOf(packet))
	case unix.TIOCINQ:
		return 0, c.storeInt(have)
	case tiocsig:
		sig := int(int32(arg))
		if sig < 1 || sig > 64 {
			return 0, unix.EINVAL
		}
		t.job.Signal(unix.Signal(sig))
		return 0, nil
	}
	return 0, c.common()
}

func intOf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// setSwitch sets the lock or packet mode.
func (c *call) setSwitch() error {
	b, err := c.load(4)
	if err != nil {
		return err
	}
	on := binary.LittleEndian.Uint32(b) != 0
	t := c.t
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case c.cmd == unix.TIOCSPTLCK:
		t.locked = on
	case on != t.packet:
		t.packet, t.status = on, 0
	}
	return nil
}

// common are the requests for either end, which are about the slave's modes.
func (c *call) common() error {
	t := c.t
	switch c.cmd {
	case unix.TCGETS, unix.TCGETS2:
		t.mu.Lock()
		b := t.termios.encode()
		t.mu.Unlock()
		if c.cmd == unix.TCGETS {
			b = b[:termiosSize]
		}
		return c.store(b)
	case tcgeta:
		t.mu.Lock()
		b := t.termios.encodeOld()
		t.mu.Unlock()
		return c.store(b)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2, tcseta, tcsetaw, tcsetaf:
		return c.setModes()
	case unix.TIOCGWINSZ:
		return c.store(t.windowSize())
	case unix.TIOCSWINSZ:
		return c.setSize()
	case unix.TCFLSH, unix.TCXONC:
		return c.control()
	case unix.TIOCEXCL, unix.TIOCNXCL:
		t.mu.Lock()
		t.only = c.cmd == unix.TIOCEXCL
		t.mu.Unlock()
		return nil
	case tiocgexcl:
		t.mu.Lock()
		only := t.only
		t.mu.Unlock()
		return c.storeInt(intOf(only))
	case unix.TIOCOUTQ, unix.TIOCGETD:
		return c.storeInt(0)
	case unix.TCSBRK, unix.TCSBRKP, unix.TIOCSBRK, unix.TIOCCBRK:
		return nil // output is never on its way, and there is no line to break
	case unix.TIOCSTI:
		return unix.EIO
	}
	return unix.ENOTTY
}

func (c *call) setModes() error {
	size := termiosSize
	switch c.cmd {
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		size = termios2Size
	case tcseta, tcsetaw, tcsetaf:
		size = termioSize
	}
	b, err := c.load(size)
	if err != nil {
		return err
	}
	t := c.t
	t.mu.Lock()
	if c.cmd == unix.TCSETSF || c.cmd == unix.TCSETSF2 || c.cmd == tcsetaf {
		t.flushLocked(true, false)
	}
	m := t.termios
	m.decode(b)
	t.setModesLocked(m)
	t.unlock(readable|waiter.Pri|writable, readable|writable)
	return nil
}

func (t *Terminal) windowSize() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := make([]byte, 0, winsizeSize)
	for _, v := range t.size {
		b = binary.LittleEndian.AppendUint16(b, v)
	}
	return b
}

// setSize is TIOCSWINSZ.
func (c *call) setSize() error {
	b, err := c.load(winsizeSize)
	if err != nil {
		return err
	}
	var size Size
	for i := range size {
		size[i] = binary.LittleEndian.Uint16(b[2*i:])
	}
	c.t.Resize(size)
	return nil
}

// control is TCFLSH and TCXONC.
func (c *call) control() error {
	t := c.t
	t.mu.Lock()
	err := error(nil)
	switch {
	case c.arg > unix.TCIOFLUSH && c.cmd == unix.TCFLSH, c.arg > unix.TCION:
		err = unix.EINVAL
	case c.cmd == unix.TCFLSH:
		t.flushLocked(c.arg != unix.TCOFLUSH, c.arg != unix.TCIFLUSH)
	case c.arg == unix.TCOOFF:
		t.stopLocked()
	case c.arg == unix.TCOON:
		t.startLocked()
	case c.arg == unix.TCIOFF && t.termios.Chars[unix.VSTOP] != disabled:
		t.out = append(t.out, t.termios.Chars[unix.VSTOP])
	case c.arg == unix.TCION && t.termios.Chars[unix.VSTART] != disabled:
		t.out = append(t.out, t.termios.Chars[unix.VSTART])
	}
	t.unlock(readable|writable|waiter.Pri, writable)
	return err
}

package sandbox

import (
	"os"
	"sync"
	"syscall"
	"time"

	"gosentry/fs/tty"
	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// console joins a terminal of the kernel inside, whose slave a program has, to one of the host, whose master an
// engine has. Lines, echo and job control are those of the terminal inside; the host's carries bytes alone.
type console struct {
	host   *os.File // its slave, raw
	raw    syscall.RawConn
	master *tty.Master

	over    chan struct{} // closed when the program has ended
	gone    chan struct{} // closed when the terminal inside is hung up
	drained chan struct{} // closed when no more output goes out
	closing sync.Once

	mu   sync.Mutex
	size tty.Size // of the host's terminal when it was last looked at; guarded by mu
}

// lookAtSize is how often the host's terminal is asked for its size: it tells only the session that it controls of
// another one, and a process can have one such terminal only.
const lookAtSize = 200 * time.Millisecond

// newConsole takes a slave of the host over, which does not wait (O_NONBLOCK), and makes a terminal inside for a program of c.
func newConsole(fd int, terminals *tty.FileSystem, c *cred.Credentials) (*console, error) {
	if err := makeRaw(fd); err != nil {
		unix.Close(fd)
		return nil, &Failure{What: "process.terminal: the descriptor is no terminal", Cause: err}
	}
	t := &console{
		host: os.NewFile(uintptr(fd), "console"),
		over: make(chan struct{}), gone: make(chan struct{}), drained: make(chan struct{}),
	}
	var err error
	if t.raw, err = t.host.SyscallConn(); err == nil {
		t.master, err = terminals.OpenPair(builder{cred.New(0, 0, nil, nil)}, c.RUID, c.RGID)
	}
	if err != nil {
		t.host.Close()
		return nil, &Failure{What: "process.terminal: cannot make a terminal", Cause: err}
	}
	return t, nil
}

// makeRaw leaves what is typed to the terminal inside, from now on.
func makeRaw(fd int) error {
	modes, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return err
	}
	modes.Iflag, modes.Lflag = 0, 0
	modes.Oflag &^= unix.OPOST
	modes.Cc[unix.VMIN], modes.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(fd, unix.TCSETS, modes)
}

// files opens the slave, by its name below root, for a program's standard streams.
func (t *console) files(root vfs.Path) ([]*vfs.File, error) {
	who, name := builder{cred.New(0, 0, nil, nil)}, t.master.Terminal().Name()
	p, err := vfs.Walk(who, vfs.WalkArgs{Root: root, Start: root}, name)
	if err == nil && !t.master.Terminal().IsSlave(p.Inode()) {
		err = unix.ENODEV
	}
	var f *vfs.File
	if err == nil {
		f, err = vfs.OpenPath(who, p, unix.O_RDWR|unix.O_NOCTTY)
	}
	if err != nil {
		return nil, &Failure{What: "process.terminal: cannot open " + name + " inside", Cause: err, Way: "mount a devpts at /dev/pts"}
	}
	f.IncRef()
	f.IncRef()
	return []*vfs.File{f, f, f}, nil
}

// start begins to carry bytes. nil: there is no terminal.
func (t *console) start() {
	if t == nil {
		return
	}
	t.control(func(fd int) {
		// The one mode that engines set before the program starts.
		if modes, err := unix.IoctlGetTermios(fd, unix.TCGETS); err == nil {
			t.master.Terminal().SetNewlines(modes.Oflag&unix.ONLCR != 0)
		}
	})
	t.resize()
	go t.watchSize()
	go t.carryOut()
	go t.carryIn()
}

// control does something with the host's terminal unless it is closed.
func (t *console) control(do func(fd int)) {
	t.raw.Control(func(fd uintptr) { do(int(fd)) }) //nolint:errcheck // as said
}

// resize gives the terminal inside the size of the host's when that has changed: programs may have set another.
func (t *console) resize() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.control(func(fd int) {
		s, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ)
		if err != nil {
			return
		}
		if size := (tty.Size{s.Row, s.Col, s.Xpixel, s.Ypixel}); size != t.size {
			t.size = size
			t.master.Terminal().Resize(size)
		}
	})
}

func (t *console) watchSize() {
	tick := time.NewTicker(lookAtSize)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			t.resize()
		case <-t.gone:
			return
		}
	}
}

// carryOut carries what programs write, until the terminal is gone, or the program and what it wrote.
func (t *console) carryOut() {
	defer close(t.drained)
	e, ready := waiter.NewChannelEntry(waiter.In)
	t.master.Register(e)
	defer t.master.Unregister(e)
	buf, over := make([]byte, 16<<10), t.over
	for {
		n, _ := t.master.Read(nil, mm.BytesBuffer(buf), 0)
		if n > 0 {
			if _, err := t.host.Write(buf[:n]); err != nil {
				return
			}
			continue
		}
		if over == nil {
			return
		}
		select {
		case <-ready:
		case <-over:
			over = nil // one more look: what was written before it ended is there by now
		case <-t.gone:
			return
		}
	}
}

// carryIn carries what is typed. The end of the host's terminal is that of the one inside.
func (t *console) carryIn() {
	defer t.close()
	e, ready := waiter.NewChannelEntry(waiter.Out)
	t.master.Register(e)
	defer t.master.Unregister(e)
	buf := make([]byte, 1024)
	for {
		n, err := t.host.Read(buf)
		if err != nil || n == 0 {
			return
		}
		t.resize()
		for rest := buf[:n]; len(rest) > 0; {
			done, err := t.master.Write(nil, mm.BytesBuffer(rest), 0)
			rest = rest[done:]
			if err == nil {
				continue
			}
			select {
			case <-ready:
			case <-t.gone:
				return
			}
		}
	}
}

// finish waits, for limit at most, until what the program wrote has gone out, and closes both terminals. The program has
// ended. nil: there is none.
func (t *console) finish(limit time.Duration) {
	if t == nil {
		return
	}
	close(t.over)
	select {
	case <-t.drained:
	case <-time.After(limit):
	}
	t.close()
}

// close hangs up inside, and gives the host's terminal up.
func (t *console) close() {
	if t == nil {
		return
	}
	t.closing.Do(func() {
		close(t.gone)
		t.master.Release()
		t.host.Close()
	})
}

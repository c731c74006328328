package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"gosentry/sentry/control"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// console is a terminal of the host: its slave side goes to the sandbox, its master to whoever
// asked for it, or to this process's own terminal.
type console struct {
	master  *os.File
	slave   int           // a descriptor that does not wait, -1 once it was given away
	restore *unix.Termios // of this process's terminal, as it was
}

// openConsole opens a terminal for a process that wants one, nil for others.
func openConsole(p *specs.Process, socket string, foreground bool) (*console, error) {
	switch {
	case !p.Terminal && socket != "":
		return nil, errors.New("a console socket is of no use: process.terminal is not set")
	case !p.Terminal:
		return nil, nil
	case socket == "" && !foreground:
		return nil, errors.New("process.terminal is set: --console-socket must say who takes the terminal")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	fd := int(master.Fd())
	slave, err := openSlave(fd)
	if err != nil {
		master.Close()
		return nil, fmt.Errorf("cannot open a terminal: %w", err)
	}
	c := &console{master: master, slave: slave}
	if s := p.ConsoleSize; s != nil {
		size := unix.Winsize{Row: uint16(s.Height), Col: uint16(s.Width)}
		unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &size) //nolint:errcheck // a size is a wish
	}
	if socket == "" {
		c.resize()
	}
	return c, nil
}

// openSlave opens the other side of a terminal, wherever it has its name, such that nobody waits for it.
func openSlave(master int) (int, error) {
	if err := unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0); err != nil {
		return -1, err
	}
	// Without flags, which this way of calling cannot give, it is opened for reading.
	fd, err := unix.IoctlRetInt(master, tiocgptpeer)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fd)
	return unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
}

func (c *console) stdio() [3]int { return [3]int{c.slave, c.slave, c.slave} }

// handOver gives this process's slave up: the terminal ends when the sandbox has closed its own.
func (c *console) handOver() {
	if c.slave >= 0 {
		unix.Close(c.slave)
		c.slave = -1
	}
}

// send gives the master to whoever listens on a socket, and closes this process's terminals.
func (c *console) send(socket string) error {
	defer c.close()
	if err := control.SendFile(socket, c.master.Name(), int(c.master.Fd())); err != nil {
		return fmt.Errorf("cannot send the terminal over the console socket: %w", err)
	}
	return nil
}

func (c *console) close() {
	if c == nil {
		return
	}
	c.handOver()
	c.master.Close()
	if c.restore != nil {
		unix.IoctlSetTermios(0, unix.TCSETS, c.restore) //nolint:errcheck // nothing is left to do
	}
}

// attach connects this process's own terminal, or what stands in its place, to the console.
func (c *console) attach() {
	c.handOver()
	if t, err := unix.IoctlGetTermios(0, unix.TCGETS); err == nil {
		c.restore = t
		raw := *t
		raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
		raw.Oflag &^= unix.OPOST
		raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
		raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
		unix.IoctlSetTermios(0, unix.TCSETS, &raw) //nolint:errcheck // then it echoes twice
	}
	c.resize()
	go io.Copy(c.master, os.Stdin)
}

// resize gives the console the size of this process's terminal.
func (c *console) resize() {
	if size, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(c.master.Fd()), unix.TIOCSWINSZ, size) //nolint:errcheck // a size is a wish
	}
}

// relay stands between this process and a program that runs in a container: signals go in through
// kill, and the terminal's bytes both ways. What it returns ends that once the program has ended.
func relay(tty *console, kill func(unix.Signal)) (stop func()) {
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH, unix.SIGUSR1, unix.SIGUSR2, unix.SIGCONT)
	copied := make(chan struct{})
	local := tty != nil
	if local {
		tty.attach()
		go func() {
			io.Copy(os.Stdout, tty.master) // the end is EIO: nobody has the slave any more
			close(copied)
		}()
	}
	go func() {
		for s := range signals {
			if s == unix.SIGWINCH && local {
				tty.resize()
				continue
			}
			kill(s.(syscall.Signal))
		}
	}()
	return func() {
		signal.Stop(signals)
		close(signals)
		if local {
			select {
			case <-copied:
			case <-time.After(time.Second):
			}
		}
	}
}

// relay stands between this process and the container's program.
func (c *creation) relay() (stop func()) {
	return relay(c.console, func(sig unix.Signal) {
		c.ask(control.Request{Op: control.OpSignal, Signal: int32(sig)}) //nolint:errcheck // it may have ended
	})
}

// waitFor waits for a program, at most timeout seconds if there is a limit.
func waitFor(p *control.Program, timeout *int) (int, error) {
	if timeout == nil {
		return p.Wait()
	}
	type end struct {
		status int
		err    error
	}
	done := make(chan end, 1)
	go func() {
		status, err := p.Wait()
		done <- end{status, err}
	}()
	select {
	case e := <-done:
		return e.status, e.err
	case <-time.After(time.Duration(*timeout) * time.Second):
		return 0, fmt.Errorf("it took longer than %d s", *timeout)
	}
}

func closeFD(fd int) { unix.Close(fd) }

// tiocgptpeer opens a terminal's other side (ioctl_tty(2)).
const tiocgptpeer = 0x5441

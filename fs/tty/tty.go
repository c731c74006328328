// Package tty has pseudo-terminals and the file system that shows them, devpts.
//
// A Terminal is a pair: what is written to the master goes through the input half of the line discipline into the
// slave's input queue, with echo; what the slave writes goes through the output half into
// the master's queue. The discipline is that of termios(3): lines with editing, signals for characters, stop
// and start, or raw bytes with MIN and TIME.
//
// Job control is the kernel's: a Terminal has a Job, which it tells of signals for the foreground process group and
// of the hang-up, and whose other side keeps session and foreground group. Checks of who may read or
// change a terminal are made by callers of files, before.
//
// Nothing blocks. Queues are bounded: input beyond a full queue is dropped where a line is edited, and waits
// with the writer else; echo beyond a full queue is dropped.
//
// # Locks
//
// Terminal.mu guards a pair. FileSystem.mu comes after it; the queue of waiters is innermost.
// A Job is told with no lock held.
//
// # Invariants
//
//   - In canonical mode every cell before canon belongs to a whole line, none behind it does.
//   - A slave that was hung up never reads or writes again: its file ends, and a new open is a new one.
//   - A pair lives while either end is open; its number is given back with the master.
package tty

import (
	"strconv"
	"sync"
	"time"

	"gosentry/fs/vfs"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	inputSize  = 4096     // of the slave's queue, in cells
	outputSize = 16 << 10 // of the master's queue, in bytes
	echoSize   = 4096     // of echo that waits for the output to start again
	tick       = time.Second / 10
)

// Job is a terminal as job control sees it.
type Job interface {
	// Signal sends sig to the foreground process group.
	Signal(sig unix.Signal)
	// HungUp says that the terminal is gone for its session.
	HungUp()
}

// cell is one character of input. The last one of a line is an end; one that is EOF is not read.
type cell struct {
	c        byte
	end, eof bool
}

// Terminal is a pseudo-terminal.
type Terminal struct {
	fs     *FileSystem
	number int
	job    Job
	node   *slaveNode

	masterWait, slaveWait waiter.Queue
	// Who is told by signal of what comes in.
	masterAsync, slaveAsync waiter.Queue

	// Guarded by mu.
	mu      sync.Mutex
	termios Termios
	size    Size
	locked  bool // TIOCSPTLCK
	packet  bool // TIOCPKT
	status  byte // for packet mode, TIOCPKT_*
	only    bool // TIOCEXCL
	gone    bool // the master has closed
	slaves  int  // open files of the slave
	opened  bool // a slave was open once
	epoch   int  // grows with each hang-up

	in      []cell
	canon   int  // cells of in that belong to whole lines
	literal bool // the next character is taken as it is
	out     []byte
	held    []byte // echo kept while stopped
	stopped bool
	column  int // of the output
	from    int // column at which the line that is edited begins
	signals []unix.Signal
}

// Number is the N of /dev/pts/N.
func (t *Terminal) Number() int { return t.number }

// Name is where the slave is to be found.
func (t *Terminal) Name() string { return "/dev/pts/" + strconv.Itoa(t.number) }

// Job returns the terminal as job control sees it.
func (t *Terminal) Job() Job { return t.job }

// unlock ends a critical section: signals that are due go out, and who waits is told.
func (t *Terminal) unlock(master, slave waiter.EventMask) {
	due := t.signals
	t.signals = nil
	t.mu.Unlock()
	for _, sig := range due {
		t.job.Signal(sig)
	}
	if master != 0 {
		t.masterWait.Notify(master)
	}
	if slave != 0 {
		t.slaveWait.Notify(slave)
	}
}

const (
	readable = waiter.In | waiter.RdNorm
	writable = waiter.Out | waiter.WrNorm
	ended    = readable | writable | waiter.Err | waiter.HUp
)

// HangUp ends every open file of the slave: reads find the end, writes fail.
func (t *Terminal) HangUp() {
	t.mu.Lock()
	t.epoch++
	t.slaves, t.only = 0, false
	t.in, t.canon, t.literal = nil, 0, false
	t.stopped, t.held = false, nil
	t.mu.Unlock()
	t.slaveWait.Notify(ended)
	t.masterWait.Notify(ended)
}

// closeMaster ends the pair.
func (t *Terminal) closeMaster() {
	t.mu.Lock()
	t.gone = true
	t.out = nil
	t.mu.Unlock()
	t.fs.forget(t)
	t.job.HungUp()
	t.HangUp()
}

// Open makes an open file of the slave: EIO while it is locked or when the master is gone, EBUSY when
// another wants it alone.
func (t *Terminal) Open(c vfs.Caller, flags int) (vfs.FileOps, error) {
	t.mu.Lock()
	switch {
	case t.gone || t.locked:
		t.mu.Unlock()
		return nil, unix.EIO
	case t.only && !c.Creds().Has(unix.CAP_SYS_ADMIN):
		t.mu.Unlock()
		return nil, unix.EBUSY
	}
	t.slaves++
	t.opened = true
	s := &Slave{t: t, epoch: t.epoch, nonblock: flags&unix.O_NONBLOCK != 0}
	t.unlock(writable, 0)
	return s, nil
}

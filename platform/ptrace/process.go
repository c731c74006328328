package ptrace

import (
	"slices"
	"sync"

	"gosentry/platform/internal/blank"
	"gosentry/platform/internal/pairs"

	"golang.org/x/sys/unix"
)

// process is a blank process with its tracees.
type process struct {
	*blank.Process
	leaderCPU int // where the leader is pinned; guarded by the address space's lock

	mu     sync.Mutex
	parked []int     // threads that nobody traces yet
	idle   []*tracee // not held by a context
	held   int       // tracees that are
	doomed bool      // to be killed when held is 0
	killed bool
}

// tracee is a traced thread of a blank process. It belongs to the context that
// holds it, or is idle.
type tracee struct {
	pairs.Guest
	proc  *process
	owner *tracer // the OS thread that traces it
	last  uint64  // id of the context whose extended state it holds, if that has it as home
}

// seat returns a tracee of p for the calling OS thread tr.
func (p *process) seat(tr *tracer) (*tracee, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.killed {
		return nil, blank.ErrDead
	}
	for i := len(p.idle) - 1; i >= 0; i-- {
		if t := p.idle[i]; t.owner == tr {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.held++
			return t, nil
		}
	}
	t, err := p.attach(tr)
	if err == nil {
		p.held++
	}
	return t, err
}

// knows tells whether tr has an idle tracee of p.
func (p *process) knows(tr *tracer) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.idle, func(t *tracee) bool { return t.owner == tr })
}

// crowded tells whether p has many tracees: each is a host thread, and most serve OS threads that will not come back.
func (p *process) crowded() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.idle)+p.held > maxTracees
}

// attach traces one more thread of p. p.mu is held.
func (p *process) attach(tr *tracer) (*tracee, error) {
	var tid int
	if n := len(p.parked); n > 0 {
		tid = p.parked[n-1]
		p.parked = p.parked[:n-1]
	} else {
		var err error
		if tid, err = p.SpawnThread(); err != nil {
			return nil, err
		}
	}
	if errno := seize(tid); errno != 0 {
		return nil, errno
	}
	for {
		ws, err := wait(tid)
		if err != nil {
			return nil, err
		}
		if !ws.Stopped() {
			return nil, blank.ErrDead
		}
		if ws>>16 == unix.PTRACE_EVENT_STOP {
			return &tracee{Guest: pairs.NewGuest(tid, p.leaderCPU), proc: p, owner: tr}, nil
		}
		if errno := ptrace(unix.PTRACE_CONT, tid, 0, nil); errno != 0 {
			return nil, errno
		}
	}
}

// leave takes a tracee back from a context.
func (p *process) leave(t *tracee) {
	p.mu.Lock()
	p.held--
	p.idle = append(p.idle, t)
	kill := p.doomed && p.held == 0 && !p.killed
	p.killed = p.killed || kill
	p.mu.Unlock()
	if kill {
		go p.Kill()
	}
}

// lose says that a held tracee has ended and been reaped.
func (p *process) lose(t *tracee) {
	p.Forget(t.TID)
	p.mu.Lock()
	p.held--
	p.mu.Unlock()
}

// doom kills p as soon as no context holds a tracee of it.
func (p *process) doom() {
	p.mu.Lock()
	p.doomed = true
	kill := p.held == 0 && !p.killed
	p.killed = p.killed || kill
	p.mu.Unlock()
	if kill {
		p.Kill()
	}
}

// wait waits for tid to stop or end. The Go scheduler knows of it.
func wait(tid int) (unix.WaitStatus, error) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(tid, &ws, unix.WALL, nil)
		if err != unix.EINTR {
			return ws, err
		}
	}
}

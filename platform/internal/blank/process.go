package blank

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrDead says that a blank process is there no more.
var ErrDead = errors.New("the blank process is dead")

// Call is a system call for a leader to make, and how it ended. A number that
// is not an error is lost.
type Call struct {
	Nr    uint64
	Args  [6]uint64
	Errno unix.Errno
}

// MapCall returns the call that maps length bytes of descriptor fd at addr, shared.
func MapCall(addr, length uint64, prot uint8, fd int32, offset uint64) Call {
	return Call{Nr: unix.SYS_MMAP, Args: [6]uint64{
		addr, length, uint64(prot), unix.MAP_SHARED | unix.MAP_FIXED, uint64(fd), offset}}
}

// UnmapCall returns the call that unmaps a range.
func UnmapCall(addr, length uint64) Call {
	return Call{Nr: unix.SYS_MUNMAP, Args: [6]uint64{addr, length}}
}

// ProtectCall returns the call that changes the rights of a range.
func ProtectCall(addr, length uint64, prot uint8) Call {
	return Call{Nr: unix.SYS_MPROTECT, Args: [6]uint64{addr, length, uint64(prot)}}
}

// Process is a blank process.
type Process struct {
	factory *Factory
	index   int
	pid     int

	mu      sync.Mutex // the leader works for its holder
	page    *orders
	dead    bool
	given   []Call // that the leader works on
	threads []int  // made by SpawnThread and not forgotten
}

// PID is the process id, which is also the leader's thread id.
func (p *Process) PID() int { return p.pid }

// Do has the leader make the calls one after another, errors or not, and waits.
// ErrDead when the process died.
func (p *Process) Do(calls []Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(calls) > 0 {
		n := min(len(calls), maxCalls)
		if err := p.give(calls[:n]); err != nil {
			return err
		}
		if err := p.collect(); err != nil {
			return err
		}
		calls = calls[n:]
	}
	return nil
}

// Start is Do without waiting: until Await, calls belong to p. E2BIG when there are too many for that.
func (p *Process) Start(calls []Call) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(calls) > maxCalls {
		return unix.E2BIG
	}
	return p.give(calls)
}

// Await waits until what was started is done.
func (p *Process) Await() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.collect()
}

// give hands the leader one page full of calls, once it has done those before. p.mu is held.
func (p *Process) give(calls []Call) error {
	if err := p.collect(); err != nil {
		return err
	}
	o := p.page
	for i, c := range calls {
		o.calls[i] = rawCall{nr: c.Nr, args: c.Args}
		atomic.StoreUint32(&o.errnos[i], 0)
	}
	o.count = uint32(len(calls))
	atomic.StoreUint32(&o.ack, 0)
	atomic.AddUint32(&o.command, 1)
	Wake(&o.command)
	p.given = calls
	return nil
}

// collect waits for the calls that were given, if any were. p.mu is held.
func (p *Process) collect() error {
	if p.dead {
		return ErrDead
	}
	if p.given == nil {
		return nil
	}
	o := p.page
	for patience := 20 * time.Millisecond; atomic.LoadUint32(&o.ack) == 0; {
		if Wait(&o.ack, 0, patience) == unix.ETIMEDOUT {
			if p.gone() {
				p.dead = true
				return ErrDead
			}
			patience = min(2*patience, time.Second)
		}
	}
	for i := range p.given {
		p.given[i].Errno = unix.Errno(atomic.LoadUint32(&o.errnos[i]))
	}
	p.given = nil
	return nil
}

// gone looks whether the process has ended. A leader is not reported dead
// before the traced threads of its process are reaped, but they die with it. p.mu is held.
func (p *Process) gone() bool {
	for _, tid := range p.threads {
		if end, _ := Exited(tid); end {
			return true
		}
	}
	end, errno := Exited(p.pid)
	return end || errno == unix.ECHILD
}

// Dead tells whether the process, or a thread of it, has ended.
func (p *Process) Dead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.gone()
}

// SpawnThread makes a thread that sleeps until a tracer attaches, and returns its id.
func (p *Process) SpawnThread() (int, error) {
	f := p.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	tid, err := f.clone(p, threadFlags, 0)
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	p.threads = append(p.threads, tid)
	p.mu.Unlock()
	return tid, nil
}

// SpawnGuest makes the calls before and then a process of one thread that shares the memory of p and belongs to the caller, and returns its id.
// It starts at Config.Entry with arg, not less than GuestArg, in R9. Neither Kill nor Reset ends it.
func (p *Process) SpawnGuest(arg uint64, before ...Call) (int, error) {
	f := p.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.clone(p, guestFlags, arg, before...)
}

// Forget says that the caller has reaped thread tid.
func (p *Process) Forget(tid int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.threads, tid); i >= 0 {
		p.threads = slices.Delete(p.threads, i, i+1)
	}
}

// Pin lets the leader run on the processors of mask only.
func (p *Process) Pin(mask *unix.CPUSet) error { return setAffinity(p.pid, mask) }

// Reset unmaps everything a guest could have mapped.
func (p *Process) Reset() error {
	calls := [1]Call{UnmapCall(0, p.factory.high)}
	if err := p.Do(calls[:]); err != nil {
		return err
	}
	if calls[0].Errno != 0 {
		return calls[0].Errno
	}
	return nil
}

// SetActions has signals enter the platform's code as they did at first: where the host has no room for a signal's frame it
// gives SIGSEGV its default action, for all processes of SpawnGuest beside that one. None of those may run meanwhile that could have it do so.
func (p *Process) SetActions() error {
	calls := slices.Clone(p.factory.actions)
	if err := p.Do(calls); err != nil {
		return err
	}
	if errno := failure(calls); errno != 0 {
		return errno
	}
	return nil
}

// Kill ends the process, waits until nothing of it is left and gives its page
// back. No thread of the caller may be waiting for one of its threads.
func (p *Process) Kill() {
	p.mu.Lock()
	p.dead = true
	p.end()
	p.mu.Unlock()
	f := p.factory
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, live := f.live[p]; live {
		delete(f.live, p)
		f.free = append(f.free, p.index)
	}
}

func (p *Process) end() {
	unix.Kill(p.pid, unix.SIGKILL)
	for _, tid := range p.threads {
		Reap(tid)
	}
	Reap(p.pid)
}

// Stop stops the process id, which may take until Stopped returns.
func Stop(id int) { unix.Kill(id, unix.SIGSTOP) }

// Stopped waits until the process id, of which Stop was called, runs nothing any more, be it that it has ended. That is not reaped.
func Stopped(id int) {
	for awaitStop(id) == unix.EINTR {
	}
}

// Continue undoes Stop.
func Continue(id int) { unix.Kill(id, unix.SIGCONT) }

// Reap waits until the process or traced thread id has ended, and forgets it.
func Reap(id int) {
	for {
		var ws unix.WaitStatus
		_, err := unix.Wait4(id, &ws, unix.WALL, nil)
		if err != nil && err != unix.EINTR || err == nil && !ws.Stopped() {
			return
		}
	}
}

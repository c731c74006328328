package blank

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// Config says what a platform wants of its blank processes. The zero value but for Limit is for one that traces them.
type Config struct {
	Limit int    // processes at a time
	High  uint64 // end of what a guest may map, 0 for High

	// Code is mapped at CodeAt. Processes made by SpawnGuest start in it at Entry, and Signals enter it
	// at Handler on the process's alternative stack. Their system calls that the filter does not know raise SIGSYS.
	Code    []byte
	CodeAt  uint64
	Entry   uint64
	Handler uint64
	Signals []unix.Signal
}

// Factory makes blank processes.
type Factory struct {
	high    uint64 // end of the guest's part
	entry   uint64 // where guest processes start
	actions []Call // have signals enter the platform's code
	fd      int    // file of orders, a page a process; page 0 is the template's
	mapping []byte // all of fd
	parent  uint64

	mu       sync.Mutex // the template works for its holder; also guards the file position of fd
	template *Process
	free     []int // pages of orders not in use
	live     map[*Process]struct{}
	released bool
}

// NewFactory forks the template, and has the host send no SIGCHLD for stops. The calling thread must live as long as the
// Factory. Errors are unix.Errno or say which step failed.
func NewFactory(cfg Config) (*Factory, error) {
	f := &Factory{high: cfg.High, entry: cfg.Entry, parent: uint64(os.Getpid()), live: make(map[*Process]struct{})}
	if f.high == 0 {
		f.high = High
	}
	limit := cfg.Limit
	if err := noChildStops(); err != nil {
		return nil, fmt.Errorf("sigaction: %w", err)
	}
	extra, err := cfg.codeFile()
	if err != nil {
		return nil, err
	}
	defer unix.Close(extra)
	calls, data, err := cfg.initCalls(extra)
	if err != nil {
		return nil, err
	}
	f.actions = slices.DeleteFunc(slices.Clone(calls), func(c Call) bool { return c.Nr != unix.SYS_RT_SIGACTION })
	code, err := stubFile(data)
	if err != nil {
		return nil, err
	}
	defer unix.Close(code)
	if f.fd, err = unix.MemfdCreate("sentry-orders", unix.MFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	size := (limit + 1) * pageSize
	if err = unix.Ftruncate(f.fd, int64(size)); err == nil {
		f.mapping, err = unix.Mmap(f.fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	}
	if err != nil {
		unix.Close(f.fd)
		return nil, fmt.Errorf("memory for orders: %w", err)
	}
	for i := limit; i > 0; i-- {
		f.free = append(f.free, i)
	}
	f.template = f.process(0)
	if err = f.start(code, calls); err != nil {
		f.Release()
		return nil, err
	}
	return f, nil
}

// stubFile returns a memory file with the stub, its table, and data.
func stubFile(data []byte) (int, error) {
	page := make([]byte, pageSize)
	stub := stubCode()
	if stub == nil || len(data) > errnoOffset-initOffset {
		return -1, unix.E2BIG
	}
	copy(page, stub)
	copy(page[initOffset:], data)
	for i := range uint32(maxErrno + 1) {
		binary.LittleEndian.PutUint32(page[errnoOffset+4*i:], i)
	}
	return sealedFile("sentry-stub", page)
}

// codeFile returns a memory file with the platform's code, -1 if it has none.
func (cfg *Config) codeFile() (int, error) {
	if len(cfg.Code) == 0 {
		return -1, nil
	}
	return sealedFile("sentry-handler", cfg.Code)
}

// sealedFile returns a memory file that nobody can change.
func sealedFile(name string, content []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, fmt.Errorf("memfd_create: %w", err)
	}
	if _, err = unix.Write(fd, content); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS,
			unix.F_SEAL_WRITE|unix.F_SEAL_GROW|unix.F_SEAL_SHRINK|unix.F_SEAL_SEAL)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("memory for code: %w", err)
	}
	return fd, nil
}

// start forks the template and has it carry out calls.
func (f *Factory) start(code int, calls []Call) error {
	a := forkArgs{code: uint32(code), orders: uint32(f.fd), all: ^uint64(0), pid: -int64(unix.EAGAIN)}
	forkTemplate(&a)
	if a.middle < 0 {
		return fmt.Errorf("fork: %w", unix.Errno(-a.middle))
	}
	Reap(int(a.middle))
	if a.pid < 0 {
		return fmt.Errorf("fork: %w", unix.Errno(-a.pid))
	}
	f.template.pid = int(a.pid)
	if err := f.template.Do(calls); err != nil {
		return fmt.Errorf("blank process: %w", err)
	}
	for _, c := range calls {
		if c.Errno != 0 {
			return fmt.Errorf("blank process: system call %d: %w", c.Nr, c.Errno)
		}
	}
	return nil
}

// process returns a Process, not yet there, with page i.
func (f *Factory) process(i int) *Process {
	p := &Process{factory: f, index: i, page: ordersAt(f.mapping, i)}
	*p.page = orders{fd: uint32(f.fd), offset: uint64(i) * pageSize, parent: f.parent}
	return p
}

// New makes a process. EAGAIN when the limit is reached or the host refuses, ErrDead
// after Release.
func (f *Factory) New() (*Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released {
		return nil, ErrDead
	}
	if len(f.free) == 0 {
		return nil, unix.EAGAIN
	}
	i := f.free[len(f.free)-1]
	p := f.process(i)
	pid, err := f.clone(f.template, processFlags, uint64(i)*pageSize)
	if err != nil {
		return nil, err
	}
	f.free = f.free[:len(f.free)-1]
	p.pid = pid
	f.live[p] = struct{}{}
	return p, nil
}

// clone has p make the calls before and then a process or a thread, and returns its id. f.mu is held.
func (f *Factory) clone(p *Process, flags, page uint64, before ...Call) (int, error) {
	calls := append(before, Call{Nr: unix.SYS_CLONE, Args: [6]uint64{flags, 0, 0, 0, f.entry, page}})
	if err := p.Do(calls); err != nil {
		return 0, err
	}
	if errno := calls[len(before)].Errno; errno != 0 {
		return 0, errno
	}
	id, err := unix.Seek(f.fd, 0, unix.SEEK_CUR)
	if err != nil {
		return 0, err
	}
	for _, c := range calls {
		if c.Errno != 0 {
			unix.Kill(int(id), unix.SIGKILL)
			Reap(int(id))
			return 0, c.Errno
		}
	}
	return int(id), nil
}

// Release ends the template and all processes. Those that were not killed before
// are left to Kill to reap.
func (f *Factory) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.released {
		return
	}
	f.released = true
	for p := range f.live {
		unix.Kill(p.pid, unix.SIGKILL)
	}
	for p := range f.live {
		p.mu.Lock()
		p.dead = true
		p.mu.Unlock()
	}
	if f.template.pid > 0 {
		f.template.end()
	}
	unix.Munmap(f.mapping)
	unix.Close(f.fd)
}

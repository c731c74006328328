package signal

import (
	"sync"

	"golang.org/x/sys/unix"
)

// Values of Action.Handler that are no address.
const (
	HandlerDefault uint64 = 0 // SIG_DFL
	HandlerIgnore  uint64 = 1 // SIG_IGN
)

// Flags of an Action, with Linux's values.
const (
	FlagNoCldStop     uint64 = 0x1        // SA_NOCLDSTOP
	FlagNoCldWait     uint64 = 0x2        // SA_NOCLDWAIT
	FlagSigInfo       uint64 = 0x4        // SA_SIGINFO
	FlagUnsupported   uint64 = 0x400      // SA_UNSUPPORTED
	FlagExposeTagBits uint64 = 0x800      // SA_EXPOSE_TAGBITS
	FlagRestorer      uint64 = 0x4000000  // SA_RESTORER
	FlagOnStack       uint64 = 0x8000000  // SA_ONSTACK
	FlagRestart       uint64 = 0x10000000 // SA_RESTART
	FlagNoDefer       uint64 = 0x40000000 // SA_NODEFER
	FlagResetHand     uint64 = 0x80000000 // SA_RESETHAND

	// KnownFlags are those that sigaction(2) keeps; others are cleared, so that
	// a program can probe for them.
	KnownFlags = FlagNoCldStop | FlagNoCldWait | FlagSigInfo | FlagExposeTagBits |
		FlagRestorer | FlagOnStack | FlagRestart | FlagNoDefer | FlagResetHand
)

// Action is what a process wants done with a signal: the kernel's struct
// sigaction. Handler and Restorer are guest addresses.
type Action struct {
	Handler  uint64
	Flags    uint64
	Restorer uint64
	Mask     Set
}

// Disposition is what happens by default.
type Disposition int

// Dispositions.
const (
	Terminate Disposition = iota
	Core                  // terminate, with a core dump
	Ignore
	Stop
	Continue
)

// Default returns the default disposition of sig, as in signal(7).
func Default(sig Signal) Disposition {
	switch sig {
	case unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH:
		return Ignore
	case unix.SIGCONT:
		return Continue
	case unix.SIGSTOP, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return Stop
	case unix.SIGQUIT, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGBUS, unix.SIGFPE,
		unix.SIGSEGV, unix.SIGXCPU, unix.SIGXFSZ, unix.SIGSYS:
		return Core
	}
	return Terminate
}

// Ignores tells whether sig has no effect under a: it is ignored outright, or
// by default. SIGCONT's default does not count, it continues.
func (a Action) Ignores(sig Signal) bool {
	if a.Handler == HandlerIgnore {
		return true
	}
	return a.Handler == HandlerDefault && Default(sig) == Ignore
}

// Catches tells whether a has a handler in the guest.
func (a Action) Catches() bool {
	return a.Handler != HandlerDefault && a.Handler != HandlerIgnore
}

// NoZombies tells whether a, as the action of SIGCHLD, makes children end without
// leaving zombies.
func (a Action) NoZombies() bool {
	return a.Handler == HandlerIgnore || a.Flags&FlagNoCldWait != 0
}

// Handlers are the actions of one or more processes. The zero value has every
// action at its default.
type Handlers struct {
	mu sync.Mutex
	// Guarded by mu.
	actions [Max]Action
}

// Get returns the action of sig, which must be valid.
func (h *Handlers) Get(sig Signal) Action {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.actions[sig-1]
}

// Set makes a the action of sig and returns the old one. Flags that are not
// known are cleared and the unblockable signals leave the mask. EINVAL for what
// is no signal, or cannot be caught.
func (h *Handlers) Set(sig Signal, a Action) (old Action, err error) {
	if !Valid(sig) || Unblockable.Has(sig) {
		return Action{}, unix.EINVAL
	}
	a.Flags &= KnownFlags
	a.Mask &^= Unblockable
	h.mu.Lock()
	defer h.mu.Unlock()
	old = h.actions[sig-1]
	h.actions[sig-1] = a
	return old, nil
}

// Deliver returns the action to use for sig, and resets it when it is one for
// a single time (SA_RESETHAND).
func (h *Handlers) Deliver(sig Signal) Action {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := h.actions[sig-1]
	if a.Catches() && a.Flags&FlagResetHand != 0 {
		h.actions[sig-1].Handler = HandlerDefault
	}
	return a
}

// ForceDefault resets sig to its default: a fault that is blocked or ignored
// must end the process.
func (h *Handlers) ForceDefault(sig Signal) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.actions[sig-1].Handler = HandlerDefault
}

// Copy returns handlers of their own with the same actions (fork).
func (h *Handlers) Copy() *Handlers {
	h.mu.Lock()
	defer h.mu.Unlock()
	return &Handlers{actions: h.actions}
}

// CopyForExec returns handlers as execve(2) and CLONE_CLEAR_SIGHAND leave them:
// what was caught is reset, what was ignored stays ignored; flags and masks go.
func (h *Handlers) CopyForExec() *Handlers {
	h.mu.Lock()
	defer h.mu.Unlock()
	fresh := new(Handlers)
	for i, a := range h.actions {
		if a.Handler == HandlerIgnore {
			fresh.actions[i].Handler = HandlerIgnore
		}
	}
	return fresh
}

// Sets returns the signals that are ignored outright and those that are
// caught, for /proc.
func (h *Handlers) Sets() (ignored, caught Set) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, a := range h.actions {
		switch {
		case a.Handler == HandlerIgnore:
			ignored = ignored.Add(Signal(i + 1))
		case a.Handler != HandlerDefault:
			caught = caught.Add(Signal(i + 1))
		}
	}
	return ignored, caught
}

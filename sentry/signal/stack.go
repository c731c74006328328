package signal

import "golang.org/x/sys/unix"

// Flags of a Stack.
const (
	StackOnStack    int32 = 1            // SS_ONSTACK
	StackDisable    int32 = 2            // SS_DISABLE
	StackAutoDisarm int32 = -(1 << 31)   // SS_AUTODISARM
	MinStackSize          = uint64(2048) // MINSIGSTKSZ
	stackModes            = StackDisable | StackOnStack
)

// Stack is a thread's alternate signal stack, as of sigaltstack(2). Base is a
// guest address, Size in bytes.
type Stack struct {
	Base  uint64
	Flags int32
	Size  uint64
}

// NoStack is the state without an alternate stack.
func NoStack() Stack { return Stack{Flags: StackDisable} }

// Enabled tells whether there is an alternate stack.
func (s Stack) Enabled() bool { return s.Size != 0 && s.Flags&StackDisable == 0 }

// Contains tells whether the stack pointer sp is on s. With SS_AUTODISARM it
// never is: the stack was disarmed when the handler was entered.
func (s Stack) Contains(sp uint64) bool {
	if !s.Enabled() || s.Flags&StackAutoDisarm != 0 {
		return false
	}
	return sp > s.Base && sp-s.Base <= s.Size
}

// Status returns s as sigaltstack(2) tells it to a thread with stack pointer sp.
func (s Stack) Status(sp uint64) Stack {
	switch {
	case !s.Enabled():
		s.Flags = s.Flags&StackAutoDisarm | StackDisable
	case s.Contains(sp):
		s.Flags |= StackOnStack
	}
	return s
}

// Check returns s in the form to be kept when a thread with stack pointer sp,
// whose present stack is old, sets it. minSize is the least size that holds a
// signal frame. EPERM while on the old stack, EINVAL for unknown flags, ENOMEM
// when too small.
func (s Stack) Check(old Stack, sp, minSize uint64) (Stack, error) {
	if old.Contains(sp) {
		return Stack{}, unix.EPERM
	}
	mode := s.Flags &^ StackAutoDisarm
	if mode&^stackModes != 0 || mode == stackModes {
		return Stack{}, unix.EINVAL
	}
	if mode == StackDisable {
		return Stack{Flags: s.Flags}, nil
	}
	if s.Size < minSize {
		return Stack{}, unix.ENOMEM
	}
	s.Flags &^= StackOnStack
	return s, nil
}

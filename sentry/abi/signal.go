package abi

// Sizes of what belongs to signals, in bytes.
const (
	SigactionSize = 32 // the kernel's struct sigaction
	StackSize     = 24 // stack_t
	SigeventSize  = 64
	SigsetSize    = 8
)

// Sigaction is the kernel's struct sigaction.
type Sigaction struct{ Handler, Flags, Restorer, Mask uint64 }

// DecodeSigaction reads a struct sigaction.
func DecodeSigaction(b []byte) Sigaction {
	return Sigaction{get64(b, 0), get64(b, 8), get64(b, 16), get64(b, 24)}
}

// AppendSigaction appends a struct sigaction.
func AppendSigaction(b []byte, a Sigaction) []byte {
	return append64(b, a.Handler, a.Flags, a.Restorer, a.Mask)
}

// Stack is stack_t, an alternate signal stack.
type Stack struct {
	SP    uint64
	Flags int32
	Size  uint64
}

// DecodeStack reads a stack_t.
func DecodeStack(b []byte) Stack { return Stack{get64(b, 0), int32(get32(b, 8)), get64(b, 16)} }

// AppendStack appends a stack_t.
func AppendStack(b []byte, s Stack) []byte {
	b = append64(b, s.SP)
	b = append32(b, uint32(s.Flags), 0)
	return append64(b, s.Size)
}

// Sigevent is struct sigevent as timer_create(2) and mq_notify(2) read it.
type Sigevent struct {
	Value  uint64
	Signo  int32
	Notify int32 // SIGEV_*
	TID    int32 // for SIGEV_THREAD_ID
}

// DecodeSigevent reads a struct sigevent.
func DecodeSigevent(b []byte) Sigevent {
	return Sigevent{get64(b, 0), int32(get32(b, 8)), int32(get32(b, 12)), int32(get32(b, 16))}
}

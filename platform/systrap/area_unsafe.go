package systrap

import (
	"sync/atomic"
	"unsafe"
)

// The handler and its helpers are in handler_amd64.s.
func handler()
func handlerAddr() *byte

// handlerCode returns a copy of the handler and of what follows it.
func handlerCode() []byte {
	return append([]byte(nil), unsafe.Slice(handlerAddr(), pageSize)...)
}

// area is the sentry's view of a thread's area. All of it may change at any time; what is read is read
// once, and then checked.
type area struct {
	mem []byte
	*block
}

func newArea(mem []byte) area {
	return area{mem, (*block)(unsafe.Pointer(&mem[0]))}
}

// frameSize is the length of what the sentry reads of a frame.
const frameSize = uint64(unsafe.Sizeof(sigframe{}))

// readFrame copies the frame at offset at, which has been checked.
func (a area) readFrame(at uint64) sigframe {
	return *(*sigframe)(unsafe.Pointer(&a.mem[at]))
}

// wipe clears everything but the state.
func (a area) wipe() {
	for _, p := range parts() {
		clear(a.mem[max(p.at, stateSize) : p.at+p.length])
	}
	clear(a.mem[answersAt : answersAt+pageSize])
}

// give lets the thread run. It tells whether the thread has to be woken.
func (a area) give() bool {
	return atomic.SwapUint32(&a.state, stateGuest)&stateAsleep != 0
}

// tokenWord is the half of the token that can be waited for.
func (a area) tokenWord() *uint32 { return (*uint32)(unsafe.Pointer(&a.token)) }

// fpuArea is the part of the area for extended state that the sentry has it load.
func (a area) fpuArea() []byte { return a.mem[fpuOffset:answersAt] }

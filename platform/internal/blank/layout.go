package blank

// Where the stub's two pages lie in a blank process, and what is in them. The
// stub knows the same numbers (stub_amd64.s).
const (
	pageSize = 4096

	// codeAddr is the page of code, the highest a process can map.
	codeAddr = 0x7fffffffe000
	// ordersAddr is the page of orders.
	ordersAddr = 0x7fffffffd000

	// Low and High bound what a guest may map: [Low, High). Low is the least
	// address an unprivileged process may map on hosts with the usual setting.
	Low  = 0x10000
	High = ordersAddr

	// GuestArg is the least argument of a guest process; below it are offsets in the file of orders.
	GuestArg = 1 << 40

	// initOffset is where data for the template's first orders lies in the page of code,
	// errnoOffset where its table of the numbers 0 to maxErrno lies.
	initOffset  = 0x400
	errnoOffset = 0x800
	maxErrno    = 255

	// maxCalls is how many calls fit in the page of orders.
	maxCalls = 64
)

// orders is the page of orders. The caller writes all of it but ack and errnos.
type orders struct {
	command uint32 // futex: counts the lists given
	ack     uint32 // futex: 1 when the list is done
	count   uint32 // calls in the list
	fd      uint32 // the file behind this page
	offset  uint64 // of this page in fd
	parent  uint64 // process id the leader must be a child of
	_       [32]byte
	errnos  [maxCalls]uint32
	calls   [maxCalls]rawCall
}

// rawCall is a system call as the stub reads it.
type rawCall struct {
	nr   uint64
	args [6]uint64
}

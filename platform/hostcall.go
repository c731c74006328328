package platform

// HostCall is a host system call that a platform makes while guests run, for
// the filter that the sentry puts on itself. It is needed with every value of its arguments
// or, when Values is not nil, with those in argument Arg (0 to 5) only.
type HostCall struct {
	Number uintptr
	Arg    int
	Values []uint32
}

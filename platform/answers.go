package platform

// Answer is what the system call of a number returns, whatever its arguments.
type Answer struct {
	Number uint32
	Value  uint32
}

// Answerer is a Context that can answer calls by itself.
type Answerer interface {
	// SetAnswers says which calls need no Event until it is called again; none at first. Calls may be events all
	// the same. Any goroutine may call it at any time: a call that begins after it has returned gets no
	// answer that is not among these. The list is not changed afterwards.
	SetAnswers(list []Answer)
}

// Demander is a Platform that knows how many processors the code of its contexts' callers is better off on.
type Demander interface {
	// OnDemand has f told when one is, or several are; at first they are. It is called before any context runs, and f by one goroutine at a time.
	OnDemand(f func(several bool))
}

// Yielder is a Context that takes turns with others.
type Yielder interface {
	// Yield says that the call that Run returned last was made to let others run. It is called by whoever calls Run.
	Yield()
}

package linux

import (
	"gosentry/platform/arch"
	"gosentry/sentry/kernel"
)

// handler decodes and answers one call.
type handler func(*kernel.Task, arch.SyscallArgs) (uint64, error)

// Call is one line of the table.
type Call struct {
	Number uint64
	Name   string
	// Args says how the arguments read in a trace, a word each; see formats in strace.go.
	Args string
	// Missing says what a partial call lacks; "" for a full one. It has no
	// meaning for a call that is not built.
	Missing string
	fn      handler
}

// Support returns "full", "partial" or "no".
func (c *Call) Support() string {
	switch {
	case c.fn == nil:
		return "no"
	case c.Missing != "":
		return "partial"
	}
	return "full"
}

// Calls returns every line in order of numbers.
func (p *Personality) Calls() []*Call {
	var all []*Call
	for _, c := range p.calls {
		if c != nil {
			all = append(all, c)
		}
	}
	return all
}

// tables returns the parts of the table. A call stands in exactly one of them.
func tables() [][]Call {
	return [][]Call{processCalls(), signalCalls(), memoryCalls(), timeCalls(), fileCalls(), ioCalls(), socketCalls(), systemCalls(), ipcCalls(), missingCalls()}
}

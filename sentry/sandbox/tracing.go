package sandbox

import (
	"os"
	"time"

	"gosentry/sentry/kernel"
	"gosentry/sentry/trace"
)

// tracePatience is how long the sandbox's end waits for a file that takes no more events.
const tracePatience = time.Second

// tracing returns what --trace asks for; nil for nothing.
func (in *Inside) tracing() (*kernel.Tracing, error) {
	if in.TraceFD < 0 {
		return nil, nil
	}
	s, err := trace.New(os.NewFile(uintptr(in.TraceFD), "trace"), in.Trace.Format)
	if err != nil {
		return nil, &Failure{What: "cannot trace", Cause: err}
	}
	return &kernel.Tracing{Stream: s, Inherit: !in.Trace.FirstOnly}, nil
}

// endTrace writes the last events.
func (m *machine) endTrace() {
	if m.tracing == nil {
		return
	}
	if err := m.tracing.Stream.Close(tracePatience); err != nil {
		m.in.Log.Errorf("the trace is not complete: %v", err)
	}
}

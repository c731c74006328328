package sandbox

import (
	"gosentry/sentry/personality/linux"
)

// strace returns what --strace asks for: a line in the log for each call; nil for nothing.
func (in *Inside) strace() *linux.Strace {
	if !in.Strace.On {
		return nil
	}
	names := make(map[string]bool)
	for _, n := range in.Strace.Names {
		names[n] = true
	}
	return &linux.Strace{Names: names, Line: func(s string) { in.Log.Info(s) }}
}

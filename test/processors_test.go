package test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// TestProcessors lets the sandbox use only the last processor that the tests may use: it is the first one inside, and all that tells
// a program where it runs agrees.
func TestProcessors(t *testing.T) {
	need(t, "taskset")
	var may unix.CPUSet
	if err := unix.SchedGetaffinity(0, &may); err != nil {
		t.Skip(err)
	}
	last := -1
	for cpu, left := 0, may.Count(); left > 0; cpu++ {
		if may.IsSet(cpu) {
			last, left = cpu, left-1
		}
	}
	if last == 0 {
		t.Skip("there is only the first processor")
	}
	program := compile(t, "guest/rwflags.c", "-static")
	bound := func(argv ...string) command {
		return command{argv: append([]string{"taskset", "-c", fmt.Sprint(last)}, argv...)}
	}
	host := bound(program, "processors").host(t)
	eachPlatform(t, func(t *testing.T, platform string) {
		compare(t, host, bound(sentry(t), "do", "--platform", platform, program, "processors").host(t))
	})
}

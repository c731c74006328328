package sandbox

import (
	"errors"
	"io"
	"slices"
	"testing"

	"gosentry/platform"
	"gosentry/sentry/sandbox/seccomp"

	"github.com/sirupsen/logrus"
)

// TestFallback tries platforms in turn, some of which the host does not run: the first that starts is taken, and none after it is tried.
// Where none starts, the reason of each is told.
func TestFallback(t *testing.T) {
	log := logrus.New()
	log.SetOutput(io.Discard)
	type named struct{ platform.Platform }
	for _, c := range []struct {
		runs, tried []string
		taken       string
	}{
		{[]string{"systrap", "ptrace"}, []string{"systrap"}, "systrap"},
		{[]string{"ptrace"}, []string{"systrap", "ptrace"}, "ptrace"},
		{nil, []string{"systrap", "ptrace"}, ""},
	} {
		var tried []string
		made := map[string]platform.Platform{"systrap": &named{}, "ptrace": &named{}}
		p, rules, err := firstThatStarts(defaultPlatforms(), func(name string) (platform.Platform, []seccomp.Rule, error) {
			tried = append(tried, name)
			if !slices.Contains(c.runs, name) {
				return nil, nil, errors.New("no " + name)
			}
			return made[name], seccomp.Allow(uintptr(len(name))), nil
		}, logrus.NewEntry(log))
		if !slices.Equal(tried, c.tried) {
			t.Errorf("with %q: %q were tried, want %q", c.runs, tried, c.tried)
		}
		switch {
		case c.taken == "":
			if p != nil || err == nil || err.Error() != "no systrap; no ptrace" {
				t.Errorf("with none: %v, %v", p, err)
			}
		case err != nil || p != made[c.taken] || len(rules) != 1:
			t.Errorf("with %q: %v, rules %v, %v", c.runs, p, rules, err)
		}
	}
}

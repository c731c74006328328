package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"gosentry/platform"
	"gosentry/platform/ptrace"
	"gosentry/sentry/sandbox/seccomp"
)

// DefaultPlatform is used where the caller names none.
const DefaultPlatform = "ptrace"

// Platforms returns the names that Spec.Platform may have.
func Platforms() []string { return []string{"ptrace"} }

// checkPlatform refuses an unknown name.
func checkPlatform(name string) error {
	if slices.Contains(Platforms(), name) {
		return nil
	}
	return &Failure{What: "no platform " + name, Way: "there is " + strings.Join(Platforms(), ", ")}
}

// platformRules makes rules of what a platform says it needs.
func platformRules(calls []platform.HostCall) []seccomp.Rule {
	var rules []seccomp.Rule
	for _, c := range calls {
		if c.Values == nil {
			rules = append(rules, seccomp.Allow(c.Number)...)
		} else {
			rules = append(rules, seccomp.OneOf(c.Number, c.Arg, c.Values...))
		}
	}
	return rules
}

// newPlatform starts a platform and tells which host calls it makes behind the lock.
func newPlatform(name string) (platform.Platform, []seccomp.Rule, error) {
	switch name {
	case "ptrace":
		p, err := ptrace.New()
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform ptrace", Cause: err,
				Way: "the host must allow ptrace of own children; a container must allow it in its seccomp profile"}
		}
		return p, platformRules(ptrace.Syscalls()), nil
	}
	return nil, nil, fmt.Errorf("no platform %s", name)
}

package sandbox

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gosentry/platform"
	"gosentry/platform/kvm"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/ptrace"
	"gosentry/platform/systrap"
	"gosentry/sentry/sandbox/seccomp"
)

// DefaultPlatform is used where the caller names none.
const DefaultPlatform = "ptrace"

// Platforms returns the names that Spec.Platform may have.
func Platforms() []string { return []string{"ptrace", "systrap", "kvm"} }

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

// openDevice opens what a platform needs of the host and cannot reach from inside: its descriptor, or -1.
func openDevice(name string) (int, error) {
	if name != "kvm" {
		return -1, nil
	}
	fd, err := kvmapi.OpenDevice()
	if e := new(kvmapi.OpenError); errors.As(err, &e) {
		return -1, &Failure{What: "cannot open " + kvmapi.Device, Cause: e.Err, Way: e.Way}
	}
	return fd, err
}

// newPlatform starts a platform and tells which host calls it makes behind the lock.
func (in *Inside) newPlatform() (platform.Platform, []seccomp.Rule, error) {
	switch in.Platform {
	case "ptrace":
		p, err := ptrace.New()
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform ptrace", Cause: err,
				Way: "the host must allow ptrace of own children; a container must allow it in its seccomp profile"}
		}
		return p, platformRules(ptrace.Syscalls()), nil
	case "systrap":
		p, err := systrap.New()
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform systrap", Cause: err,
				Way: "it needs Linux 5.9 or later with seccomp filters, and a processor with FSGSBASE; ptrace does without"}
		}
		return p, platformRules(systrap.Syscalls()), nil
	case "kvm":
		p, err := kvm.New(in.DeviceFD)
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform kvm", Cause: err, Way: "use another platform"}
		}
		in.Log.Debugf("kvm: %s", p.Verdict())
		return p, platformRules(kvm.Syscalls()), nil
	}
	return nil, nil, fmt.Errorf("no platform %s", in.Platform)
}

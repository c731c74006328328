package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"gosentry/platform"
	"gosentry/platform/kvm"
	"gosentry/platform/kvm/kvmapi"
	"gosentry/platform/ptrace"
	"gosentry/platform/systrap"
	"gosentry/sentry/sandbox/seccomp"

	"github.com/sirupsen/logrus"
)

// Platforms returns the names that Spec.Platform may have, the one first that is tried first where it is empty.
func Platforms() []string { return append(defaultPlatforms(), "kvm") }

// defaultPlatforms are tried in turn where the caller names none: the first that starts is taken. kvm is not among
// them, since a KVM that is nested without hardware help, the only kind measured, takes several times as long for a call as systrap.
func defaultPlatforms() []string { return []string{"systrap", "ptrace"} }

// checkPlatform refuses an unknown name.
func checkPlatform(name string) error {
	if slices.Contains(Platforms(), name) {
		return nil
	}
	return &Failure{What: "no platform " + name, Way: "there are " + strings.Join(Platforms(), ", ")}
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

// newPlatform starts the platform asked for, or the best that the host can run, and tells which host calls it makes
// behind the lock.
func (in *Inside) newPlatform() (p platform.Platform, rules []seccomp.Rule, err error) {
	if in.Platform != "" {
		p, rules, err = in.start(in.Platform)
	} else {
		p, rules, err = firstThatStarts(defaultPlatforms(), in.start, in.Log)
	}
	if err == nil {
		followDemand(p)
	}
	return p, rules, err
}

// firstThatStarts starts the first platform of names that can be. The error has the reason of each.
func firstThatStarts(names []string, start func(name string) (platform.Platform, []seccomp.Rule, error), log *logrus.Entry) (
	p platform.Platform, rules []seccomp.Rule, err error,
) {
	var reasons []string
	for _, name := range names {
		if p, rules, err = start(name); err == nil {
			log.Debugf("platform %s", name)
			return p, rules, nil
		}
		log.Warnf("platform %s: %v", name, err)
		reasons = append(reasons, err.Error())
	}
	return nil, nil, &Failure{What: strings.Join(reasons, "; ")}
}

// followDemand has the sentry's own code run on one processor while p says that it is better off so.
func followDemand(p platform.Platform) {
	d, ok := p.(platform.Demander)
	all := runtime.GOMAXPROCS(0)
	if !ok || all == 1 {
		return
	}
	d.OnDemand(func(several bool) {
		n := 1
		if several {
			n = all
		}
		runtime.GOMAXPROCS(n)
	})
}

// counter returns what says how much a platform has asked of the host so far, nil if it does not count.
func counter(p platform.Platform) func() string {
	if c, ok := p.(interface{ Statistics() string }); ok {
		return c.Statistics
	}
	return nil
}

// start starts a platform by its name.
func (in *Inside) start(name string) (platform.Platform, []seccomp.Rule, error) {
	switch name {
	case "ptrace":
		p, err := ptrace.New()
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform ptrace", Cause: err,
				Way: "the host must allow ptrace of own children, and seccomp filters; a container must allow both in its seccomp profile"}
		}
		return p, platformRules(ptrace.Syscalls()), nil
	case "systrap":
		p, err := systrap.New(!in.NoPatch)
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform systrap", Cause: err,
				Way: "it needs Linux 5.9 or later with seccomp filters, and a processor with FSGSBASE; ptrace does without"}
		}
		return p, platformRules(systrap.Syscalls()), nil
	case "kvm":
		p, err := kvm.New(in.DeviceFD, !in.NoPatch)
		if err != nil {
			return nil, nil, &Failure{What: "cannot start the platform kvm", Cause: err, Way: "use another platform"}
		}
		in.Log.Debugf("kvm: %s", p.Verdict())
		return p, platformRules(kvm.Syscalls()), nil
	}
	return nil, nil, fmt.Errorf("no platform %s", name)
}

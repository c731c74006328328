package main

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gosentry/sentry/sandbox"

	"github.com/google/go-cmp/cmp"
	"github.com/urfave/cli/v3"
)

// optionsOf runs a command line of the verb with flags before and behind it, and returns what sandboxes it would make.
func optionsOf(verb string, before, after []string) (got *sandbox.Options, err error) {
	argv := slices.Concat([]string{"sentry"}, before, []string{verb}, after, []string{"x"})
	c := root(argv, new(int), func(s sandbox.Spec) (int, error) {
		got = &sandbox.Options{Platform: s.Platform, NoPatch: s.NoPatch, Strace: s.Strace, Log: s.Log, Persist: s.Persist}
		return 0, nil
	})
	c.Writer, c.ErrWriter = new(bytes.Buffer), new(bytes.Buffer)
	if v := c.Command(verb); v.Category != "" {
		v.Action = func(_ context.Context, cmd *cli.Command) error {
			o := options(cmd)
			got = &o
			return nil
		}
	}
	return got, c.Run(context.Background(), argv)
}

// sandboxVerbs are do and the verbs about containers.
func sandboxVerbs() []string {
	verbs := []string{"do"}
	for _, c := range containerVerbs(new(int)) {
		if c.Category != "" {
			verbs = append(verbs, c.Name)
		}
	}
	return verbs
}

func TestFlagsBeforeAndBehindTheVerb(t *testing.T) {
	type list = []string
	for _, c := range []struct {
		before, after list
		want          sandbox.Options
	}{
		{list{"--platform=ptrace"}, nil, sandbox.Options{Platform: "ptrace"}},
		{nil, list{"--platform", "ptrace"}, sandbox.Options{Platform: "ptrace"}},
		{list{"-platform", "ptrace"}, nil, sandbox.Options{Platform: "ptrace"}},
		{list{"--platform=ptrace"}, list{"--platform=kvm"}, sandbox.Options{Platform: "kvm"}},
		{list{"--platform=nonsense"}, list{"--platform=kvm"}, sandbox.Options{Platform: "kvm"}},
		{list{"--platform=ptrace"}, list{"--platform="}, sandbox.Options{}},
		{list{"--no-patch"}, nil, sandbox.Options{NoPatch: true}},
		{nil, list{"--no-patch"}, sandbox.Options{NoPatch: true}},
		{list{"--no-patch"}, list{"--no-patch=false"}, sandbox.Options{}},
		{list{"--strace"}, nil, sandbox.Options{Strace: sandbox.Strace{On: true}}},
		{nil, list{"--strace=read,write"}, sandbox.Options{Strace: sandbox.Strace{On: true, Names: list{"read", "write"}}}},
		{list{"--strace=read"}, list{"--strace=write"}, sandbox.Options{Strace: sandbox.Strace{On: true, Names: list{"write"}}}},
		{list{"--strace"}, list{"--strace=write"}, sandbox.Options{Strace: sandbox.Strace{On: true, Names: list{"write"}}}},
		{list{"--strace=read"}, list{"--strace"}, sandbox.Options{Strace: sandbox.Strace{On: true}}},
		{list{"--log", "/l", "--log-format", "json", "--debug"}, nil, sandbox.Options{Log: sandbox.Log{File: "/l", JSON: true, Debug: true}}},
		{nil, list{"--log", "/l", "--log-format", "json", "--debug"}, sandbox.Options{Log: sandbox.Log{File: "/l", JSON: true, Debug: true}}},
		{
			list{"--log", "/l", "--log-format", "json", "--debug"}, list{"--log", "/m", "--log-format", "text", "--debug=false"},
			sandbox.Options{Log: sandbox.Log{File: "/m"}},
		},
		{list{"--rootless=true"}, nil, sandbox.Options{}},
		{list{"--network=none"}, nil, sandbox.Options{}},
		{nil, list{"--network", "none"}, sandbox.Options{}},
	} {
		for _, verb := range sandboxVerbs() {
			if verb == "spec" && slices.Contains(c.before, "--rootless=true") {
				continue // it has one of its own
			}
			got, err := optionsOf(verb, c.before, c.after)
			if err != nil || got == nil {
				t.Errorf("%q %s %q: %v", c.before, verb, c.after, err)
				continue
			}
			if d := cmp.Diff(c.want, *got); d != "" {
				t.Errorf("%q %s %q: not as asked for (-want +got):\n%s", c.before, verb, c.after, d)
			}
		}
	}
}

func TestContainersPersistOnEitherSide(t *testing.T) {
	flag := []string{"--persist"}
	for _, side := range [][2][]string{{flag, nil}, {nil, flag}} {
		if got, err := optionsOf("run", side[0], side[1]); err != nil || got == nil || !got.Persist {
			t.Errorf("%q: %+v, %v", side, got, err)
		}
	}
}

// TestFlagsRefusedOnEitherSide: a value that cannot be is refused wherever it stands, and so is what says nothing to do.
func TestFlagsRefusedOnEitherSide(t *testing.T) {
	const (
		root    = "--root is about containers, not for do (--rootfs DIR gives the program another root file system)"
		persist = "--persist is about containers, not for do (--rw DIR lets the program write to a directory of the host)"
		network = "--network %q: there is no network inside, programs have sockets of AF_UNIX alone (give --network=none, or leave it out)"
		cgroup  = "--systemd-cgroup is about containers, not for do (leave it out)"
	)
	for _, c := range []struct{ verbs, flag, want string }{
		{"", "--platform=nonsense", `--platform "nonsense" is not understood (give systrap, ptrace or kvm)`},
		{"", "--log-format=xml", `--log-format "xml" is not understood (give text or json)`},
		{"", "--strace=read,rite", `--strace "rite" is not understood (sentry syscalls lists the names)`},
		{"do run", "--rootless=do", `--rootless "do" is not understood (give --rootless=true, false or auto, or leave it out: it is found out)`},
		{"", "--network=host", fmt.Sprintf(network, "host")},
		{"", "--network=sandbox", fmt.Sprintf(network, "sandbox")},
		{"do", "--root=/x", root},
		{"do", "--persist", persist},
		{"do", "--systemd-cgroup", cgroup},
	} {
		verbs := strings.Fields(c.verbs)
		if c.verbs == "" {
			verbs = sandboxVerbs()
		}
		for _, verb := range verbs {
			flag := []string{c.flag}
			for _, side := range [][2][]string{{flag, nil}, {nil, flag}} {
				got, err := optionsOf(verb, side[0], side[1])
				if err == nil || err.Error() != c.want || got != nil {
					t.Errorf("%q %s %q: %v, want %s", side[0], verb, side[1], err, c.want)
				}
			}
		}
	}
}

// TestHelpHasWhatTheVerbTakes: each flag once, and none that is refused.
func TestHelpHasWhatTheVerbTakes(t *testing.T) {
	shared := []string{"--platform PLATFORM", "--no-patch ", "--strace[=NAME,NAME]", "--network none", "--log FILE", "--log-format FORMAT", "--debug "}
	containers := []string{"--root DIR", "--persist ", "--systemd-cgroup "}
	refused := []string{"--root ", "--persist", "--systemd-cgroup", "--version"}
	for _, c := range []struct {
		args      []string
		has, lack []string
	}{
		{[]string{"help"}, slices.Concat(shared, containers, []string{"--version"}), []string{"--rootfs"}},
		{[]string{"do", "--help"}, slices.Concat(shared, []string{"--rootfs DIR", "(default: no limit)"}), refused},
		{[]string{"help", "do"}, shared, refused},
		{[]string{"run", "--help"}, slices.Concat(shared, containers, []string{"--bundle DIR"}), []string{"--version"}},
	} {
		_, _, out, err := parse(c.args...)
		if err != nil {
			t.Errorf("%q: %v", c.args, err)
		}
		for _, text := range c.has {
			if strings.Count(out, text) != 1 {
				t.Errorf("%q: %q is there %d times in:\n%s", c.args, text, strings.Count(out, text), out)
			}
		}
		for _, text := range c.lack {
			if strings.Contains(out, text) {
				t.Errorf("%q: %q in:\n%s", c.args, text, out)
			}
		}
	}
}

// TestExecAgain: what runs a detached exec once more has its flag among that verb's, whatever stands before them.
func TestExecAgain(t *testing.T) {
	const flag = "--started-fd=3"
	for _, c := range []struct{ before, after []string }{
		{nil, []string{"-d", "c", "true"}},
		{[]string{"--root", "exec"}, []string{"-d", "c", "true"}},
		{[]string{"--root", "exec", "--log", "exec", "--debug"}, []string{"-d", "c", "true"}},
		{nil, []string{"--cwd", "exec", "-d", "exec", "exec", "exec"}},
		{[]string{"--root=exec"}, []string{"-d", "--", "exec", "exec", "--", "x"}},
	} {
		argv := slices.Concat([]string{"sentry"}, c.before, []string{"exec"}, c.after)
		r := root(argv, new(int), nil)
		r.Writer, r.ErrWriter = new(bytes.Buffer), new(bytes.Buffer)
		var got []string
		r.Command("exec").Action = func(_ context.Context, cmd *cli.Command) error {
			got = withFlag(argv[1:], cmd, flag)
			return nil
		}
		err := r.Run(context.Background(), argv)
		if want := slices.Concat(c.before, []string{"exec", flag}, c.after); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: %q %v, want %q", argv, got, err, want)
		}
	}
}

// TestVerbsOfNoSandbox take the flags of all sandboxes, as engines put them before any verb, and are none the worse for it.
func TestVerbsOfNoSandbox(t *testing.T) {
	shared := []string{"--platform=ptrace", "--no-patch", "--strace", "--network=none", "--log", "/does/not/exist/log", "--log-format=json", "--debug", "--root=/does/not/exist"}
	for _, verb := range []string{"doctor", "syscalls", "version", "help"} {
		for _, side := range [][2][]string{{shared, nil}, {nil, shared}} {
			run := func(args ...string) (ran bool, err error) {
				argv := slices.Concat([]string{"sentry"}, args)
				r := root(argv, new(int), nil)
				r.Writer, r.ErrWriter = new(bytes.Buffer), new(bytes.Buffer)
				r.Command(verb).Action = func(context.Context, *cli.Command) error {
					ran = true
					return nil
				}
				return ran, r.Run(context.Background(), argv)
			}
			if ran, err := run(slices.Concat(side[0], []string{verb}, side[1])...); err != nil || !ran {
				t.Errorf("%q %s %q: %v", side[0], verb, side[1], err)
			}
		}
	}
}

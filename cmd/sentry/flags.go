package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gosentry/sentry/oci"
	"gosentry/sentry/personality/linux"
	"gosentry/sentry/sandbox"

	"github.com/urfave/cli/v3"
)

// runtimeFlags are what sandboxes of all kinds have in common, and where containers are kept. Engines put them before the verb; behind it they are
// the same flags, so that the last one given counts.
func runtimeFlags() []cli.Flag {
	const containers = "Containers"
	return []cli.Flag{
		&cli.StringFlag{Name: "platform", Usage: "run guest code by `PLATFORM`: " + strings.Join(sandbox.Platforms(), ", ") + " (default: the best that the host can run; sentry doctor tells)",
			Action: checkPlatform},
		&cli.BoolFlag{Name: "no-patch", Usage: "systrap, kvm: do not patch system calls that are made often in the program's text"},
		straceFlag(),
		&cli.StringFlag{Name: "log", Usage: "append the sentry's messages to `FILE`"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "write messages in `FORMAT`: text or json", Action: oneOf("log-format", "text", "json")},
		&cli.BoolFlag{Name: "debug", Usage: "log more, to standard error without --log; show stack traces"},
		&cli.StringFlag{Name: "network", Usage: "`none`: accepted; that is what there is", Action: checkNetwork},
		&cli.BoolFlag{Name: "version", Aliases: []string{"v"}, Usage: "print the version", Local: true},
		&cli.StringFlag{Name: "root", Category: containers, Usage: "keep containers in `DIR`", Value: oci.DefaultRoot()},
		&cli.BoolFlag{Name: "persist", Category: containers, Usage: "containers write to their root file systems on the host and own their files there and in volumes, as with runc"},
		&cli.BoolFlag{Name: "systemd-cgroup", Category: containers, Usage: "accepted; linux.cgroupsPath tells"},
		&cli.StringFlag{Name: "rootless", Category: containers, Usage: "`auto`, true or false: accepted; it is found out", Action: checkRootless},
	}
}

// options are what the runtime's flags say of sandboxes, wherever they stand.
func options(cmd *cli.Command) sandbox.Options {
	o := sandbox.Options{
		Platform: cmd.String("platform"), NoPatch: cmd.Bool("no-patch"), Persist: cmd.Bool("persist"),
		Log: sandbox.Log{File: cmd.String("log"), JSON: cmd.String("log-format") == "json", Debug: cmd.Bool("debug")},
	}
	if s, ok := cmd.Generic("strace").(*strace); ok {
		o.Strace = sandbox.Strace(*s)
	}
	return o
}

// oneOf refuses a flag's other values. It looks at what a flag comes to in the end, however often it is given.
func oneOf(name string, values ...string) func(context.Context, *cli.Command, string) error {
	return func(_ context.Context, _ *cli.Command, value string) error {
		if slices.Contains(values, value) {
			return nil
		}
		last := len(values) - 1
		return badFlag(name, value, "give "+strings.Join(values[:last], ", ")+" or "+values[last])
	}
}

// checkPlatform lets nothing stand for the best that the host can run, as it does where the flag is not given.
func checkPlatform(ctx context.Context, cmd *cli.Command, value string) error {
	if value == "" {
		return nil
	}
	return oneOf("platform", sandbox.Platforms()...)(ctx, cmd, value)
}

// checkRootless refuses what runc does, such as the verb where the flag is thought to stand alone.
func checkRootless(_ context.Context, _ *cli.Command, value string) error {
	if _, err := strconv.ParseBool(value); err == nil || value == "" || strings.EqualFold(value, "auto") {
		return nil
	}
	return badFlag("rootless", value, "give --rootless=true, false or auto, or leave it out: it is found out")
}

// checkNetwork refuses what programs would look for in vain.
func checkNetwork(_ context.Context, _ *cli.Command, value string) error {
	if value == "none" {
		return nil
	}
	return fmt.Errorf("--network %q: there is no network inside, programs have sockets of AF_UNIX alone (give --network=none, or leave it out)", value)
}

func straceFlag() cli.Flag {
	f := &cli.GenericFlag{Name: "strace", Value: &strace{}, Action: checkStrace}
	// The value is taken behind "=" alone.
	f.SetStringer(func(cli.Flag) string { return "--strace[=NAME,NAME]\tlog each system call, or only those named" })
	return f
}

// checkStrace refuses names of no call, of which no line would ever come.
func checkStrace(_ context.Context, _ *cli.Command, value cli.Value) error {
	calls := linux.New(nil).Calls()
	for _, name := range value.(*strace).Names {
		if !slices.ContainsFunc(calls, func(c *linux.Call) bool { return c.Name == name }) {
			return badFlag("strace", name, "sentry syscalls lists the names")
		}
	}
	return nil
}

// strace is the value of --strace[=NAMES]: a flag that may stand alone.
type strace sandbox.Strace

// Set takes a list of names separated by commas, or "true" where the flag stood alone. The last one counts, as of other flags.
func (s *strace) Set(text string) error {
	s.On, s.Names = true, nil
	if text != "true" {
		s.Names = strings.Split(text, ",")
	}
	return nil
}

func (s *strace) String() string { return strings.Join(s.Names, ",") }

// Get returns the value itself.
func (s *strace) Get() any { return s }

// IsBoolFlag tells the parser not to take the next argument as the value.
func (s *strace) IsBoolFlag() bool { return true }

func badFlag(name, value, way string) error {
	return fmt.Errorf("--%s %q is not understood (%s)", name, value, way)
}

// parseSize reads a number of bytes that may end in K, M, G or T.
func parseSize(text string) (uint64, bool) {
	digits := strings.TrimRight(strings.ToUpper(text), "KMGT")
	shift := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
	by, known := shift[strings.ToUpper(text)[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !known || n > 1<<46>>by {
		return 0, false
	}
	return n << by, true
}

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"gosentry/sentry/sandbox"
	"gosentry/sentry/trace"

	"github.com/urfave/cli/v3"
)

// doVerb is the verb that runs a sandbox, by run, whose status goes to *status. argv is the
// process's command line.
func doVerb(argv []string, status *int, run func(sandbox.Spec) (int, error)) *cli.Command {
	first := 1
	return &cli.Command{
		Name:      "do",
		Usage:     "run a program on the host's files; its changes vanish at the end",
		UsageText: "sentry [global options] do [options] [--] PROGRAM [ARGS...]",
		Description: `The program gets this directory, environment and standard streams. The exit status is its own, 128+n
when signal n killed it, 127 when it was not found, 126 when it could not be executed, 125
when the sandbox failed.`,
		HideHelpCommand:           true,
		StopOnNthArg:              &first,
		DisableSliceFlagSeparator: true,
		OnUsageError:              usageError,
		Flags:                     doFlags(),
		Action: func(_ context.Context, cmd *cli.Command) (err error) {
			spec, err := doSpec(cmd, argv)
			if err != nil {
				return err
			}
			*status, err = run(spec)
			return err
		},
	}
}

func doFlags() []cli.Flag {
	flags := []cli.Flag{
		&cli.StringFlag{Name: "rootfs", Usage: "use `DIR` as the root file system, read-only under an overlay in memory", Value: "/"},
		&cli.StringSliceFlag{Name: "rw", Usage: "show `DIR` inside at the same path, writable: changes are real"},
		&cli.StringSliceFlag{Name: "ro", Usage: "show `DIR[:INSIDE]` inside, read-only"},
		&cli.StringFlag{Name: "cwd", Usage: "start in `DIR` (default: this directory, or / with --rootfs)"},
		&cli.StringSliceFlag{Name: "env", Usage: "add `K=V` to the environment"},
		&cli.StringFlag{Name: "hostname", Usage: "`NAME` of the host inside (default: the host's)"},
		&cli.StringFlag{Name: "memory", Usage: "give the guest at most `SIZE` of memory, as 512M or 4G (default: what the host has)"},
		&cli.IntFlag{Name: "pids", Usage: "allow at most `N` processes and threads at a time inside", DefaultText: "no limit"},
		&cli.StringFlag{Name: "trace", Usage: "write what happens to processes (fork, exec, exit, death by a signal) to `FILE`"},
		&cli.StringFlag{Name: "trace-format", Value: trace.FormatJSON, Usage: "write it in `FORMAT`: json, a line for each event, or chrome, a timeline for trace viewers",
			Action: oneOf("trace-format", trace.FormatJSON, trace.FormatChrome)},
		&cli.BoolFlag{Name: "trace-first-only", Usage: "trace the first process and none of its children"},
	}
	for _, f := range notForDo() {
		flags = append(flags, f.flag)
	}
	return flags
}

// uselessFlag is a flag of the runtime that says nothing to do, and what is given instead.
type uselessFlag struct {
	flag cli.Flag
	way  string
}

// notForDo are refused before and behind do: who gives them wants something else than what they would get. do has flags of
// their names, so that its help leaves them out.
func notForDo() []uselessFlag {
	return []uselessFlag{
		{&cli.StringFlag{Name: "root", Hidden: true}, "--rootfs DIR gives the program another root file system"},
		{&cli.BoolFlag{Name: "persist", Hidden: true}, "--rw DIR lets the program write to a directory of the host"},
		{&cli.BoolFlag{Name: "systemd-cgroup", Hidden: true}, "leave it out"},
	}
}

func checkForDo(cmd *cli.Command) error {
	for _, f := range notForDo() {
		if name := f.flag.Names()[0]; cmd.IsSet(name) || cmd.Root().IsSet(name) {
			return fmt.Errorf("--%s is about containers, not for do (%s)", name, f.way)
		}
	}
	if cmd.Args().First() == "" {
		return errors.New("do: no program named (sentry do --help shows how)")
	}
	return nil
}

// doSpec reads the flags; argv is the process's whole command line.
func doSpec(cmd *cli.Command, argv []string) (sandbox.Spec, error) {
	o := options(cmd)
	spec := sandbox.Spec{
		Platform: o.Platform, NoPatch: o.NoPatch, Strace: o.Strace, Log: o.Log,
		Root: cmd.String("rootfs"), Cwd: cmd.String("cwd"), Hostname: cmd.String("hostname"),
		Args:         programArgs(argv, cmd.Args().Slice()),
		Trace:        sandbox.Trace{File: cmd.String("trace"), Format: cmd.String("trace-format"), FirstOnly: cmd.Bool("trace-first-only")},
		PIDs:         cmd.Int("pids"),
		ReleaseStdio: true,
	}
	err := checkForDo(cmd)
	if err != nil {
		return spec, err
	}
	if spec.PIDs < 0 {
		return spec, badFlag("pids", fmt.Sprint(spec.PIDs), "give a number of processes and threads, 0 for no limit")
	}
	if spec.Memory, err = memorySize(cmd.String("memory")); err != nil {
		return spec, err
	}
	if spec.Env, err = environment(os.Environ(), cmd.StringSlice("env")); err != nil {
		return spec, err
	}
	for _, s := range cmd.StringSlice("rw") {
		if strings.Contains(s, ":") {
			return spec, badFlag("rw", s, "a writable directory keeps its path; give DIR alone")
		}
		if spec.Binds, err = appendBind(spec.Binds, "rw", s); err != nil {
			return spec, err
		}
	}
	for _, s := range cmd.StringSlice("ro") {
		if spec.Binds, err = appendBind(spec.Binds, "ro", s); err != nil {
			return spec, err
		}
	}
	return spec, nil
}

// leastMemory is enough for a shell.
const leastMemory = 8 << 20

// memorySize is parseSize of a flag; nothing is 0.
func memorySize(text string) (uint64, error) {
	if text == "" {
		return 0, nil
	}
	n, ok := parseSize(text)
	if !ok || n < leastMemory {
		return 0, badFlag("memory", text, "give a size of at least 8M")
	}
	return n, nil
}

// appendBind reads the value of --rw or --ro.
func appendBind(binds []sandbox.Bind, flag, value string) ([]sandbox.Bind, error) {
	b, err := sandbox.ParseBind(value, flag == "rw")
	if err != nil {
		return nil, fmt.Errorf("--%s %w", flag, err)
	}
	return append(binds, b), nil
}

// programArgs returns PROGRAM and its arguments as they stand in argv. The parser stops
// behind PROGRAM but swallows a "--" that follows it, which is the program's.
func programArgs(argv, parsed []string) []string {
	if len(parsed) == 0 || slices.Equal(argv[len(argv)-len(parsed):], parsed) {
		return parsed
	}
	return argv[len(argv)-len(parsed)-1:]
}

// environment is base with the K=V of changes set.
func environment(base, changes []string) ([]string, error) {
	env := slices.Clone(base)
	for _, c := range changes {
		key, _, ok := strings.Cut(c, "=")
		if !ok || key == "" {
			return nil, badFlag("env", c, "give K=V")
		}
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, key+"=") })
		env = append(env, c)
	}
	return env, nil
}

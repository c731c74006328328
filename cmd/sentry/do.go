package main

import (
	"context"
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
		UsageText: "sentry do [flags] [--] PROGRAM [ARGS...]",
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
	return []cli.Flag{
		&cli.StringFlag{Name: "platform", Usage: "how guest code is run: " + strings.Join(sandbox.Platforms(), ", ") + " (default: the best that the host can run)"},
		&cli.BoolFlag{Name: "no-patch", Usage: "systrap, kvm: do not patch system calls that are made often in the program's text"},
		&cli.StringFlag{Name: "rootfs", Usage: "use `DIR` as the root file system, read-only under an overlay in memory", Value: "/"},
		&cli.StringSliceFlag{Name: "rw", Usage: "show `DIR` inside at the same path, writable: changes are real"},
		&cli.StringSliceFlag{Name: "ro", Usage: "show `DIR[:INSIDE]` inside, read-only"},
		&cli.StringFlag{Name: "cwd", Usage: "start in `DIR` (default: this directory, with --rootfs /)"},
		&cli.StringSliceFlag{Name: "env", Usage: "add `K=V` to the environment"},
		&cli.StringFlag{Name: "hostname", Usage: "`NAME` of the host inside (default: the host's)"},
		&cli.StringFlag{Name: "memory", Usage: "give the guest at most `SIZE` of memory, as 512M or 4G (default: what the host has)"},
		&cli.IntFlag{Name: "pids", Usage: "allow at most `N` processes and threads at a time inside"},
		&cli.GenericFlag{Name: "strace", Value: &strace{}, Usage: "log each system call, or those given as --strace=name,name"},
		&cli.StringFlag{Name: "trace", Usage: "write what happens to processes (fork, exec, exit, death by a signal) to `FILE`"},
		&cli.StringFlag{Name: "trace-format", Value: trace.FormatJSON, Usage: "json, a line for each event, or chrome, a timeline for trace viewers"},
		&cli.BoolFlag{Name: "trace-first-only", Usage: "trace the first process and none of its children"},
		&cli.StringFlag{Name: "log", Usage: "append the sentry's messages to `FILE`"},
		&cli.StringFlag{Name: "log-format", Value: "text", Usage: "text or json"},
		&cli.BoolFlag{Name: "debug", Usage: "log more, to standard error without --log; show stack traces"},
	}
}

// doSpec reads the flags; argv is the process's whole command line.
func doSpec(cmd *cli.Command, argv []string) (sandbox.Spec, error) {
	spec := sandbox.Spec{
		Platform: cmd.String("platform"), NoPatch: cmd.Bool("no-patch"), Root: cmd.String("rootfs"), Cwd: cmd.String("cwd"), Hostname: cmd.String("hostname"),
		Args:         programArgs(argv, cmd.Args().Slice()),
		Log:          sandbox.Log{File: cmd.String("log"), Debug: cmd.Bool("debug")},
		ReleaseStdio: true,
	}
	if s, ok := cmd.Generic("strace").(*strace); ok {
		spec.Strace = sandbox.Strace(*s)
	}
	err := numbersAndFormats(cmd, &spec)
	if err != nil {
		return spec, err
	}
	if spec.Env, err = environment(os.Environ(), cmd.StringSlice("env")); err != nil {
		return spec, err
	}
	for _, s := range cmd.StringSlice("rw") {
		if strings.Contains(s, ":") {
			return spec, badFlag("rw", s, "a writable directory keeps its path; give DIR alone")
		}
		if spec.Binds, err = appendBind(spec.Binds, s, true); err != nil {
			return spec, err
		}
	}
	for _, s := range cmd.StringSlice("ro") {
		if spec.Binds, err = appendBind(spec.Binds, s, false); err != nil {
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

// numbersAndFormats reads the flags whose values are of a certain form.
func numbersAndFormats(cmd *cli.Command, spec *sandbox.Spec) error {
	spec.Trace = sandbox.Trace{File: cmd.String("trace"), Format: cmd.String("trace-format"), FirstOnly: cmd.Bool("trace-first-only")}
	if f := spec.Trace.Format; f != trace.FormatJSON && f != trace.FormatChrome {
		return badFlag("trace-format", f, "give json or chrome")
	}
	if spec.PIDs = cmd.Int("pids"); spec.PIDs < 0 {
		return badFlag("pids", fmt.Sprint(spec.PIDs), "give a number of processes")
	}
	var err error
	if spec.Memory, err = memorySize(cmd.String("memory")); err != nil {
		return err
	}
	switch format := cmd.String("log-format"); format {
	case "text", "json":
		spec.Log.JSON = format == "json"
	default:
		return badFlag("log-format", format, "give text or json")
	}
	return nil
}

func appendBind(binds []sandbox.Bind, s string, writable bool) ([]sandbox.Bind, error) {
	b, err := sandbox.ParseBind(s, writable)
	return append(binds, b), err
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

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"gosentry/sentry/oci"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
)

// runtimeOf makes the runtime of what the runtime's flags say.
func runtimeOf(cmd *cli.Command) (*oci.Runtime, error) {
	root, err := filepath.Abs(cmd.String("root"))
	if err != nil {
		return nil, err
	}
	return &oci.Runtime{Root: root, Launch: options(cmd).Launcher()}, nil
}

// containerVerb is a verb about one container, or with id unset about all.
type containerVerb struct {
	name, usage, args string
	flags             []cli.Flag
	id                bool
	more              int  // arguments besides the id, at most; -1: any number
	verbatim          bool // what follows the id are no flags of ours
	run               func(cmd *cli.Command, r *oci.Runtime, id string, args []string) (int, error)
}

func (v containerVerb) command(status *int) *cli.Command {
	stop := 1
	c := &cli.Command{
		Name: v.name, Usage: v.usage, UsageText: "sentry [global options] " + v.name + " [options] " + v.args,
		HideHelpCommand: true, OnUsageError: usageError, Flags: v.flags, Category: "Containers",
		Action: func(_ context.Context, cmd *cli.Command) error {
			args := cmd.Args().Slice()
			id := ""
			if v.id {
				if len(args) == 0 {
					return fmt.Errorf("%s: no container named (sentry %s --help shows how)", v.name, v.name)
				}
				id, args = args[0], args[1:]
			}
			if v.more >= 0 && len(args) > v.more {
				return fmt.Errorf("%s: the argument %q is one too many", v.name, args[v.more])
			}
			r, err := runtimeOf(cmd)
			if err != nil {
				return err
			}
			*status, err = v.run(cmd, r, id, args)
			return err
		},
	}
	if v.verbatim {
		c.StopOnNthArg = &stop
	}
	return c
}

func createFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "make it from the bundle in `DIR`, which has a config.json (sentry spec writes one)"},
		&cli.StringFlag{Name: "pid-file", Usage: "write the container's process id to `FILE`"},
		&cli.StringFlag{Name: "console-socket", Usage: "send the terminal to the `SOCKET`"},
		&cli.IntFlag{Name: "preserve-fds", Usage: "pass `N` more descriptors to the program"},
		&cli.BoolFlag{Name: "no-pivot", Usage: "accepted; the sandbox has a root of its own"},
		&cli.BoolFlag{Name: "no-new-keyring", Usage: "accepted; there are no keyrings inside"},
	}
}

func createArgs(cmd *cli.Command, id string) oci.CreateArgs {
	return oci.CreateArgs{
		ID: id, Bundle: cmd.String("bundle"), PIDFile: cmd.String("pid-file"),
		ConsoleSocket: cmd.String("console-socket"), PreserveFDs: cmd.Int("preserve-fds"),
	}
}

// containerVerbs are the verbs of an OCI runtime.
func containerVerbs(status *int) []*cli.Command {
	var commands []*cli.Command
	for _, v := range slices.Concat(lifeVerbs(), lookVerbs(), resourceVerbs()) {
		commands = append(commands, v.command(status))
	}
	// Engines ask for these with flags of their own.
	for _, name := range []string{"checkpoint", "restore"} {
		commands = append(commands, &cli.Command{
			Name: name, Usage: "not supported", Hidden: true, SkipFlagParsing: true, HideHelpCommand: true,
			Action: func(context.Context, *cli.Command) error {
				return fmt.Errorf("%s: containers cannot be checkpointed", name)
			},
		})
	}
	return commands
}

// lifeVerbs change a container.
func lifeVerbs() []containerVerb {
	return []containerVerb{
		{name: "create", usage: "make a container from a bundle; start runs it", args: "ID", id: true, flags: createFlags(),
			run: func(cmd *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
				return 0, r.Create(createArgs(cmd, id))
			}},
		{name: "start", usage: "run the program of a created container", args: "ID", id: true,
			run: func(_ *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) { return 0, r.Start(id) }},
		{name: "run", usage: "create and start a container, wait for it and delete it", args: "ID", id: true,
			flags: append(createFlags(),
				&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"},
				&cli.BoolFlag{Name: "keep", Usage: "do not delete it at the end"},
				&cli.BoolFlag{Name: "no-subreaper", Usage: "accepted; the sandbox reaps its own"}),
			run: func(cmd *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
				return r.Run(oci.RunArgs{CreateArgs: createArgs(cmd, id), Detach: cmd.Bool("detach"), Keep: cmd.Bool("keep")})
			}},
		{name: "kill", usage: "send a signal to a container's first process", args: "ID [SIGNAL]", id: true, more: 1,
			flags: []cli.Flag{
				&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "to all processes"},
				&cli.StringFlag{Name: "signal", Usage: "`SIGNAL` by name or number"},
			},
			run: killContainer},
		{name: "delete", usage: "remove containers that have ended", args: "ID...", id: true, more: -1,
			flags: []cli.Flag{&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "end it first; no error if it is not there"}},
			run: func(cmd *cli.Command, r *oci.Runtime, id string, more []string) (int, error) {
				failed := r.Delete(id, cmd.Bool("force"))
				for _, id := range more {
					failed = errors.Join(failed, r.Delete(id, cmd.Bool("force")))
				}
				return 0, failed
			}},
		{name: "pause", usage: "make a container's processes stand still", args: "ID", id: true,
			run: func(_ *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) { return 0, r.Pause(id) }},
		{name: "resume", usage: "let a paused container go on", args: "ID", id: true,
			run: func(_ *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) { return 0, r.Resume(id) }},
		execVerb(),
	}
}

// lookVerbs only look.
func lookVerbs() []containerVerb {
	return []containerVerb{
		{name: "state", usage: "print a container's state as JSON", args: "ID", id: true,
			run: func(_ *cli.Command, r *oci.Runtime, id string, _ []string) (int, error) {
				s, err := r.State(id)
				if err != nil {
					return 0, err
				}
				return 0, printJSON(s)
			}},
		{name: "list", usage: "list containers",
			flags: []cli.Flag{
				&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table or json"},
				&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "ids only"},
			},
			run: listContainers},
		{name: "ps", usage: "list a container's processes, as ps does with the same arguments", args: "ID [-ef | -o LIST]", id: true, more: -1, verbatim: true,
			flags: []cli.Flag{&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Value: "table", Usage: "table or json"}},
			run:   listProcesses},
		{name: "spec", usage: "write a config.json to begin with",
			flags: []cli.Flag{
				&cli.StringFlag{Name: "bundle", Aliases: []string{"b"}, Value: ".", Usage: "into `DIR`"},
				&cli.BoolFlag{Name: "rootless", Usage: "accepted; the same file does"},
			},
			run: func(cmd *cli.Command, _ *oci.Runtime, _ string, _ []string) (int, error) {
				return 0, writeSpec(cmd.String("bundle"))
			}},
		{name: "features", usage: "print what the runtime knows as JSON",
			run: func(*cli.Command, *oci.Runtime, string, []string) (int, error) { return 0, printJSON(oci.Features()) }},
	}
}

func printJSON(v any) error {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

func killContainer(cmd *cli.Command, r *oci.Runtime, id string, args []string) (int, error) {
	text := cmd.String("signal")
	if len(args) > 0 {
		text = args[0]
	}
	sig := unix.SIGTERM
	if text != "" {
		var err error
		if sig, err = parseSignal(text); err != nil {
			return 0, err
		}
	}
	return 0, r.Kill(id, sig, cmd.Bool("all"))
}

// maxSignal is the last real-time signal.
const maxSignal = 64

// parseSignal reads a signal's number, or its name with or without SIG.
func parseSignal(text string) (unix.Signal, error) {
	if n, err := strconv.Atoi(text); err == nil {
		if n < 0 || n > maxSignal {
			return 0, fmt.Errorf("there is no signal %d", n)
		}
		return unix.Signal(n), nil
	}
	name := strings.ToUpper(text)
	if !strings.HasPrefix(name, "SIG") {
		name = "SIG" + name
	}
	if sig := unix.SignalNum(name); sig != 0 {
		return sig, nil
	}
	return 0, fmt.Errorf("there is no signal %q", text)
}

func listContainers(cmd *cli.Command, r *oci.Runtime, _ string, _ []string) (int, error) {
	list, err := r.List()
	if err != nil {
		return 0, err
	}
	switch format := cmd.String("format"); {
	case cmd.Bool("quiet"):
		for _, e := range list {
			fmt.Println(e.ID)
		}
	case format == "json":
		return 0, json.NewEncoder(os.Stdout).Encode(list)
	case format == "table":
		w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
		fmt.Fprintln(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER")
		for _, e := range list {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%d\n", e.ID, e.PID, e.Status, e.Bundle, e.Created.Format(time.RFC3339Nano), e.Owner)
		}
		return 0, w.Flush()
	default:
		return 0, badFlag("format", format, "give table or json")
	}
	return 0, nil
}

// writeSpec writes a configuration where there is none.
func writeSpec(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "config.json"), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	e.SetIndent("", "\t")
	if err := e.Encode(oci.DefaultConfig()); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

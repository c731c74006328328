// Command sentry runs unmodified Linux programs on a kernel of its own.
//
// Each verb has a file: do, syscalls, doctor, help, version. The program is also the inner
// process of the sandboxes that it makes: see package sandbox.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"gosentry/sentry/sandbox"

	"github.com/sirupsen/logrus"
	"github.com/urfave/cli/v3"
)

func main() {
	if sandbox.IsInner() {
		sandbox.Inner(sandbox.BootKernel)
	}
	status := 0
	app := root(os.Args, &status, sandbox.Run)
	if err := app.Run(context.Background(), os.Args); err != nil {
		if err != errSilent {
			complain(app, err)
		}
		status = sandbox.ExitStatus(err)
	}
	os.Exit(status)
}

// complain tells people of an error, and engines through the log that they named.
func complain(app *cli.Command, err error) {
	fmt.Fprintln(os.Stderr, "sentry:", err)
	name := app.String("log")
	if name == "" {
		return
	}
	f, open := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if open != nil {
		return
	}
	defer f.Close()
	log := logrus.New()
	log.Out = f
	if app.String("log-format") == "json" {
		log.Formatter = new(logrus.JSONFormatter)
	}
	log.Error(err)
}

// root is the whole command line. A verb writes the exit status to *status; its
// error stands for one too.
func root(argv []string, status *int, run func(sandbox.Spec) (int, error)) *cli.Command {
	return &cli.Command{
		Name:            "sentry",
		Usage:           "run programs in a sandbox with a kernel of its own",
		Description:     description,
		HideHelpCommand: true,
		HideVersion:     true,
		OnUsageError:    usageError,
		ExitErrHandler:  func(context.Context, *cli.Command, error) {},
		Flags:           runtimeFlags(),
		Before:          versionAlone,
		Action:          unknownVerb,
		Commands:        append([]*cli.Command{doVerb(argv, status, run), syscallsVerb(), doctorVerb(), helpVerb(), versionVerb()}, containerVerbs(status)...),
	}
}

// usageError passes the parser's error on, without the help text in front of it, but for what it tells of its own inside.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	text := err.Error()
	if before, _, number := strings.Cut(text, ": strconv."); number {
		text = before + ": a number is needed"
	}
	if before, truth := strings.CutSuffix(text, ": parse error"); truth {
		text = before + ": true or false is needed"
	}
	way := cmd.FullName() + " --help shows the flags"
	if cmd == cmd.Root() {
		way = "sentry help shows the flags that may stand before a verb; others stand behind it"
	}
	return fmt.Errorf("%s (%s)", text, way)
}

// versionAlone refuses --version before a verb, which would not see it.
func versionAlone(ctx context.Context, cmd *cli.Command) (context.Context, error) {
	if cmd.Bool("version") && cmd.Args().Present() {
		return ctx, fmt.Errorf("--version goes with nothing else, not with %q (leave one of them out)", cmd.Args().First())
	}
	return ctx, nil
}

func unknownVerb(_ context.Context, cmd *cli.Command) error {
	if cmd.Bool("version") {
		return printVersion(cmd)
	}
	if cmd.Args().Present() {
		return fmt.Errorf("no verb %q (sentry help lists them)", cmd.Args().First())
	}
	return cli.ShowAppHelp(cmd)
}

// Command sentry runs unmodified Linux programs on a kernel of its own.
//
// Each verb has a file: do, syscalls, help, version. The program is also the inner
// process of the sandboxes that it makes: see package sandbox.
package main

import (
	"context"
	"fmt"
	"os"

	"gosentry/sentry/sandbox"

	"github.com/urfave/cli/v3"
)

func main() {
	if sandbox.IsInner() {
		sandbox.Inner(sandbox.BootKernel)
	}
	status := 0
	if err := root(os.Args, &status, sandbox.Run).Run(context.Background(), os.Args); err != nil {
		fmt.Fprintln(os.Stderr, "sentry:", err)
		status = sandbox.ExitStatus(err)
	}
	os.Exit(status)
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
		Action:          unknownVerb,
		Commands:        []*cli.Command{doVerb(argv, status, run), syscallsVerb(), helpVerb(), versionVerb()},
	}
}

// usageError passes the parser's error on as it is, without the help text in front of it.
func usageError(_ context.Context, cmd *cli.Command, err error, _ bool) error {
	return fmt.Errorf("%w (%s help shows the flags)", err, cmd.Root().Name)
}

func unknownVerb(_ context.Context, cmd *cli.Command) error {
	if cmd.Args().Present() {
		return fmt.Errorf("no verb %q (sentry help lists them)", cmd.Args().First())
	}
	return cli.ShowAppHelp(cmd)
}

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"
)

const description = `A program run by "sentry do" makes no system call of the host's: each is answered by
the sentry's own kernel, in a process that has no privileges, no files and few system
calls left. By default the program sees the host's files, and its changes vanish at the end.
For example:

   sentry do -- sh -c 'echo hello from $(uname -s)'

"sentry help do" shows the options of do. Global options stand before the command or behind
it; of one that is given twice the last counts.`

func helpVerb() *cli.Command {
	return &cli.Command{
		Name:            "help",
		Usage:           "show help, or that of one verb",
		ArgsUsage:       "[VERB]",
		HideHelp:        true,
		HideHelpCommand: true,
		OnUsageError:    usageError,
		Action: func(ctx context.Context, cmd *cli.Command) error {
			verb := cmd.Args().First()
			if verb == "" {
				return cli.ShowRootCommandHelp(cmd.Root())
			}
			if cmd.Root().Command(verb) == nil {
				return fmt.Errorf("no verb %q (sentry help lists them)", verb)
			}
			return cli.ShowCommandHelp(ctx, cmd.Root(), verb)
		},
	}
}

package main

import (
	"context"
	"fmt"
	"io"

	"gosentry/sentry/personality/linux"

	"github.com/urfave/cli/v3"
)

func syscallsVerb() *cli.Command {
	return &cli.Command{
		Name:            "syscalls",
		Usage:           "list the system calls: number, name, full, partial (what is missing) or no",
		HideHelpCommand: true,
		OnUsageError:    usageError,
		Action: func(_ context.Context, cmd *cli.Command) error {
			return printSyscalls(cmd.Root().Writer, linux.New(nil).Calls())
		},
	}
}

// printSyscalls writes a line for each call and one with the sums.
func printSyscalls(w io.Writer, calls []*linux.Call) error {
	sums := make(map[string]int)
	for _, c := range calls {
		support := c.Support()
		sums[support]++
		if support == "partial" {
			support += ": " + c.Missing
		}
		if _, err := fmt.Fprintf(w, "%3d  %-24s %s\n", c.Number, c.Name, support); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(w, "%d calls: %d full, %d partial, %d no\n", len(calls), sums["full"], sums["partial"], sums["no"])
	return err
}

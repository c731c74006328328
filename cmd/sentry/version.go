package main

import (
	"context"
	"fmt"
	"runtime"

	"github.com/urfave/cli/v3"
)

// version is that of the next release.
const version = "0.1.0-dev"

func versionVerb() *cli.Command {
	return &cli.Command{
		Name:            "version",
		Usage:           "show the version",
		HideHelpCommand: true,
		OnUsageError:    usageError,
		Action: func(_ context.Context, cmd *cli.Command) error {
			_, err := fmt.Fprintf(cmd.Root().Writer, "sentry %s, %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}

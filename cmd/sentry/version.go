package main

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"

	specs "github.com/opencontainers/runtime-spec/specs-go"
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

// printVersion prints what go-runc parses: name and version, commit, version of the specification.
func printVersion(cmd *cli.Command) error {
	_, err := fmt.Fprintf(cmd.Root().Writer, "sentry version %s\ncommit: %s\nspec: %s\n", version, commit(), specs.Version)
	return err
}

// commit is the revision that the program was built from.
func commit() string {
	info, _ := debug.ReadBuildInfo()
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value
		}
	}
	return "unknown"
}

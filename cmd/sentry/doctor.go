package main

import (
	"context"
	"fmt"
	"io"

	"gosentry/sentry/sandbox"

	"github.com/urfave/cli/v3"
)

func doctorVerb() *cli.Command {
	return &cli.Command{
		Name:            "doctor",
		Usage:           "tell which platforms the host can run, and why not the others",
		HideHelpCommand: true,
		OnUsageError:    usageError,
		Action: func(_ context.Context, cmd *cli.Command) error {
			return printDiagnoses(cmd.Root().Writer, sandbox.Diagnose())
		},
	}
}

// printDiagnoses writes a line for each platform.
func printDiagnoses(w io.Writer, list []sandbox.Diagnosis) error {
	for _, d := range list {
		text := "usable"
		switch {
		case d.Err != nil:
			text = "not usable: " + d.Err.Error()
		case d.Found != "":
			text += ": " + d.Found
		}
		if _, err := fmt.Fprintf(w, "%-8s %s\n", d.Platform, text); err != nil {
			return err
		}
	}
	return nil
}

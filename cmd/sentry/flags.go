package main

import (
	"fmt"
	"strings"

	"gosentry/sentry/sandbox"
)

// strace is the value of --strace[=NAMES]: a flag that may stand alone.
type strace sandbox.Strace

// Set takes a list of names separated by commas, or "true" where the flag stood alone.
func (s *strace) Set(text string) error {
	s.On = true
	if text == "true" {
		s.Names = nil
		return nil
	}
	s.Names = append(s.Names, strings.Split(text, ",")...)
	return nil
}

func (s *strace) String() string { return strings.Join(s.Names, ",") }

// Get returns the value itself.
func (s *strace) Get() any { return s }

// IsBoolFlag tells the parser not to take the next argument as the value.
func (s *strace) IsBoolFlag() bool { return true }

func badFlag(name, value, way string) error {
	return fmt.Errorf("--%s %q is not understood (%s)", name, value, way)
}

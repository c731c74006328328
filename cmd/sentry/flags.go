package main

import (
	"fmt"
	"strconv"
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

// parseSize reads a number of bytes that may end in K, M, G or T.
func parseSize(text string) (uint64, bool) {
	digits := strings.TrimRight(strings.ToUpper(text), "KMGT")
	shift := map[string]int{"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
	by, known := shift[strings.ToUpper(text)[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 64)
	if err != nil || !known || n > 1<<46>>by {
		return 0, false
	}
	return n << by, true
}

// Command count runs "go test -json" and says what came of it in words: each package in a line, what
// failed with its output, what was skipped with its reason, and at the end one line
//
//	N passed, N failed, N skipped
//
// Tests with subtests are not counted themselves. A package that fails without a test that
// failed (it does not build, or its process ended) counts as one. The exit status is 1 if something failed.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: count COMMAND [ARGS...], a command that prints what go test -json does")
		os.Exit(2)
	}
	cmd := exec.Command(os.Args[1], os.Args[2:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "count:", err)
		os.Exit(2)
	}
	r := newReport(os.Stdout)
	readErr := r.read(out)
	ended := cmd.Wait()
	if readErr != nil {
		fmt.Fprintln(os.Stderr, "count: reading events:", readErr)
	}
	failed := r.summary()
	if failed || ended != nil || readErr != nil {
		os.Exit(1)
	}
}

// event is a line of go test -json; see "go doc test2json".
type event struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64
}

// report collects events.
type report struct {
	w                       io.Writer
	output                  map[string]*strings.Builder // by package and test
	results                 map[string]string           // pass, fail or skip, by package and test
	builds                  map[string]*strings.Builder // the compiler's words, by package
	passed, failed, skipped int
}

func newReport(w io.Writer) *report {
	return &report{w: w, output: make(map[string]*strings.Builder), results: make(map[string]string), builds: make(map[string]*strings.Builder)}
}

func (r *report) read(in io.Reader) error {
	dec := json.NewDecoder(in)
	for {
		var e event
		if err := dec.Decode(&e); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		r.event(e)
	}
}

func (r *report) event(e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		text(r.output, key).WriteString(e.Output)
	case "build-output":
		text(r.builds, e.ImportPath).WriteString(e.Output)
	case "build-fail":
		fmt.Fprint(r.w, text(r.builds, e.ImportPath))
	case "pass", "fail", "skip":
		if e.Test != "" {
			r.results[key] = e.Action
			return
		}
		r.endPackage(e)
	}
}

func text(m map[string]*strings.Builder, key string) *strings.Builder {
	if m[key] == nil {
		m[key] = new(strings.Builder)
	}
	return m[key]
}

// endPackage counts the tests of a package and forgets them.
func (r *report) endPackage(e event) {
	var passed, failed, skipped int
	for _, key := range slices.Sorted(maps.Keys(r.results)) {
		result := r.results[key]
		if r.hasSubtests(key) {
			if result == "fail" {
				fmt.Fprint(r.w, text(r.output, key))
			}
			continue
		}
		switch result {
		case "pass":
			passed++
		case "fail":
			failed++
			fmt.Fprint(r.w, text(r.output, key))
		case "skip":
			skipped++
			fmt.Fprintf(r.w, "skipped %s: %s\n", key, reason(text(r.output, key).String()))
		}
	}
	if e.Action == "fail" && failed == 0 {
		failed = 1
		for _, key := range slices.Sorted(maps.Keys(r.output)) {
			if r.results[key] != "pass" {
				fmt.Fprint(r.w, r.output[key])
			}
		}
	}
	if passed+failed+skipped > 0 {
		fmt.Fprintf(r.w, "%-40s %4d passed, %d failed, %d skipped  %.1fs\n", e.Package, passed, failed, skipped, e.Elapsed)
	}
	r.passed, r.failed, r.skipped = r.passed+passed, r.failed+failed, r.skipped+skipped
	clear(r.results)
	clear(r.output)
}

// hasSubtests tells whether a test's result is only the sum of others.
func (r *report) hasSubtests(key string) bool {
	for other := range r.results {
		if strings.HasPrefix(other, key+"/") {
			return true
		}
	}
	return false
}

// reason is what a skipped test said.
func reason(out string) string {
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "===") && !strings.HasPrefix(line, "---") {
			return line
		}
	}
	return "no reason given"
}

// summary prints the last line and tells whether something failed.
func (r *report) summary() bool {
	fmt.Fprintf(r.w, "%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return r.failed > 0
}

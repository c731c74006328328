package test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var updateForkPage = flag.Bool("update", false, "write FORK.md anew instead of failing when it is stale")

// forkRow is a row of the fork table with what shows that it works: a section, named by the row's
// name, of a program in directory fork. Its report is compared with the host's, or with want where
// the host has nothing like it.
type forkRow struct {
	name    string // ID and words, as N03_per_user_limit; the subtest's name
	program string // in directory fork, or a path from here; without .c
	// sections of the program, if not the one named by the row.
	sections string
	want     string // the report expected; "": the host's own
	root     bool   // needs root on the host
	// needs skips the test where the host lacks something else; nil: nothing.
	needs func(testing.TB)
	flags []string // of "sentry do"
	// inKernel is a package whose tests show the row, as no guest program can see all of it; a subtest of the row's name is there.
	inKernel string
	// lacks says what of the row is not there yet; "": nothing.
	lacks string
}

// forkRows are all rows that have a test, by area.
func forkRows() []forkRow {
	return slices.Concat(
		coreForkRows(),
		costForkRows(),
		cgroupForkRows(),
		eventForkRows(),
		ipcForkRows(),
		namespacesForkRows(),
		tableForkRows(),
		tracingForkRows(),
	)
}

func (r *forkRow) id() string {
	id, _, _ := strings.Cut(r.name, "_")
	return id
}

// forkPlatforms are the platforms that the rows are shown on: all that this host can run.
func forkPlatforms(t *testing.T) []string {
	t.Helper()
	chosen := os.Getenv("SENTRY_PLATFORMS") != ""
	var found []string
	for _, p := range platforms() {
		if chosen || !costly(p) && obstacles()[p] == "" {
			found = append(found, p)
		}
	}
	return found
}

// forkTime is how long a row may take: ten thousand children on a slow and busy host.
const forkTime = 4 * time.Minute

// TestFork shows each row on each platform.
func TestFork(t *testing.T) {
	on := forkPlatforms(t)
	for _, r := range forkRows() {
		if r.program == "" {
			continue
		}
		t.Run(r.name, func(t *testing.T) {
			if r.root {
				needRoot(t)
			}
			if r.needs != nil {
				r.needs(t)
			}
			c := r.command(t)
			want := result{stdout: r.want}
			if r.want == "" {
				if want = c.host(t); want.status != 0 || want.stdout == "" {
					t.Fatalf("on the host: %v", want)
				}
			}
			for _, p := range on {
				t.Run(p, func(t *testing.T) {
					got := c.sandbox(t, p)
					compare(t, want, got)
				})
			}
		})
	}
}

func (r *forkRow) command(t *testing.T) command {
	path, sections := r.program+".c", []string{r.name}
	if !strings.Contains(path, "/") {
		path = "fork/" + path
	}
	if r.sections != "" {
		sections = strings.Fields(r.sections)
	}
	return command{argv: append([]string{compile(t, path, "-static")}, sections...), flags: r.flags, timeout: forkTime}
}

// TestForkTable checks that each row is known, named once for each program, and that what is said to be
// shown elsewhere is.
func TestForkTable(t *testing.T) {
	known := make(map[string]bool)
	for _, s := range forkSpec {
		known[s.id] = true
	}
	met := make(map[string]bool)
	for _, r := range forkRows() {
		if !known[r.id()] || met[r.name] {
			t.Errorf("%s is not a row, or stands twice", r.name)
		}
		met[r.name] = true
		if r.inKernel != "" && !mentioned(t, "../"+r.inKernel+"/*_test.go", `"`+r.name+`"`) {
			t.Errorf("no test of %s names %s", r.inKernel, r.name)
		}
		if (r.program == "") == (r.inKernel == "") {
			t.Errorf("%s has no test, or two", r.name)
		}
	}
}

func mentioned(t *testing.T, pattern, text string) bool {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(files, func(name string) bool {
		b, err := os.ReadFile(name)
		return err == nil && bytes.Contains(b, []byte(text))
	})
}

// TestForkPage keeps FORK.md, the table of rows and their state, as these tests have it.
func TestForkPage(t *testing.T) {
	const page = "FORK.md"
	want := forkPage()
	if *updateForkPage {
		if err := os.WriteFile(page, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if d := diff(string(got), want); d != "" {
		t.Errorf("%s is stale; go test -run TestForkPage ./test -update writes it:\n%s", page, d)
	}
}

func forkPage() string {
	var b strings.Builder
	b.WriteString("# What fork does, row by row\n\n" +
		"Written by `go test -run TestForkPage ./test -update` from the tests. `go test -run TestFork ./...` shows the rows,\n" +
		"each a subtest on each platform. L: seen through Linux's system calls, P: in `/proc`, T: in the event stream; rows of\n" +
		"other systems' calls alone (F: FreeBSD, N: NetBSD, I: illumos) wait for those.\n\n" +
		"| row | | seen by | state |\n| --- | --- | --- | --- |\n")
	rows := forkRows()
	for _, s := range forkSpec {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", s.id, s.title, s.seen, forkState(rows, s))
	}
	return b.String()
}

// forkState is what the tests of a row say together.
func forkState(rows []forkRow, s forkSpecRow) string {
	var shown, lacks []string
	add := func(to *[]string, s string) {
		if s != "" && !slices.Contains(*to, s) {
			*to = append(*to, s)
		}
	}
	for _, r := range rows {
		if r.id() != s.id {
			continue
		}
		switch {
		case r.inKernel != "":
			add(&shown, "tested in "+r.inKernel)
		case r.want == "":
			add(&shown, "as on the host")
		default:
			add(&shown, "as written")
		}
		add(&lacks, r.lacks)
	}
	switch {
	case len(shown) == 0 && !strings.ContainsAny(s.seen, "LPTa"):
		return "waits for its system's calls"
	case len(shown) == 0:
		return "**no test**"
	case len(lacks) > 0:
		return strings.Join(shown, ", ") + "; lacks: " + strings.Join(lacks, "; ")
	}
	return strings.Join(shown, ", ")
}

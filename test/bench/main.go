// Command bench measures what guest programs pay: native, in the sandbox on each platform, and in
// gVisor's runsc on each of its own where that is installed, and prints one markdown table.
//
// Each row is taken in rounds that visit every way of running in turn, so that what the machine does meanwhile hits
// all alike; shown are the median of the rounds, their spread (half of the distance between the first and the third
// quartile, relative to the median) and the ratio to native of the medians. Rows of micro.c run in one sandbox a
// round; "start" is a whole sandbox with /bin/true; "memory" is the sum of the PSS of the
// processes that make up a sandbox in which sleep runs; "bundle" is a container from start to end, by runc where the
// others are native.
//
// With -pairs N two platforms of the sandbox are compared with each other and with nothing else, in N rounds for every row.
//
//	go run ./test/bench [-pairs N] [-rounds N] [-samples N] [-platforms ptrace,...] [-only name,...] [-sentry bin/sentry] [-programs DIR] [-note TEXT]
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

type options struct {
	rounds, samples int
	pairs           int
	platforms       string
	only            string
	sentry          string
	programs, note  string
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "rounds for each row")
	flag.IntVar(&o.pairs, "pairs", 0, "rounds for each row of a comparison of two platforms, as -platforms systrap,ptrace; 0: none")
	flag.IntVar(&o.samples, "samples", 1, "timed samples of 0.2 s in each round")
	flag.StringVar(&o.platforms, "platforms", "ptrace,systrap,kvm", "platforms of the sandbox, separated by commas; those that do not run here are left out")
	flag.StringVar(&o.only, "only", "", "rows to measure, separated by commas")
	flag.StringVar(&o.sentry, "sentry", "bin/sentry", "the sandbox's program")
	flag.StringVar(&o.programs, "programs", "", "directory that has micro and forks, for a machine without a compiler")
	flag.StringVar(&o.note, "note", "", "what is to be said below the table")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options, out io.Writer) error {
	dir, err := os.MkdirTemp("", "sentry-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.programs == "" {
		o.programs = dir
		for _, name := range []string{"micro", "forks"} {
			if err := compile(filepath.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	micro, forks := filepath.Join(o.programs, "micro"), filepath.Join(o.programs, "forks")
	ways, notes, err := waysToRun(o)
	if err != nil {
		return err
	}
	list, err := exec.Command(micro, "--list").Output()
	if err != nil {
		return fmt.Errorf("%s --list: %w", micro, err)
	}
	if err := setUpPrograms(dir); err != nil {
		return fmt.Errorf("setting up the whole programs: %w", err)
	}
	rows := o.measure(ways, slices.Concat(allSeries(micro, o, strings.Fields(string(list))), forkSeries(forks), programSeries(dir), bundleSeries(dir)))
	if o.pairs > 0 {
		printPairs(out, ways, rows, notes)
		return nil
	}
	printTable(out, ways, rows, notes)
	return nil
}

// measure takes the rows that are wanted.
func (o *options) measure(ways []way, all []series) (rows []row) {
	for _, s := range all {
		if !slices.ContainsFunc(s.rows, func(r row) bool { return o.only == "" || contains(o.only, r.name) }) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s ", s.rows[0].name)
		if o.pairs > 0 {
			s.rounds = o.pairs
		}
		s.measure(ways)
		rows = append(rows, s.rows...)
	}
	fmt.Fprintln(os.Stderr)
	return rows
}

// compile makes a program of directory testdata, static so that every way of running it starts alike.
func compile(out string) error {
	root, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("go list -m: %w", err)
	}
	source := filepath.Join(strings.TrimSpace(string(root)), "test/bench/testdata", filepath.Base(out)+".c")
	if msg, err := exec.Command("cc", "-O2", "-Wall", "-static", "-pthread", "-o", out, source).CombinedOutput(); err != nil {
		return fmt.Errorf("cc: %w\n%s", err, msg)
	}
	return nil
}

// way is a way to run a program: native if prefix is empty.
type way struct {
	name   string
	prefix []string
}

func (w way) command(argv ...string) *exec.Cmd {
	argv = append(append([]string{}, w.prefix...), argv...)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C")
	cmd.WaitDelay = time.Second
	return cmd
}

// waysToRun returns native, the sandbox's platforms and those of runsc, for a comparison of platforms these alone; what is missing or does not
// start is said in a note.
func waysToRun(o options) ([]way, []string, error) {
	sentry, err := filepath.Abs(o.sentry)
	if err != nil {
		return nil, nil, err
	}
	var candidates []way
	if o.pairs == 0 {
		candidates = append(candidates, way{name: "native"})
	}
	for _, p := range strings.Split(o.platforms, ",") {
		candidates = append(candidates, way{p, []string{sentry, "do", "--platform=" + p, "--"}})
	}
	ways, notes := []way{}, []string{}
	if o.note != "" {
		notes = append(notes, o.note)
	}
	if o.pairs == 0 {
		more, said := runscWays()
		candidates, notes = append(candidates, more...), append(notes, said)
	}
	for _, w := range candidates {
		if out, err := w.command("/bin/true").CombinedOutput(); err != nil {
			reason, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			notes = append(notes, fmt.Sprintf("%s does not run /bin/true: %v %s.", w.name, err, reason))
			continue
		}
		ways = append(ways, w)
	}
	if o.pairs > 0 && len(ways) != 2 {
		return nil, nil, fmt.Errorf("-pairs compares two platforms, and %d run here: name them with -platforms. %s", len(ways), strings.Join(notes, " "))
	}
	return ways, notes, nil
}

// runscWays returns the platforms of runsc, and what is to be said of it.
func runscWays() (ways []way, said string) {
	runsc, err := exec.LookPath("runsc")
	if err != nil {
		return nil, "runsc: not installed."
	}
	for _, p := range []string{"ptrace", "systrap"} {
		ways = append(ways, way{"runsc " + p, []string{runsc, "--network=none", "--platform=" + p, "do"}})
	}
	version, _ := exec.Command(runsc, "--version").Output()
	line, _, _ := strings.Cut(string(version), "\n")
	return ways, line + "."
}

func contains(list, name string) bool {
	for _, s := range strings.Split(list, ",") {
		if s == name {
			return true
		}
	}
	return false
}

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// row is one line of the table.
type row struct {
	name   string
	unit   unit
	values [][]float64 // by way
	errs   []error     // by way: the first failure, which ends that way's rounds
}

// series is one or more rows whose values come from the same runs.
type series struct {
	rows   []row
	rounds int
	sample func(w way) ([]float64, error) // one value a row
}

// single is a series of one row.
func single(name string, rounds int, sample func(w way) (float64, error)) series {
	return series{[]row{{name: name}}, rounds, func(w way) ([]float64, error) {
		v, err := sample(w)
		return []float64{v}, err
	}}
}

// unit tells how a row's values are shown.
type unit int

const (
	nanoseconds unit = iota
	bytes
	number
)

// errNone is the error of a row that says nothing about a way of running.
var errNone = errors.New("there is no such thing")

// allSeries are the micro-benchmark's rows and those that start a sandbox each time.
func allSeries(micro string, o options, names []string) []series {
	var all []series
	for _, name := range names {
		all = append(all, single(name, o.rounds, func(w way) (float64, error) { return runMicro(w, micro, name, o.samples) }))
	}
	loop := func(n string) []string {
		return []string{"/bin/sh", "-c", "i=0; while [ $i -lt " + n + " ]; do /bin/true; i=$((i+1)); done"}
	}
	rss, exits := single("memory", 3, memory), single("exits", 3, func(w way) (float64, error) { return exitsPerCall(w, micro) })
	rss.rows[0].unit, exits.rows[0].unit = bytes, number
	return append(all,
		exits,
		single("start", 9, func(w way) (float64, error) { return runTimed(w, "/bin/true") }),
		single("sh_100_true", 3, func(w way) (float64, error) { return runTimed(w, loop("100")...) }),
		single("sh_1000_true", 1, func(w way) (float64, error) { return runTimed(w, loop("1000")...) }),
		rss,
	)
}

// measure takes the rounds, each visiting all ways in turn, every other one from the last to the first.
func (s *series) measure(ways []way) {
	for i := range s.rows {
		s.rows[i].values, s.rows[i].errs = make([][]float64, len(ways)), make([]error, len(ways))
	}
	for round := range s.rounds {
		for i := range ways {
			if round%2 != 0 {
				i = len(ways) - 1 - i
			}
			if s.rows[0].errs[i] == nil {
				s.take(i, ways[i])
			}
		}
	}
}

// take adds a value of the i'th way to each row.
func (s *series) take(i int, w way) {
	values, err := s.sample(w)
	if err == nil && len(values) != len(s.rows) {
		err = fmt.Errorf("%d values", len(values))
	}
	if err != nil && !errors.Is(err, errNone) {
		fmt.Fprintf(os.Stderr, "\n%s, %s: %v\n", s.rows[0].name, w.name, err)
	}
	for j := range s.rows {
		if r := &s.rows[j]; err != nil {
			r.errs[i] = err
		} else {
			r.values[i] = append(r.values[i], values[j])
		}
	}
}

// limit bounds one run: a way that hangs costs its row, not the table.
const limit = 2 * time.Minute

// output runs a command and returns what it printed.
func output(cmd *exec.Cmd) (string, error) {
	var out, msg strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &msg
	if err := cmd.Start(); err != nil {
		return "", err
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(msg.String()))
	}
	return out.String(), nil
}

func runMicro(w way, micro, name string, samples int) (float64, error) {
	out, err := output(w.command(micro, "-n", strconv.Itoa(samples), name))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(out)
	if len(f) != 2 || f[0] != name {
		return 0, fmt.Errorf("unexpected output %q", out)
	}
	return strconv.ParseFloat(f[1], 64)
}

func runTimed(w way, argv ...string) (float64, error) {
	start := time.Now()
	_, err := output(w.command(argv...))
	return float64(time.Since(start)), err
}

// exitsPerCall is how often KVM counts an exit for each call that the sentry answers: the difference between many calls and none.
func exitsPerCall(w way, micro string) (float64, error) {
	if w.name != "kvm" {
		return 0, errNone
	}
	const calls = 20000
	var counts [2]float64
	for i, n := range []string{"0", strconv.Itoa(calls)} {
		cmd := w.command(micro, "-c", n, "lseek")
		cmd.Args = slices.Insert(cmd.Args, slices.Index(cmd.Args, "do")+1, "--debug")
		out, err := cmd.CombinedOutput()
		if err != nil {
			return 0, fmt.Errorf("%w: %s", err, out)
		}
		_, text, found := strings.Cut(string(out), "platform: ")
		if !found {
			return 0, errNone
		}
		if _, err := fmt.Sscanf(text, "%f exits", &counts[i]); err != nil {
			return 0, fmt.Errorf("%q: %w", text, err)
		}
	}
	return (counts[1] - counts[0]) / calls, nil
}

// memory sums the PSS of all processes that a sandbox running sleep consists of.
func memory(w way) (float64, error) {
	cmd := w.command("/bin/sleep", "30")
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	time.Sleep(time.Second)
	parents, err := parentsOf()
	if err != nil {
		return 0, err
	}
	sum, n := 0.0, 0
	for pid := range parents {
		if !descends(parents, pid, cmd.Process.Pid) {
			continue
		}
		v, err := pss(pid)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
		sum += v
		n++
	}
	if n == 0 {
		return 0, errors.New("no process found")
	}
	return sum, nil
}

// parentsOf returns each process's parent.
func parentsOf() (map[int]int, error) {
	parents := make(map[int]int)
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		pid, _ := strconv.Atoi(strings.Split(path, "/")[2])
		// The name, in parentheses, may hold anything.
		f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
		if len(f) > 1 {
			parents[pid], _ = strconv.Atoi(f[1])
		}
	}
	return parents, err
}

func descends(parents map[int]int, pid, from int) bool {
	for range len(parents) {
		if pid == from {
			return true
		}
		up, ok := parents[pid]
		if !ok || up == 0 {
			return false
		}
		pid = up
	}
	return false
}

// pss returns a process's proportional set size in bytes.
func pss(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for l := range strings.Lines(string(b)) {
		if f := strings.Fields(l); len(f) == 3 && f[0] == "Pss:" {
			kib, err := strconv.ParseFloat(f[1], 64)
			return kib * 1024, err
		}
	}
	return 0, err
}

// median and spread of values; spread is half the distance between the quartiles, relative.
func summary(values []float64) (median, spread float64) {
	s := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		x := q * float64(len(s)-1)
		i := int(x)
		if i+1 == len(s) {
			return s[i]
		}
		return s[i] + (s[i+1]-s[i])*(x-float64(i))
	}
	median = at(0.5)
	return median, (at(0.75) - at(0.25)) / 2 / median
}

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
	rounds int
	sample func(w way) (float64, error)
	values [][]float64 // by way
	errs   []error     // by way: the first failure, which ends that way's rounds
}

// unit tells how a row's values are shown.
type unit int

const (
	nanoseconds unit = iota
	bytes
)

// allRows are the micro-benchmark's rows and those that start a sandbox each time.
func allRows(micro string, o options, names []string) []row {
	var rows []row
	for _, name := range names {
		rows = append(rows, row{name: name, rounds: o.rounds, sample: func(w way) (float64, error) { return runMicro(w, micro, name, o.samples) }})
	}
	return append(rows,
		row{name: "start", rounds: 9, sample: func(w way) (float64, error) { return runTimed(w, "/bin/true") }},
		row{name: "sh_100_true", rounds: 3, sample: func(w way) (float64, error) {
			return runTimed(w, "/bin/sh", "-c", "i=0; while [ $i -lt 100 ]; do /bin/true; i=$((i+1)); done")
		}},
		row{name: "memory", unit: bytes, rounds: 3, sample: memory},
	)
}

// measure takes the row's rounds, each visiting all ways in turn.
func (r *row) measure(ways []way) {
	r.values, r.errs = make([][]float64, len(ways)), make([]error, len(ways))
	for range r.rounds {
		for i, w := range ways {
			if r.errs[i] != nil {
				continue
			}
			v, err := r.sample(w)
			if err != nil {
				r.errs[i] = err
				fmt.Fprintf(os.Stderr, "\n%s, %s: %v\n", r.name, w.name, err)
				continue
			}
			r.values[i] = append(r.values[i], v)
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

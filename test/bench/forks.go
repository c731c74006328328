package main

import (
	"fmt"
	"strconv"
	"strings"
)

// forkSeries are the rows of forks.c: what comes of one run stands in several.
func forkSeries(forks string) []series {
	list := []struct {
		rows []string
		args []string
	}{
		{[]string{"fork_1m", "fork_1m_end", "fork_1m_touch"}, []string{"touched", "1"}},
		{[]string{"fork_1m_cold"}, []string{"cold", "1"}},
		{[]string{"fork_64m_alone", "fork_64m_end", "fork_64m_touch"}, []string{"touched", "64"}},
		{[]string{"fork_1g", "fork_1g_end", "fork_1g_touch"}, []string{"touched", "1024"}},
		{[]string{"children_100", "children_100_end"}, []string{"children", "100"}},
		{[]string{"children_10000", "children_10000_end"}, []string{"children", "10000"}},
		{[]string{"page_cow"}, []string{"cow"}},
	}
	var all []series
	for _, l := range list {
		s := series{rounds: 3, sample: func(w way) ([]float64, error) { return runForks(w, forks, l.args) }}
		for _, name := range l.rows {
			s.rows = append(s.rows, row{name: name})
		}
		all = append(all, s)
	}
	return all
}

// runForks returns the numbers that forks.c prints, one a line behind a name.
func runForks(w way, forks string, args []string) ([]float64, error) {
	out, err := output(w.command(append([]string{forks}, args...)...))
	if err != nil {
		return nil, err
	}
	var values []float64
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 2 {
			return nil, fmt.Errorf("unexpected output %q", out)
		}
		v, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			return nil, err
		}
		values = append(values, v)
	}
	return values, nil
}

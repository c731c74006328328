package main

import (
	"math"
	"strings"
	"testing"
)

func TestSummary(t *testing.T) {
	for _, c := range []struct {
		values         []float64
		median, spread float64
	}{
		{[]float64{5}, 5, 0},
		{[]float64{3, 1, 2}, 2, 0.25},
		{[]float64{10, 10, 10, 10}, 10, 0},
		{[]float64{4, 2}, 3, 1.0 / 6},
	} {
		m, s := summary(c.values)
		if m != c.median || math.Abs(s-c.spread) > 1e-9 {
			t.Errorf("summary(%v) = %v, %v, want %v, %v", c.values, m, s, c.median, c.spread)
		}
	}
}

func TestTable(t *testing.T) {
	ways := []way{{name: "native"}, {name: "ptrace"}}
	rows := []row{
		{name: "getpid", values: [][]float64{{200}, {12000}}, errs: make([]error, 2)},
		{name: "memory", unit: bytes, values: [][]float64{{1e6}, {15e6}}, errs: make([]error, 2)},
		{name: "stat", values: [][]float64{{1}, nil}, errs: make([]error, 2)},
	}
	var b strings.Builder
	printTable(&b, ways, rows, []string{"runsc: not installed."})
	for _, want := range []string{
		"| work | native | ptrace |", "| 200 ns ± 0 % | 12 µs ± 0 % (60×) |", "| 15.0 MB ± 0 % |", "| failed |", "not installed",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestDescends(t *testing.T) {
	parents := map[int]int{1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 30: 30}
	for pid, want := range map[int]bool{10: true, 12: true, 20: false, 1: false, 30: false} {
		if got := descends(parents, pid, 10); got != want {
			t.Errorf("descends(%d) = %v", pid, got)
		}
	}
}

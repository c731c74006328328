package main

import (
	"errors"
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

// TestInterval asks for the ranks that tables of the binomial distribution have.
func TestInterval(t *testing.T) {
	for n, rank := range map[int]int{1: 1, 5: 1, 6: 1, 9: 2, 12: 3, 24: 7, 50: 18} {
		var sorted []float64
		for i := range n {
			sorted = append(sorted, float64(i+1))
		}
		if low, high := interval(sorted); low != float64(rank) || high != float64(n+1-rank) {
			t.Errorf("of %d: %v to %v, want %d to %d", n, low, high, rank, n+1-rank)
		}
	}
}

func TestPairs(t *testing.T) {
	ways := []way{{name: "systrap"}, {name: "ptrace"}}
	rows := []row{
		{name: "getpid", values: [][]float64{{200, 300, 100}, {400, 300, 100}}, errs: make([]error, 2)},
		{name: "stat", values: [][]float64{{1}, nil}, errs: []error{nil, errors.New("no")}},
		{name: "exits", values: [][]float64{nil, nil}, errs: []error{errNone, errNone}},
	}
	var b strings.Builder
	printPairs(&b, ways, rows, nil)
	for _, want := range []string{"| work | systrap | ptrace |", "| 200 ns ± 25 % | 300 ns ± 25 % | 1.000 | 0.500 to 1.000 |", "| failed |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "KVM") {
		t.Errorf("a row of neither:\n%s", b.String())
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

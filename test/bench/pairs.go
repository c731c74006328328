package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
)

// ratios returns the first way's values divided by the second's, round by round, in order. Whatever slows the machine down hits both alike, since
// a round takes no more than a few seconds.
func (r *row) ratios() (all []float64) {
	for i := range min(len(r.values[0]), len(r.values[1])) {
		all = append(all, r.values[0][i]/r.values[1][i])
	}
	slices.Sort(all)
	return all
}

// interval returns the values, of so many in order, between which the median lies that any number of rounds would lead to, in at least 95 of 100
// cases, whatever the distribution: as many lie below it as a coin shows heads. The least and the last where there are too few for that.
func interval(sorted []float64) (low, high float64) {
	n := len(sorted)
	chance := 1.0 // of so few heads
	for range n {
		chance /= 2
	}
	at, below := 0, chance
	for k := 1; k < n/2; k++ {
		chance *= float64(n-k+1) / float64(k)
		if below += chance; below > 0.025 {
			break
		}
		at = k
	}
	return sorted[at], sorted[n-1-at]
}

// printPairs prints how two ways compare, row by row.
func printPairs(out io.Writer, ways []way, rows []row, notes []string) {
	fmt.Fprintf(out, "| work | %s | %s | ratio | 95 of 100 between |\n| --- | --- | --- | --- | --- |\n", ways[0].name, ways[1].name)
	for _, r := range rows {
		if errors.Is(r.errs[0], errNone) || errors.Is(r.errs[1], errNone) {
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %s |", what(r.name), r.cell(0, true), r.cell(1, true))
		if all := r.ratios(); len(all) > 0 && r.errs[0] == nil && r.errs[1] == nil {
			m, _ := summary(all)
			low, high := interval(all)
			fmt.Fprintf(out, " %.3f | %.3f to %.3f |\n", m, low, high)
		} else {
			fmt.Fprint(out, " failed | |\n")
		}
	}
	note(out, append([]string{"Medians ± half the distance between the quartiles; the ratio is the median of those of each round, all taken in one run."}, notes...))
}

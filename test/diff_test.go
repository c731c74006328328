package test

import (
	"fmt"
	"strings"
	"testing"
)

// diff shows how the lines of b differ from those of a, with two lines around each
// difference; "" if they are equal.
func diff(a, b string) string {
	if a == b {
		return ""
	}
	const most = 2000
	x, y := lines(a), lines(b)
	if len(x) > most || len(y) > most {
		x, y = skipEqual(x, y)
		x, y = x[:min(len(x), most)], y[:min(len(y), most)]
	}
	var out strings.Builder
	script := edits(x, y)
	last := -1
	for i, e := range script {
		if !near(script, i) {
			continue
		}
		if last >= 0 && i > last+1 {
			out.WriteString("  ...\n")
		}
		last = i
		fmt.Fprintf(&out, "%c %s\n", e.op, e.line)
	}
	return out.String()
}

func lines(s string) []string {
	if s == "" {
		return nil
	}
	if !strings.HasSuffix(s, "\n") {
		s += "\\ no newline"
	}
	return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
}

func skipEqual(x, y []string) ([]string, []string) {
	n := 0
	for n < len(x) && n < len(y) && x[n] == y[n] {
		n++
	}
	n = max(0, n-2)
	return x[n:], y[n:]
}

type edit struct {
	op   byte // ' ', '-' or '+'
	line string
}

// edits makes y from x by a longest common subsequence.
func edits(x, y []string) []edit {
	common := make([][]int32, len(x)+1)
	for i := range common {
		common[i] = make([]int32, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out []edit
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			out = append(out, edit{' ', x[i]})
			i, j = i+1, j+1
		case i < len(x) && (j == len(y) || common[i+1][j] >= common[i][j+1]):
			out = append(out, edit{'-', x[i]})
			i++
		default:
			out = append(out, edit{'+', y[j]})
			j++
		}
	}
	return out
}

func near(script []edit, i int) bool {
	for k := max(0, i-2); k < min(len(script), i+3); k++ {
		if script[k].op != ' ' {
			return true
		}
	}
	return false
}

func TestDiff(t *testing.T) {
	for _, c := range []struct{ a, b, want string }{
		{"", "", ""},
		{"a\nb\n", "a\nb\n", ""},
		{"a\nb\nc\n", "a\nx\nc\n", "  a\n- b\n+ x\n  c\n"},
		{"a\n", "a", "- a\n+ a\\ no newline\n"},
		{"", "a\n", "+ a\n"},
		{"1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4\n5\n6\n", "  5\n  6\n- 7\n"},
	} {
		if got := diff(c.a, c.b); got != c.want {
			t.Errorf("diff(%q, %q) = %q, want %q", c.a, c.b, got, c.want)
		}
	}
}

package klog

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fill adds the records "0", "1"... at 1 s, 2 s...
func fill(l *Log, n int) {
	now := int64(0)
	l.Clock = func() int64 { now += 1e9; return now }
	for i := range n {
		l.Add(Notice, fmt.Sprint(i))
	}
}

func want[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

const line0, line1, line2 = "<5>[    1.000000] 0\n", "<5>[    2.000000] 1\n", "<5>[    3.000000] 2\n"

func TestOneReader(t *testing.T) {
	var l Log
	want(t, "nothing", string(l.Take(100)), "")
	fill(&l, 3)
	want(t, "unread", l.Unread(), 3*len(line0))
	want(t, "a part", string(l.Take(5)), line0[:5])
	want(t, "less unread", l.Unread(), 3*len(line0)-5)
	want(t, "the rest and no part", string(l.Take(len(line0))), line0[5:])
	want(t, "what fits", string(l.Take(2*len(line0)-1)), line1)
	l.Clear()
	want(t, "cleared, not taken", string(l.Take(1000)), line2)
	want(t, "all", l.Unread(), 0)
}

func TestLast(t *testing.T) {
	var l Log
	fill(&l, 3)
	want(t, "the last two", string(l.Last(2*len(line0)+3, false)), line1+line2)
	want(t, "and again, to clear", string(l.Last(1000, true)), line0+line1+line2)
	want(t, "after it", string(l.Last(1000, false)), "")
	l.Add(User|3, "two\nlines\n")
	want(t, "two lines", string(l.Last(1000, false)), "<11>[    4.000000] two\n<11>[    4.000000] lines\n")
	want(t, "the mark", l.Cleared(), 3)
}

func TestOldOnesGo(t *testing.T) {
	var l Log
	for range 1000 {
		l.Add(Notice, strings.Repeat("x", 5000))
	}
	if l.bytes > Size || l.bytes < Size-MaxText-100 {
		t.Errorf("%d bytes", l.bytes)
	}
	n := len(l.Last(1<<30, false))
	want(t, "what is there", n, l.bytes)
	want(t, "what the reader gets", len(l.Take(1<<30)), n)
	_, err := l.Record(0)
	want(t, "one that went", err, error(unix.EPIPE))
	_, err = l.Record(l.Oldest())
	want(t, "the oldest", err, nil)
	_, err = l.Record(l.End())
	want(t, "one to come", err, error(unix.EAGAIN))
}

func TestFromPrograms(t *testing.T) {
	var l Log
	for i, c := range []struct{ text, want string }{
		{"plain\n", "12,0,0,-;plain\n"}, {"<3>urgent", "11,1,0,-;urgent\n"}, {"<30>daemon", "30,2,0,-;daemon\n"},
		{"<x>no number", "12,3,0,-;<x>no number\n"}, {"tab\tback\\slash\xff", "12,4,0,-;tab\\x09back\\x5cslash\\xff\n"}, {"", "12,5,0,-;\n"},
	} {
		l.AddFrom(c.text)
		got, _ := l.Record(uint64(i))
		want(t, c.text, got, c.want)
	}
}

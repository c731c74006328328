package sandbox

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
)

func TestTextLog(t *testing.T) {
	var b bytes.Buffer
	l := newLogger(&b, false, false)
	l.Debug("not shown")
	l.WithField("b", 2).WithField("a", "x\ny").Warn("one\n2026 info two \x1b[2J\n")
	want := regexp.MustCompile(`^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d) warning one
	2026 info two \\x1b\[2J a=x
	y b=2
$`)
	if !want.MatchString(b.String()) {
		t.Errorf("got %q", b.String())
	}
}

func TestJSONLog(t *testing.T) {
	var b bytes.Buffer
	newLogger(&b, true, true).Debug("two\nlines")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"msg":"two\nlines"`) || !strings.Contains(got, `"level":"debug"`) {
		t.Errorf("got %q", got)
	}
}

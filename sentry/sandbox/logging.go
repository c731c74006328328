package sandbox

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/sirupsen/logrus"
)

// timeFormat is RFC 3339 with microseconds.
const timeFormat = "2006-01-02T15:04:05.000000Z07:00"

// newLogger writes to w, or nowhere when w is nil.
func newLogger(w io.Writer, json, debug bool) *logrus.Logger {
	l := logrus.New()
	l.Out = io.Discard
	if w != nil {
		l.Out = w
	}
	if debug {
		l.Level = logrus.DebugLevel
	}
	l.Formatter = textFormatter{}
	if json {
		l.Formatter = &logrus.JSONFormatter{TimestampFormat: timeFormat}
	}
	// The program is ended by its caller and never by a message.
	l.ExitFunc = func(int) {}
	return l
}

// openLogger is newLogger on an inherited descriptor; -1 stands for none.
func openLogger(fd int, json, debug bool) *logrus.Logger {
	if fd < 0 {
		return newLogger(nil, json, debug)
	}
	return newLogger(os.NewFile(uintptr(fd), "log"), json, debug)
}

// textFormatter writes a line for people: time, level, message, fields. Messages quote what
// guests chose, so what could move a terminal's cursor is escaped, and further
// lines of a message are indented: none can pass for a message of its own.
type textFormatter struct{}

// Format implements logrus.Formatter.
func (textFormatter) Format(e *logrus.Entry) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s ", e.Time.Format(timeFormat), e.Level)
	b.WriteString(harmless(strings.TrimRight(e.Message, "\n")))
	for _, key := range slices.Sorted(maps.Keys(e.Data)) {
		fmt.Fprintf(&b, " %s=%s", key, harmless(fmt.Sprint(e.Data[key])))
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// harmless escapes control characters and indents lines after the first.
func harmless(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n':
			b.WriteString("\n\t")
		case r != '\t' && unicode.IsControl(r):
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

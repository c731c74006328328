package sandbox

import (
	"io"
	"os"

	"github.com/sirupsen/logrus"
)

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
	const microseconds = "2006-01-02T15:04:05.000000Z07:00"
	l.Formatter = &logrus.TextFormatter{DisableColors: true, FullTimestamp: true, TimestampFormat: microseconds}
	if json {
		l.Formatter = &logrus.JSONFormatter{TimestampFormat: microseconds}
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

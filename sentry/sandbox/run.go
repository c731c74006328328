package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// maxTrace bounds what is kept of the inner process's stack traces, in bytes.
const maxTrace = 1 << 20

// Run runs a sandbox to its end and returns the exit status for the caller to
// end with. The error, if any, is a *Failure and says why the sandbox did not start or
// broke; ExitStatus of it is the status then.
func Run(spec Spec) (int, error) {
	// The parent-death signal comes when the thread ends that started the child; this one lasts as long as Run.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	spec, err := spec.complete()
	if err != nil {
		return Failed, err
	}
	g, err := openGrants(spec)
	if err != nil {
		return Failed, err
	}
	defer g.close()
	traits := inheritedTraits()
	signals, caught := catchSignals(traits.Ignored)
	// Each signal takes some 50 µs, which nobody has to wait for whose process is about to end.
	defer func() { go signal.Stop(signals) }()
	c, err := spawn(spec, g, traits, caught)
	if err != nil {
		return Failed, err
	}
	defer c.close()
	if spec.ReleaseStdio {
		releaseStdio()
	}
	go c.forward(signals)
	return c.follow(spec, g)
}

// follow waits for the report and makes the outcome of it.
func (c *child) follow(spec Spec, g *grants) (int, error) {
	trace := c.collect()
	var r report
	err := c.link.dec.Decode(&r)
	return c.outcome(r, err, spec, g, trace)
}

// collect gathers what the inner process's runtime says when it fails.
func (c *child) collect() <-chan []byte {
	trace := make(chan []byte, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(c.stderr, maxTrace))
		trace <- text
		io.Copy(io.Discard, c.stderr)
	}()
	return trace
}

// outcome makes of the last report, or of the error that came in its place, how the sandbox ended.
func (c *child) outcome(r report, err error, spec Spec, g *grants, trace <-chan []byte) (int, error) {
	status := c.reap()
	switch {
	case err != nil:
		return c.broken(status, <-trace, spec, g)
	case r.Broken:
		return r.Status, &Failure{What: "the sandbox broke", Cause: errors.New(r.Error), Way: fault + whereLog(spec, g)}
	case r.Error != "":
		return r.Status, &Failure{What: r.Error, Status: r.Status}
	}
	return r.Status, nil
}

// broken is the outcome when the inner process ended without a report.
func (c *child) broken(status unix.WaitStatus, trace []byte, spec Spec, g *grants) (int, error) {
	f := &Failure{What: "the sandbox broke", Status: Failed}
	switch {
	case status.Signaled() && status.Signal() == unix.SIGSYS:
		f.Status = bySignal + int(unix.SIGSYS)
		f.Cause = errors.New("it made a host call that its lock forbids")
		f.Way = fault + "--debug shows where, or the host's kernel log which call"
	case status.Signaled():
		f.Status = bySignal + int(status.Signal())
		f.What = "the sandbox was killed"
		f.Cause = fmt.Errorf("signal %d, %s", status.Signal(), status.Signal())
	default:
		f.Cause = errors.New(firstLine(trace))
		keepTrace(trace, spec, g)
		if f.Way = wayToRoom(f.Cause.Error()); f.Way == "" {
			f.Way = fault + whereLog(spec, g)
		}
	}
	return f.Status, f
}

// firstLine is the line of a trace that says what happened.
func firstLine(trace []byte) string {
	line, _, _ := bytes.Cut(bytes.TrimSpace(trace), []byte("\n"))
	if len(line) == 0 {
		return "it ended without a word"
	}
	return strings.ToValidUTF8(string(line), "?")
}

// fault begins the way out where there is none.
const fault = "this is a fault of sentry; "

// keepTrace writes the trace to the log, if there is one; as it is, where people read it.
func keepTrace(trace []byte, spec Spec, g *grants) {
	if g.log < 0 {
		return
	}
	out := os.NewFile(uintptr(g.log), "log")
	entry := logrus.NewEntry(newLogger(out, spec.Log.JSON, spec.Log.Debug))
	if spec.Log.JSON {
		entry = entry.WithField("trace", string(trace))
	}
	entry.Error("the sandbox broke")
	if !spec.Log.JSON {
		out.Write(trace)
	}
}

// whereLog tells where a stack trace was written.
func whereLog(spec Spec, g *grants) string {
	switch {
	case g.log < 0:
		return "--debug or --log FILE shows the stack trace"
	case spec.Log.File == "":
		return "the stack trace stands above"
	}
	return "the stack trace is in " + spec.Log.File
}

// releaseStdio gives up the process's own copies of the guest's standard input
// and output.
func releaseStdio() {
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(null)
	unix.Dup3(null, 0, 0)
	unix.Dup3(null, 1, 0)
}

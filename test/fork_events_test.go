package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gosentry/sentry/trace"
)

// eventForkRows are the rows about what is told and counted.
func eventForkRows() []forkRow {
	return []forkRow{
		{name: "N17_create_probe", inKernel: "test"},
		{name: "N18_counters", program: "events", want: "blocked the parent: 4\nshared memory: 6\n"},
		{name: "N18_usage_of_the_newborn", program: "events"},
		{name: "F10_fork_callbacks", inKernel: "sentry/kernel"},
		{name: "F11_counts_by_kind", program: "events", want: forksByKindReport},
		{name: "F14_traced_if_so_marked", inKernel: "test"},
		{name: "I05_privilege_to_fork", inKernel: "sentry/kernel"},
		{name: "I10_forks_told_to_the_holder", program: "events", want: contractReport},
		{name: "I10_notes", inKernel: "test"},
		{name: "I17_counts_by_processor", program: "events", want: "round: 0\nround: 1\nforks: 4\nvforks: 4\n"},
		{name: "I17_create_probe", inKernel: "test"},
		{name: "I23_refusals_are_counted", program: "events", root: true, want: refusalsReport},
		{name: "I23_refusals_are_told", inKernel: "test"},
	}
}

const (
	forksByKindReport = "fork: 2\ndata pages: some\nstack pages: some\nvfork: 3\ndata pages: some\nstack pages: some\n" +
		"thread: 1\ndata pages: some\nstack pages: some\nother: 2\ndata pages: some\nstack pages: some\nat least: yes\n" +
		"kernel: 1 data 0 stack 0\n"
	contractReport = "first: contract none\ntemplate none\n\nnonsense: EINVAL\nborn in: 1\nlast: contract none\ntemplate none\n\n"
	refusalsReport = "full: EAGAIN\nsome: yes\nagain: EAGAIN\ntable: 2\nuser: EAGAIN\nuser: 1\nnonsense: EINVAL\nother: 1\n"
)

// stream runs a section of the program events and returns what --trace wrote, and the result.
func stream(t *testing.T, platform, section string, flags ...string) ([]trace.Event, result) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "trace")
	c := command{argv: []string{compile(t, "fork/events.c", "-static"), section}, flags: append(flags, "--trace", file)}
	r := c.sandbox(t, platform)
	text, err := os.ReadFile(file)
	if err != nil || r.status != 0 {
		t.Fatalf("%v\n%v", err, r)
	}
	var events []trace.Event
	for line := range strings.Lines(string(text)) {
		var e trace.Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		events = append(events, e)
	}
	return events, r
}

func eventsOf(events []trace.Event, kind string) []trace.Event {
	return slices.DeleteFunc(slices.Clone(events), func(e trace.Event) bool { return e.Kind != kind })
}

// TestForkEvents shows the rows that are seen in the event stream.
func TestForkEvents(t *testing.T) {
	for _, row := range []struct {
		name  string
		check func(t *testing.T, platform string)
	}{
		{"N17_create_probe", checkProbe},
		{"I17_create_probe", checkProbe},
		{"F14_traced_if_so_marked", checkTraceMark},
		{"F15_init", checkInit},
		{"I10_notes", checkNotes},
		{"I23_refusals_are_told", checkRefusals},
	} {
		t.Run(row.name, func(t *testing.T) {
			for _, p := range forkPlatforms(t) {
				t.Run(p, func(t *testing.T) { row.check(t, p) })
			}
		})
	}
}

// checkProbe: each fork is told with parent, child and flags before the child's own first event, and
// each task that begins ends.
func checkProbe(t *testing.T, platform string) {
	events, _ := stream(t, platform, "N17_create_probe")
	var forks []string
	for i, e := range events {
		if e.Kind != trace.Fork {
			continue
		}
		forks = append(forks, fmt.Sprint(e.How, e.Flags))
		first := slices.IndexFunc(events, func(c trace.Event) bool { return slices.Equal(c.TID, e.ChildTID) })
		if first <= i || events[first].Kind != trace.Start || !slices.Equal(events[first].ParentTID, e.TID) || *events[first].Returns != 0 {
			t.Errorf("the child's first event is %+v", events[first])
		}
		if e.Took <= 0 || e.Shared == nil || e.Copied == nil || (e.How == "fork") != (*e.Copied > 0) {
			t.Errorf("%+v", e)
		}
	}
	want := []string{
		"kernel[clean_files]", "fork[]", "fork[]", "vfork[vm vfork]", "vfork[vm vfork]", "vfork[vm vfork]", "other[vm fs]", "other[vm files vfork]",
		"thread[vm fs files actions thread sysvsem]", "fork[]", "fork[]",
	}
	if !slices.Equal(forks, want) {
		t.Errorf("forks %q, want %q", forks, want)
	}
	killed, execs := eventsOf(events, trace.Killed), eventsOf(events, trace.Exec)
	if len(killed) != 1 || killed[0].Signal != 11 {
		t.Errorf("killed: %+v", killed)
	}
	if len(execs) != 2 || execs[1].Path != "/bin/true" || execs[1].Comm != "true" {
		t.Errorf("execs: %+v", execs)
	}
	if begun, ended := len(eventsOf(events, trace.Start)), len(eventsOf(events, trace.Exit))+len(killed); begun != len(want)+1 || ended != begun {
		t.Errorf("%d tasks began, %d ended", begun, ended)
	}
}

// checkInit: the sandbox's first process is forked as a process of the kernel's own, and ends last.
func checkInit(t *testing.T, platform string) {
	events, _ := stream(t, platform, "N17_create_probe")
	if e := events[0]; e.Kind != trace.Fork || e.How != "kernel" || !slices.Equal(e.PID, []int32{0}) || !slices.Equal(e.ChildPID, []int32{1}) || *e.Shared+*e.Copied != 0 {
		t.Errorf("the first event is %+v", e)
	}
	if e := events[len(events)-1]; e.Kind != trace.Exit || e.Comm != "init" || !e.Last || *e.Code != 0 || e.Reason != "" {
		t.Errorf("the last event is %+v", e)
	}
}

// checkTraceMark: children are traced if tracing is so marked, and only then.
func checkTraceMark(t *testing.T, platform string) {
	events, _ := stream(t, platform, "N17_create_probe", "--trace-first-only")
	if len(eventsOf(events, trace.Fork)) != 10 || len(eventsOf(events, trace.Start)) != 1 {
		t.Errorf("%+v", events)
	}
	for _, e := range events {
		if !slices.Equal(e.PID, events[0].PID) {
			t.Errorf("an event of another process: %+v", e)
		}
	}
}

func checkNotes(t *testing.T, platform string) {
	events, _ := stream(t, platform, "I10_forks_told_to_the_holder")
	notes := eventsOf(events, trace.Note)
	if len(notes) != 2 {
		t.Fatalf("%+v", notes)
	}
	holder := eventsOf(events, trace.Exec)[0].PID
	for i, n := range notes {
		if n.Contract != 1 || !slices.Equal(n.Holder, holder) || (i == 0) != slices.Equal(n.PID, n.Holder) || len(n.ChildPID) != 1 {
			t.Errorf("%+v", n)
		}
	}
}

func checkRefusals(t *testing.T, platform string) {
	needRoot(t)
	events, r := stream(t, platform, "I23_refusals_are_counted")
	var got []string
	for _, e := range eventsOf(events, trace.Refused) {
		got = append(got, e.How+" "+e.Reason+" "+e.Errno)
	}
	want := []string{"fork table_full EAGAIN", "fork table_full EAGAIN", "fork user_limit EAGAIN", "thread other EINVAL"}
	if !slices.Equal(got, want) {
		t.Errorf("refused %q, want %q", got, want)
	}
	if strings.Count(r.log, "process table is full") != 1 {
		t.Errorf("the log says\n%s", r.log)
	}
}

// TestTraceTimeline kills a sandbox and reads the timeline that it was writing, as viewers do.
func TestTraceTimeline(t *testing.T) {
	file := filepath.Join(t.TempDir(), "timeline")
	cmd := exec.Command(sentry(t), "do", "--trace", file, "--trace-format", "chrome", "--", "/bin/sh", "-c", "/bin/true; /bin/true; sleep 100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	read := func() (phases map[string]int) {
		text, _ := os.ReadFile(file)
		var marks []map[string]any
		phases = map[string]int{}
		if json.Unmarshal([]byte(strings.TrimSuffix(string(text), ",")+"]"), &marks) == nil {
			for _, m := range marks {
				phases[m["ph"].(string)]++
			}
		}
		return phases
	}
	const forks = 4 // init's, and three of the shell
	for end := time.Now().Add(patience); read()["f"] < forks && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	phases := read()
	if phases["s"] != forks || phases["f"] != forks || phases["X"] != forks || phases["B"] < 7 || phases["M"] == 0 {
		t.Errorf("phases %v", phases)
	}
}

// TestTraceFull: a file that takes nothing is the log's matter, not the program's.
func TestTraceFull(t *testing.T) {
	c := command{argv: []string{"/bin/sh", "-c", "/bin/true; exit 3"}, flags: []string{"--trace", "/dev/full"}}
	r := c.sandbox(t, platforms()[0])
	if r.status != 3 || !strings.Contains(r.log, "the trace is not complete") {
		t.Errorf("%v\n%s", r, r.log)
	}
}

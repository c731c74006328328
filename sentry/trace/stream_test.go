package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is a file that can be made to wait.
type sink struct {
	mu   sync.Mutex
	text bytes.Buffer
	fail error
}

func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return 0, s.fail
	}
	return s.text.Write(b)
}

func start(t *testing.T, format string) (*Stream, *sink) {
	t.Helper()
	out := new(sink)
	s, err := New(out, format)
	if err != nil {
		t.Fatal(err)
	}
	return s, out
}

func TestLines(t *testing.T) {
	s, out := start(t, FormatJSON)
	n := uint64(3)
	s.Record(&Event{Kind: Fork, Time: 5, PID: []int32{7, 2}, Flags: []string{}, Copied: &n, Comm: "a\"\n\xff"})
	s.Record(&Event{Kind: Exit, Time: 6, Code: new(int32), Last: true})
	if err := s.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	want := `{"event":"fork","ns":5,"pid":[7,2],"comm":"a\"\n\ufffd","flags":[],"pages_copied":3}` + "\n" +
		`{"event":"exit","ns":6,"code":0,"last":true}` + "\n"
	if got := out.text.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// TestDropped holds the file up: the buffer stays bounded, recording does not wait, and what is
// missing is counted where it is missing.
func TestDropped(t *testing.T) {
	s, out := start(t, FormatJSON)
	s.limit = 1000
	out.mu.Lock()
	const all = 500
	for i := range all {
		s.Record(&Event{Kind: Exit, Time: int64(i)})
	}
	s.mu.Lock()
	if len(s.text) > s.limit+200 {
		t.Errorf("%d bytes wait", len(s.text))
	}
	s.mu.Unlock()
	out.mu.Unlock()
	if err := s.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	var kept, dropped uint64
	for line := range strings.Lines(out.text.String()) {
		var e Event
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Kind == Dropped {
			dropped += e.Count
		} else {
			kept++
		}
	}
	if kept+dropped != all || dropped == 0 {
		t.Errorf("kept %d, dropped %d of %d", kept, dropped, all)
	}
}

func TestCloseIsPatient(t *testing.T) {
	s, out := start(t, FormatJSON)
	out.mu.Lock()
	defer out.mu.Unlock()
	s.Record(&Event{Kind: Exit})
	if err := s.Close(time.Millisecond); err == nil {
		t.Error("a file that takes nothing is no error")
	}
}

func TestWriteFails(t *testing.T) {
	s, out := start(t, FormatJSON)
	out.fail = errors.New("full")
	s.Record(&Event{Kind: Exit})
	if err := s.Close(time.Second); err == nil || err.Error() != "full" {
		t.Error(err)
	}
	s.Record(&Event{Kind: Exit})
}

func TestFormat(t *testing.T) {
	if _, err := New(new(sink), "xml"); err == nil {
		t.Error("there is no such format")
	}
}

// TestTimeline reads the timeline as a viewer does, after each of its events as if
// the sandbox had been killed there.
func TestTimeline(t *testing.T) {
	s, out := start(t, FormatChrome)
	parent, child := []int32{2}, []int32{3, 1}
	for _, e := range []Event{
		{Kind: Start, Time: 1000, PID: parent, TID: parent, Comm: "sh"},
		{Kind: Fork, How: "fork", Time: 5000, Took: 2000, PID: parent, TID: parent, ChildPID: child, ChildTID: child},
		{Kind: Start, Time: 6000, PID: child, TID: child, Comm: "sh"},
		{Kind: Exec, Time: 7000, PID: child, TID: child, Comm: "ls", OldTID: []int32{9}},
		{Kind: Refused, Time: 7500, PID: parent, TID: parent},
		{Kind: Killed, Time: 8000, PID: child, TID: child, Signal: 9},
		{Kind: Dropped, Time: 9000, Count: 4},
	} {
		s.Record(&e)
	}
	if err := s.Close(time.Second); err != nil {
		t.Fatal(err)
	}
	text := out.text.String()
	var marks []mark
	if err := json.Unmarshal([]byte(text), &marks); err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, m := range marks {
		if m.Phase != "M" {
			got.WriteString(m.Phase + " ")
		}
	}
	if got.String() != "B X s f B E B i E i " {
		t.Error(got.String())
	}
	for i := 0; i < len(text); i++ {
		if text[i] == '\n' && strings.HasSuffix(text[:i], "}") {
			if err := json.Unmarshal([]byte(text[:i]+"]"), &marks); err != nil {
				t.Fatalf("cut at %d: %v", i, err)
			}
		}
	}
	arrow := marks[4:6]
	if arrow[0].ID != arrow[1].ID || arrow[0].TID != 2 || arrow[1].TID != 3 || arrow[0].Time != 3 {
		t.Errorf("the arrow is %+v", arrow)
	}
}

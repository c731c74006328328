package trace

import "fmt"

// timeline writes Chrome's trace event format: a JSON array of events, whose
// end the format lets go missing. Each task is a track: a slice for each program
// that runs there, a slice for each fork, and an arrow from it to the child's first moment.
type timeline struct {
	flows uint64 // arrows so far
	begun bool   // an event stands in the array
}

// mark is one event of the format. Times are in µs.
type mark struct {
	Name  string   `json:"name"`
	Phase string   `json:"ph"`
	Time  float64  `json:"ts"`
	Dur   *float64 `json:"dur,omitempty"`
	PID   int32    `json:"pid"`
	TID   int32    `json:"tid"`
	Cat   string   `json:"cat,omitempty"`
	ID    uint64   `json:"id,omitempty"`
	Bind  string   `json:"bp,omitempty"`
	Scope string   `json:"s,omitempty"`
	Args  any      `json:"args,omitempty"`
}

func (*timeline) before() string { return "[" }
func (*timeline) after() string  { return "\n]\n" }

// add appends m with what separates it from the one before.
func (t *timeline) add(b []byte, m mark) []byte {
	if t.begun {
		b = append(b, ',')
	}
	t.begun = true
	return appendJSON(append(b, '\n'), m)
}

func (t *timeline) append(b []byte, e *Event) []byte {
	m := mark{Name: e.Kind, Time: micros(e.Time), PID: outermost(e.PID), TID: outermost(e.TID), Args: e}
	switch e.Kind {
	case Fork:
		return t.fork(b, e, m)
	case Start:
		return t.begin(b, e.Comm, m)
	case Exec:
		return t.exec(b, e, m)
	case Exit, Killed:
		m.Phase = "E"
		return t.add(b, m)
	case Dropped:
		m.Phase, m.Scope = "i", "g"
	default:
		m.Phase, m.Scope = "i", "t"
	}
	return t.add(b, m)
}

// fork draws the slice of the call, and both ends of the arrow: the child's end waits for the
// next slice on its track, which Start opens.
func (t *timeline) fork(b []byte, e *Event, m mark) []byte {
	took := micros(e.Took)
	m.Phase, m.Name, m.Dur = "X", e.How, &took
	m.Time -= took
	b = t.add(b, m)
	t.flows++
	arrow := mark{Name: e.How, Cat: Fork, ID: t.flows, Phase: "s", Time: m.Time, PID: m.PID, TID: m.TID}
	b = t.add(b, arrow)
	arrow.Phase, arrow.Time = "f", micros(e.Time)
	arrow.PID, arrow.TID = outermost(e.ChildPID), outermost(e.ChildTID)
	return t.add(b, arrow)
}

// begin opens a program's slice and names the tracks.
func (t *timeline) begin(b []byte, program string, m mark) []byte {
	m.Phase, m.Name = "B", program
	b = t.add(b, m)
	return t.name(b, program, m)
}

func (t *timeline) name(b []byte, program string, m mark) []byte {
	m.Phase, m.Args = "M", map[string]string{"name": fmt.Sprintf("%s (%d)", program, m.TID)}
	if m.PID == m.TID {
		m.Name = "process_name"
		b = t.add(b, m)
	}
	m.Name = "thread_name"
	return t.add(b, m)
}

// exec ends the slice of the program before, on the track where that ran.
func (t *timeline) exec(b []byte, e *Event, m mark) []byte {
	old := m
	old.Phase = "E"
	if len(e.OldTID) > 0 {
		old.TID = outermost(e.OldTID)
	}
	return t.begin(t.add(b, old), e.Comm, m)
}

func micros(ns int64) float64 { return float64(ns) / 1000 }

// outermost is the id by which the whole sandbox knows a task.
func outermost(ids []int32) int32 {
	if len(ids) == 0 {
		return 0
	}
	return ids[0]
}

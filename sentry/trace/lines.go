package trace

import "encoding/json"

// lines writes an event as a line of JSON.
type lines struct{}

func (lines) before() string { return "" }
func (lines) after() string  { return "" }

func (lines) append(b []byte, e *Event) []byte {
	return append(appendJSON(b, e), '\n')
}

// appendJSON adds v, which is made of plain data that JSON can always show.
func appendJSON(b []byte, v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		return append(b, "null"...)
	}
	return append(b, text...)
}

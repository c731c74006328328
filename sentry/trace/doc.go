// Package trace writes what happens to processes as a stream of events: a line
// of JSON for each, or a timeline for the viewers of Chrome's trace event format.
//
// A Stream encodes an event when it is recorded and keeps the text in a buffer
// of bounded size; one goroutine writes the buffer out. So recording never waits
// for the file, and whoever holds a lock may record. What finds the buffer full
// is dropped and counted, and the count stands in the stream where the events
// are missing. Each write has whole events only, so that a stream whose process
// was killed ends behind one.
//
// The stream's lock is taken last of all, and held while text is appended.
package trace

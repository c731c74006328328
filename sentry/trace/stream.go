package trace

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// bufferSize bounds the text that waits to be written, in bytes.
const bufferSize = 4 << 20

// Formats are the names of what New can write.
const (
	FormatJSON   = "json"
	FormatChrome = "chrome"
)

// encoder makes the text of a stream. before is how it begins, after how it
// ends; neither is needed for what stands between to be understood.
type encoder interface {
	before() string
	after() string
	// append adds the text of e, whole or not at all.
	append(b []byte, e *Event) []byte
}

// Stream is where events go. Its methods may be called by anyone at any time.
type Stream struct {
	out     io.Writer
	encoder encoder
	limit   int
	// more has something when there is text to write; ended is closed when all is written.
	more  chan struct{}
	ended chan struct{}

	// Guarded by mu.
	mu      sync.Mutex
	text    []byte // not taken by the writer yet
	spare   []byte
	dropped uint64 // since the last event that was kept
	at      int64  // Time of the first one dropped
	closed  bool
	err     error
}

// New returns a stream in a format that writes to out until it is closed. The error is an unknown
// format.
func New(out io.Writer, format string) (*Stream, error) {
	s := &Stream{out: out, limit: bufferSize, more: make(chan struct{}, 1), ended: make(chan struct{})}
	switch format {
	case FormatJSON:
		s.encoder = lines{}
	case FormatChrome:
		s.encoder = new(timeline)
	default:
		return nil, fmt.Errorf("no trace format %q", format)
	}
	s.text = append(s.text, s.encoder.before()...)
	go s.write()
	return s, nil
}

// Record adds an event; it never waits for the file.
func (s *Stream) Record(e *Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.err != nil || len(s.text) >= s.limit {
		if s.dropped == 0 {
			s.at = e.Time
		}
		s.dropped++
		return
	}
	s.reportDroppedLocked()
	s.text = s.encoder.append(s.text, e)
	s.wakeLocked()
}

func (s *Stream) reportDroppedLocked() {
	if s.dropped > 0 {
		s.text = s.encoder.append(s.text, &Event{Kind: Dropped, Time: s.at, Count: s.dropped})
		s.dropped = 0
	}
}

func (s *Stream) wakeLocked() {
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// Close writes what is left, for as long as patience lasts, and returns what went wrong with the
// file.
func (s *Stream) Close(patience time.Duration) error {
	s.mu.Lock()
	if !s.closed {
		s.reportDroppedLocked()
		s.text = append(s.text, s.encoder.after()...)
		s.closed = true
		s.wakeLocked()
	}
	s.mu.Unlock()
	select {
	case <-s.ended:
	case <-time.After(patience):
		return fmt.Errorf("the file did not take the rest within %v", patience)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// write is the goroutine that writes.
func (s *Stream) write() {
	defer close(s.ended)
	for range s.more {
		for {
			text, last := s.take()
			if _, err := s.out.Write(text); err != nil {
				s.fail(err)
				return
			}
			if last {
				return
			}
			if len(text) == 0 {
				break
			}
		}
	}
}

// take returns what there is to write; last tells that nothing will follow.
func (s *Stream) take() (text []byte, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text, s.text, s.spare = s.text, s.spare[:0], s.text
	return text, s.closed
}

// fail ends the stream: there is no use in text that nobody takes.
func (s *Stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.text, s.spare = err, nil, nil
}

package klog

import (
	"fmt"
	"strconv"
	"strings"
	"sync"

	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

const (
	// Size is how many bytes of records there are at most.
	Size = 64 << 10
	// MaxText is the length of a record's text in bytes; what is longer is cut.
	MaxText = 1000
)

// Priorities of syslog(3), lower ones more urgent; a facility stands in the bits above.
const (
	Warning = 4
	Notice  = 5
	User    = 1 << 3 // the facility of what programs log
)

// Log is a kernel's log. The zero value is empty and tells no times.
type Log struct {
	// Clock returns when it is, in ns; nil: always 0. It is set before the log is used.
	Clock func() int64

	queue waiter.Queue

	// Guarded by mu.
	mu      sync.Mutex
	records []record
	bytes   int    // of the records, formatted
	next    uint64 // number of the record to come
	cleared uint64 // what reading it all begins with
	unread  uint64 // what the kernel's one reader comes to next
	partly  int    // how many bytes of that it has
}

// record is a line of the log.
type record struct {
	number   uint64
	when     int64 // ns
	priority int
	text     string
}

// format is the record as syslog(2) gives it.
func (r *record) format() string {
	us := r.when / 1000
	prefix := fmt.Sprintf("<%d>[%5d.%06d] ", r.priority, us/1e6, us%1e6)
	return prefix + strings.ReplaceAll(r.text, "\n", "\n"+prefix) + "\n"
}

// Add adds a record.
func (l *Log) Add(priority int, text string) {
	text = strings.TrimSuffix(text, "\n")
	r := record{priority: priority, text: strings.Clone(text[:min(len(text), MaxText)])}
	if l.Clock != nil {
		r.when = l.Clock()
	}
	l.mu.Lock()
	r.number = l.next
	l.next++
	l.records = append(l.records, r)
	for l.bytes += len(r.format()); l.bytes > Size; l.records = l.records[1:] {
		l.bytes -= len(l.records[0].format())
	}
	l.mu.Unlock()
	l.queue.Notify(waiter.In | waiter.RdNorm)
}

// from returns the records whose numbers are not below n.
func (l *Log) from(n uint64) []record {
	first := l.next - uint64(len(l.records))
	return l.records[max(n, first)-first:]
}

// Take returns at most n bytes of what the kernel's one reader has not had, which it has then; nothing when there is nothing new. It gives
// part of a record only where n has no room for the whole of it.
func (l *Log) Take(n int) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b []byte
	for _, r := range l.from(l.unread) {
		if r.number != l.unread {
			l.unread, l.partly = r.number, 0
		}
		rest := r.format()[l.partly:]
		if len(b)+len(rest) > n {
			if len(b) == 0 {
				l.partly += n
				b = append(b, rest[:n]...)
			}
			break
		}
		b = append(b, rest...)
		l.unread, l.partly = r.number+1, 0
	}
	return b
}

// Unread returns how many bytes Take has to give.
func (l *Log) Unread() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	size := 0
	for _, r := range l.from(l.unread) {
		if r.number == l.unread {
			size -= l.partly
		}
		size += len(r.format())
	}
	return size
}

// Last returns the last records since the log was cleared, as many as n bytes have room for; with clear it is cleared then.
func (l *Log) Last(n int, clear bool) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for _, r := range l.from(l.cleared) {
		lines = append(lines, r.format())
	}
	size := 0
	begin := len(lines)
	for ; begin > 0 && size+len(lines[begin-1]) <= n; begin-- {
		size += len(lines[begin-1])
	}
	if clear {
		l.cleared = l.next
	}
	return []byte(strings.Join(lines[begin:], ""))
}

// Clear marks what there is as cleared.
func (l *Log) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cleared = l.next
}

// Oldest, Cleared and End are places for Record: the oldest record, the first one since the log was cleared, the one to come.
func (l *Log) Oldest() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next - uint64(len(l.records))
}

// Cleared is described at Oldest.
func (l *Log) Cleared() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cleared
}

// End is described at Oldest.
func (l *Log) End() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.next
}

// Record returns the record with the number as /dev/kmsg gives it. EAGAIN for one to come, EPIPE for one that was overwritten.
func (l *Log) Record(number uint64) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.from(number)
	if len(list) == 0 {
		return "", unix.EAGAIN
	}
	r := &list[0]
	if r.number != number {
		return "", unix.EPIPE
	}
	return fmt.Sprintf("%d,%d,%d,-;%s\n", r.priority, r.number, r.when/1000, escape(r.text)), nil
}

// escape writes bytes that are not printable, and backslashes, in hexadecimal.
func escape(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		if c < ' ' || c >= 0x7f || c == '\\' {
			fmt.Fprintf(&b, `\x%02x`, c)
			continue
		}
		b.WriteByte(c)
	}
	return b.String()
}

// AddFrom adds what a program wrote to /dev/kmsg, which may begin with its priority, "<3>". Nobody logs as the kernel.
func (l *Log) AddFrom(text string) {
	priority := User | Warning
	if number, rest, ok := strings.Cut(text, ">"); ok && strings.HasPrefix(number, "<") {
		if n, err := strconv.ParseUint(number[1:], 10, 16); err == nil {
			priority, text = int(n), rest
			if n < User {
				priority |= User
			}
		}
	}
	l.Add(priority, text)
}

// Register adds who waits for records.
func (l *Log) Register(e *waiter.Entry) { l.queue.Register(e) }

// Unregister removes it.
func (l *Log) Unregister(e *waiter.Entry) { l.queue.Unregister(e) }

package blank

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	firstPause  = time.Millisecond
	longerUntil = 5   // pauses, each twice as long as the one before
	maxPauses   = 900 // about half a minute
)

// Patience waits for a host that cannot give a process or a thread just now. Its zero value is
// ready for use.
type Patience struct{ pauses int }

// Wait pauses if err is such a refusal and not too many came before, and tells whether to try again.
func (p *Patience) Wait(err error) bool {
	if !Refused(err) || p.pauses == maxPauses {
		return false
	}
	time.Sleep(firstPause << min(p.pauses, longerUntil))
	p.pauses++
	return true
}

// Refused tells whether err is what the host, or Factory, says when there are too many processes
// or threads, or too little memory for one.
func Refused(err error) bool { return err == unix.EAGAIN || err == unix.ENOMEM }

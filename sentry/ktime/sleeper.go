package ktime

import "sync"

// Sleeper lets one task sleep until a time of any clock, again and again
// without new allocations for the same clock.
type Sleeper struct {
	// C receives when the time has come.
	C chan struct{}

	mu sync.Mutex
	// Guarded by mu.
	clock Clock
	alarm Alarm
	at    int64
}

// NewSleeper returns a sleeper that is not set.
func NewSleeper() *Sleeper {
	return &Sleeper{C: make(chan struct{}, 1), at: Forever}
}

// Set lets C receive when c has reached at, in ns of c, and not before; Forever
// never does. An earlier setting is forgotten, with what lies in C.
func (s *Sleeper) Set(c Clock, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
	if at == Forever {
		return
	}
	if s.clock != c {
		s.clock, s.alarm = c, c.NewAlarm(s.ring)
	}
	s.at = at
	s.alarm.Set(at)
}

// Stop forgets the setting, with what lies in C.
func (s *Sleeper) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clear()
}

func (s *Sleeper) clear() {
	if s.at != Forever {
		s.alarm.Stop()
		s.at = Forever
	}
	select {
	case <-s.C:
	default:
	}
}

// ring is called by the alarm, perhaps too early or for an old setting.
func (s *Sleeper) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.at == Forever:
	case s.clock.Now() < s.at:
		s.alarm.Set(s.at)
	default:
		s.at = Forever
		s.C <- struct{}{}
	}
}

package ktime

// Shifted returns a clock that is by ns ahead of c, as in a time namespace. Clocks shifted alike are equal.
func Shifted(c Clock, by int64) Clock {
	if by == 0 {
		return c
	}
	return shifted{c, by}
}

type shifted struct {
	Clock
	by int64
}

// Now implements Clock.
func (s shifted) Now() int64 { return s.Clock.Now() + s.by }

// NewAlarm implements Clock.
func (s shifted) NewAlarm(f func()) Alarm { return shiftedAlarm{s.Clock.NewAlarm(f), s.by} }

type shiftedAlarm struct {
	Alarm
	by int64
}

// Set implements Alarm.
func (a shiftedAlarm) Set(at int64) {
	if at = max(at, 0); a.by < 0 && at > Forever+a.by {
		at = Forever + a.by
	}
	a.Alarm.Set(at - a.by)
}

package linux

// timeCalls are the calls about clocks and timers.
func timeCalls() []Call {
	return []Call{
		{35, "nanosleep", "timespec ptr", "", sysNanosleep},
		{36, "getitimer", "int ptr", "", sysGetitimer},
		{37, "alarm", "uint", "", sysAlarm},
		{38, "setitimer", "int ptr ptr", "", sysSetitimer},
		{96, "gettimeofday", "ptr ptr", "", sysGettimeofday},
		{100, "times", "ptr", "", sysTimes},
		{159, "adjtimex", "ptr", "the clock cannot be adjusted: EPERM", sysAdjtimex},
		{201, "time", "ptr", "", sysTime},
		{222, "timer_create", "int ptr ptr", "no clocks of alarms", sysTimerCreate},
		{223, "timer_settime", "int hex ptr ptr", "", sysTimerSettime},
		{224, "timer_gettime", "int ptr", "", sysTimerGettime},
		{225, "timer_getoverrun", "int", "", sysTimerGetoverrun},
		{226, "timer_delete", "int", "", sysTimerDelete},
		{227, "clock_settime", "int ptr", "the clock cannot be set: EPERM", sysClockSettime},
		{228, "clock_gettime", "int ptr", "", sysClockGettime},
		{229, "clock_getres", "int ptr", "", sysClockGetres},
		{230, "clock_nanosleep", "int hex timespec ptr", "", sysClockNanosleep},
		{305, "clock_adjtime", "int ptr", "the clock cannot be adjusted: EPERM", sysClockAdjtime},
	}
}

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
		{201, "time", "ptr", "", sysTime},
		{227, "clock_settime", "int ptr", "the clock cannot be set: EPERM", sysClockSettime},
		{228, "clock_gettime", "int ptr", "", sysClockGettime},
		{229, "clock_getres", "int ptr", "", sysClockGetres},
		{230, "clock_nanosleep", "int hex timespec ptr", "", sysClockNanosleep},
	}
}

// Package ktime keeps the guest's clocks and timers.
//
// Clocks follows the host's CLOCK_MONOTONIC, CLOCK_REALTIME and CLOCK_BOOTTIME.
// Where the processor's time-stamp counter is invariant, time is computed from
// it with a few parameters, in the sentry and in the guest's vDSO alike:
//
//	delta = TSC - BaseCycles (unsigned); above Span the parameters do not hold
//	monotonic = MonoBase + delta*Mult>>32 (the product is less than 1<<64)
//	realtime, boottime: the same from RealBase, BootBase
//
// so both sides read the very same clock. The parameters hold for a span of
// cycles, at most about a second. Who reads the clock after that, in the sentry,
// measures the drift against the host and sets them anew; a vDSO that finds
// them expired makes a system call and so gets there. Nothing runs while nobody
// reads. New parameters go on from the value that the old ones have at that
// moment and make up a difference by running slower or faster, so the monotonic
// clock never steps back; the realtime clock steps when the host's does. The first parameters need
// two measurements some milliseconds apart; before that, and on
// processors whose counter is not to be trusted, every reading asks the host.
//
// Parameters change under a sequence count that is odd meanwhile. The base of
// new parameters is read from the counter while it is odd: so whoever computed
// with the old ones did so with an earlier counter.
//
// Timer is a timer of timer_create(2), setitimer(2) or timerfd_create(2) on any
// Clock; an interval timer that has expired sleeps until its owner collects the
// expirations, so that a tiny interval costs nothing. Sleeper is what a blocked
// task waits on. CPUClock is a clock that the kernel feeds.
//
// Lock order: Timer, CPUClock, Clocks. Callbacks are called without locks.
package ktime

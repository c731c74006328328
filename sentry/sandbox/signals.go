package sandbox

import (
	"os"
	ossignal "os/signal"
	"syscall"

	"gosentry/sentry/signal"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that the outer process hands to the guest.
func forwarded() []os.Signal {
	return []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH,
		unix.SIGTSTP, unix.SIGCONT, unix.SIGUSR1, unix.SIGUSR2,
	}
}

// catchSignals starts to catch the forwarded signals, which takes almost a millisecond, and closes caught once it does. What the
// caller had ignored (nohup does that) stays ignored.
func catchSignals(ignored signal.Set) (signals chan os.Signal, caught <-chan struct{}) {
	signals = make(chan os.Signal, 64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, s := range forwarded() {
			if !ignored.Has(s.(syscall.Signal)) {
				ossignal.Notify(signals, s)
			}
		}
	}()
	return signals, done
}

// forward hands signals to the inner process until it is gone.
func (c *child) forward(signals chan os.Signal) {
	for s := range signals {
		if c.link.send(command{Signal: s.(syscall.Signal)}) != nil {
			return
		}
	}
}

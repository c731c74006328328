package sandbox

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// forwarded are the signals that the outer process hands to the guest.
func forwarded() []os.Signal {
	return []os.Signal{
		unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGWINCH,
		unix.SIGTSTP, unix.SIGCONT, unix.SIGUSR1, unix.SIGUSR2,
	}
}

// catchSignals starts to catch the forwarded signals. What the caller had ignored (nohup
// does that) stays ignored.
func catchSignals() chan os.Signal {
	c := make(chan os.Signal, 64)
	for _, s := range forwarded() {
		if !signal.Ignored(s) {
			signal.Notify(c, s)
		}
	}
	return c
}

// forward hands signals to the inner process until it is gone.
func (c *child) forward(signals chan os.Signal) {
	for s := range signals {
		if c.link.send(command{Signal: s.(syscall.Signal)}) != nil {
			return
		}
	}
}

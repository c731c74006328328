package syscalls

import (
	"gosentry/fs/vfs"
	"gosentry/sentry/kernel"
	"gosentry/sentry/waiter"

	"golang.org/x/sys/unix"
)

// PollFile is one entry of poll(2): a file, nil for a bad descriptor or one to
// pass over, what is waited for, and what was found.
type PollFile struct {
	File   *vfs.File
	Events waiter.EventMask
	Got    waiter.EventMask
}

// Poll looks at files until one of them is ready, timeout has something (a nil
// one never does) or a signal comes: ERESTARTNOHAND. now makes it look once.
// It returns how many are ready.
func Poll(t *kernel.Task, files []PollFile, now bool, timeout <-chan struct{}) (int, error) {
	for i := range files {
		Announce(t, files[i].File)
	}
	if n := pollOnce(files); n > 0 || now {
		return n, nil
	}
	wake, ch := t.NewWake()
	entries := make([]waiter.Entry, len(files))
	for i := range files {
		if f := files[i].File; f != nil && f.Pollable() {
			entries[i] = waiter.Entry{Mask: files[i].Events, Notify: wake}
			f.Register(&entries[i])
		}
	}
	defer func() {
		for i := range entries {
			if entries[i].Notify != nil {
				files[i].File.Unregister(&entries[i])
			}
		}
	}()
	for {
		if n := pollOnce(files); n > 0 {
			return n, nil
		}
		switch err := t.BlockUntil(ch, timeout); err {
		case nil:
		case unix.ETIMEDOUT:
			return pollOnce(files), nil
		default:
			return 0, kernel.ERESTARTNOHAND
		}
	}
}

// Announce tells a file that asks for it who is about to wait for it.
func Announce(t *kernel.Task, f *vfs.File) {
	if f == nil {
		return
	}
	if o, ok := f.Ops().(kernel.TaskFile); ok {
		o.UsedBy(t)
	}
}

func pollOnce(files []PollFile) int {
	n := 0
	for i := range files {
		p := &files[i]
		if p.File != nil {
			p.Got = p.File.Readiness(p.Events | waiter.Err | waiter.HUp)
		}
		if p.Got != 0 {
			n++
		}
	}
	return n
}

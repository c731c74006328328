package vfs

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// WriteFDInfo adds a line for each watch, the newest first, to /proc/PID/fdinfo.
func (i *Inotify) WriteFDInfo(b *bytes.Buffer) {
	i.mu.Lock()
	watches := make([]watch, 0, len(i.watches))
	for _, w := range i.watches {
		watches = append(watches, *w)
	}
	i.mu.Unlock()
	slices.SortFunc(watches, func(a, b watch) int { return cmp.Compare(b.wd, a.wd) })
	for _, w := range watches {
		attr, err := w.path.Dentry.inode.Attr()
		if err != nil {
			continue
		}
		_, minor := w.path.Mount.Device()
		fmt.Fprintf(b, "inotify wd:%x ino:%x sdev:%x mask:%x ignored_mask:0 \n", w.wd, attr.Ino, minor, w.mask&^unix.IN_UNMOUNT)
	}
}

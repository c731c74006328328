package mqueue

import (
	"sync"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// directory is the root directory.
type directory struct {
	*pseudo.Dir
	fs *FileSystem

	mu    sync.Mutex
	named map[*Queue]struct{}
}

func (d *directory) queues() (all []*Queue) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for q := range d.named {
		all = append(all, q)
	}
	return all
}

// Create implements vfs.Inode: ENOSPC and EMFILE over a limit.
func (d *directory) Create(c vfs.Caller, name string, a vfs.NewAttr) (vfs.Inode, error) {
	q, err := d.fs.newQueue(c, name, a)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	if d.named == nil {
		d.named = make(map[*Queue]struct{})
	}
	d.named[q] = struct{}{}
	d.mu.Unlock()
	d.Add(name, q)
	return q, nil
}

// Unlink implements vfs.Inode.
func (d *directory) Unlink(_ vfs.Caller, name string, child vfs.Inode) error {
	q, ok := child.(*Queue)
	if !ok {
		return unix.EPERM
	}
	d.drop(name, q)
	return nil
}

func (d *directory) drop(name string, q *Queue) {
	d.mu.Lock()
	_, named := d.named[q]
	delete(d.named, q)
	d.mu.Unlock()
	if named {
		d.Remove(name)
		q.unnamed()
	}
}

// sizes are those of a new queue; EINVAL for what the caller may not have.
func (fs *FileSystem) sizes(c vfs.Caller) (Attr, error) {
	fs.mu.Lock()
	l := fs.limits
	fs.mu.Unlock()
	asked, ok := c.(interface{ QueueAttr() Attr })
	if !ok {
		return Attr{min(l.messages, l.defaultMessages), min(l.size, l.defaultSize)}, nil
	}
	a, most := asked.QueueAttr(), Attr{l.messages, l.size}
	if c.Creds().HasIn(unix.CAP_SYS_RESOURCE, fs.config.Owner) {
		most = Attr{hardMessages, hardSize}
	}
	if a.Messages <= 0 || a.Size <= 0 || a.Messages > most.Messages || a.Size > most.Size {
		return Attr{}, unix.EINVAL
	}
	return a, nil
}

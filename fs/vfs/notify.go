package vfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// notify tells who watches the file, and who watches the directory that it is in, that the
// events of mask (IN_*) happened to it. Without a watch anywhere that is one load.
func (d *Dentry) notify(mask uint32) {
	if d.fs.sys.inotify.active.Load() == 0 || d.inode == nil {
		return
	}
	mask |= d.isDirBit()
	if p := d.place.Load(); p.parent != nil {
		p.parent.state.tell(notice{mask: mask, name: p.name, gone: d.deleted.Load()})
	}
	d.state.tell(notice{mask: mask})
}

// notifySelf is notify for those who watch the file itself.
func (d *Dentry) notifySelf(mask uint32) {
	if d.fs.sys.inotify.active.Load() != 0 && d.inode != nil {
		d.state.tell(notice{mask: mask | d.isDirBit()})
	}
}

// notifyEntry tells who watches the directory d that something happened to its entry for child.
func (d *Dentry) notifyEntry(mask uint32, name string, child *Dentry, cookie uint32) {
	if d.fs.sys.inotify.active.Load() != 0 {
		d.state.tell(notice{mask: mask | child.isDirBit(), name: name, cookie: cookie})
	}
}

// notifyMoved tells of a rename that was done: of child, which was name in from, and of what it replaced, if
// anything. The directories are locked.
func notifyMoved(child *Dentry, from *Dentry, name string, to *Dentry, newName string, replaced *Dentry) {
	in := &child.fs.sys.inotify
	if in.active.Load() == 0 {
		return
	}
	cookie := in.cookie.Add(1)
	from.notifyEntry(unix.IN_MOVED_FROM, name, child, cookie)
	to.notifyEntry(unix.IN_MOVED_TO, newName, child, cookie)
	if replaced != nil {
		replaced.notifySelf(unix.IN_ATTRIB)
	}
	child.notifySelf(unix.IN_MOVE_SELF)
	if replaced != nil {
		replaced.notifyRemoved()
	}
}

// notifyUnlinked tells that name, which was child, is gone from the directory d.
func (d *Dentry) notifyUnlinked(name string, child *Dentry) {
	if d.fs.sys.inotify.active.Load() == 0 {
		return
	}
	if child.kind != unix.S_IFDIR {
		child.notifySelf(unix.IN_ATTRIB)
	}
	child.notifyRemoved()
	d.notifyEntry(unix.IN_DELETE, name, child, 0)
}

// notifyRemoved ends the watches of a file whose last name is gone, unless it is open still: then its last close does.
func (d *Dentry) notifyRemoved() {
	if d.state.watches.Load() == nil || d.state.opens.Load() > 0 {
		return
	}
	if d.kind != unix.S_IFDIR {
		if attr, err := d.inode.Attr(); err != nil || attr.Nlink > 0 {
			return
		}
	} else if !d.deleted.Load() {
		return
	}
	d.state.tell(notice{mask: unix.IN_DELETE_SELF})
	for _, w := range d.state.watchList() {
		w.owner.drop(w)
	}
}

// notifyChange tells of the attributes that a SetAttr set.
func (d *Dentry) notifyChange(set uint32) {
	var mask uint32
	if set&(SetMode|SetUID|SetGID) != 0 {
		mask |= unix.IN_ATTRIB
	}
	if set&SetSize != 0 {
		mask |= unix.IN_MODIFY
	}
	switch set & (SetAtime | SetMtime) {
	case SetAtime | SetMtime:
		mask |= unix.IN_ATTRIB
	case SetAtime:
		mask |= unix.IN_ACCESS
	case SetMtime:
		mask |= unix.IN_MODIFY
	}
	d.notify(mask)
}

// setAttr is the inode's SetAttr with its notices.
func (d *Dentry) setAttr(c Caller, s SetAttr) error {
	err := d.inode.SetAttr(c, s)
	if err == nil {
		d.notifyChange(s.Set)
	}
	return err
}

func (d *Dentry) isDirBit() uint32 {
	if d.kind == unix.S_IFDIR {
		return unix.IN_ISDIR
	}
	return 0
}

// notice is something that happened to a file.
type notice struct {
	mask   uint32
	cookie uint32
	name   string // in a watched directory
	gone   bool   // the name was removed before
}

// tell gives n to every watch of the inode.
func (s *InodeState) tell(n notice) {
	for _, w := range s.watchList() {
		w.owner.post(w, n)
	}
}

// watchList returns the watches, which must not be changed.
func (s *InodeState) watchList() []*watch {
	if list := s.watches.Load(); list != nil {
		return *list
	}
	return nil
}

func (s *InodeState) addWatch(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append(slices.Clip(s.watchList()), w)
	s.watches.Store(&list)
}

func (s *InodeState) removeWatch(w *watch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := slices.DeleteFunc(slices.Clone(s.watchList()), func(o *watch) bool { return o == w })
	if len(list) == 0 {
		s.watches.Store(nil)
		return
	}
	s.watches.Store(&list)
}

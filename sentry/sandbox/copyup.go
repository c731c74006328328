package sandbox

import (
	"fmt"

	"gosentry/fs/vfs"
	"gosentry/mm"

	"golang.org/x/sys/unix"
)

// copier fills a file system in memory with what an image has where it is mounted, as the option tmpcopyup of tmpfs asks for.
type copier struct {
	who   builder
	warn  func(format string, args ...any)
	chunk []byte
}

// maxDepth bounds the directories within each other that are copied: the image is no friend.
const maxDepth = 512

// under returns the directory that will be mounted on, nil where there is none.
func (c *containerMounts) under(at string) vfs.Inode {
	p, err := vfs.Walk(c.who, vfs.WalkArgs{Root: c.ns.Root(), Start: c.ns.Root(), Directory: true}, at)
	if err != nil {
		return nil
	}
	return p.Inode()
}

// copyUp copies what is in the directory from into the file system to. What the sandbox may not read is left out.
func (c *containerMounts) copyUp(from, to vfs.Inode) error {
	const chunk = 64 << 10
	w := &copier{c.who, c.in.Log.Warnf, make([]byte, chunk)}
	if err := w.children(from, to, maxDepth); err != nil {
		return fmt.Errorf("tmpcopyup: %w", err)
	}
	return nil
}

func (w *copier) children(from, to vfs.Inode, depth int) error {
	if depth == 0 {
		return unix.ELOOP
	}
	names, err := w.names(from)
	for _, name := range names {
		var child vfs.Inode
		if child, err = from.Lookup(w.who, name); err == nil {
			err = w.copy(child, to, name, depth-1)
		}
		if err != nil {
			break
		}
	}
	return err
}

// names lists a directory; one that may not be read is empty.
func (w *copier) names(dir vfs.Inode) (names []string, err error) {
	ops, err := dir.Open(w.who, unix.O_RDONLY|unix.O_DIRECTORY)
	if err == unix.EACCES {
		w.warn("tmpcopyup: a directory may not be read, and is left empty")
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer ops.Release()
	list, ok := ops.(vfs.DirOps)
	if !ok {
		return nil, unix.ENOTDIR
	}
	err = list.ReadDir(w.who, 0, func(d vfs.Dirent) bool {
		if d.Name != "." && d.Name != ".." {
			names = append(names, d.Name)
		}
		return true
	})
	return names, err
}

// copy makes a file of any type but devices and sockets, with its owner, mode and times, and what is in it.
func (w *copier) copy(from, dir vfs.Inode, name string, depth int) error {
	attr, err := from.Attr()
	if err != nil {
		return err
	}
	made, fill, a := vfs.Inode(nil), func(vfs.Inode) error { return nil }, vfs.NewAttr{Mode: attr.Mode, UID: attr.UID, GID: attr.GID}
	switch attr.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		made, err = dir.Mkdir(w.who, name, a)
		fill = func(to vfs.Inode) error { return w.children(from, to, depth) }
	case unix.S_IFREG:
		made, err = dir.Create(w.who, name, a)
		fill = func(to vfs.Inode) error { return w.content(from, to) }
	case unix.S_IFLNK:
		var target string
		if target, err = from.Readlink(w.who); err == nil {
			made, err = dir.Symlink(w.who, name, target, a)
		}
	case unix.S_IFIFO:
		made, err = dir.Mknod(w.who, name, a, 0, 0)
	default:
		return nil
	}
	if err == nil {
		err = fill(made)
	}
	if err != nil {
		return err
	}
	return made.SetAttr(w.who, vfs.SetAttr{Set: vfs.SetAtime | vfs.SetMtime, Atime: attr.Atime, Mtime: attr.Mtime})
}

// content copies a regular file's; one that may not be read is empty.
func (w *copier) content(from, to vfs.Inode) error {
	in, err := from.Open(w.who, unix.O_RDONLY)
	if err == unix.EACCES {
		w.warn("tmpcopyup: a file may not be read, and is left empty")
		return nil
	}
	if err != nil {
		return err
	}
	defer in.Release()
	out, err := to.Open(w.who, unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer out.Release()
	for off := int64(0); ; {
		n, err := in.Read(w.who, mm.BytesBuffer(w.chunk), off)
		if err != nil || n == 0 {
			return err
		}
		done, err := out.Write(w.who, mm.BytesBuffer(w.chunk[:n]), off)
		if err == nil && done < n {
			err = unix.ENOSPC
		}
		if err != nil {
			return err
		}
		off += int64(n)
	}
}

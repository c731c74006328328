package vfs_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"gosentry/fs/tmpfs"
	"gosentry/fs/vfs"

	"golang.org/x/sys/unix"
)

// TestMountsTooMany doubles a tree of mounts that is propagated until there are too many, and has all of them gone with their
// namespaces.
func TestMountsTooMany(t *testing.T) {
	tr := newTree(t).make("a/")
	tr.mount("a", 0)
	tr.make("a/x/")
	tr.must(tr.ns.SetAttr(tr.path("a"), vfs.Attributes{Propagation: unix.MS_SHARED}, false))
	clone, _, err := tr.ns.Clone(false)
	tr.must(err)
	for range 64 {
		if _, err = tr.ns.Bind(tr.path("a"), tr.path("a/x"), 0, true); err != nil {
			break
		}
	}
	wantErr(t, "the tree doubled again and again", err, unix.ENOSPC)
	before := len(tr.ns.Mounts())
	if n := len(clone.Mounts()); n != before || n > 100000 {
		t.Errorf("%d mounts here, %d in the copy", before, n)
	}
	clone.Release()
	if n := len(tr.ns.Mounts()); n != before {
		t.Errorf("%d mounts were %d", n, before)
	}
	tr.unmountAll()
}

// TestMountsAtOnce has goroutines mount, bind, move, unmount and copy namespaces at random. In the end all mounts can be given back.
func TestMountsAtOnce(t *testing.T) {
	tr := newTree(t).make("a/", "b/", "c/")
	for _, name := range []string{"a", "b", "c"} {
		tr.mount(name, 0)
		tr.make(name + "/x/")
		tr.must(tr.ns.SetAttr(tr.path(name), vfs.Attributes{Propagation: unix.MS_SHARED}, false))
	}
	places := []string{"a", "b", "c", "a/x", "b/x", "c/x"}
	var wg sync.WaitGroup
	for seed := range uint64(8) {
		r := rand.New(rand.NewPCG(seed, 1))
		wg.Go(func() {
			ns := tr.ns
			for i := range 150 {
				from, to := find(tr, ns, places[r.IntN(len(places))]), find(tr, ns, places[r.IntN(len(places))])
				if !from.Ok() || !to.Ok() {
					continue
				}
				ns = changeMounts(tr, ns, r, from, to, fmt.Sprint(seed, i))
			}
			if ns != tr.ns {
				ns.Release()
			}
		})
	}
	wg.Wait()
	tr.unmountAll()
}

// unmountAll leaves the root alone.
func (tr *tree) unmountAll() {
	tr.t.Helper()
	for mounts := tr.ns.Mounts(); len(mounts) > 1; mounts = tr.ns.Mounts() {
		for _, m := range mounts[1:] {
			tr.ns.Unmount(m.Root(), unix.MNT_DETACH) //nolint:errcheck // gone with another one, maybe
		}
		if len(tr.ns.Mounts()) == len(mounts) {
			tr.t.Fatalf("%d mounts are left", len(mounts)-1)
		}
	}
}

// changeMounts does one thing at random and returns the namespace to go on in.
func changeMounts(tr *tree, ns *vfs.Namespace, r *rand.Rand, from, to vfs.Path, name string) *vfs.Namespace {
	kinds := []int{unix.MS_SHARED, unix.MS_SLAVE, unix.MS_PRIVATE, unix.MS_UNBINDABLE}
	switch r.IntN(8) {
	case 0:
		ns.MountAt(to, tmpfs.New(tmpfs.Config{File: tr.mem}), 0, "tmpfs", name)
	case 1:
		if len(ns.Mounts()) < 300 {
			ns.Bind(from, to, 0, r.IntN(2) == 0)
		}
	case 2:
		ns.Move(from, to)
	case 3, 4:
		ns.Unmount(from, r.IntN(2)*unix.MNT_DETACH)
	case 5:
		ns.SetAttr(from, vfs.Attributes{Propagation: kinds[r.IntN(4)]}, r.IntN(2) == 0)
	case 6:
		from.Mount.Propagation(to)
		if f, err := ns.CopyDetached(from, true); err == nil {
			ns.Move(f.Path(), to)
			f.DecRef()
		}
	case 7:
		if clone, _, err := ns.Clone(r.IntN(2) == 0); err == nil {
			if ns != tr.ns {
				ns.Release()
			}
			return clone
		}
	}
	return ns
}

// find walks from the root of ns; no path where there is nothing.
func find(tr *tree, ns *vfs.Namespace, name string) vfs.Path {
	p, _ := vfs.Walk(root, vfs.WalkArgs{Root: ns.Root(), Start: ns.Root()}, name)
	return p
}

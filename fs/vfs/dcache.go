package vfs

import (
	"sync"
	"sync/atomic"
	"weak"
)

// childTable maps the names in one directory to dentries. Readers take no lock:
// they follow chains of atomic pointers. An entry taken out keeps its next
// pointer, so a reader that stands on it still sees the rest. A reader that runs
// beside a change may miss a name, never find a wrong one; who misses looks
// again under the directory's lock.
type childTable struct {
	buckets atomic.Pointer[[]chain]

	mu    sync.Mutex // for changes
	count int        // entries, dead ones too
}

type chain = atomic.Pointer[childEntry]

type childEntry struct {
	hash uint64
	name string
	ref  weak.Pointer[Dentry]
	next chain
}

const minBuckets = 8

func newChildTable() *childTable {
	t := &childTable{}
	b := make([]chain, minBuckets)
	t.buckets.Store(&b)
	return t
}

func bucket(b []chain, hash uint64) *chain { return &b[hash&uint64(len(b)-1)] }

func (t *childTable) find(hash uint64, name string) *Dentry {
	for e := bucket(*t.buckets.Load(), hash).Load(); e != nil; e = e.next.Load() {
		if e.hash == hash && e.name == name {
			return e.ref.Value()
		}
	}
	return nil
}

// insert adds d under name and returns it (fresh). If name has a living dentry that is returned
// instead, but for a known absence, which d replaces when it is a file.
func (t *childTable) insert(hash uint64, name string, d *Dentry) (got *Dentry, fresh bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := bucket(*t.buckets.Load(), hash)
	for p := at; ; {
		e := p.Load()
		if e == nil {
			break
		}
		if e.hash == hash && e.name == name {
			old := e.ref.Value()
			if old != nil && (old.inode != nil || d.inode == nil) {
				return old, false
			}
			p.Store(e.next.Load())
			t.count--
			continue
		}
		p = &e.next
	}
	if t.count >= 2*len(*t.buckets.Load()) {
		at = bucket(t.rebuild(), hash)
	}
	e := &childEntry{hash: hash, name: name, ref: weak.Make(d)}
	e.next.Store(at.Load())
	at.Store(e)
	t.count++
	return d, true
}

// rebuild drops dead entries and makes room for as many again as live.
func (t *childTable) rebuild() []chain {
	old := *t.buckets.Load()
	live := make([]*childEntry, 0, t.count)
	for i := range old {
		for e := old[i].Load(); e != nil; e = e.next.Load() {
			if e.ref.Value() != nil {
				live = append(live, e)
			}
		}
	}
	size := minBuckets
	for size < 2*len(live) {
		size *= 2
	}
	b := make([]chain, size)
	for _, e := range live {
		at := bucket(b, e.hash)
		c := &childEntry{hash: e.hash, name: e.name, ref: e.ref}
		c.next.Store(at.Load())
		at.Store(c)
	}
	t.count = len(live)
	t.buckets.Store(&b)
	return b
}

func (t *childTable) remove(hash uint64, name string, d *Dentry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := bucket(*t.buckets.Load(), hash); ; {
		e := p.Load()
		if e == nil {
			return
		}
		if e.hash == hash && e.name == name {
			if e.ref.Value() == d {
				p.Store(e.next.Load())
				t.count--
			}
			return
		}
		p = &e.next
	}
}

// ring keeps dentries that nobody uses from being collected: a clock, whose hand
// passes once over what was found since it last came by.
type ring struct {
	mu    sync.Mutex
	slots []*Dentry
	hand  int
	max   int
}

// keep puts d in, in place of one that was not found lately.
func (r *ring) keep(d *Dentry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.slots) < r.max {
		r.slots = append(r.slots, d)
		return
	}
	for range r.max {
		old := r.slots[r.hand]
		if old == nil || !old.used.Swap(false) {
			break
		}
		r.hand = (r.hand + 1) % r.max
	}
	old := r.slots[r.hand]
	r.slots[r.hand] = d
	r.hand = (r.hand + 1) % r.max
	if old != nil && old.inode == nil {
		// An absence is worth nothing to those who may still hold it.
		p := old.place.Load()
		p.parent.forget(p.name, old)
	}
}

// drop forgets everything that is kept.
func (r *ring) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.slots, r.hand = nil, 0
}

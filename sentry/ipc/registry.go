package ipc

import (
	"gosentry/sentry/cred"

	"github.com/tidwall/btree"
	"golang.org/x/sys/unix"
)

const (
	// maxSlots bounds the objects of a kind (IPCMNI); ids are sequence*maxSlots + slot.
	maxSlots = 32768
	maxSeq   = 0x7fffffff / maxSlots
	// minCycle is how many slots are used before the first is used again.
	minCycle = 64
)

// object is what a registry holds.
type object interface{ perm() *Perm }

// registry finds the objects of a kind by slot and by key. Its user's lock guards it.
type registry[T object] struct {
	slots btree.Map[int, T]
	keys  map[int32]T
	seq   int
	next  int // the slot to try first
	// asked is 1 more than the id that the next object is to have, 0 when that is left to the registry.
	asked int64
}

// Get is what a get call asks for.
type Get struct {
	Key   int32
	Flags uint32 // Create, Exclusive and permissions
}

// get finds the object for a key or makes one. fits says whether one that exists is large enough.
func (r *registry[T]) get(g Get, c *Caller, ns *cred.UserNamespace, fits func(T) error, create func(Perm) (T, error), limit uint64) (T, error) {
	if o, ok := r.keys[g.Key]; ok && g.Key != Private {
		if g.Flags&(Create|Exclusive) == Create|Exclusive {
			return o, unix.EEXIST
		}
		if err := fits(o); err != nil {
			return o, err
		}
		return o, o.perm().check(c, ns, g.Flags&permissions)
	}
	var none T
	if g.Key != Private && g.Flags&Create == 0 {
		return none, unix.ENOENT
	}
	if uint64(r.slots.Len()) >= min(limit, maxSlots) {
		return none, unix.ENOSPC
	}
	if r.asked > 0 && r.freeFrom(int((r.asked-1)%maxSlots)) == maxSlots {
		return none, unix.ENOSPC
	}
	o, err := create(Perm{
		Key: g.Key, Mode: g.Flags & permissions,
		UID: c.Creds.EUID, CUID: c.Creds.EUID, GID: c.Creds.EGID, CGID: c.Creds.EGID,
	})
	if err != nil {
		return none, err
	}
	r.add(o)
	return o, nil
}

// freeFrom is the first free slot from slot on; maxSlots when there is none.
func (r *registry[T]) freeFrom(slot int) int {
	for ; slot < maxSlots; slot++ {
		if _, used := r.slots.Get(slot); !used {
			break
		}
	}
	return slot
}

// add gives o its id: what was asked for, as far as the slot is free, or one in turn. A slot is free.
func (r *registry[T]) add(o T) {
	if id := int(r.asked - 1); id >= 0 {
		r.asked = 0
		r.put(o, id/maxSlots, r.freeFrom(id%maxSlots))
		return
	}
	cycle := min(max(r.slots.Len()*3/2, minCycle), maxSlots)
	slot := r.next
	for ; ; slot++ {
		if slot >= cycle {
			slot = 0
		}
		if _, used := r.slots.Get(slot); !used {
			break
		}
	}
	if slot < r.next {
		r.seq = (r.seq + 1) % maxSeq
	}
	r.next = slot + 1
	r.put(o, r.seq, slot)
}

// put enters o with the id of a slot and a sequence number.
func (r *registry[T]) put(o T, seq, slot int) {
	p := o.perm()
	p.Seq = uint16(seq)
	p.ID = int32(seq*maxSlots + slot)
	r.slots.Set(slot, o)
	if p.Key != Private {
		if r.keys == nil {
			r.keys = make(map[int32]T)
		}
		r.keys[p.Key] = o
	}
}

// find returns the object with an id; EINVAL.
func (r *registry[T]) find(id int32) (T, error) {
	var none T
	if id < 0 {
		return none, unix.EINVAL
	}
	o, ok := r.slots.Get(int(id % maxSlots))
	if !ok || o.perm().ID != id {
		return none, unix.EINVAL
	}
	return o, nil
}

// at returns the object in a slot; EINVAL.
func (r *registry[T]) at(slot int32) (T, error) {
	o, ok := r.slots.Get(int(slot))
	if !ok || slot < 0 {
		return o, unix.EINVAL
	}
	return o, nil
}

// highest is the highest slot in use, 0 when there is none.
func (r *registry[T]) highest() int {
	slot, _, _ := r.slots.Max()
	return slot
}

// remove takes o out of slots and keys.
func (r *registry[T]) remove(o T) {
	r.hide(o)
	r.slots.Delete(int(o.perm().ID % maxSlots))
}

// hide takes o's key away.
func (r *registry[T]) hide(o T) {
	p := o.perm()
	if p.Key != Private {
		delete(r.keys, p.Key)
		p.Key = Private
	}
}

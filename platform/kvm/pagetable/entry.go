package pagetable

import "gosentry/platform"

// Bits of an entry.
const (
	present  = 1 << 0
	writable = 1 << 1
	user     = 1 << 2
	accessed = 1 << 5
	dirty    = 1 << 6
	large    = 1 << 7
	mapped   = 1 << 9  // ours: the entry stands for a page, present or not
	held     = 1 << 10 // ours: not present, since the file has no such page or nobody has asked for it yet
	noExec   = 1 << 63

	keepWrite = 1 << 52 // ours: rights of a page that is held
	keepExec  = 1 << 53

	addrMask = 1<<52 - 1<<12

	// branch is an entry that leads to a table of the user's half.
	branch = present | writable | user | accessed | dirty
)

// isBranch tells whether an entry of the second level or above leads to a table.
func isBranch(e uint64) bool { return e&present != 0 && e&mapped == 0 }

// readOnly is e without the right to write, now or once it is held no more.
func readOnly(e uint64) uint64 { return e &^ (writable | keepWrite) }

// through is what an entry of the lowest level amounts to behind link, the one of the second that leads to its table.
func through(link, e uint64) uint64 {
	if link&writable == 0 {
		return readOnly(e)
	}
	return e
}

// KernelBranch is an entry that leads to the table at addr, for supervisor and user pages.
func KernelBranch(addr uint64) uint64 { return addr | branch }

// KernelPage is an entry of the lowest level for the page at addr that is the sentry's own: prot is what
// ring 0 may do, and ring 3 too with userToo set.
func KernelPage(addr uint64, prot platform.Prot, userToo bool) uint64 {
	e := leaf(addr, prot)
	if !userToo {
		e &^= user
	}
	return e
}

// leaf is the entry of a page at addr.
func leaf(addr uint64, prot platform.Prot) uint64 {
	e := addr | mapped | rights(prot)
	return e
}

// rights are the bits of an entry that prot stands for. On x86 what can be accessed can be read.
func rights(prot platform.Prot) uint64 {
	if prot == 0 {
		return 0
	}
	e := uint64(present | user | accessed | dirty)
	if prot&platform.Write != 0 {
		e |= writable
	}
	if prot&platform.Exec == 0 {
		e |= noExec
	}
	return e
}

// protOf is what an entry of a page allows.
func protOf(e uint64) platform.Prot {
	if e&present == 0 {
		return 0
	}
	prot := platform.Read
	if e&writable != 0 {
		prot |= platform.Write
	}
	if e&noExec == 0 {
		prot |= platform.Exec
	}
	return prot
}

// loses tells whether a processor that remembers old could do what now forbids, or elsewhere.
func loses(old, now uint64) bool {
	switch {
	case old&present == 0:
		return false
	case now&present == 0, (old^now)&addrMask != 0:
		return true
	}
	return old&writable&^now != 0 || now&noExec&^old != 0
}

// hold takes a page out of sight, its rights remembered.
func hold(e uint64) uint64 {
	h := e&addrMask | mapped | held
	if e&writable != 0 {
		h |= keepWrite
	}
	if e&noExec == 0 {
		h |= keepExec
	}
	return h
}

// unhold undoes hold.
func unhold(e uint64) uint64 {
	prot := platform.Read
	if e&keepWrite != 0 {
		prot |= platform.Write
	}
	if e&keepExec != 0 {
		prot |= platform.Exec
	}
	return leaf(e&addrMask, prot)
}

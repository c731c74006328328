package mm

import "gosentry/platform"

const (
	// keepTries is how often an AddressSpace is asked to go back before that is given up.
	keepTries = 16
	// keepChanges bounds the changes made for it; keepLost is up to how many bytes may be withdrawn, which the host does by the page, and keepFilled
	// up to how many of what is mapped anew are filled: of the rest nobody knows how much was touched.
	keepChanges = 256
	keepLost    = 4 << 20
	keepFilled  = 4 << 20
)

// kept is what the AddressSpace has mapped that it set aside at a fork, as it was then. It may hold what is another's by now; no guest
// code runs with it before that is withdrawn.
type kept struct {
	mapped segset[pma]
	tries  int
}

// setAside has the AddressSpace forget everything but keep it for goBack, if enough is mapped, and tells whether it did.
func (m *MemoryManager) setAside(writable uint64) bool {
	s, ok := m.as.(platform.Keeper)
	if !ok || writable < s.KeepFrom() || len(m.changes) > 0 {
		return false
	}
	if m.kept = nil; !s.SetAside(m.drops) {
		return false
	}
	m.kept = &kept{}
	m.pmas.each(0, ^uint64(0), func(s, e uint64, p pma) bool {
		if p.host != 0 {
			m.kept.mapped.append(s, e, p)
		}
		return true
	})
	return true
}

// goBack has the AddressSpace go back to what it set aside, if page is mapped there as it should be and little else has changed: most often
// that is when the child has ended or executes a program. It tells whether page is mapped now.
func (m *MemoryManager) goBack(page uint64) bool {
	if m.kept == nil || len(m.changes) > 0 {
		return false
	}
	was, is := m.kept.mapped.get(page), m.pmas.get(page)
	if was == nil || is == nil || is.v.host != 0 || !was.v.stands(is.v) || is.v.has(pmaCow) && !m.file.sole(page+is.v.delta) {
		return false
	}
	r := back{m: m}
	eachPiece(&m.kept.mapped, &m.pmas, r.piece)
	done := r.little() && m.as.(platform.Keeper).GoBack(r.changes)
	if m.kept.tries++; done || m.kept.tries == keepTries {
		m.kept = nil
	}
	if done {
		m.pmas = r.pmas
	}
	return done
}

// stands tells whether what was mapped as p is the same memory as q, and nothing that has to be mapped anew in any case: a descriptor may have
// become another file's, and a platform may have replaced what can be executed.
func (p pma) stands(q pma) bool {
	return p.inMemory() && q.inMemory() && p.delta == q.delta && (p.host|q.prot)&platform.Exec == 0
}

// back is what goBack is to change.
type back struct {
	m       *MemoryManager
	pmas    segset[pma]
	changes []platform.Change
	lost    uint64
	filled  uint64
}

// little tells whether there is little enough to change so far.
func (r *back) little() bool { return r.lost <= keepLost && len(r.changes) <= keepChanges }

// piece takes in a range that was mapped as was, and now is as is; either may be nil. It returns false when there is too much to change.
func (r *back) piece(start, end uint64, was, is *pma) bool {
	switch {
	case was != nil && is != nil && was.stands(*is):
		r.keep(start, end, *was, *is)
	case is != nil && (is.host != 0 || was != nil && !is.inMemory()):
		r.renew(start, end, was, *is)
	default:
		if was != nil {
			r.withdraw(*was, unmapChange(start, end))
		}
		if is != nil {
			r.pmas.append(start, end, *is)
		}
	}
	return r.little()
}

// renew has a range mapped anew that was mapped as was, nil for not at all.
func (r *back) renew(start, end uint64, was *pma, p pma) {
	switch p.host = p.rights(); {
	case p.host != 0:
		c := r.m.mapChange(start, end, p)
		if p.has(pmaAnon) && r.filled+c.Length <= keepFilled {
			c.Fill = true
			r.filled += c.Length
		}
		r.changes = append(r.changes, c)
	case was != nil:
		r.withdraw(*was, unmapChange(start, end))
	}
	r.pmas.append(start, end, p)
}

// keep has a range mapped as it was, with the rights that it may have now. What nobody else has any more is ours alone.
func (r *back) keep(start, end uint64, was, is pma) {
	if !is.has(pmaCow) {
		r.keepRights(start, end, was, is)
		return
	}
	r.m.file.eachShare(start+is.delta, end+is.delta, func(s, e uint64, sole bool) bool {
		p := is
		if sole {
			p.flags = p.flags&^pmaCow | pmaAnon
		}
		r.keepRights(s-is.delta, e-is.delta, was, p)
		return r.little()
	})
}

func (r *back) keepRights(start, end uint64, was, p pma) {
	p.host = was.host & p.rights()
	switch {
	case p.host == was.host:
	case p.host == 0:
		r.withdraw(was, unmapChange(start, end))
	default:
		r.withdraw(was, platform.Change{Op: platform.Protect, Prot: p.host, Addr: start, Length: end - start})
	}
	r.pmas.append(start, end, p)
}

// withdraw makes a change to what was mapped.
func (r *back) withdraw(was pma, c platform.Change) {
	if was.inMemory() {
		r.lost += c.Length
	}
	r.changes = append(r.changes, c)
}

// eachPiece calls f for the ranges that lie in either set, in pieces that begin or end where a segment does, until f returns
// false; what is in one set only is nil in the other.
func eachPiece(a, b *segset[pma], f func(start, end uint64, x, y *pma) bool) {
	i, j := a.first(), b.first()
	for at := uint64(0); a.ok(i) || b.ok(j); {
		end := ^uint64(0)
		x, y := pieceAt(a, i, at, &end), pieceAt(b, j, at, &end)
		if (x != nil || y != nil) && !f(at, end, x, y) {
			return
		}
		if at = end; a.ok(i) && a.at(i).end == at {
			i = a.next(i)
		}
		if b.ok(j) && b.at(j).end == at {
			j = b.next(j)
		}
	}
}

// pieceAt returns the value of the segment at p if that holds at, and lowers end to where that changes.
func pieceAt(s *segset[pma], p pos, at uint64, end *uint64) *pma {
	if !s.ok(p) {
		return nil
	}
	g := s.at(p)
	if at < g.start {
		*end = min(*end, g.start)
		return nil
	}
	*end = min(*end, g.end)
	return &g.v
}

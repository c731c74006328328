package signal

import (
	"cmp"
	"slices"
)

// inOrder returns the infos of at most limit entries in order of arrival,
// leaving out the first from.
func (q *Queue) inOrder(from uint64, limit int) []Info {
	var entries []*entry
	for _, l := range q.lists {
		for e := l.head; e != nil; e = e.next {
			entries = append(entries, e)
		}
	}
	slices.SortFunc(entries, func(a, b *entry) int { return cmp.Compare(a.order, b.order) })
	if from >= uint64(len(entries)) || limit <= 0 {
		return nil
	}
	entries = entries[from:]
	infos := make([]Info, 0, min(limit, len(entries)))
	for _, e := range entries[:min(limit, len(entries))] {
		infos = append(infos, e.info)
	}
	return infos
}

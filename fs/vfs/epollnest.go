package vfs

import "golang.org/x/sys/unix"

// Bounds on epoll instances that watch each other, so that one event cannot
// become any number of notifications.
const (
	maxEpollEdges = 4    // from the outermost to the innermost
	maxEpollPaths = 1000 // by which an event of one instance reaches others
)

// mayNest tells whether outer may watch inner: ELOOP for circles and deep
// nesting, EINVAL when events would multiply. System.nesting is held.
func mayNest(outer, inner *EventPoll) error {
	below := map[*EventPoll]int{}
	deep, ok := inner.edgesBelow(outer, below)
	above := map[*EventPoll]int{}
	if !ok || deep+1+outer.edgesAbove(above) > maxEpollEdges {
		return unix.ELOOP
	}
	added := 1 + outer.pathsAbove(maxEpollPaths)
	for e := range below {
		if e.pathsAbove(maxEpollPaths)+added > maxEpollPaths {
			return unix.EINVAL
		}
	}
	return nil
}

// edgesBelow is the length of the longest way down from ep; false when target lies on one.
func (ep *EventPoll) edgesBelow(target *EventPoll, seen map[*EventPoll]int) (int, bool) {
	if ep == target {
		return 0, false
	}
	if n, ok := seen[ep]; ok {
		return n, true
	}
	deepest := 0
	for _, e := range ep.inner() {
		n, ok := e.edgesBelow(target, seen)
		if !ok {
			return 0, false
		}
		deepest = max(deepest, n+1)
	}
	seen[ep] = deepest
	return deepest, true
}

func (ep *EventPoll) inner() []*EventPoll {
	ep.mu.Lock()
	defer ep.mu.Unlock()
	var inner []*EventPoll
	for key := range ep.items {
		if e, ok := key.file.ops.(*EventPoll); ok {
			inner = append(inner, e)
		}
	}
	return inner
}

// outer returns the instances that watch ep.
func (ep *EventPoll) outer() []*EventPoll {
	ep.self.mu.Lock()
	defer ep.self.mu.Unlock()
	var outer []*EventPoll
	for it := ep.self.watches; it != nil; it = it.fileNext {
		outer = append(outer, it.ep)
	}
	return outer
}

// edgesAbove is the length of the longest way up from ep.
func (ep *EventPoll) edgesAbove(seen map[*EventPoll]int) int {
	if n, ok := seen[ep]; ok {
		return n
	}
	highest := 0
	for _, e := range ep.outer() {
		highest = max(highest, e.edgesAbove(seen)+1)
	}
	seen[ep] = highest
	return highest
}

// pathsAbove counts the ways up from ep, to no more than limit+1.
func (ep *EventPoll) pathsAbove(limit int) int {
	n := 0
	for _, e := range ep.outer() {
		n += 1 + e.pathsAbove(limit-n)
		if n > limit {
			break
		}
	}
	return n
}

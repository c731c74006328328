package kernel

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/sirupsen/logrus"
)

// ForkEvent is a fork that has succeeded. The child is whole and visible, and has not run.
type ForkEvent struct {
	Parent, Child *Task
	Args          *ForkArgs
}

// ForkHook is what a subsystem wants done at each fork. It is known by its
// address. Call runs on the parent's goroutine without locks and holds the parent up.
type ForkHook struct {
	Name string
	Call func(*ForkEvent)
}

// ForkHooks are called in the order in which they were registered, before the
// child runs. A fork calls those that were registered when it began to call them.
type ForkHooks struct {
	log *logrus.Entry

	// hooks is replaced as a whole, with mu held.
	mu    sync.Mutex
	hooks atomic.Pointer[[]*ForkHook]
}

func newForkHooks(log *logrus.Entry) *ForkHooks {
	h := &ForkHooks{log: log}
	h.hooks.Store(new([]*ForkHook))
	return h
}

// Register adds a hook behind the others. One that is there already stays where
// it is, is called once, and the log says so; the result is false then.
func (h *ForkHooks) Register(hook *ForkHook) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	hooks := *h.hooks.Load()
	if slices.Contains(hooks, hook) {
		h.log.Warnf("the fork hook %s is registered twice", hook.Name)
		return false
	}
	hooks = append(slices.Clone(hooks), hook)
	h.hooks.Store(&hooks)
	return true
}

// Remove takes a hook out; false when it is not there.
func (h *ForkHooks) Remove(hook *ForkHook) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	hooks := *h.hooks.Load()
	i := slices.Index(hooks, hook)
	if i < 0 {
		return false
	}
	hooks = slices.Delete(slices.Clone(hooks), i, i+1)
	h.hooks.Store(&hooks)
	return true
}

func (h *ForkHooks) run(e *ForkEvent) {
	for _, hook := range *h.hooks.Load() {
		hook.Call(e)
	}
}

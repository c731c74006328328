package kernel

import (
	"iter"
	"sync"

	"gosentry/sentry/cred"
	"gosentry/sentry/limits"
	"gosentry/sentry/signal"
)

// maxSignals bounds the queued signals of a sandbox in the same way.
const maxSignals = 1 << 17

// userTable counts what each real user id has: tasks for RLIMIT_NPROC, queued
// signals for RLIMIT_SIGPENDING.
type userTable struct {
	// Guarded by mu.
	mu    sync.Mutex
	users map[userKey]*userCounts
	tasks int // of all users together; enter says what bounds them
	// queued is how many signals are queued in all.
	queued int
}

// userKey is a real user id in one user namespace, where limits count.
type userKey struct {
	ns  *cred.UserNamespace
	uid cred.UID
}

// counted is what limits count of a user.
type counted int

const (
	countTasks   counted = iota // RLIMIT_NPROC
	countSignals                // RLIMIT_SIGPENDING
	numCounted
)

type userCounts [numCounted]int

func newUserTable() *userTable {
	return &userTable{users: make(map[userKey]*userCounts)}
}

func keyOf(c *cred.Credentials) userKey { return userKey{c.UserNS, c.RUID} }

// charged are those for whom what k's user has counts: that user, then who made k's namespace, in the one
// around it, and so on. So nobody has more for making namespaces.
func (k userKey) charged() iter.Seq[userKey] {
	return func(yield func(userKey) bool) {
		for yield(k) && !k.ns.Initial() {
			k = userKey{k.ns.Parent, k.ns.Owner}
		}
	}
}

// addLocked counts one more, or one less, for all who are charged.
func (u *userTable) addLocked(k userKey, what counted, delta int) {
	for at := range k.charged() {
		c := u.users[at]
		if c == nil {
			c = new(userCounts)
			u.users[at] = c
		}
		if c[what] += delta; *c == (userCounts{}) {
			delete(u.users, at)
		}
	}
}

// overLocked tells whether anybody who is charged would have too many with more of them: k's user more than limit, the
// maker of a namespace more than its own limit was then.
func (u *userTable) overLocked(k userKey, what counted, more int, limit uint64) bool {
	for at := range k.charged() {
		have := more
		if c := u.users[at]; c != nil {
			have += c[what]
		}
		if uint64(have) > limit {
			return true
		}
		if !at.ns.Initial() {
			limit = [numCounted]uint64{at.ns.Most.Tasks, at.ns.Most.Signals}[what]
		}
	}
	return false
}

// ended notes that a task runs no more; it counts until it leaves.
func (u *userTable) ended(t *Task) {
	u.mu.Lock()
	defer u.mu.Unlock()
	t.container.endedLocked()
}

// leave takes a task out that was reaped.
func (u *userTable) leave(t *Task) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addLocked(keyOf(t.Creds()), countTasks, -1)
	u.tasks--
	t.container.tasks--
}

// withdraw takes a task out that was never started.
func (u *userTable) withdraw(t *Task) {
	u.ended(t)
	u.leave(t)
}

// over tells whether a user, or who is charged with it, has more tasks than it may.
func (u *userTable) over(k userKey, limit uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.overLocked(k, countTasks, 0, limit)
}

// signals is how many signals of a user are queued, those of namespaces that it made included.
func (u *userTable) signals(k userKey) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.users[k]; c != nil {
		return uint64(c[countSignals])
	}
	return 0
}

// move changes the user a task counts for.
func (u *userTable) move(from, to userKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.addLocked(to, countTasks, 1)
	u.addLocked(from, countTasks, -1)
}

// mostInNamespace are the limits that a user namespace made with c now will have (getrlimit(2)); root's own tasks have none.
func (t *Task) mostInNamespace(c *cred.Credentials) cred.Most {
	lim := t.Limits()
	most := cred.Most{Tasks: lim.Soft(limits.NProc), Signals: lim.Soft(limits.SigPending)}
	if isRootOfAll(c) && c.UserNS.Initial() {
		most.Tasks = limits.Infinity
	}
	return most
}

// ledger counts one queued signal.
type ledger struct {
	table *userTable
	key   userKey
	limit uint64
}

// ledger returns the account that a signal for t, or for tg if t is nil, is
// charged to.
func (k *Kernel) ledger(tg *ThreadGroup, t *Task) signal.Ledger {
	if t == nil {
		t = tg.leader
	}
	return &ledger{table: k.users, key: keyOf(t.Creds()), limit: tg.limits.Soft(limits.SigPending)}
}

// Charge implements signal.Ledger.
func (l *ledger) Charge(force bool) bool {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	if !force && (l.table.queued >= maxSignals || l.table.overLocked(l.key, countSignals, 1, l.limit)) {
		return false
	}
	l.table.addLocked(l.key, countSignals, 1)
	l.table.queued++
	return true
}

// Uncharge implements signal.Ledger.
func (l *ledger) Uncharge() {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	l.table.addLocked(l.key, countSignals, -1)
	l.table.queued--
}

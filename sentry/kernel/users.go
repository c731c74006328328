package kernel

import (
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

type userCounts struct {
	tasks   int
	signals int
}

func newUserTable() *userTable {
	return &userTable{users: make(map[userKey]*userCounts)}
}

func keyOf(c *cred.Credentials) userKey { return userKey{c.UserNS, c.RUID} }

func (u *userTable) getLocked(k userKey) *userCounts {
	c := u.users[k]
	if c == nil {
		c = new(userCounts)
		u.users[k] = c
	}
	return c
}

func (u *userTable) dropLocked(k userKey, c *userCounts) {
	if c.tasks == 0 && c.signals == 0 {
		delete(u.users, k)
	}
}

// leave takes an ended task out.
func (u *userTable) leave(t *Task) {
	u.mu.Lock()
	defer u.mu.Unlock()
	k := keyOf(t.Creds())
	n := u.getLocked(k)
	n.tasks--
	u.tasks--
	u.dropLocked(k, n)
}

// count is the number of tasks of a user.
func (u *userTable) count(k userKey) uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	if c := u.users[k]; c != nil {
		return uint64(c.tasks)
	}
	return 0
}

// move changes the user a task counts for.
func (u *userTable) move(from, to userKey) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.getLocked(to).tasks++
	n := u.getLocked(from)
	n.tasks--
	u.dropLocked(from, n)
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
	n := l.table.getLocked(l.key)
	if !force && (uint64(n.signals) >= l.limit || l.table.queued >= maxSignals) {
		l.table.dropLocked(l.key, n)
		return false
	}
	n.signals++
	l.table.queued++
	return true
}

// Uncharge implements signal.Ledger.
func (l *ledger) Uncharge() {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	n := l.table.getLocked(l.key)
	n.signals--
	l.table.queued--
	l.table.dropLocked(l.key, n)
}

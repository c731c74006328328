package ipc

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// Config is what a Namespace stands on.
type Config struct {
	// Owner is the user namespace that the IPC namespace belongs to: capabilities count in it.
	Owner  *cred.UserNamespace
	Memory *mm.MemoryFile
	Budget *Budget
	// Now is the time of day in seconds.
	Now func() int64
}

// Namespace is an IPC namespace (ipc_namespaces(7)).
type Namespace struct {
	Semaphores Semaphores
	Memory     SharedMemory
	Messages   Messages

	limits limits
}

// New returns an empty namespace with the limits of a fresh system.
func New(c Config) *Namespace {
	n := &Namespace{}
	n.limits.values = defaultLimits
	n.Semaphores = Semaphores{config: &c, limits: &n.limits}
	n.Memory = SharedMemory{config: &c, limits: &n.limits}
	n.Messages = Messages{config: &c, limits: &n.limits}
	return n
}

// Limits are those of /proc/sys/kernel.
type Limits struct {
	SemMSL, SemMNS, SemOPM, SemMNI int64
	ShmMax, ShmAll, ShmMNI         uint64 // bytes, pages, segments
	MsgMax, MsgMNB, MsgMNI         int64
	ShmRmidForced                  uint64
}

// defaultLimits are those that Linux starts with.
var defaultLimits = Limits{
	SemMSL: 32000, SemMNS: 32000 * 32000, SemOPM: 500, SemMNI: 32000,
	ShmMax: math.MaxUint64 - 1<<24, ShmAll: math.MaxUint64 - 1<<24, ShmMNI: 4096,
	MsgMax: 8192, MsgMNB: 16384, MsgMNI: 32000,
}

type limits struct {
	// Guarded by mu.
	mu     sync.Mutex
	values Limits
}

func (l *limits) get() Limits {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.values
}

// Knob returns the text of a file of /proc/sys/kernel without its final newline; ENOENT.
func (n *Namespace) Knob(name string) (string, error) {
	if r, mu := n.nextID(name); r != nil {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(*r - 1), nil
	}
	l := n.limits.get()
	switch name {
	case "sem":
		return fmt.Sprintf("%d\t%d\t%d\t%d", l.SemMSL, l.SemMNS, l.SemOPM, l.SemMNI), nil
	case "shmmax":
		return fmt.Sprint(l.ShmMax), nil
	case "shmall":
		return fmt.Sprint(l.ShmAll), nil
	case "shmmni":
		return fmt.Sprint(l.ShmMNI), nil
	case "shm_rmid_forced":
		return fmt.Sprint(l.ShmRmidForced), nil
	case "msgmax":
		return fmt.Sprint(l.MsgMax), nil
	case "msgmnb":
		return fmt.Sprint(l.MsgMNB), nil
	case "msgmni":
		return fmt.Sprint(l.MsgMNI), nil
	}
	return "", unix.ENOENT
}

// SetKnob changes a knob; ENOENT, EINVAL for what is no number or out of range. Fewer numbers than
// a knob has change the first ones.
func (n *Namespace) SetKnob(name, text string) error {
	if r, mu := n.nextID(name); r != nil {
		return setNextID(r, mu, text)
	}
	l := n.limits.get()
	signed := map[string][]*int64{
		"sem":    {&l.SemMSL, &l.SemMNS, &l.SemOPM, &l.SemMNI},
		"msgmax": {&l.MsgMax}, "msgmnb": {&l.MsgMNB}, "msgmni": {&l.MsgMNI},
	}
	unsigned := map[string]*uint64{
		"shmmax": &l.ShmMax, "shmall": &l.ShmAll, "shmmni": &l.ShmMNI, "shm_rmid_forced": &l.ShmRmidForced,
	}
	fields := strings.Fields(text)
	var err error
	switch {
	case signed[name] != nil:
		err = parseKnobs(fields, signed[name])
	case unsigned[name] != nil:
		if len(fields) == 0 {
			return unix.EINVAL
		}
		*unsigned[name], err = strconv.ParseUint(fields[0], 0, 64)
	default:
		return unix.ENOENT
	}
	if err != nil || l.SemMNI > maxSlots || l.SemMSL > 65536 || l.SemOPM > maxSemOps || l.ShmMNI > maxSlots || l.MsgMNI > maxSlots || l.ShmRmidForced > 1 {
		return unix.EINVAL
	}
	n.limits.mu.Lock()
	n.limits.values = l
	n.limits.mu.Unlock()
	if l.ShmRmidForced == 1 {
		n.Memory.removeUnused()
	}
	return nil
}

// nextID is where the id of the next object of a kind is asked for, with the lock that guards it; nil
// when name is no such knob.
func (n *Namespace) nextID(name string) (*int64, *sync.Mutex) {
	switch name {
	case "sem_next_id":
		return &n.Semaphores.sets.asked, &n.Semaphores.mu
	case "shm_next_id":
		return &n.Memory.segments.asked, &n.Memory.mu
	case "msg_next_id":
		return &n.Messages.queues.asked, &n.Messages.mu
	}
	return nil, nil
}

// setNextID asks for an id; EINVAL.
func setNextID(asked *int64, mu *sync.Mutex, text string) error {
	word, _, _ := strings.Cut(strings.TrimSpace(text), " ")
	id, err := strconv.ParseInt(word, 0, 32)
	if err != nil || id < 0 {
		return unix.EINVAL
	}
	mu.Lock()
	defer mu.Unlock()
	*asked = id + 1
	return nil
}

func parseKnobs(fields []string, into []*int64) error {
	for i, f := range fields[:min(len(fields), len(into))] {
		v, err := strconv.ParseInt(f, 0, 32)
		if err != nil || v < 0 {
			return unix.EINVAL
		}
		*into[i] = v
	}
	return nil
}

// Release removes every object: nobody is in the namespace any more. Segments stay where they are attached.
func (n *Namespace) Release() {
	n.Semaphores.removeAll()
	n.Messages.removeAll()
	n.Memory.removeAll()
}

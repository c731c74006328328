package kernel

import (
	"strings"
	"sync"

	"gosentry/fs/vfs"
	"gosentry/mm"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// mountPhase is how far a file system that is being configured has come (fsconfig(2)).
type mountPhase int

const (
	taking      mountPhase = iota // parameters of one that is to be made
	made                          // and waits for fsmount(2)
	mounted                       // parameters of a change may come
	changing                      // they have begun to
	unfinished                    // an attempt has failed
	maxOptions  = 4096            // bytes of parameters
	maxMessages = 8
)

// MountContext is a file system that is being configured, the file of fsopen(2) and fspick(2).
type MountContext struct {
	fstype string
	owner  *cred.UserNamespace // of the mount namespace it was opened in

	// Guarded by mu, which is held while the file system is made.
	mu       sync.Mutex
	phase    mountPhase
	source   string
	options  []string
	readOnly bool
	instance *vfs.Instance
	messages []string // for read(2), the oldest first
}

// OpenFileSystem is fsopen(2): the file of a context for a file system of a type. ENODEV.
func (t *Task) OpenFileSystem(fstype string) (*vfs.File, error) {
	if t.k.fileSystems[fstype] == nil {
		return nil, unix.ENODEV
	}
	return t.newMountContext(&MountContext{fstype: fstype}), nil
}

// PickFileSystem is fspick(2): the file of a context that changes the file system mounted at p. EINVAL where p is not the
// root of a mount.
func (t *Task) PickFileSystem(p vfs.Path) (*vfs.File, error) {
	i, err := vfs.InstanceAt(p)
	if err != nil {
		return nil, err
	}
	return t.newMountContext(&MountContext{fstype: i.FSType(), instance: i, phase: changing}), nil
}

func (t *Task) newMountContext(m *MountContext) *vfs.File {
	m.owner = t.Creds().UserNS
	m.owner.Hold()
	return t.k.VFS().NewAnonFile(m, "[fscontext]", unix.O_RDWR)
}

// MountContextOf returns what the file of fsopen(2) or fspick(2) stands for; EINVAL for other files.
func MountContextOf(f *vfs.File) (*MountContext, error) {
	if m, ok := f.Ops().(*MountContext); ok {
		return m, nil
	}
	return nil, unix.EINVAL
}

// Read implements vfs.FileOps: it gives one message. ENODATA when there is none, EMSGSIZE when it does not fit.
func (m *MountContext) Read(_ vfs.Caller, dst *mm.Buffer, _ int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.messages) == 0 {
		return 0, unix.ENODATA
	}
	text := m.messages[0]
	if uint64(len(text)) > dst.Len() {
		return 0, unix.EMSGSIZE
	}
	m.messages = m.messages[1:]
	return dst.CopyOut([]byte(text))
}

// Write implements vfs.FileOps.
func (*MountContext) Write(vfs.Caller, *mm.Buffer, int64) (int, error) { return 0, unix.EINVAL }

// Release implements vfs.FileOps.
func (m *MountContext) Release() { m.owner.Drop() }

// fail notes why something is EINVAL.
func (m *MountContext) fail(text string) error {
	m.messages = append(m.messages, "e "+m.fstype+": "+text+"\n")
	if len(m.messages) > maxMessages {
		m.messages = m.messages[1:]
	}
	return unix.EINVAL
}

// common are the flags that every file system has; all but ro and rw are accepted and change nothing.
var common = map[string]bool{
	"ro": true, "rw": true, "sync": true, "async": true, "dirsync": true, "lazytime": true, "nolazytime": true, "mand": true, "nomand": true,
}

// Set sets a parameter: a flag, or with a value. EINVAL for one that the file system does not know, EBUSY when it is not the time
// for it.
func (m *MountContext) Set(t *Task, key string, value *string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase == mounted {
		m.phase = changing
	}
	if m.phase != taking && m.phase != changing {
		return unix.EBUSY
	}
	switch {
	case common[key]:
		if key == "ro" || key == "rw" {
			m.readOnly = key == "ro"
		}
		return nil
	case key == "source":
		return m.setSource(value)
	}
	return m.setOption(t, key, value)
}

func (m *MountContext) setSource(value *string) error {
	switch {
	case value == nil:
		return m.fail("Non-string source")
	case m.source != "":
		return m.fail("Multiple sources")
	}
	m.source = *value
	return nil
}

// setOption has the file system judge an option by itself: it makes one that nobody will use.
func (m *MountContext) setOption(t *Task, key string, value *string) error {
	option := key
	if value != nil {
		option += "=" + *value
	}
	total := len(option)
	for _, o := range m.options {
		total += len(o) + 1
	}
	if strings.Contains(option, ",") || total > maxOptions || key == "" {
		return m.fail("Bad value for '" + key + "'")
	}
	make := t.k.fileSystems[m.fstype]
	if make == nil {
		return m.fail("Unknown parameter '" + key + "'")
	}
	if _, err := make(t, option); err != nil {
		return m.fail("Unknown parameter '" + key + "'")
	}
	m.options = append(m.options, option)
	return nil
}

// Create makes the file system; EBUSY when it was tried before, EPERM.
func (m *MountContext) Create(t *Task) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != taking {
		return unix.EBUSY
	}
	if !t.Creds().HasIn(unix.CAP_SYS_ADMIN, m.owner) {
		return unix.EPERM
	}
	m.phase = unfinished
	root, err := t.NewFileSystem(m.fstype, strings.Join(m.options, ","))
	if err != nil {
		return err
	}
	source := m.source
	if source == "" {
		source = "none"
	}
	if m.instance, err = t.k.VFS().NewInstance(root, m.fstype, source); err != nil {
		return err
	}
	m.instance.SetOwner(t.Creds().UserNS)
	m.instance.SetReadOnly(m.readOnly)
	m.phase = made
	return nil
}

// Reconfigure changes the file system as the parameters say; only ro and rw change anything. EBUSY, EPERM.
func (m *MountContext) Reconfigure(t *Task) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.phase != changing && m.phase != mounted {
		return unix.EBUSY
	}
	m.phase = unfinished
	if !t.ownsFor(m.instance.Owner()) {
		return unix.EPERM
	}
	m.instance.SetReadOnly(m.readOnly)
	m.phase, m.options = mounted, nil
	return nil
}

// Mount is fsmount(2): the file of a mount of the file system that is mounted nowhere. EINVAL before there is one, EBUSY when
// it was mounted before, ENOSPC.
func (m *MountContext) Mount(t *Task, flags vfs.MountFlags) (*vfs.File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.instance == nil:
		return nil, unix.EINVAL
	case m.phase != made:
		return nil, unix.EBUSY
	}
	f, err := t.MountsOf().MountDetached(m.instance, flags)
	if err == nil {
		m.phase, m.options = mounted, nil
	}
	return f, err
}

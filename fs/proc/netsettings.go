package proc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"gosentry/fs/pseudo"
	"gosentry/fs/vfs"
	"gosentry/sentry/cred"

	"golang.org/x/sys/unix"
)

// NetKnob is a setting below /proc/sys/net: a number or some, of each network namespace its own.
type NetKnob struct {
	Name string // with its directory, "net/ipv4/ip_forward"
	// Owner returns the user namespace that the caller's network namespace belongs to.
	Owner func(c vfs.Caller) *cred.UserNamespace
	Get   func(c vfs.Caller) []int64
	// Set is given as many numbers as Get returns; EINVAL for what does not fit.
	Set func(c vfs.Caller, values []int64) error
}

// netFile is the file of a setting of network namespaces.
type netFile struct {
	*pseudo.File
	owner func(c vfs.Caller) *cred.UserNamespace
}

// Permission implements vfs.PermissionOps: the setting is root's of the user namespace that the network namespace belongs to, and of who has
// CAP_NET_ADMIN there.
func (f *netFile) Permission(c vfs.Caller, want uint32) error {
	if want&vfs.MayExec != 0 {
		return unix.EACCES
	}
	creds, ns := c.Creds(), f.owner(c)
	if root, ok := ns.Root(); want&vfs.MayWrite == 0 || ok && creds.EUID == root || creds.HasIn(unix.CAP_NET_ADMIN, ns) {
		return nil
	}
	return unix.EACCES
}

// netSetting makes the file of a setting. What is written may have fewer numbers than there are: the others stay.
func (f *fileSystem) netSetting(k NetKnob) vfs.Inode {
	file := f.NewKnob(0o644, func(c vfs.Caller, b *bytes.Buffer) error {
		text := strings.Trim(fmt.Sprint(k.Get(c)), "[]")
		b.WriteString(strings.ReplaceAll(text, " ", "\t") + "\n")
		return nil
	}, func(c vfs.Caller, data []byte) error {
		values, words := k.Get(c), strings.Fields(string(data))
		if len(words) == 0 {
			return unix.EINVAL
		}
		for i := range min(len(values), len(words)) {
			n, err := strconv.ParseInt(words[i], 0, 64)
			if err != nil {
				return unix.EINVAL
			}
			values[i] = n
		}
		return k.Set(c, values)
	})
	return &netFile{file, k.Owner}
}

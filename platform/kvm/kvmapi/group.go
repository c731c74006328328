package kvmapi

import (
	"os"
	"strconv"
	"strings"
)

// groupName is the name of a group in group(5), or its number where it has none. Package os/user would
// bring cgo along, which the sandbox's lock does not allow.
func groupName(gid uint32) string {
	id := strconv.Itoa(int(gid))
	text, err := os.ReadFile("/etc/group")
	if err != nil {
		return id
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == id {
			return f[0]
		}
	}
	return id
}

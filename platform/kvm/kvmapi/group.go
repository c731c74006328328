package kvmapi

import (
	"os/user"
	"strconv"
)

// groupName is the name of a group, or its number where it has none.
func groupName(gid uint32) string {
	id := strconv.Itoa(int(gid))
	if g, err := user.LookupGroupId(id); err == nil {
		return g.Name
	}
	return id
}

package systrap

import (
	"gosentry/platform/internal/patch"
	"gosentry/platform/internal/pool"
)

// process is a blank process with its guest threads, each of which is a process for the host.
type process = pool.Process[*seat]

// addressSpace is a guest address space, and what is patched in it.
type addressSpace struct {
	*pool.Space[*seat]
	p    *Platform
	text *patch.Text
}

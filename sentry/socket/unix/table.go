package unix

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
)

// maxListed bounds the lines of /proc/net/unix.
const maxListed = 1 << 14

// What /proc/net/unix shows as flags and as states.
const (
	flagListening    = 1 << 16
	stateUnconnected = 1
	stateConnected   = 3
)

// ProcTable returns the lines of /proc/net/unix, in order of inode numbers.
func (n *Namespace) ProcTable(table string) []byte {
	if table != "unix" {
		return nil
	}
	n.mu.Lock()
	all := slices.Collect(maps.Keys(n.sockets))
	n.mu.Unlock()
	slices.SortFunc(all, func(s, t *Socket) int { return int(s.ino()) - int(t.ino()) })
	var b bytes.Buffer
	for _, s := range all[:min(len(all), maxListed)] {
		s.writeLine(&b)
	}
	return b.Bytes()
}

func (s *Socket) ino() uint64 {
	attr, _ := s.inode.Attr()
	return attr.Ino
}

func (s *Socket) writeLine(b *bytes.Buffer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	refs, flags, state := 2, 0, stateUnconnected
	if s.peer != nil {
		refs, state = 3, stateConnected
	}
	if s.state.Load() == listening {
		flags = flagListening
	}
	fmt.Fprintf(b, "%016x: %08X %08X %08X %04X %02X %5d", 0, refs, 0, flags, s.kind, state, s.ino())
	if s.name != nil {
		shown := s.name.addr[familySize:]
		if s.name.inode != nil {
			shown = bytes.TrimSuffix(shown, []byte{0})
		}
		b.WriteByte(' ')
		b.Write(bytes.ReplaceAll(shown, []byte{0}, []byte{'@'}))
	}
	b.WriteByte('\n')
}

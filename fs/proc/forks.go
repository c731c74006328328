package proc

import (
	"bytes"
	"fmt"
	"strings"

	"gosentry/fs/vfs"
)

// contract is /proc/sentry/contract.
func (f *fileSystem) contract() vfs.Inode {
	return f.NewKnob(0o666, func(c vfs.Caller, b *bytes.Buffer) error {
		b.WriteString(f.processes.Contract(c))
		return nil
	}, func(c vfs.Caller, data []byte) error {
		return f.processes.SetContract(c, strings.TrimSpace(string(data)))
	})
}

// ForkCounts are the forks of the whole system since it began.
type ForkCounts struct {
	Kinds []ForkKind
	// Blocked are those that made the parent wait, SharedMemory those whose child got the parent's
	// address space.
	Blocked, SharedMemory uint64
	Refused               []ForkRefusals
	CPUs                  []ForkCPU
}

// ForkKind counts the forks of one kind. Pages are sums over the children, of data and stack as mapped at their birth.
type ForkKind struct {
	Name                         string
	Forks, DataPages, StackPages uint64
}

// ForkRefusals counts the forks that failed for one reason.
type ForkRefusals struct {
	Reason string
	Count  uint64
}

// ForkCPU counts forks by the processor where the parent ran; a vfork is one that blocks the parent.
type ForkCPU struct {
	CPU           int
	Forks, Vforks uint64
}

// writeForks writes /proc/sentry/forks: a line for each count, the name first.
func writeForks(b *bytes.Buffer, i *Info) {
	c := &i.ForkCounts
	for _, k := range c.Kinds {
		fmt.Fprintf(b, "%s %d data_pages %d stack_pages %d\n", k.Name, k.Forks, k.DataPages, k.StackPages)
	}
	fmt.Fprintf(b, "blocked %d\nshared_memory %d\n", c.Blocked, c.SharedMemory)
	for _, r := range c.Refused {
		fmt.Fprintf(b, "refused_%s %d\n", r.Reason, r.Count)
	}
	for _, n := range c.CPUs {
		fmt.Fprintf(b, "cpu%d forks %d vforks %d\n", n.CPU, n.Forks, n.Vforks)
	}
}

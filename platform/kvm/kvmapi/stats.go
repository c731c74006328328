package kvmapi

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Stats are the counters that KVM keeps of a virtual processor, by the names that it gives them
// (Documentation/virt/kvm/api.rst, 4.134).
type Stats struct {
	fd      int
	offsets map[string]int64 // of counters, in the file
}

// Layouts of the file: struct kvm_stats_header, and struct kvm_stats_desc before its name.
const (
	statsHeaderSize = 24
	statsDescSize   = 16
	maxStats        = 4096
)

// errStats is said of a file that is no such statistics.
var errStats = errors.New("KVM's statistics have an unknown layout")

// OpenStats opens the processor's counters. Linux has them from 5.14.
func (v *VCPU) OpenStats() (*Stats, error) {
	fd, e := ioctl(v.fd, kvmGetStatsFD, 0)
	if e != 0 {
		return nil, requestError("KVM_GET_STATS_FD", e)
	}
	s := &Stats{fd: fd, offsets: make(map[string]int64)}
	if err := s.index(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// index finds out where each counter is.
func (s *Stats) index() error {
	h := make([]byte, statsHeaderSize)
	if n, err := unix.Pread(s.fd, h, 0); err != nil || n != len(h) {
		return errors.Join(errStats, err)
	}
	word := func(b []byte, i int) int64 { return int64(binary.LittleEndian.Uint32(b[4*i:])) }
	name, count, descs, data := word(h, 1), word(h, 2), word(h, 4), word(h, 5)
	if name > maxStats || count > maxStats {
		return errStats
	}
	b := make([]byte, (statsDescSize+name)*count)
	if n, err := unix.Pread(s.fd, b, descs); err != nil || n != len(b) {
		return errors.Join(errStats, err)
	}
	for ; len(b) > 0; b = b[statsDescSize+name:] {
		text, _, _ := bytes.Cut(b[statsDescSize:statsDescSize+name], []byte{0})
		s.offsets[string(text)] = data + word(b, 2)
	}
	return nil
}

// Read returns a counter's value; ok is false where this KVM has none of that name.
func (s *Stats) Read(name string) (value uint64, ok bool) {
	at, ok := s.offsets[name]
	var b [8]byte
	if !ok {
		return 0, false
	}
	n, err := unix.Pread(s.fd, b[:], at)
	return binary.LittleEndian.Uint64(b[:]), err == nil && n == len(b)
}

// Exits returns how often the processor has left its guest but for interrupts of the host's; ok is false where this KVM
// does not count that.
func (s *Stats) Exits() (n uint64, ok bool) {
	all, ok := s.Read("exits")
	interrupts, known := s.Read("irq_exits")
	return all - interrupts, ok && known
}

// Close lets the counters go.
func (s *Stats) Close() { unix.Close(s.fd) }

package kvm

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"
)

// TestExits counts the exits of calls and of faults in KVM's statistics: one each. Where ring 0 is
// emulated KVM also counts its return to the emulator, so there it is one more.
func TestExits(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	limit := uint64(1)
	if p.entry != entryRing0 {
		limit = 2
	}
	for name, code := range map[string][]byte{
		"call": {0x0f, 0x05}, "page fault": loadText, "invalid opcode": {0x0f, 0x0b}, "breakpoint": {0xcc}, "int 0x80": {0xcd, 0x80},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, p, code...)
			defer g.c.Leave()
			round := func() {
				g.regs.Rbx = dataAt
				if ev := g.run(); ev.Kind == platform.Interrupted {
					t.Fatal("nothing happened")
				}
			}
			round()
			stats, err := g.c.v.kvm.OpenStats()
			if err != nil {
				t.Skip(err)
			}
			defer stats.Close()
			const rounds = 500
			before, entries := exitsOf(t, stats), g.c.v.entries
			for range rounds {
				round()
			}
			exits, entries := exitsOf(t, stats)-before, g.c.v.entries-entries
			t.Logf("%.3f exits each, %.3f entries", float64(exits)/rounds, float64(entries)/rounds)
			// Interrupts of the host are exits too, and some end the entry.
			if slack := uint64(rounds / 10); exits > limit*rounds+slack || exits < rounds || entries > rounds+slack {
				t.Errorf("%d rounds: %d exits and %d entries", rounds, exits, entries)
			}
		})
	}
}

// exitsOf is how often KVM says that a processor left its guest.
func exitsOf(t *testing.T, s *kvmapi.Stats) uint64 {
	t.Helper()
	n, ok := s.Read("exits")
	if !ok {
		t.Skip("this KVM does not count exits")
	}
	return n
}

package kvm

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"
)

// TestExits counts the exits of calls and of faults in KVM's statistics: one each. There is one more for an invalid
// opcode, at which KVM looks first, and for everything where ring 0 is emulated: KVM counts its step into the emulator.
func TestExits(t *testing.T) {
	p := testPlatform(t)
	defer p.Release()
	for name, code := range map[string][]byte{
		"call": {0x0f, 0x05}, "page fault": loadText, "invalid opcode": {0x0f, 0x0b}, "breakpoint": {0xcc}, "int 0x80": {0xcd, 0x80},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuest(t, p, code...)
			defer g.c.Leave()
			limit := uint64(1)
			if p.entry != entryRing0 || name == "invalid opcode" {
				limit = 2
			}
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
			// Some interrupts end the entry.
			if slack := uint64(rounds / 10); exits > limit*rounds+slack || exits < rounds || entries > rounds+slack {
				t.Errorf("%d rounds: %d exits and %d entries", rounds, exits, entries)
			}
		})
	}
}

// exitsOf is how often KVM says that a processor left its guest, but for interrupts of the host's.
func exitsOf(t *testing.T, s *kvmapi.Stats) uint64 {
	t.Helper()
	n, ok := s.Read("exits")
	interrupts, known := s.Read("irq_exits")
	if !ok || !known {
		t.Skip("this KVM does not count exits")
	}
	return n - interrupts
}

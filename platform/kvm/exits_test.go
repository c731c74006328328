package kvm

import (
	"testing"

	"gosentry/platform"
	"gosentry/platform/kvm/kvmapi"
)

// TestExits counts the exits of calls and of faults in KVM's statistics: one each. There is one more for an invalid
// opcode, at which KVM looks first, and for everything but patched calls where ring 0 is emulated: KVM counts its step into the emulator.
func TestExits(t *testing.T) {
	p := alone(testPlatform(t))
	defer p.Release()
	for name, code := range map[string][]byte{
		"call": {0x0f, 0x05}, "page fault": loadText, "invalid opcode": {0x0f, 0x0b}, "breakpoint": {0xcc}, "int 0x80": {0xcd, 0x80},
	} {
		t.Run(name, func(t *testing.T) {
			limit := uint64(1)
			if p.entry != entryRing0 || name == "invalid opcode" {
				limit = 2
			}
			g := newGuest(t, p, code...)
			g.exits(limit, func() {
				g.regs.Rbx = dataAt
				if ev := g.run(); ev.Kind == platform.Interrupted {
					t.Fatal("nothing happened")
				}
			})
		})
	}
	t.Run("patched call", func(t *testing.T) {
		g := patchGuest(t, p)
		g.exits(1, func() {
			g.regs.Rip = codeAt
			g.next(asked)
		})
	})
}

// exits fails the test if a round leaves the guest more often than limit, by KVM's count, or other than once by ours.
func (g *testGuest) exits(limit uint64, round func()) {
	g.Helper()
	defer g.c.Leave()
	round()
	stats, err := g.c.v.kvm.OpenStats()
	if err != nil {
		g.Skip(err)
	}
	defer stats.Close()
	const rounds = 500
	before, entries := exitsOf(g.T, stats), g.c.v.entries
	for range rounds {
		round()
	}
	exits, entries := exitsOf(g.T, stats)-before, g.c.v.entries-entries
	g.Logf("%.3f exits each, %.3f entries", float64(exits)/rounds, float64(entries)/rounds)
	// Some interrupts end the entry.
	if slack := uint64(rounds / 10); exits > limit*rounds+slack || exits < rounds || entries > rounds+slack {
		g.Errorf("%d rounds: %d exits and %d entries", rounds, exits, entries)
	}
}

// exitsOf is how often KVM says that a processor left its guest.
func exitsOf(t *testing.T, s *kvmapi.Stats) uint64 {
	t.Helper()
	n, ok := s.Exits()
	if !ok {
		t.Skip("this KVM does not count exits")
	}
	return n
}

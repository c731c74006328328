package patch

import "testing"

// TestAny looks at sites that make any call.
func TestAny(t *testing.T) {
	site := []byte{0x4c, 0x8b, 0x4c, 0x24, 0x08, 0x0f, 0x05}
	for _, c := range []struct {
		before []byte
		after  int
		want   bool
	}{{[]byte{0xc0}, 7, true}, {[]byte{0x66}, 7, false}, {[]byte{0x48}, 7, false}, {nil, 7, false}, {[]byte{0xc0}, 6, false}} {
		text := append(append([]byte{}, c.before...), site[:c.after]...)
		if got := loadsSixth(text, uint64(len(c.before))); got != c.want {
			t.Errorf("% x: %v", text, got)
		}
	}
}

func TestPatchable(t *testing.T) {
	site := []byte{0xb8, 39, 0, 0, 0, 0x0f, 0x05}
	with := func(before ...byte) []byte { return append(append([]byte{0x90, 0x90, 0x90}, before...), site...) }
	for _, c := range []struct {
		name string
		text []byte
		nr   uint64
		want bool
	}{
		{"plain", with(0xc3), 39, true}, {"after nop", with(), 39, true}, {"after endbr64", with(0xf3, 0x0f, 0x1e, 0xfa), 39, true},
		{"another number", with(), 40, false}, {"rex.b: mov to r8d", with(0x41), 39, false}, {"rex.w: movabs", with(0x48), 39, false},
		{"operand size", with(0x66), 39, false}, {"lock", with(0xf0), 39, false}, {"bswap", with(0x0f), 39, false},
		{"movl $39,-72(%rbp)", with(0xc7, 0x45), 39, false}, {"movl $39,-72(%rsp)", with(0xc7, 0x44, 0x24), 39, false},
		{"addl $39,-72(%rdi)", with(0x81, 0x47), 39, false}, {"imul", with(0x69, 0x43), 39, false}, {"testl", with(0xf7, 0x44, 0x8e), 39, false},
		{"mov %eax,%ebx before", with(0x89, 0xc3), 39, true}, {"at the beginning", site, 39, false},
		{"syscall missing", append(with()[:8], 0x0f, 0x34), 39, false}, {"cut", with()[:8], 39, false},
	} {
		at := uint64(len(c.text) - SiteLength)
		if c.name == "cut" {
			at = 3
		}
		if got := patchable(c.text, at, c.nr); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

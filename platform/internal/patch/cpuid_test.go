package patch

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"gosentry/platform/internal/patch/patchtest"
)

// TestFindCPUID looks for CPUID in functions.
func TestFindCPUID(t *testing.T) {
	plain := []byte{0x53, 0x31, 0xc9, 0x0f, 0xa2, 0x5b, 0xc3} // push %rbx; xor %ecx,%ecx; cpuid; pop %rbx; ret
	for name, c := range map[string]struct {
		function []byte
		want     []uint64
	}{
		"plain":               {plain, []uint64{3}},
		"behind endbr64":      {append([]byte{0xf3, 0x0f, 0x1e, 0xfa}, plain...), []uint64{7}},
		"two":                 {[]byte{0x0f, 0xa2, 0x0f, 0xa2, 0xc3}, []uint64{0, 2}},
		"in an immediate":     {[]byte{0xb8, 0x0f, 0xa2, 0x00, 0x00, 0x0f, 0xa2, 0xc3}, []uint64{5}},
		"what nobody decodes": {append([]byte{0x0f, 0xa2, 0x06}, plain...), nil},
		"cut at the end":      {[]byte{0x0f, 0xa2, 0xb8, 0x00}, nil},
		"none":                {[]byte{0xc3}, nil},
	} {
		file := patchtest.Program([]byte{0x90, 0xc3}, c.function, plain)
		want := []uint64{}
		for _, at := range append(c.want, uint64(len(c.function))+3) {
			want = append(want, patchtest.CodeAt+2+at)
		}
		if got := findCPUID(bytes.NewReader(file)); !slices.Equal(got, want) {
			t.Errorf("%s: %#x, want %#x", name, got, want)
		}
	}
}

// TestHostileProgram looks for CPUID in files that are no programs, or bad ones.
func TestHostileProgram(t *testing.T) {
	file := patchtest.Program([]byte{0x0f, 0xa2, 0xc3}, []byte{0x31, 0xc0, 0x0f, 0xa2, 0xc3})
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	defer func() {
		if v := recover(); v != nil {
			t.Fatalf("seed %d: %v", seed, v)
		}
	}()
	for n := range 200_000 {
		bad := slices.Clone(file)
		if n%3 == 0 {
			bad = bad[:r.IntN(len(bad))]
		}
		for range 1 + r.IntN(4) {
			parts := [][2]int{{0, 64 + 56}, {patchtest.CodeAt, len(file)}}
			part := parts[r.IntN(2)]
			if at := part[0] + r.IntN(part[1]-part[0]); at < len(bad) {
				bad[at] = [...]byte{0, 1, 0x7f, 0x80, 0xff, byte(r.Uint32())}[r.IntN(6)]
			}
		}
		for _, at := range findCPUID(bytes.NewReader(bad)) {
			if at+2 > uint64(len(bad)) || !bytes.Equal(bad[at:at+2], []byte{0x0f, 0xa2}) {
				t.Fatalf("seed %d: CPUID at %#x", seed, at)
			}
		}
	}
}

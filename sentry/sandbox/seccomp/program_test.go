package seccomp

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// data is struct seccomp_data in the byte order in which x/net's machine reads.
func data(number, arch uint32, args ...uint64) []byte {
	b := make([]byte, 64)
	binary.BigEndian.PutUint32(b[offNumber:], number)
	binary.BigEndian.PutUint32(b[offArch:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(b[offArgs+8*i:], uint32(a))
		binary.BigEndian.PutUint32(b[offArgs+8*i+4:], uint32(a>>32))
	}
	return b
}

func machine(t *testing.T, rules []Rule, deny Action) *bpf.VM {
	t.Helper()
	raw, err := Assemble(rules, deny)
	if err != nil {
		t.Fatal(err)
	}
	prog, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program does not disassemble")
	}
	vm, err := bpf.NewVM(prog)
	if err != nil {
		t.Fatal(err)
	}
	return vm
}

func TestAssemble(t *testing.T) {
	rules := append(Allow(unix.SYS_READ, unix.SYS_FUTEX),
		When(unix.SYS_MMAP, Without(2, unix.PROT_EXEC)),
		OneOf(unix.SYS_IOCTL, 1, unix.TCGETS, unix.TIOCGWINSZ),
		When(unix.SYS_CLONE, Equal(0, 7), Equal(1, 8)),
		When(unix.SYS_CLONE, Equal(0, 9)),
		OneOf(unix.SYS_FUTEX, 1, 1),
	)
	const arch, allow, deny = unix.AUDIT_ARCH_X86_64, unix.SECCOMP_RET_ALLOW, uint32(Trap)
	cases := []struct {
		name string
		in   []byte
		want uint32
	}{
		{"plain", data(unix.SYS_READ, arch), allow},
		{"unknown", data(unix.SYS_SOCKET, arch), deny},
		{"other architecture", data(unix.SYS_READ, unix.AUDIT_ARCH_I386), uint32(Kill)},
		{"x32", data(x32Bit|unix.SYS_READ, arch), uint32(Kill)},
		{"last of the table", data(unix.SYS_FUTEX, arch), allow},
		{"merged with an unconditional one", data(unix.SYS_FUTEX, arch, 0, 5), allow},
		{"no exec", data(unix.SYS_MMAP, arch, 0, 4096, unix.PROT_READ|unix.PROT_WRITE), allow},
		{"exec", data(unix.SYS_MMAP, arch, 0, 4096, unix.PROT_READ|unix.PROT_EXEC), deny},
		{"first of a list", data(unix.SYS_IOCTL, arch, 0, unix.TCGETS), allow},
		{"second of a list", data(unix.SYS_IOCTL, arch, 0, unix.TIOCGWINSZ), allow},
		{"not in the list", data(unix.SYS_IOCTL, arch, 0, unix.TIOCSTI), deny},
		{"high half ignored", data(unix.SYS_IOCTL, arch, 0, 1<<40|unix.TCGETS), allow},
		{"both conditions", data(unix.SYS_CLONE, arch, 7, 8), allow},
		{"one of two conditions", data(unix.SYS_CLONE, arch, 7, 7), deny},
		{"other alternative", data(unix.SYS_CLONE, arch, 9, 0), allow},
	}
	vm := machine(t, rules, Trap)
	for _, c := range cases {
		got, err := vm.Run(c.in)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		if uint32(got) != c.want {
			t.Errorf("%s: action %#x, want %#x", c.name, uint32(got), c.want)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	if _, err := Assemble([]Rule{When(1, Equal(6, 0))}, Kill); err == nil {
		t.Error("a seventh argument was taken")
	}
	values := make([]uint32, 300)
	if _, err := Assemble([]Rule{OneOf(1, 6, 0)}, Kill); err == nil {
		t.Error("a seventh argument was taken in a list")
	}
	if _, err := Assemble([]Rule{OneOf(1, 0, values...)}, Kill); err == nil {
		t.Error("a body too long for a jump was taken")
	}
}

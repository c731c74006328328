package test

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// image is a small program as an ELF file that can be made to lie.
type image struct {
	header   elf.Header64
	segments []elf.Prog64
	code     []byte
	interp   []byte
}

const (
	imageBase = 0x400000
	pageSize  = 4096
)

// honest returns a static program that leaves with status 7.
func honest() *image {
	code := []byte{0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05}
	im := &image{code: code}
	h := &im.header
	copy(h.Ident[:], elf.ELFMAG)
	h.Ident[elf.EI_CLASS], h.Ident[elf.EI_DATA], h.Ident[elf.EI_VERSION] = byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)
	h.Type, h.Machine, h.Version = uint16(elf.ET_EXEC), uint16(elf.EM_X86_64), uint32(elf.EV_CURRENT)
	h.Entry, h.Phoff, h.Ehsize, h.Phentsize, h.Phnum = imageBase+pageSize, 64, 64, 56, 2
	im.segments = []elf.Prog64{
		{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X), Off: pageSize, Vaddr: imageBase + pageSize, Paddr: imageBase + pageSize, Filesz: uint64(len(code)), Memsz: uint64(len(code)), Align: pageSize},
		{Type: uint32(elf.PT_GNU_STACK), Flags: uint32(elf.PF_R | elf.PF_W), Align: 16},
	}
	return im
}

// bytes lays the file out: headers, then an interpreter's path, then the code on a page of its own.
func (im *image) bytes() []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, im.header)
	binary.Write(&b, binary.LittleEndian, im.segments)
	file := make([]byte, pageSize+len(im.code))
	copy(file, b.Bytes())
	copy(file[2048:], im.interp)
	copy(file[pageSize:], im.code)
	return file
}

// add appends a segment.
func (im *image) add(p elf.Prog64) {
	im.segments = append(im.segments, p)
	im.header.Phnum++
}

func (im *image) interpreter(path string, size uint64) {
	im.interp = []byte(path)
	im.add(elf.Prog64{Type: uint32(elf.PT_INTERP), Flags: uint32(elf.PF_R), Off: 2048, Filesz: size, Memsz: size, Align: 1})
}

// liars returns files by name: lies in each field of the headers.
func liars() map[string][]byte {
	out := map[string][]byte{"honest": honest().bytes()}
	lie := func(name string, f func(*image)) {
		im := honest()
		f(im)
		out[name] = im.bytes()
	}
	values := []uint64{0, 1, 55, 57, 0xfff, 0x1001, 1 << 16, 1 << 31, 1<<32 - 1, 1 << 40, 1<<47 - pageSize, 1 << 47, 1<<63 - 1, 1 << 63, 1<<64 - pageSize, 1<<64 - 1}
	for _, v := range values {
		n := fmt.Sprintf("_%x", v)
		lie("entry"+n, func(im *image) { im.header.Entry = v })
		lie("phoff"+n, func(im *image) { im.header.Phoff = v })
		lie("phnum"+n, func(im *image) { im.header.Phnum = uint16(v) })
		lie("phentsize"+n, func(im *image) { im.header.Phentsize = uint16(v) })
		lie("type"+n, func(im *image) { im.header.Type = uint16(v) })
		lie("machine"+n, func(im *image) { im.header.Machine = uint16(v) })
		lie("offset"+n, func(im *image) { im.segments[0].Off = v })
		lie("vaddr"+n, func(im *image) { im.segments[0].Vaddr = v })
		lie("filesz"+n, func(im *image) { im.segments[0].Filesz = v })
		lie("memsz"+n, func(im *image) { im.segments[0].Memsz = v })
		lie("bothsz"+n, func(im *image) { im.segments[0].Filesz, im.segments[0].Memsz = v, v })
		lie("align"+n, func(im *image) { im.segments[0].Align = v })
		lie("flags"+n, func(im *image) { im.segments[0].Flags = uint32(v) })
		lie("bss"+n, func(im *image) {
			im.add(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: 6, Vaddr: 0x500000, Memsz: v, Align: pageSize})
		})
		lie("second"+n, func(im *image) {
			im.add(elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: 6, Off: pageSize, Vaddr: v, Filesz: 12, Memsz: 12, Align: pageSize})
		})
		lie("pie_align"+n, func(im *image) {
			im.header.Type, im.header.Entry = uint16(elf.ET_DYN), pageSize
			im.segments[0].Vaddr, im.segments[0].Align = pageSize, v
		})
		lie("interp_size"+n, func(im *image) { im.interpreter("/lib64/ld-linux-x86-64.so.2\x00", v) })
	}
	lies(lie)
	for _, n := range []int{0, 1, 4, 15, 16, 63, 64, 65, 100, 119, 120, 175, 176, 1000, 4095, 4096, 4097, 4107} {
		out[fmt.Sprintf("cut_%d", n)] = honest().bytes()[:n]
	}
	return out
}

// lies adds the files that are no loop over values.
func lies(lie func(string, func(*image))) {
	lie("class32", func(im *image) { im.header.Ident[elf.EI_CLASS] = byte(elf.ELFCLASS32) })
	lie("bigendian", func(im *image) { im.header.Ident[elf.EI_DATA] = byte(elf.ELFDATA2MSB) })
	lie("magic", func(im *image) { im.header.Ident[0] = 0 })
	lie("no_load", func(im *image) { im.segments[0].Type = uint32(elf.PT_NOTE) })
	lie("overlap", func(im *image) { im.add(im.segments[0]) })
	lie("backwards", func(im *image) {
		p := im.segments[0]
		p.Vaddr -= pageSize
		im.add(p)
	})
	lie("not_congruent", func(im *image) { im.segments[0].Off += 8 })
	lie("writable_only", func(im *image) { im.segments[0].Flags = uint32(elf.PF_W) })
	lie("no_rights", func(im *image) { im.segments[0].Flags = 0 })
	lie("memsz_below_filesz", func(im *image) { im.segments[0].Memsz = 1 })
	lie("low_address", func(im *image) { im.segments[0].Vaddr, im.header.Entry = 0, 0 })
	lie("executable_stack", func(im *image) { im.segments[1].Flags = 7 })
	lie("pie", func(im *image) {
		im.header.Type, im.header.Entry, im.segments[0].Vaddr = uint16(elf.ET_DYN), pageSize, pageSize
	})
	for name, path := range map[string]string{
		"none": "/no/such/file\x00", "directory": "/etc\x00", "text": "/etc/passwd\x00", "device": "/dev/zero\x00", "empty": "\x00",
		"without_end": "/lib64/ld-linux-x86-64.so.2", "itself": "./interp_itself\x00", "program": "/bin/true\x00", "inner_zero": "/lib64\x00x\x00",
	} {
		lie("interp_"+name, func(im *image) { im.interpreter(path, uint64(len(path))) })
	}
	lie("interp_twice", func(im *image) {
		im.interpreter("/bin/true\x00", 10)
		im.interpreter("/bin/true\x00", 10)
	})
	lie("tls_and_dynamic", func(im *image) {
		im.add(elf.Prog64{Type: uint32(elf.PT_TLS), Off: 1 << 60, Vaddr: 1 << 60, Filesz: 1 << 60, Memsz: 1 << 60})
		im.add(elf.Prog64{Type: uint32(elf.PT_DYNAMIC), Off: 1 << 60, Vaddr: 1 << 60, Filesz: 1 << 60, Memsz: 1 << 60})
		im.add(elf.Prog64{Type: uint32(elf.PT_GNU_PROPERTY), Off: 1 << 60, Filesz: 1 << 60})
	})
}

// mayDiffer are the files that may run on one side only, with the reason.
func mayDiffer() map[string]string {
	size := "whether so much memory may be promised is each kernel's policy"
	low := "the host lets root map page 0, the sandbox nobody"
	over := "Linux lets an interpreter overwrite its program, the sandbox does not"
	byte4 := "Linux does not look at this byte, the sandbox does"
	return map[string]string{
		"bss_10000000000": size, "memsz_10000000000": size, "low_address": low, "second_0": low,
		"bigendian": byte4, "class32": byte4,
		"interp_itself": over,
	}
}

// TestELF runs files that are cut short or lie in their headers: each ends with an error or a
// signal, the sandbox lives, and where the host runs the program so does the sandbox.
func TestELF(t *testing.T) {
	need(t, "sh")
	dir := workDir(t)
	names := []string{}
	for name, file := range liars() {
		if os.Getuid() != 0 && strings.HasPrefix(name, "pie_align_8000") {
			continue // the host puts it at address 0, where only root may have memory
		}
		names = append(names, name)
		if err := os.WriteFile(filepath.Join(dir, name), file, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	sort.Strings(names)
	script := "cd " + dir + "; for f in " + strings.Join(names, " ") + "; do (ulimit -t 5; exec ./$f) </dev/null >/dev/null 2>&1; echo $f $?; done"
	host := command{argv: []string{"sh", "-c", "(" + script + ") 2>/dev/null"}, timeout: time.Minute}.host(t)
	if !strings.Contains(host.stdout, "honest 7\n") {
		t.Fatalf("on the host: %v", host)
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		sandbox := survives(t, platform, "("+script+") 2>/dev/null", 3*time.Minute)
		h, s := lines(host.stdout), lines(sandbox.stdout)
		if len(h) != len(s) {
			t.Fatalf("%d results on the host, %d in the sandbox", len(h), len(s))
		}
		for i := range h {
			if h[i] == s[i] {
				continue
			}
			// Which error a lie gets is the loader's affair; that it runs or not is not.
			name, _, _ := strings.Cut(h[i], " ")
			ran := strings.HasSuffix(h[i], " 7") || strings.HasSuffix(s[i], " 7")
			if reason := mayDiffer()[name]; ran && reason == "" {
				t.Errorf("on the host %q, in the sandbox %q", h[i], s[i])
			}
		}
	})
}

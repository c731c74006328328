package arch

import (
	"bytes"
	"testing"
)

func TestFPUSizes(t *testing.T) {
	if n := FPUSize(); n < xsaveHeaderEnd || n > host().hostSize {
		t.Errorf("FPUSize %d, the host's %d", n, host().hostSize)
	}
	if FPUFeatures()&fpsse != fpsse || FPUFeatures()&amxComponents != 0 {
		t.Errorf("features %#x", FPUFeatures())
	}
	if len(NewFPU()) != FPUSize() || !ValidFPU(NewFPU()) {
		t.Errorf("the initial state is not one")
	}
}

func TestSanitizeFPU(t *testing.T) {
	b := bytes.Repeat([]byte{0xff}, host().hostSize)
	SanitizeFPU(b)
	if !ValidFPU(b) {
		t.Errorf("still faults: %x", b[:xsaveHeaderEnd])
	}
	if len(bytes.Trim(b[FPUSize():], "\x00")) != 0 {
		t.Errorf("what guests do not have was kept")
	}
	if b[fpuMXCSR]&0x3f != 0x3f || b[200] != 0xff {
		t.Errorf("harmless bits were lost")
	}
	want := NewFPU()
	got := NewFPU()
	if SanitizeFPU(got); !bytes.Equal(want, got) {
		t.Errorf("a good state was changed")
	}
}

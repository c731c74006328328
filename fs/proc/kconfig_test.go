package proc

import (
	"compress/gzip"
	"io"
	"strings"
	"testing"
)

// TestOptions reads /proc/config.gz as programs do.
func TestOptions(t *testing.T) {
	w := newWorld(t)
	z, err := gzip.NewReader(strings.NewReader(w.mustRead("/proc/config.gz")))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains("\n"+string(text), "\nCONFIG_PID_NS=y\n") {
		t.Errorf("no pid namespaces in %q", text)
	}
}

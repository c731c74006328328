package inherited_test

import (
	"os"
	"os/exec"
	"testing"

	"gosentry/sentry/sandbox/inherited"
)

// TestOpenFiles starts the test again with a soft limit below the hard one.
func TestOpenFiles(t *testing.T) {
	const again, soft = "INHERITED_TEST", 100
	if os.Getenv(again) != "" {
		if got, _ := inherited.OpenFiles(); got != soft {
			t.Errorf("the soft limit was %d, want %d", got, soft)
		}
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", "-c", `ulimit -Sn 100 && exec "$0" -test.run=TestOpenFiles`, self)
	cmd.Env = append(os.Environ(), again+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

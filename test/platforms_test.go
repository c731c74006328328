package test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"gosentry/sentry/sandbox"
)

// slow are tests that take long for what they have the kernel do, which is the same on every platform:
// they run on the first one alone unless SENTRY_TEST_ALL is set. What is not listed runs everywhere. A name is
// that of a test, or of a subtest without the platform.
var slow = map[string]bool{
	"TestBusyboxShell":          true, // the scripts of TestDash
	"TestEveryday/go_test":      true,
	"TestEveryday/go_build":     true,
	"TestEveryday/tail_follow":  true,
	"TestEveryday/system_info":  true,
	"TestEveryday/g++":          true,
	"TestEveryday/xz_threads":   true,
	"TestEveryday/zstd_threads": true,
	"TestTools/head_tail":       true,
	"TestTools/sort_uniq":       true,
	"TestFuzz/user_":            true, // an ordinary user's calls get further
}

// smoke are the tests that run on every platform in any case. A platform that costs more for each system
// call than others do on the hosts that we know runs only these, unless SENTRY_TEST_ALL or SENTRY_PLATFORMS is set.
var smoke = map[string]bool{
	"TestDash": true, "TestFatalSignals": true, "TestFlags": true, "TestGoProgram": true, "TestStatus": true,
	"TestStrace": true, "TestWild": true,
}

// costly tells whether a platform runs the smoke tests alone.
func costly(platform string) bool {
	return platform == "kvm" && !everything() && os.Getenv("SENTRY_PLATFORMS") == ""
}

// platforms are the platforms under test, the default one first.
func platforms() []string {
	if s := os.Getenv("SENTRY_PLATFORMS"); s != "" {
		return strings.Split(s, ",")
	}
	return sandbox.Platforms()
}

// everything tells whether the tests are to take the time they need.
func everything() bool { return os.Getenv("SENTRY_TEST_ALL") != "" }

// obstacles says why the host cannot run a platform, "" if it can.
var obstacles = sync.OnceValue(func() map[string]string {
	found := make(map[string]string)
	for _, p := range platforms() {
		program, err := built()
		if err != nil {
			break // every test will say so
		}
		cmd := exec.Command(program, "do", "--platform="+p, "--", "/bin/true")
		if out, err := cmd.CombinedOutput(); err != nil {
			found[p] = fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(out)))
		}
	}
	return found
})

// eachPlatform runs f as a subtest for each platform that is to run the test. Where the host cannot run
// one, the subtest says so and is skipped.
func eachPlatform(t *testing.T, f func(t *testing.T, platform string)) {
	for _, p := range platforms() {
		if costly(p) && !smoke[t.Name()] {
			continue
		}
		sub(t, p, p, func(t *testing.T) {
			if why := obstacles()[p]; why != "" {
				t.Skipf("the host cannot run the platform %s: %s", p, why)
			}
			f(t, p)
		})
	}
}

// sub runs f as a subtest of one that stands for a platform, unless it is slow and the platform is not the first.
func sub(t *testing.T, platform, name string, f func(t *testing.T)) {
	t.Helper()
	full := strings.Replace(t.Name()+"/"+name, "/"+platform, "", 1)
	if everything() || platform == platforms()[0] || !slow[full] {
		t.Run(name, f)
	}
}

// needDevice skips the test where users without a group cannot use the platform's device.
func needDevice(t *testing.T, platform string) {
	t.Helper()
	if platform != "kvm" {
		return
	}
	if info, err := os.Stat("/dev/kvm"); err != nil || info.Mode().Perm()&6 != 6 {
		t.Skip("/dev/kvm is not for every user here")
	}
}

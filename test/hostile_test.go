package test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// survives runs a shell script in one sandbox with a last command behind it, and fails the
// test unless that still runs and the sandbox ends cleanly. It returns what the script printed.
func survives(t *testing.T, platform, script string, timeout time.Duration) result {
	t.Helper()
	c := command{argv: []string{"sh", "-c", script + "\necho alive; exit 5"}, timeout: timeout}
	r := c.sandbox(t, platform)
	before, ok := strings.CutSuffix(r.stdout, "alive\n")
	if !ok || r.status != 5 || r.timedOut {
		t.Errorf("the sandbox did not survive: %v\nlog:\n%s", r, r.log)
	}
	for _, sign := range []string{"panic:", "fatal error:", "goroutine "} {
		if strings.Contains(r.stderr, sign) || strings.Contains(r.log, sign) {
			t.Errorf("%q in the log:\n%s%s", sign, r.stderr, r.log)
		}
	}
	if left := leftovers(); len(left) > 0 {
		t.Errorf("processes left: %q", left)
	}
	r.stdout = before
	return r
}

// TestWild runs programs that misbehave; each must end as on the host.
func TestWild(t *testing.T) {
	path := compile(t, "hostile/wild.c", "-static")
	sections := strings.Fields(command{argv: []string{path, "--list"}}.host(t).stdout)
	if len(sections) == 0 {
		t.Fatal("no sections")
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, s := range sections {
			t.Run(s, func(t *testing.T) {
				script := path + " " + s + " 2>/dev/null; echo $?"
				host := command{argv: []string{"sh", "-c", "(" + script + ") 2>/dev/null"}}.host(t)
				sandbox := survives(t, platform, "("+script+") 2>/dev/null", usualTime)
				if d := diff(host.stdout, sandbox.stdout); d != "" {
					t.Errorf("differs (- host, + sandbox):\n%s", d)
				}
			})
		}
	})
}

// TestFuzz makes calls with bad arguments, as root and as an ordinary user. SENTRY_FUZZ_SEED chooses the random mixes.
func TestFuzz(t *testing.T) {
	path := compile(t, "hostile/fuzz.c", "-static")
	seed := os.Getenv("SENTRY_FUZZ_SEED")
	if seed == "" {
		seed = "1"
	}
	rounds := 300
	if testing.Short() {
		rounds = 20
	}
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, user := range []string{"", "54333"} {
			sub(t, platform, "user_"+user, func(t *testing.T) {
				for _, calls := range [][2]int{{0, 59}, {60, 119}, {120, 179}, {180, 239}, {240, 299}, {300, 334}, {424, 470}} {
					t.Run(fmt.Sprintf("%d_to_%d", calls[0], calls[1]), func(t *testing.T) {
						t.Logf("seed %s", seed)
						r := survives(t, platform, fmt.Sprintf("chmod 777 .; %s %d %d %s %d %s", path, calls[0], calls[1], seed, rounds, user), 4*time.Minute)
						if !strings.HasPrefix(r.stdout, "fuzz: ") {
							t.Errorf("the fuzzer did not end: %v", r)
						}
						t.Logf("%s%s", r.stdout, r.stderr)
					})
				}
			})
		}
	})
}

// TestStorm has threads of several processes do what they like to what they share; SENTRY_STORM is for how long, such as 10s. It is
// meant for a SENTRY with the race detector above all.
func TestStorm(t *testing.T) {
	path := compile(t, "hostile/storm.c", "-static")
	long, err := time.ParseDuration(os.Getenv("SENTRY_STORM"))
	if err != nil {
		long = time.Second
	}
	seed := time.Now().UnixNano() % 100000
	eachPlatform(t, func(t *testing.T, platform string) {
		for name, areas := range map[string]string{"files": "files", "names": "names", "memory": "memory", "processes": "processes",
			"sockets": "sockets", "times": "times", "all": "", "host": "files names memory"} {
			t.Run(name, func(t *testing.T) {
				t.Logf("seed %d", seed)
				c := command{dir: workDir(t), timeout: usualTime + long}
				c.argv = append([]string{path, fmt.Sprint(seed), fmt.Sprint(long.Milliseconds())}, strings.Fields(areas)...)
				if name == "host" {
					c.flags = []string{"--rw", c.dir}
				}
				r := c.sandbox(t, platform)
				if r.stdout != "storm: much was done\n" || r.status != 0 {
					t.Errorf("%v\nlog:\n%s", r, r.log)
				}
				t.Log(r.stderr)
			})
		}
	})
}

// TestExhaustion takes what there is until it is refused, then more in the same sandbox.
func TestExhaustion(t *testing.T) {
	path := compile(t, "guest/exhaust.c", "-static")
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, s := range []string{"descriptors", "mappings", "threads", "processes", "directories", "pipes", "signals", "memory"} {
			t.Run(s, func(t *testing.T) {
				script := fmt.Sprintf("mkdir a b; (cd a; %s %s >/dev/null); cd b; %s %s; echo $?", path, s, path, s)
				r := survives(t, platform, script, 2*time.Minute)
				if !strings.HasSuffix(r.stdout, "\n0\n") {
					t.Errorf("the second run failed: %v", r)
				}
			})
		}
	})
}

// TestForkBombs lets a shell fork without end until a limit stops it, and kills the sandbox in the middle of another.
func TestForkBombs(t *testing.T) {
	needRoot(t)
	need(t, "setpriv", "prlimit")
	eachPlatform(t, func(t *testing.T, platform string) {
		t.Run("limited", func(t *testing.T) {
			survives(t, platform, `prlimit --nproc=100 setpriv --reuid=54323 --clear-groups sh -c 'b() { b | b & }; b; sleep 1; kill -KILL -1' 2>/dev/null`, time.Minute)
		})
		t.Run("killed", func(t *testing.T) {
			c := command{argv: []string{"sh", "-c", `prlimit --nproc=1000 setpriv --reuid=54324 --clear-groups sh -c "b() { b | b & }; b; sleep 60"; sleep 60`}, timeout: 2 * time.Second}
			if r := c.sandbox(t, platform); !r.timedOut {
				t.Errorf("it ended by itself: %v", r)
			}
			if left := leftovers(); len(left) > 0 {
				t.Errorf("%d processes left", len(left))
			}
		})
	})
}

// TestArguments gives programs more arguments than there may be.
func TestArguments(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		many := make([]string, 100000)
		for i := range many {
			many[i] = "argument"
		}
		c := command{argv: append([]string{"/bin/echo"}, many...)}
		compare(t, c.host(t), c.sandbox(t, platform))
		c = command{argv: []string{"/bin/echo", strings.Repeat("x", 131000)}, env: append(environment(), "BIG="+strings.Repeat("y", 131000))}
		compare(t, c.host(t), c.sandbox(t, platform))
	})
}

// TestKilled kills the outer process with SIGKILL at many moments; nothing may be left.
func TestKilled(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		dir := workDir(t)
		for i := range 20 {
			c := command{argv: []string{"sh", "-c", "sleep 30 & sleep 30 | sleep 30"}, dir: dir, timeout: time.Duration(i*i+1) * time.Millisecond}
			c.sandbox(t, platform)
			if left := leftovers(); len(left) > 0 {
				t.Fatalf("killed after %v: left %q", c.timeout, left)
			}
		}
		if names, _ := filepath.Glob(filepath.Join(dir, "*")); len(names) > 0 {
			t.Errorf("files left: %v", names)
		}
	})
}

// TestKept makes the kernel keep more and more for calls that wait, for processes and for open files, twice: that is refused before the
// sentry has grown large.
func TestKept(t *testing.T) {
	needRoot(t)
	path := compile(t, "hostile/kept.c", "-static")
	const most = 700 << 10 // KiB: twice what is counted, for the garbage, and what else a sentry needs
	eachPlatform(t, func(t *testing.T, platform string) {
		for s, refused := range map[string]string{"polls": "ENOMEM", "groups": "ENOMEM", "tables": "ENOMEM", "opened": "ENFILE"} {
			t.Run(s, func(t *testing.T) {
				c := command{argv: []string{path, s}, flags: []string{"--memory", "256M"}, timeout: time.Minute}
				want := "refused: " + refused + "\nnot at first: yes\n"
				if r := c.sandbox(t, platform); r.stdout != want+want || r.status != 0 || r.resident > most {
					t.Errorf("%v, %d KiB", r, r.resident)
				}
			})
		}
	})
}

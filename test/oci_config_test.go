package test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// configApplets are those of busybox that the containers of tests of the configuration use.
const configApplets = "mknod head wc sed awk stat df mkdir ionice dnsdomainname chown"

// configured runs a shell in a container with a configuration of its own, and compares what it prints.
func configured(t *testing.T, script, want string, change func(e *engine, c *specs.Spec)) {
	t.Helper()
	eachPlatform(t, func(t *testing.T, platform string) {
		e := &engine{}
		*e = *newEngine(t, platform, func(c *specs.Spec) {
			shell(script)(c)
			e.t, e.bundle = t, t.TempDir()
			change(e, c)
		})
		e.provide(configApplets)
		r := e.do("run", "configured")
		if r.status != 0 || r.stdout != want {
			t.Errorf("got %v\nwant %s", r, want)
		}
	})
}

func TestContainerProcess(t *testing.T) {
	adj, mask := -300, uint32(0o27)
	configured(t,
		`id; umask; ulimit -n; ulimit -Hn; ulimit -c; pwd; echo $WHO; cat /proc/self/oom_score_adj; `+
			`grep -E '^(Cap|NoNewPrivs)' /proc/self/status; ionice -p $$; awk '{print $19}' /proc/self/stat`,
		"uid=7 gid=8 groups=9,10\n0027\n100\n200\n0\n/tmp\nme\n-300\n"+
			"CapInh:\t0000000000000400\nCapPrm:\t0000000000000400\nCapEff:\t0000000000000400\nCapBnd:\t0000000000000420\nCapAmb:\t0000000000000400\nNoNewPrivs:\t1\n"+
			"best-effort: prio 5\n7\n",
		func(_ *engine, c *specs.Spec) {
			p := c.Process
			p.User = specs.User{UID: 7, GID: 8, AdditionalGids: []uint32{9, 10}, Umask: &mask}
			p.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 200}, {Type: "RLIMIT_CORE"}}
			p.Cwd, p.OOMScoreAdj = "/tmp", &adj
			p.Env = append(p.Env, "WHO=me")
			both, kept := []string{"CAP_KILL", "CAP_NET_BIND_SERVICE"}, []string{"CAP_NET_BIND_SERVICE"}
			p.Capabilities = &specs.LinuxCapabilities{Bounding: both, Effective: both, Permitted: both, Inheritable: kept, Ambient: kept}
			p.Scheduler = &specs.Scheduler{Policy: specs.SchedBatch, Nice: 7}
			p.IOPriority = &specs.LinuxIOPriority{Class: specs.IOPRIO_CLASS_BE, Priority: 5}
		})
}

// TestContainerDirectory: a container's first directory is made where it is missing, as in runc; one of a further program is not.
func TestContainerDirectory(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("pwd; exec sleep 1000")(c)
			c.Process.Cwd = "/to/be/made"
		})
		e.must("run", "-d", "here")
		defer e.do("delete", "--force", "here")
		if r := e.do("exec", "--cwd", "/nowhere", "here", "true"); r.status != 125 || !strings.Contains(r.stderr, "cannot use working directory /nowhere: no such file or directory") {
			t.Error(r)
		}
		expect(t, "the directory", e.must("exec", "--cwd", "/to/be/made", "here", "sh", "-c", "pwd"), "/to/be/made\n")
	})
}

func TestContainerNames(t *testing.T) {
	configured(t, `hostname; cat /proc/sys/kernel/domainname /proc/sys/kernel/msgmax; echo x 2>/dev/null >/proc/sys/kernel/msgmax || echo kept; `+
		`cd /proc/sys/net/ipv4; cat ip_forward ip_unprivileged_port_start ping_group_range`,
		"here\nthere\n12345\nkept\n1\n80\n0\t2147483647\n",
		func(_ *engine, c *specs.Spec) {
			c.Hostname, c.Domainname = "here", "there"
			c.Linux.Sysctl = map[string]string{
				"kernel.msgmax": "12345", "net.ipv4.ip_forward": "1", "net.ipv4.ip_unprivileged_port_start": "80", "net.ipv4.ping_group_range": "0 2147483647",
			}
		})
}

func TestContainerMounts(t *testing.T) {
	needRoot(t) // it stores in files of the host
	configured(t,
		`cat /etc/one; echo x 2>/dev/null >/etc/one || echo read-only; cat /etc/two; echo written >/etc/two; `+
			`touch /data/new; touch /kept/new 2>/dev/null || echo read-only; ls /kept; `+
			`stat -c %a /scratch; df -k /scratch | awk 'END {print $2}'; `+
			`for m in /dev/pts /dev/mqueue /dev/shm /sys /proc /sys/fs/cgroup /scratch; do grep " $m " /proc/self/mounts | awk '{print $2, $3}'; done; `+
			`ls /dev/ptmx /dev/pts; ls /sys/fs/cgroup/cgroup.procs; cat /masked; ls /hidden; echo x 2>/dev/null >/guarded/file || echo guarded`,
		"one\nread-only\ntwo\nread-only\nfile\n711\n4096\n"+
			"/dev/pts devpts\n/dev/mqueue mqueue\n/dev/shm tmpfs\n/sys sysfs\n/proc proc\n/sys/fs/cgroup cgroup2\n/scratch tmpfs\n"+
			"/dev/ptmx\n\n/dev/pts:\nptmx\n/sys/fs/cgroup/cgroup.procs\nguarded\n",
		func(e *engine, c *specs.Spec) {
			host := t.TempDir()
			for name, text := range map[string]string{"one": "one\n", "two": "two\n", "kept/file": "", "data/x": "", "hidden/x": "", "guarded/file": ""} {
				file := filepath.Join(host, name)
				if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			c.Root.Readonly = false
			for _, b := range []struct{ from, at, mode string }{
				{"one", "/etc/one", "ro"}, {"two", "/etc/two", "rw"}, {"data", "/data", "rw"}, {"kept", "/kept", "ro"},
				{"one", "/masked", "ro"}, {"hidden", "/hidden", "rw"}, {"guarded", "/guarded", "rw"},
			} {
				c.Mounts = append(c.Mounts, specs.Mount{Destination: b.at, Type: "bind", Source: filepath.Join(host, b.from), Options: []string{"rbind", b.mode, "mode=755"}})
			}
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/scratch", Type: "tmpfs", Source: "tmpfs", Options: []string{"mode=711", "size=4m"}})
			c.Linux.MaskedPaths = append(c.Linux.MaskedPaths, "/masked", "/hidden", "/nothing")
			c.Linux.ReadonlyPaths = append(c.Linux.ReadonlyPaths, "/guarded")
			e.t.Cleanup(func() {
				if text, _ := os.ReadFile(filepath.Join(host, "two")); string(text) != "written\n" {
					t.Errorf("the writable file is %q", text)
				}
				if _, err := os.Stat(filepath.Join(host, "data/new")); err != nil {
					t.Error(err)
				}
			})
		})
}

// TestContainerHasNoneOfTheHostsKernel: a directory of the host is bound with what is mounted below it, and /proc and /sys for themselves.
func TestContainerHasNoneOfTheHostsKernel(t *testing.T) {
	for _, mode := range []string{"rw", "ro"} {
		t.Run(mode, func(t *testing.T) {
			configured(t,
				`ls /host/proc /host/sys /host/dev | wc -w; ls /host | grep -c '^etc$'; ls -d /host/proc/1 2>/dev/null; cat /p/1/comm; grep ' /[ps] ' /proc/self/mounts | awk '{print $2, $3}' | sort`,
				"3\n1\nsh\n/p proc\n/s sysfs\n",
				func(e *engine, c *specs.Spec) {
					for source, at := range map[string]string{"/": "/host", "/proc": "/p", "/sys": "/s"} {
						c.Mounts = append(c.Mounts, specs.Mount{Destination: at, Type: "bind", Source: source, Options: []string{"rbind", mode}})
					}
				})
		})
	}
}

// TestContainerPropagation: what the configuration shares passes on what is mounted on it, as in runc 1.2; the host sees none of it.
func TestContainerPropagation(t *testing.T) {
	for root, want := range map[string]string{
		"":            "/:\n/s: shared\n/p:\n/u: unbindable\n/s/in:\n/etc:\n",
		"private":     "/:\n/s: shared\n/p:\n/u: unbindable\n/s/in:\n/etc:\n",
		"rslave":      "/:\n/s:\n/p:\n/u: unbindable\n/s/in:\n/etc:\n",
		"shared":      "/: shared\n/s: shared\n/p:\n/u: unbindable\n/s/in:\n/etc:\n",
		"rshared":     "/: shared\n/s: shared\n/p: shared\n/u: shared\n/s/in: shared\n/etc: shared\n",
		"runbindable": "/: unbindable\n/s: unbindable\n/p: unbindable\n/u: unbindable\n/s/in: unbindable\n/etc: unbindable\n",
	} {
		t.Run(root, func(t *testing.T) {
			seen := "yes\n"
			if !strings.Contains(want, "/s: shared") {
				seen = "no\n"
			}
			if root == "runbindable" {
				seen = "not bound\n" + seen
			}
			script := `for at in / /s /p /u /s/in /etc; do ` +
				`awk -v at=$at '$5 == at {s = ""; for (i = 7; $i != "-"; i++) {sub(/:.*/, "", $i); s = s " " $i}; print at ":" s}' /proc/self/mountinfo; done; ` +
				`mount -o bind /s /t 2>/dev/null || echo not bound; mkdir /s/new; mount -t tmpfs new /s/new; grep -q ' /t/new ' /proc/self/mountinfo && echo yes || echo no`
			configured(t, script, want+seen, func(e *engine, c *specs.Spec) {
				c.Root.Readonly = false
				all := c.Process.Capabilities
				for _, set := range []*[]string{&all.Bounding, &all.Effective, &all.Permitted} {
					*set = append(*set, "CAP_SYS_ADMIN")
				}
				for at, how := range map[string]string{"/s": "shared", "/p": "rprivate", "/u": "unbindable", "/t": "private"} {
					c.Mounts = append(c.Mounts, specs.Mount{Destination: at, Type: "tmpfs", Source: "tmpfs", Options: []string{how}})
				}
				c.Mounts = append(c.Mounts, specs.Mount{Destination: "/s/in", Type: "tmpfs", Source: "tmpfs", Options: []string{"private"}})
				c.Linux.MaskedPaths, c.Linux.RootfsPropagation = []string{"/etc"}, root
			})
		})
	}
}

// TestContainerUserNamespace has ids of its own, on files too, and its root has no say about others.
func TestContainerUserNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("files of other users are made by root alone")
	}
	configured(t,
		`id -u; id -g; awk '{print $1, $2, $3}' /proc/self/uid_map; stat -c %u:%g /data/mine /data/foreign /tmp; touch /tmp/x && stat -c %u /tmp/x; `+
			`chown 1 /tmp/x && stat -c %u /tmp/x; chown 70000 /tmp/x 2>/dev/null || echo refused; hostname other && hostname; `+
			`mount -t tmpfs none /mnt && echo mounted`,
		"0\n0\n0 1000 65536\n5:6\n65534:65534\n0:0\n0\n1\nrefused\nother\nmounted\n",
		func(e *engine, c *specs.Spec) {
			data := t.TempDir()
			for name, id := range map[string]int{"mine": 1005, "foreign": 3} {
				file := filepath.Join(data, name)
				if err := os.WriteFile(file, nil, 0o644); err != nil {
					t.Fatal(err)
				}
				if err := os.Chown(file, id, id+1); err != nil {
					t.Fatal(err)
				}
			}
			c.Root.Readonly = false
			c.Linux.Namespaces = append(c.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
			ids := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 1000, Size: 65536}}
			c.Linux.UIDMappings, c.Linux.GIDMappings = ids, ids
			caps := []string{"CAP_CHOWN", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_FOWNER"}
			c.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
			c.Mounts = append(c.Mounts,
				specs.Mount{Destination: "/data", Type: "bind", Source: data, Options: []string{"rbind"}},
				specs.Mount{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs"}, specs.Mount{Destination: "/mnt", Type: "tmpfs", Source: "tmpfs"})
		})
}

// TestContainerSeccomp refuses calls as the profile says, in programs of exec too.
func TestContainerSeccomp(t *testing.T) {
	enosys := uint(unix.ENOSYS)
	profile := func(c *specs.Spec) {
		c.Linux.Seccomp = &specs.LinuxSeccomp{
			DefaultAction: specs.ActAllow, Architectures: []specs.Arch{specs.ArchX86_64},
			Syscalls: []specs.LinuxSyscall{
				{Names: []string{"mkdir", "mkdirat"}, Action: specs.ActErrno, ErrnoRet: &enosys},
				{Names: []string{"chmod", "fchmodat"}, Action: specs.ActKillProcess},
				{Names: []string{"kill"}, Action: specs.ActErrno, Args: []specs.LinuxSeccompArg{{Index: 1, Value: 30, Op: specs.OpEqualTo}}},
			},
		}
	}
	const script = `mkdir /tmp/a; kill -30 $$ || echo refused; kill -0 $$ && echo allowed; grep Seccomp: /proc/self/status`
	eachPlatform(t, func(t *testing.T, platform string) {
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("exec sleep 1000")(c)
			profile(c)
		})
		for _, name := range []string{"mkdir", "chmod"} {
			if err := os.Symlink("busybox", filepath.Join(e.bundle, "rootfs/bin", name)); err != nil {
				t.Fatal(err)
			}
		}
		e.must("run", "-d", "sec")
		defer e.do("delete", "--force", "sec")
		r := e.do("exec", "sec", "sh", "-c", script)
		if r.stdout != "refused\nallowed\nSeccomp:\t2\n" || !strings.Contains(r.stderr, "Function not implemented") {
			t.Errorf("exec: %v", r)
		}
		if r := e.do("exec", "sec", "chmod", "700", "/tmp"); r.status != 128+int(unix.SIGSYS) {
			t.Errorf("a call that kills: %v", r)
		}
		if out := e.must("exec", "sec", "grep", "Seccomp:", "/proc/1/status"); out != "Seccomp:\t2\n" {
			t.Errorf("the container's program: %q", out)
		}
	})
}

// TestContainerHooks has all kinds write their names, and the state that they were given.
func TestContainerHooks(t *testing.T) {
	needRoot(t) // as above
	eachPlatform(t, func(t *testing.T, platform string) {
		log := filepath.Join(t.TempDir(), "log")
		e := newEngine(t, platform, func(c *specs.Spec) {
			shell("echo program >>/log")(c)
			if err := os.WriteFile(log, nil, 0o666); err != nil {
				t.Fatal(err)
			}
			c.Mounts = append(c.Mounts, specs.Mount{Destination: "/log", Type: "bind", Source: log, Options: []string{"rw", "bind"}})
			hook := func(kind, shell, to string) []specs.Hook {
				script := fmt.Sprintf(`echo %s $(cat | grep -o '"status": *"[a-z]*"') $V >>%s`, kind, to)
				return []specs.Hook{{Path: shell, Args: []string{"sh", "-c", script}, Env: []string{"V=1", "PATH=/bin:/usr/bin"}}}
			}
			c.Hooks = &specs.Hooks{
				Prestart:      hook("prestart", "/bin/sh", log), //nolint:staticcheck // it is still run
				CreateRuntime: hook("createRuntime", "/bin/sh", log), CreateContainer: hook("createContainer", "/bin/sh", log),
				StartContainer: hook("startContainer", "/bin/sh", "/log"), Poststop: hook("poststop", "/bin/sh", log),
			}
		})
		e.must("run", "hooked")
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		want := []string{
			`prestart "status":"creating" 1`, `createRuntime "status":"creating" 1`, `createContainer "status":"creating" 1`,
			`startContainer "status":"created" 1`, "program", `poststop "status":"stopped" 1`,
		}
		if got := strings.Split(strings.TrimSpace(string(text)), "\n"); !slices.Equal(got, want) {
			t.Errorf("got %q\nwant %q", got, want)
		}
	})
}

// TestContainerHooksFail has hooks that fail or take too long: nothing is left, and poststop is run.
func TestContainerHooksFail(t *testing.T) {
	second := 1
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, c := range []struct {
			name string
			set  func(*specs.Hooks, []specs.Hook)
		}{
			{"createRuntime", func(h *specs.Hooks, l []specs.Hook) { h.CreateRuntime = l }},
			{"createContainer", func(h *specs.Hooks, l []specs.Hook) { h.CreateContainer = l }},
			{"startContainer", func(h *specs.Hooks, l []specs.Hook) { h.StartContainer = l }},
			{"poststart", func(h *specs.Hooks, l []specs.Hook) { h.Poststart = l }},
		} {
			for why, hook := range map[string]specs.Hook{
				"exit status 3": {Path: "/bin/sh", Args: []string{"sh", "-c", "exit 3"}, Env: []string{"PATH=/bin"}},
				"longer than 1": {Path: "/bin/sh", Args: []string{"sh", "-c", "exec sleep 1000"}, Env: []string{"PATH=/bin"}, Timeout: &second},
			} {
				if hook.Timeout != nil && c.name != "createRuntime" && c.name != "startContainer" {
					continue // as the others of the host
				}
				stopped := filepath.Join(t.TempDir(), "stopped")
				e := newEngine(t, platform, func(s *specs.Spec) {
					shell("exec sleep 1000")(s)
					s.Hooks = &specs.Hooks{Poststop: []specs.Hook{{Path: "/bin/touch", Args: []string{"touch", stopped}}}}
					c.set(s.Hooks, []specs.Hook{hook})
				})
				r := e.do("run", "-d", "failing")
				if r.status == 0 || !strings.Contains(r.stderr, c.name+"[0]") || !strings.Contains(r.stderr, why) {
					t.Errorf("%s, %s: %v", c.name, why, r)
				}
				if out := e.must("list", "-q"); out != "" {
					t.Errorf("%s, %s: left %q", c.name, why, out)
				}
				if _, err := os.Stat(stopped); err != nil {
					t.Errorf("%s, %s: poststop was not run: %v", c.name, why, err)
				}
			}
		}
	})
}

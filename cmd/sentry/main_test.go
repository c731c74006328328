package main

import (
	"bytes"
	"context"
	"os"
	"slices"
	"strings"
	"testing"

	"gosentry/sentry/sandbox"

	"github.com/google/go-cmp/cmp"
)

// parse runs a command line and returns what the sandbox would be asked for.
func parse(args ...string) (spec *sandbox.Spec, status int, out string, err error) {
	argv := append([]string{"sentry"}, args...)
	var w bytes.Buffer
	c := root(argv, &status, func(s sandbox.Spec) (int, error) {
		spec = &s
		return 7, nil
	})
	c.Writer, c.ErrWriter = &w, &w
	err = c.Run(context.Background(), argv)
	return spec, status, w.String(), err
}

func TestProgramKeepsItsArguments(t *testing.T) {
	cases := []struct{ in, want []string }{
		{[]string{"ls"}, []string{"ls"}},
		{[]string{"ls", "-l", "--debug", "x"}, []string{"ls", "-l", "--debug", "x"}},
		{[]string{"--debug", "ls", "--strace"}, []string{"ls", "--strace"}},
		{[]string{"--", "ls", "-l"}, []string{"ls", "-l"}},
		{[]string{"--", "ls", "--", "-l"}, []string{"ls", "--", "-l"}},
		{[]string{"ls", "--", "-l"}, []string{"ls", "--", "-l"}},
		{[]string{"ls", "--"}, []string{"ls", "--"}},
		{[]string{"--", "--strange", "a"}, []string{"--strange", "a"}},
		{[]string{"--", "--", "a"}, []string{"--", "a"}},
		{[]string{"sh", "-c", "", " x "}, []string{"sh", "-c", "", " x "}},
		{[]string{"--strace", "ls", "-l"}, []string{"ls", "-l"}},
		{[]string{"--hostname", "h", "ls", "help"}, []string{"ls", "help"}},
		{[]string{"help", "me"}, []string{"help", "me"}},
	}
	for _, c := range cases {
		spec, status, _, err := parse(append([]string{"do"}, c.in...)...)
		if err != nil || spec == nil {
			t.Errorf("%q: %v", c.in, err)
			continue
		}
		if !slices.Equal(spec.Args, c.want) || status != 7 {
			t.Errorf("%q: got %q with status %d, want %q", c.in, spec.Args, status, c.want)
		}
	}
}

func TestFlags(t *testing.T) {
	t.Setenv("GONE", "old")
	spec, _, _, err := parse("do", "--platform=ptrace", "--rootfs", "/r", "--rw", "/a", "--rw=/b", "--ro", "/c:/d", "--cwd", "/x",
		"--env", "A=1,2", "--env", "GONE=new", "--hostname", "h", "--pids", "9", "--memory", "1536m", "--strace=read,write", "--trace", "/t", "--trace-format", "chrome",
		"--trace-first-only", "--log", "/l", "--log-format", "json", "--debug", "true")
	if err != nil {
		t.Fatal(err)
	}
	env := spec.Env
	spec.Env = nil
	want := sandbox.Spec{
		Platform: "ptrace", Root: "/r", Cwd: "/x", Hostname: "h", PIDs: 9, Memory: 3 << 29, Args: []string{"true"},
		Binds: []sandbox.Bind{
			{Host: "/a", Inside: "/a", Writable: true}, {Host: "/b", Inside: "/b", Writable: true}, {Host: "/c", Inside: "/d"},
		},
		Strace: sandbox.Strace{On: true, Names: []string{"read", "write"}},
		Trace:  sandbox.Trace{File: "/t", Format: "chrome", FirstOnly: true},
		Log:    sandbox.Log{File: "/l", JSON: true, Debug: true}, ReleaseStdio: true,
	}
	if d := cmp.Diff(want, *spec); d != "" {
		t.Errorf("not as asked for (-want +got):\n%s", d)
	}
	if !slices.Contains(env, "A=1,2") || !slices.Contains(env, "GONE=new") || slices.Contains(env, "GONE=old") {
		t.Errorf("environment %q", env)
	}
	if !slices.Contains(env, "PATH="+os.Getenv("PATH")) {
		t.Error("the caller's environment is not passed on")
	}
	spec, _, _, err = parse("do", "--strace", "true")
	if err != nil || !spec.Strace.On || len(spec.Strace.Names) != 0 {
		t.Errorf("--strace alone: %+v, %v", spec.Strace, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"do", "--nope", "ls"}, "flag provided but not defined: -nope (sentry do --help shows the flags)"},
		{[]string{"--rootfs", "/", "do", "ls"}, "flag provided but not defined: -rootfs (sentry help shows the flags that may stand before a verb; others stand behind it)"},
		{[]string{"do", "-v", "ls"}, "flag provided but not defined: -v (sentry do --help shows the flags)"},
		{[]string{"--version", "do", "ls"}, `--version goes with nothing else, not with "do" (leave one of them out)`},
		{[]string{"--rootless", "do", "ls"}, `--rootless "do" is not understood (give --rootless=true, false or auto, or leave it out: it is found out)`},
		{[]string{"do"}, "do: no program named (sentry do --help shows how)"},
		{[]string{"do", "--", ""}, "do: no program named (sentry do --help shows how)"},
		{[]string{"do", "--pids", "x", "ls"}, `invalid value "x" for flag -pids: a number is needed (sentry do --help shows the flags)`},
		{[]string{"do", "--pids", "-3", "ls"}, `--pids "-3" is not understood (give a number of processes and threads, 0 for no limit)`},
		{[]string{"do", "--debug=x", "ls"}, `invalid value "x" for flag -debug: true or false is needed (sentry do --help shows the flags)`},
		{[]string{"do", "--memory", "1M", "ls"}, `--memory "1M" is not understood (give a size of at least 8M)`},
		{[]string{"do", "--trace-format", "xml", "ls"}, `--trace-format "xml" is not understood (give json or chrome)`},
		{[]string{"do", "--rw", "", "ls"}, `--rw "" names no directory`},
		{[]string{"run"}, "run: no container named (sentry run --help shows how)"},
		{[]string{"do", "--log-format", "xml", "ls"}, `--log-format "xml" is not understood (give text or json)`},
		{[]string{"do", "--env", "A", "ls"}, `--env "A" is not understood (give K=V)`},
		{[]string{"do", "--rw", "/a:/b", "ls"}, `--rw "/a:/b" is not understood (a writable directory keeps its path; give DIR alone)`},
		{[]string{"do", "--ro", "/a:b", "ls"}, `--ro "/a:b": the path inside must begin with /`},
		{[]string{"frobnicate"}, `no verb "frobnicate" (sentry help lists them)`},
		{[]string{"help", "frobnicate"}, `no verb "frobnicate" (sentry help lists them)`},
		{[]string{"checkpoint", "--image-path", "/x", "id"}, "checkpoint: containers cannot be checkpointed"},
	} {
		spec, _, _, err := parse(c.args...)
		if err == nil || err.Error() != c.want || spec != nil {
			t.Errorf("%q: %v, want %s", c.args, err, c.want)
		}
	}
}

func TestTextVerbs(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, "COMMANDS:"},
		{[]string{"help"}, "syscalls"},
		{[]string{"help", "do"}, "--rootfs DIR"},
		{[]string{"do", "--help"}, "--rootfs DIR"},
		{[]string{"syscalls"}, " 39  getpid                   full\n"},
		{[]string{"doctor"}, "\nptrace   "},
		{[]string{"version"}, "sentry " + version + ", go"},
	} {
		spec, status, out, err := parse(c.args...)
		if err != nil || status != 0 || spec != nil || !strings.Contains(out, c.want) {
			t.Errorf("%q: status %d, %v, no %q in:\n%s", c.args, status, err, c.want, out)
		}
	}
}

func TestMemorySize(t *testing.T) {
	for text, want := range map[string]uint64{
		"": 0, "8388608": 8 << 20, "8m": 8 << 20, "2G": 2 << 30, "1T": 1 << 40, "9000K": 9000 << 10,
	} {
		if n, err := memorySize(text); n != want || err != nil {
			t.Errorf("%q: %d, %v", text, n, err)
		}
	}
	for _, text := range []string{"7M", "x", "M", "-1G", "1GB", "2KM", "99999999T", "18446744073709551616", "1.5G"} {
		if n, err := memorySize(text); err == nil {
			t.Errorf("%q: %d", text, n)
		}
	}
}

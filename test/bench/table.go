package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
)

// what tells what a row's name stands for.
func what(name string) string {
	texts := map[string]string{
		"getpid": "getpid by `syscall(2)`", "lseek": "lseek by `syscall(2)`", "calls_1": "getppid, 1 thread",
		"calls_2": "getppid, 2 threads, each call", "calls_4": "getppid, 4 threads, each call", "sched_yield": "sched_yield", "clock_gettime": "clock_gettime through the vDSO",
		"pipe": "pipe, write and read 1 byte", "open_close": "open + close /dev/null", "stat": "stat",
		"read_4k": "pread 4 KiB, file", "write_4k": "pwrite 4 KiB, file", "fork": "fork + exit + wait",
		"fork_64m": "... with 64 MiB, touched again before each fork", "vfork": "vfork + exit + wait",
		"fork_exec": "fork + exec of a static program", "vfork_exec": "vfork + exec of it", "posix_spawn": "posix_spawn of it",
		"fork_1m": "fork alone, 1 MiB touched again before each", "fork_1m_end": "... exit + wait", "fork_1m_touch": "... touching it all again",
		"fork_1m_cold":   "fork alone, 1 MiB, with nothing of it in the processor's caches",
		"fork_64m_alone": "fork alone, 64 MiB touched", "fork_64m_end": "... exit + wait", "fork_64m_touch": "... touching it all again",
		"fork_1g": "fork alone, 1 GiB touched", "fork_1g_end": "... exit + wait", "fork_1g_touch": "... touching it all again",
		"children_100": "100 sleeping children: each created", "children_100_end": "... each ended and waited for",
		"children_10000": "10,000 sleeping children: each created", "children_10000_end": "... each ended and waited for",
		"page_cow": "a page's copy on write", "sh_1000_true": "sh running /bin/true 1,000 times", "make_j2": "make -j2 of a small project",
		"thread":  "pthread create + join",
		"map_64k": "map, touch, unmap 64 KiB", "page_touch": "a page's first touch", "ping_pong": "pipe ping-pong of two processes",
		"start": "start of /bin/true, whole process", "sh_100_true": "sh running /bin/true 100 times",
		"memory": "memory (PSS) for `sleep`", "exits": "exits for each call, as KVM counts them",
		bundleRow:   "`run` of a busybox bundle, start to end (native: runc)",
		"subshells": "bash with 300 subshells", "python_forks": "python3 with 100 forks",
		"gcc": "gcc -O2 of hello.c", "python3": "python3, four imports", "find": "find /usr/lib",
		"tar": "tar of /usr/include", "git_status": "git status", "go_build": "go build of hello.go, empty cache",
	}
	if t, ok := texts[name]; ok {
		return t
	}
	return name
}

func printTable(out io.Writer, ways []way, rows []row, notes []string) {
	head, rule := "| work |", "| --- |"
	for _, w := range ways {
		head += " " + w.name + " |"
		rule += " --- |"
	}
	fmt.Fprintln(out, head)
	fmt.Fprintln(out, rule)
	for _, r := range rows {
		fmt.Fprintf(out, "| %s |", what(r.name))
		for i, w := range ways {
			fmt.Fprintf(out, " %s |", r.cell(i, w.name == ways[0].name))
		}
		fmt.Fprintln(out)
	}
	note(out, append([]string{"Medians ± half the distance between the quartiles, and the ratio to the first column, all taken in one run."}, notes...))
}

// note prints what is to be said below a table.
func note(out io.Writer, notes []string) {
	fmt.Fprintln(out)
	fmt.Fprintf(out, "%s %s; %d processors.\n", strings.Join(notes, " "), kernel(), runtime.NumCPU())
}

// cell shows the values of one way: median, spread and, but for the first way, the ratio to the first.
func (r *row) cell(i int, first bool) string {
	if errors.Is(r.errs[i], errNone) {
		return "-"
	}
	if r.errs[i] != nil || len(r.values[i]) == 0 {
		return "failed"
	}
	m, spread := summary(r.values[i])
	text := fmt.Sprintf("%s ± %.0f %%", r.unit.show(m), 100*spread)
	if first || r.unit != nanoseconds || len(r.values[0]) == 0 {
		return text
	}
	base, _ := summary(r.values[0])
	return fmt.Sprintf("%s (%s×)", text, ratio(m/base))
}

func ratio(v float64) string {
	if v >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func (u unit) show(v float64) string {
	switch u {
	case bytes:
		return fmt.Sprintf("%.1f MB", v/1e6)
	case number:
		return fmt.Sprintf("%.3f", v)
	}
	switch {
	case v < 1000:
		return fmt.Sprintf("%.3g ns", v)
	case v < 1e6:
		return fmt.Sprintf("%.3g µs", v/1e3)
	case v < 1e9:
		return fmt.Sprintf("%.3g ms", v/1e6)
	}
	return fmt.Sprintf("%.3g s", v/1e9)
}

func kernel() string {
	b, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "unknown kernel"
	}
	return "Linux " + strings.TrimSpace(string(b))
}

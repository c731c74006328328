package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is a row that runs a whole program in a fresh sandbox; setUp makes what it works on.
type program struct {
	name string
	need []string // programs without which the row is left out
	argv func(dir string) []string
}

const helloC = `#include <stdio.h>
int main(void) { puts("hello"); return 0; }
`

const helloGo = `package main

import "fmt"

func main() { fmt.Println("hello") }
`

const pythonForks = `import os
for i in range(100):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
`

func programs() []program {
	shell := func(script string) func(string) []string {
		return func(dir string) []string { return []string{"/bin/sh", "-c", "cd " + dir + " && " + script} }
	}
	return []program{
		{"gcc", []string{"gcc"}, shell("gcc -O2 -o /dev/shm/hello hello.c")},
		{"make_j2", []string{"gcc", "make"}, shell("cp -r small /dev/shm/small && make -s -j2 -C /dev/shm/small && rm -r /dev/shm/small")},
		{"python3", []string{"python3"}, func(string) []string {
			return []string{pythonProgram(), "-c", "import json, re, subprocess, os"}
		}},
		{"subshells", []string{"bash"}, func(string) []string { return []string{"bash", "-c", "for i in {1..300}; do (exit 3); done; true"} }},
		{"python_forks", []string{"python3"}, func(string) []string { return []string{pythonProgram(), "-c", pythonForks} }},
		{"find", []string{"find"}, shell("find /usr/lib >/dev/null 2>&1; true")},
		{"tar", []string{"tar"}, shell("tar cf - /usr/include 2>/dev/null | wc -c >/dev/null")},
		{"git_status", []string{"git"}, shell("git -c safe.directory='*' -C repo status >/dev/null")},
		{"go_build", []string{"go"}, shell("cd gomod && rm -rf /dev/shm/cache && HOME=/dev/shm GOCACHE=/dev/shm/cache GOFLAGS=-p=2 go build -o /dev/shm/hello .")},
	}
}

// pythonProgram is the interpreter itself: what is called python3 may be a script.
func pythonProgram() string {
	out, err := exec.Command("python3", "-c", "import sys; print(sys.executable)").Output()
	if err != nil {
		return "python3"
	}
	return strings.TrimSpace(string(out))
}

// smallProject is a library of 12 files and a program, for make.
func smallProject() map[string]string {
	const parts = 12
	files := map[string]string{"small/Makefile": "CFLAGS = -O1\nhello: hello.o libsmall.a\n\t$(CC) -o $@ $^\n" +
		"libsmall.a: $(patsubst %.c,%.o,$(wildcard part*.c))\n\t$(AR) rcs $@ $^\n"}
	files["small/hello.c"] = helloC
	for i := range parts {
		files[fmt.Sprintf("small/part%d.c", i)] = fmt.Sprintf("#include <stdio.h>\n#include <stdlib.h>\nint part%d(int n) { return printf(\"%%d\", n * %d); }\n", i, i)
	}
	return files
}

// setUpPrograms fills dir with what the programs work on.
func setUpPrograms(dir string) error {
	files := smallProject()
	files["hello.c"], files["gomod/main.go"], files["gomod/go.mod"] = helloC, helloGo, "module hello\n\ngo 1.26\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if _, err := exec.LookPath("git"); err != nil {
		return nil
	}
	script := `mkdir -p repo && cd repo && git init -q . && cp -r /usr/include/linux . && git add . &&
git -c user.name=a -c user.email=a@b commit -qm first`
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Dir = dir
	return cmd.Run()
}

// programSeries are the rows of the programs that the host has.
func programSeries(dir string) []series {
	var all []series
	for _, p := range programs() {
		missing := false
		for _, n := range p.need {
			if _, err := exec.LookPath(n); err != nil {
				missing = true
			}
		}
		if !missing {
			argv := p.argv(dir)
			all = append(all, single(p.name, 3, func(w way) (float64, error) { return runTimed(w, argv...) }))
		}
	}
	return all
}

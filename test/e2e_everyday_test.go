package test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestEveryday runs the programs that people run first, each as a script whose output must be
// the host's.
func TestEveryday(t *testing.T) {
	eachPlatform(t, func(t *testing.T, platform string) {
		for _, s := range everydayScripts() {
			sub(t, platform, s.name, func(t *testing.T) {
				need(t, s.needs...)
				dir := filepath.Join(workDir(t), "work")
				env := append(environment(), "HOME="+dir, "GOCACHE="+dir+"/gocache", "GOPATH="+dir+"/gopath",
					"GOFLAGS=-mod=mod", "GOPROXY=off", "GOTOOLCHAIN=local", "GOTELEMETRY=off", "PATH="+os.Getenv("PATH"))
				compareCommand(t, platform, command{
					argv: []string{"bash", "-c", "set -u\n" + s.text}, env: env, dir: dir, stdin: s.stdin, timeout: 4 * time.Minute,
				})
			})
		}
	})
}

func everydayScripts() []script {
	var all []script
	for _, group := range [][]script{pythonScripts(), compilerScripts(), archiveScripts(), otherScripts()} {
		all = append(all, group...)
	}
	return all
}

// py is a script for the system's python3.
func py(name, text string) script {
	return script{name: "python_" + name, needs: []string{"/usr/bin/python3"}, text: "cat >t.py <<'EOF'\n" + text + "\nEOF\n/usr/bin/python3 -B t.py; echo status $?"}
}

func pythonScripts() []script {
	return []script{
		py("subprocess", `
import subprocess, sys, os, signal
print(subprocess.run(["sh", "-c", "cat; echo err >&2; exit 3"], input=b"in", capture_output=True))
print(subprocess.check_output("seq 5 | tail -2", shell=True, text=True))
ps = [subprocess.Popen([sys.executable, "-S", "-c", "import os; print(%d)" % i], stdout=subprocess.PIPE) for i in range(3)]
print([p.communicate()[0] for p in ps], [p.returncode for p in ps])
p = subprocess.Popen(["sleep", "60"], start_new_session=True)
try: p.wait(0.1)
except subprocess.TimeoutExpired as e: print(e)
p.terminate(); print(p.wait())
try: subprocess.run(["/no/such"])
except OSError as e: print(e)
r, w = os.pipe()
p = subprocess.Popen(["sh", "-c", "echo passed >&%d" % w], pass_fds=[w], close_fds=True); os.close(w)
print(os.read(r, 100), p.wait())
print(os.posix_spawnp("true", ["true"], os.environ) > 0, os.wait()[1], os.system("exit 4"))`),
		py("threading", `
import threading, queue, time, concurrent.futures as cf
q, out, lock = queue.Queue(), [], threading.Lock()
def work():
    while (i := q.get()) is not None:
        with lock: out.append(i * i)
        q.task_done()
ts = [threading.Thread(target=work) for _ in range(6)]
[t.start() for t in ts]
[q.put(i) for i in range(500)]
q.join(); [q.put(None) for _ in ts]; [t.join() for t in ts]
print(sum(out), len(out))
e, c, b = threading.Event(), threading.Condition(), threading.Barrier(3)
t = threading.Timer(0.05, e.set); t.start(); print(e.wait(50), e.wait(0.01)); t.join()
with cf.ThreadPoolExecutor(4) as ex: print(list(ex.map(lambda n: n ** 2, range(10))))
s = threading.Semaphore(0); print(s.acquire(timeout=0.05))
l = threading.local(); l.x = 1; print(l.x, threading.active_count())`),
		py("multiprocessing", `
import multiprocessing as mp, os
def f(x): return x * x
def child(q, v, l):
    with l: v.value += 1
    q.put(os.getpid() != os.getppid())
if __name__ == "__main__":
    for method in ("fork", "spawn", "forkserver"):
        c = mp.get_context(method)
        q, v, l = c.Queue(), c.Value("i", 0), c.Lock()
        ps = [c.Process(target=child, args=(q, v, l)) for _ in range(2)]
        [p.start() for p in ps]; print(method, [q.get() for _ in ps]); [p.join() for p in ps]
        print(v.value, [p.exitcode for p in ps])
    with mp.Pool(2) as p: print(p.map(f, range(10)), p.apply_async(f, (7,)).get(20))
    a, b = mp.Pipe(); a.send({"x": 1}); print(b.recv())
    with mp.Manager() as m: d = m.dict(a=1); d["b"] = 2; print(d)
    from multiprocessing import shared_memory
    s = shared_memory.SharedMemory(create=True, size=4096); s.buf[0] = 7
    t = shared_memory.SharedMemory(s.name); print(t.buf[0]); t.close(); s.close(); s.unlink()`),
		py("asyncio", `
import asyncio, os, signal, sys
async def handle(r, w):
    w.write((await r.readline()).upper()); await w.drain(); w.close()
async def main():
    print(await asyncio.gather(*[asyncio.sleep(0.01 * (3 - i), i) for i in range(3)]))
    p = await asyncio.create_subprocess_exec("sh", "-c", "cat; exit 2", stdin=-1, stdout=-1)
    print(await p.communicate(b"hello"), p.returncode)
    s = await asyncio.start_unix_server(handle, "sock")
    r, w = await asyncio.open_unix_connection("sock")
    w.write(b"line\n"); print(await r.readline()); w.close(); s.close()
    loop = asyncio.get_running_loop()
    f = loop.create_future(); loop.add_signal_handler(signal.SIGUSR1, f.set_result, "signal"); os.kill(os.getpid(), signal.SIGUSR1)
    print(await f)
    print(await loop.run_in_executor(None, sum, range(100)), await asyncio.to_thread(len, "abc"))
    try: await asyncio.wait_for(asyncio.sleep(5), 0.05)
    except asyncio.TimeoutError: print("timeout")
asyncio.run(main())`),
		py("sqlite3", `
import sqlite3, threading
for mode in ("delete", "wal", "truncate", "memory"):
    d = sqlite3.connect("t.db", timeout=10); print(d.execute("pragma journal_mode=" + mode).fetchone())
    d.execute("create table if not exists t(a integer primary key, b text)")
    with d: d.executemany("insert into t(b) values(?)", [(str(i),) for i in range(500)])
    e = sqlite3.connect("t.db"); print(e.execute("select count(*), sum(a) from t").fetchone())
    d.execute("begin immediate")
    try: sqlite3.connect("t.db", timeout=0.05).execute("begin immediate")
    except sqlite3.OperationalError as x: print(x)
    d.rollback(); d.close(); e.close()
d = sqlite3.connect("t.db"); d.execute("vacuum"); print(d.execute("pragma integrity_check").fetchone())`),
		py("files", `
import tempfile, os, shutil, mmap, fcntl, select, glob, stat, pathlib, resource, time, pwd, socket, platform
with tempfile.TemporaryDirectory() as d:
    p = pathlib.Path(d); (p / "a" / "b").mkdir(parents=True); (p / "a" / "f").write_text("x" * 5000)
    os.symlink("f", p / "a" / "l"); shutil.copytree(p / "a", p / "c", symlinks=True)
    print(sorted(str(x.relative_to(p)) for x in p.rglob("*"))); shutil.rmtree(p / "a")
    shutil.make_archive(str(p / "z"), "zip", p / "c"); print(sorted(os.listdir(p)), os.path.getsize(p / "c" / "f"))
with tempfile.NamedTemporaryFile() as f, tempfile.SpooledTemporaryFile(10) as g:
    f.write(b"q" * 100); f.flush(); g.write(b"s" * 20); print(os.stat(f.name).st_size, stat.filemode(os.fstat(f.fileno()).st_mode))
    fcntl.flock(f, fcntl.LOCK_EX); fcntl.lockf(f, fcntl.LOCK_EX)
    with open(f.name, "rb") as h:
        try: fcntl.flock(h, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as e: print(e)
    print(os.posix_fallocate(f.fileno(), 0, 9000), os.fstat(f.fileno()).st_size, os.copy_file_range(f.fileno(), g.fileno(), 50, 0))
print(resource.getrlimit(resource.RLIMIT_CORE)[0] >= -1, os.cpu_count() > 0, len(os.sched_getaffinity(0)) == os.cpu_count(), pwd.getpwuid(0).pw_name)
m = mmap.mmap(-1, 8192); m[:2] = b"ab"; m.madvise(mmap.MADV_DONTNEED); print(m[:2])
e = os.eventfd(3); os.eventfd_write(e, 4); print(os.eventfd_read(e), os.memfd_create("x") > 0, platform.system(), platform.machine())
a = os.getxattr if hasattr(os, "getxattr") else None
open("x", "w").close(); os.setxattr("x", "user.k", b"v"); print(os.listxattr("x"), a("x", "user.k"))
print(os.path.realpath("/proc/self/cwd") == os.getcwd(), len(os.urandom(8)), os.get_terminal_size if 0 else "", time.tzname[0])`),
		{name: "python_venv", needs: []string{"/usr/bin/python3"}, text: `/usr/bin/python3 -m venv --without-pip v; echo $?; ls v v/bin; v/bin/python -c 'import sys, os; print(os.path.relpath(sys.prefix), sys.prefix != sys.base_prefix)'; . v/bin/activate; command -v python | sed "s,$PWD,,"`},
		{name: "python_compile", needs: []string{"/usr/bin/python3"}, text: `mkdir p; for i in 1 2 3; do echo "x = $i" >p/m$i.py; done; touch p/__init__.py; /usr/bin/python3 -m compileall -q -j 2 p; ls p/__pycache__; /usr/bin/python3 -c 'import p.m2, json, http.client, xml.dom.minidom, decimal, unittest, email, ctypes; print(p.m2.x, ctypes.CDLL(None).getpid() > 0)'; /usr/bin/python3 -m unittest -q 2>&1 | grep -c Ran; echo '{"a": [1, 2]}' | /usr/bin/python3 -m json.tool; /usr/bin/python3 -m timeit -n 10 pass 2>/dev/null | cut -c1-8`},
	}
}

func compilerScripts() []script {
	return []script{
		{name: "gcc_O2", needs: []string{"gcc"}, text: writeProject + `gcc -O2 -Wall -g -o p main.c part*.c -lm && ./p; echo $?; gcc -O2 -flto -static -o s main.c part*.c -lm && ./s | tail -1; gcc -O2 -S -o - main.c | md5sum; gcc -shared -fPIC -o l.so part1.c && nm -D l.so | grep part; gcc -O2 -fsyntax-only broken.c 2>&1; echo $?; gcc -O2 -c main.c -o o.o && objdump -d o.o | md5sum; size o.o; strip p && ./p | head -1; gcc -pipe -O2 main.c part*.c -o q -lm && ./q | head -1`},
		{name: "g++", needs: []string{"g++"}, text: `cat >t.cc <<'E'
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <future>
#include <iostream>
#include <map>
#include <stdexcept>
#include <thread>
int main() {
	std::map<std::string, int> m{{"b", 2}, {"a", 1}};
	for (auto &[k, v] : m) std::cout << k << v << std::endl;
	std::atomic<int> n = 0;
	std::vector<std::thread> ts;
	for (int i = 0; i < 4; i++) ts.emplace_back([&] { for (int j = 0; j < 1000; j++) n++; });
	for (auto &t : ts) t.join();
	auto f = std::async(std::launch::async, [] { std::this_thread::sleep_for(std::chrono::milliseconds(20)); return 5; });
	std::cout << n << " " << f.get() << std::endl;
	try { std::vector<int>().at(3); } catch (std::exception &e) { std::cout << e.what() << std::endl; }
	std::filesystem::create_directories("x/y"); std::ofstream("x/y/z") << "text";
	for (auto &e : std::filesystem::recursive_directory_iterator("x")) std::cout << e.path() << e.is_directory() << std::endl;
	std::cout << std::filesystem::file_size("x/y/z") << std::filesystem::exists("/no") << std::endl;
	throw std::runtime_error("end");
}
E
g++ -std=c++17 -O2 -o t t.cc -pthread && ./t; echo $?`},
		{name: "make_j4", needs: []string{"make", "gcc", "ar"}, text: writeProject + `make -s -j4 && ./prog; echo $?; make -s -j4; touch part2.c; make -j4 | sort; make -n clean; make -s clean; ls; make -j4 -k broken 2>&1 | grep -c error; make -q; echo $?`},
		{name: "go_build", needs: []string{"go"}, text: writeModule + `go version >/dev/null; echo $?; go build -o prog . && ./prog; echo $?; go vet ./... ; go list ./...; gofmt -l .; go env GOOS GOARCH`},
		{name: "go_test", needs: []string{"go"}, text: writeModule + `go test ./... 2>&1 | sed -E 's/[0-9.]+s|\(cached\)/T/'; go test -run Fail -fail ./lib 2>&1 | sed -E 's/\(?[0-9.]+s\)?/T/'; go run . ; echo $?`},
	}
}

// writeProject makes a small C project with a Makefile, and a source file with an error.
const writeProject = `for i in 1 2 3 4 5 6; do cat >part$i.c <<E
#include <stdio.h>
#include <string.h>
#include <math.h>
#include "all.h"
int part$i(int x) { char b[100]; snprintf(b, sizeof b, "%d:%.3f", x, sqrt(x + $i)); return strlen(b) + x * $i; }
E
echo "int part$i(int);" >>all.h; done
cat >main.c <<'E'
#include <stdio.h>
#include "all.h"
int main(void) { int s = 0; for (int i = 0; i < 1000; i++) s += part1(i) + part2(i) * part3(i) - part4(s % 100) + part5(i) - part6(i); printf("sum %d\n", s); return 3; }
E
printf 'int f(void) { return x; }\n' >broken.c
printf 'OBJS = $(patsubst %%.c,%%.o,main.c $(wildcard part*.c))\nCFLAGS = -O2 -Wall\nprog: libparts.a main.o\n\t$(CC) -o $@ main.o libparts.a -lm\nlibparts.a: $(filter part%%,$(OBJS))\n\t$(AR) rcsD $@ $^\n%%.o: %%.c all.h\n\t$(CC) $(CFLAGS) -c $< -o $@\nbroken: broken.o\nclean:\n\trm -f *.o *.a prog\n' >Makefile
`

// writeModule makes a Go module of two packages and a test.
const writeModule = `mkdir -p m/lib; cd m; printf 'module example.com/m\n\ngo 1.21\n' >go.mod
cat >main.go <<'E'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"

	"example.com/m/lib"
)

func main() {
	var wg sync.WaitGroup
	sums := make([]int, 4)
	for i := range sums {
		wg.Add(1)
		go func(i int) { defer wg.Done(); sums[i] = lib.Sum(i * 1000) }(i)
	}
	wg.Wait()
	out, err := exec.Command("echo", "sub").Output()
	fmt.Println(sums, string(out), err)
	os.Exit(5)
}
E
cat >lib/lib.go <<'E'
// Package lib adds.
package lib

// Sum adds up to n.
func Sum(n int) (s int) {
	for i := 1; i <= n; i++ {
		s += i
	}
	return s
}
E
cat >lib/lib_test.go <<'E'
package lib

import (
	"flag"
	"testing"
	"time"
)

var fail = flag.Bool("fail", false, "")

func TestSum(t *testing.T) {
	if Sum(4) != 10 {
		t.Fatal(Sum(4))
	}
}

func TestParallel(t *testing.T) {
	for range 3 {
		t.Run("", func(t *testing.T) { t.Parallel(); time.Sleep(time.Millisecond) })
	}
}

func TestFail(t *testing.T) {
	if *fail {
		t.Error("asked to")
	}
}
E
sed -i 's/for range 3/for i := 0; i < 3; i++/' lib/lib_test.go
`

// TestMounts mounts, binds, moves and unmounts: on the host that would change the host.
func TestMounts(t *testing.T) {
	need(t, "mount", "umount", "findmnt")
	needRoot(t)
	const text = `mkdir -p a b c; mount -t tmpfs -o size=1m,mode=700 none a && stat -c %a a && echo x >a/f && df --output=size a | tail -1
mount --bind a b && cat b/f; mount -o remount,ro,bind b; (echo y >b/f) 2>/dev/null || echo read-only; mount | tail -1 | sed 's/.*type//'
umount a; umount b; echo $?; cat b/f 2>/dev/null; mount -t proc proc c && ls -d c/self; mount -t unknown x a 2>/dev/null || echo $?
mount --move c b 2>/dev/null; ls -d b/self; (cd b/sys; umount ../../b 2>/dev/null; echo $?; umount -l ../../b; echo $?); ls b; mount --make-rprivate /; echo $?
setpriv --reuid=1000 sh -c 'mount -t tmpfs x /tmp; umount /proc' 2>&1 | grep -c superuser`
	const want = "700\n     1024\nx\nread-only\n tmpfs (ro,relatime)\n0\nc/self\n32\nb/self\n32\n0\n0\n2\n"
	eachPlatform(t, func(t *testing.T, platform string) {
		if r := (command{argv: []string{"bash", "-c", text}}).sandbox(t, platform); r.stdout != want {
			t.Errorf("got %v\nwant %q", r, want)
		}
	})
}

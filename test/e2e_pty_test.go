package test

import "testing"

// ptyPrograms use pseudo-terminals the way programs do. What they print must be the host's.
var ptyPrograms = []struct {
	name, needs string
	argv        []string
	stdin       string
}{
	{"script", "script", []string{"script", "-qec", "test -t 0 && test -t 1 && echo terminal; stty rows 7; stty size; exit 5", "/dev/null"}, ""},
	{"bash_jobs", "script", []string{"script", "-qec", `bash --norc --noprofile -i -c 'sh -c "kill -TSTP \$\$; echo resumed"; echo $?; fg; echo $?'`, "/dev/null"}, ""},
	{"bash_typed", "script", []string{"script", "-qec", "PS1= bash --norc --noprofile --noediting -i", "/dev/null"}, "echo one; (exit 4)\necho $?\nexit 6\n"},
	{"python_spawn", "python3", []string{"python3", "-c", `
import os, pty, sys
status = pty.spawn(["sh", "-c", "stty -a | grep -o 'speed [0-9]*'; echo in a terminal; exit 9"])
print(os.waitstatus_to_exitcode(status))
`}, ""},
	{"python_interrupt", "python3", []string{"python3", "-c", `
import os, pty, signal
pid, fd = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done"])
out = b""
while b"ready" not in out:
    out += os.read(fd, 100)
os.write(fd, b"\x03")
try:
    while True:
        out += os.read(fd, 100)
except OSError:
    pass
print(out, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
`}, ""},
	{"python_size", "python3", []string{"python3", "-c", `
import fcntl, os, pty, signal, struct, termios
pid, fd = pty.fork()
if pid == 0:
    signal.signal(signal.SIGWINCH, lambda *a: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])
    print("ready", flush=True)
    signal.sigwait([signal.SIGWINCH])
    print(os.get_terminal_size(), flush=True)
    os._exit(0)
out = b""
while b"ready" not in out:
    out += os.read(fd, 100)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 44, 0, 0))
try:
    while True:
        out += os.read(fd, 100)
except OSError:
    pass
print(out)
`}, ""},
}

func TestPseudoTerminals(t *testing.T) {
	for _, platform := range platforms() {
		t.Run(platform, func(t *testing.T) {
			for _, p := range ptyPrograms {
				t.Run(p.name, func(t *testing.T) {
					need(t, p.needs)
					c := command{argv: p.argv, stdin: p.stdin}
					compare(t, c.host(t), c.sandbox(t, platform))
				})
			}
		})
	}
}

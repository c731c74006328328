package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"

	"gosentry/sentry/oci"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"github.com/urfave/cli/v3"
)

// execVerb runs a further program in a container.
func execVerb() containerVerb {
	return containerVerb{
		name: "exec", usage: "run a further program in a container", args: "ID PROGRAM [ARGS...]", id: true, more: -1, verbatim: true,
		flags: []cli.Flag{
			&cli.StringFlag{Name: "process", Aliases: []string{"p"}, Usage: "take the process from a JSON `FILE`"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait"},
			&cli.StringFlag{Name: "pid-file", Usage: "write the process id of what waits for the program to `FILE`"},
			&cli.StringFlag{Name: "console-socket", Usage: "send the terminal to the `SOCKET`"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal"},
			&cli.StringFlag{Name: "cwd", Usage: "start in `DIR`"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "add `K=V` to the environment"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `UID[:GID]`"},
			&cli.IntSliceFlag{Name: "additional-gids", Aliases: []string{"g"}, Usage: "add the group `GID`"},
			&cli.StringSliceFlag{Name: "cap", Aliases: []string{"c"}, Usage: "add a `CAPABILITY`"},
			&cli.IntFlag{Name: "preserve-fds", Usage: "pass `N` more descriptors to the program"},
			&cli.BoolFlag{Name: "no-new-privs", Usage: "it cannot gain privileges"},
			&cli.BoolFlag{Name: "ignore-paused", Usage: "accepted; a paused container runs nothing"},
			&cli.StringFlag{Name: "started-fd", Hidden: true, Usage: "tell on the descriptor that the program runs"},
		},
		run: execInContainer,
	}
}

func execInContainer(cmd *cli.Command, r *oci.Runtime, id string, args []string) (int, error) {
	if cmd.Bool("detach") && cmd.String("started-fd") == "" {
		return 0, execDetached(cmd)
	}
	p, err := execProcess(cmd, r, id, args)
	if err != nil {
		return 0, err
	}
	a := oci.ExecArgs{
		ID: id, Process: p, ConsoleSocket: cmd.String("console-socket"), PreserveFDs: cmd.Int("preserve-fds"), Detached: cmd.Bool("detach"),
	}
	a.Started = func() error {
		if cmd.Bool("detach") {
			return tellStarted(cmd.String("started-fd"))
		}
		return oci.WritePIDFile(cmd.String("pid-file"), os.Getpid())
	}
	return r.Exec(a)
}

// execProcess is the process of the file, or the container's own with what the flags change.
func execProcess(cmd *cli.Command, r *oci.Runtime, id string, args []string) (*specs.Process, error) {
	if file := cmd.String("process"); file != "" {
		return oci.ProcessFile(file)
	}
	if len(args) == 0 {
		return nil, errors.New("exec: no program named (sentry exec --help shows how)")
	}
	p, err := r.ContainerProcess(id)
	if err != nil {
		return nil, err
	}
	p.Args, p.Terminal = args, cmd.Bool("tty")
	p.NoNewPrivileges = p.NoNewPrivileges || cmd.Bool("no-new-privs")
	if dir := cmd.String("cwd"); dir != "" {
		p.Cwd = dir
	}
	if p.Env, err = environment(p.Env, cmd.StringSlice("env")); err != nil {
		return nil, err
	}
	if user := cmd.String("user"); user != "" {
		if err := setUser(&p.User, user); err != nil {
			return nil, err
		}
	}
	for _, g := range cmd.IntSlice("additional-gids") {
		p.User.AdditionalGids = append(p.User.AdditionalGids, uint32(g))
	}
	addCapabilities(p, cmd.StringSlice("cap"))
	return p, nil
}

// addCapabilities adds capabilities to those that the process has in effect.
func addCapabilities(p *specs.Process, names []string) {
	if len(names) == 0 {
		return
	}
	if p.Capabilities == nil {
		p.Capabilities = new(specs.LinuxCapabilities)
	}
	for _, set := range []*[]string{&p.Capabilities.Bounding, &p.Capabilities.Effective, &p.Capabilities.Permitted} {
		*set = append(*set, names...)
	}
}

func setUser(u *specs.User, text string) error {
	uid, gid, both := strings.Cut(text, ":")
	n, err := strconv.ParseUint(uid, 10, 32)
	if err != nil {
		return badFlag("user", text, "give UID[:GID]")
	}
	u.UID = uint32(n)
	if !both {
		return nil
	}
	if n, err = strconv.ParseUint(gid, 10, 32); err != nil {
		return badFlag("user", text, "give UID[:GID]")
	}
	u.GID = uint32(n)
	return nil
}

// startedFD is the pipe on which a detached exec tells its parent that the program runs: the first
// descriptor that nobody preserves.
const startedFD = 3

// execDetached runs this command again in a process that stays behind and waits for the
// program: whoever reads the pid file learns the program's exit status from that process.
func execDetached(cmd *cli.Command) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	n := cmd.Int("preserve-fds")
	child := exec.Command("/proc/self/exe")
	child.Args = append([]string{os.Args[0]}, withFlag(os.Args[1:], cmd, fmt.Sprintf("--started-fd=%d", startedFD+n))...)
	child.Stdin, child.Stdout, child.Stderr = os.Stdin, os.Stdout, os.Stderr
	for i := range n {
		child.ExtraFiles = append(child.ExtraFiles, os.NewFile(uintptr(3+i), "preserved"))
	}
	child.ExtraFiles = append(child.ExtraFiles, w)
	err = child.Start()
	w.Close()
	if err != nil {
		return err
	}
	word, _ := io.ReadAll(io.LimitReader(r, 1))
	if len(word) == 0 {
		child.Wait() //nolint:errcheck // it said why
		return errSilent
	}
	return oci.WritePIDFile(cmd.String("pid-file"), child.Process.Pid)
}

// errSilent ends this process with a failure that another one has told of.
var errSilent = errors.New("")

// withFlag puts a flag behind the verb. That is where what the root does not take for flags of its own begins: a flag's value before it may have the
// verb's name.
func withFlag(args []string, cmd *cli.Command, flag string) []string {
	verb := len(args) - cmd.Root().Args().Len()
	return slices.Insert(slices.Clone(args), verb+1, flag)
}

func tellStarted(fd string) error {
	n, err := strconv.Atoi(fd)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(n), "pipe")
	defer f.Close()
	_, err = f.Write([]byte{1})
	return err
}

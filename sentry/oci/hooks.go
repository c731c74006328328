package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

func checkHooks(h *specs.Hooks) error {
	if h == nil {
		return nil
	}
	for name, list := range map[string][]specs.Hook{
		"prestart": h.Prestart, "createRuntime": h.CreateRuntime, "createContainer": h.CreateContainer, //nolint:staticcheck // old configurations have prestart
		"startContainer": h.StartContainer, "poststart": h.Poststart, "poststop": h.Poststop,
	} {
		for i, hook := range list {
			field := fmt.Sprintf("hooks.%s[%d]", name, i)
			if !filepath.IsAbs(hook.Path) {
				return refuse(field+".path", "%q is not an absolute path", hook.Path)
			}
			if hook.Timeout != nil && *hook.Timeout <= 0 {
				return refuse(field+".timeout", "%d is not above 0", *hook.Timeout)
			}
		}
	}
	return nil
}

// maxHookOutput bounds what is kept of a hook's standard error, in bytes.
const maxHookOutput = 4096

// runHooks runs hooks on the host in their order, each with the container's state on its standard input.
// The first that fails ends it.
func runHooks(kind string, hooks []specs.Hook, s *specs.State) error {
	for i, h := range hooks {
		if err := runHook(h, s); err != nil {
			return fmt.Errorf("hook %s[%d] %s: %w", kind, i, h.Path, err)
		}
	}
	return nil
}

func runHook(h specs.Hook, s *specs.State) error {
	input, err := json.Marshal(s)
	if err != nil {
		return err
	}
	ctx := context.Background()
	if h.Timeout != nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Duration(*h.Timeout)*time.Second)
		defer cancel()
	}
	cmd := exec.CommandContext(ctx, h.Path)
	if len(h.Args) > 0 {
		cmd.Args = h.Args
	}
	cmd.Env = h.Env
	if cmd.Env == nil {
		cmd.Env = []string{}
	}
	cmd.Dir = s.Bundle
	cmd.Stdin = bytes.NewReader(input)
	out := &tailBuffer{}
	cmd.Stdout, cmd.Stderr = out, out
	// Somebody who keeps the hook's output open must not keep us.
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("it took longer than %d s", *h.Timeout)
	case errors.Is(err, exec.ErrWaitDelay):
		return nil
	case err != nil && len(out.kept) > 0:
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out.kept))
	}
	return err
}

// tailBuffer keeps the end of what is written to it.
type tailBuffer struct{ kept []byte }

// Write implements io.Writer.
func (b *tailBuffer) Write(p []byte) (int, error) {
	b.kept = append(b.kept, p...)
	if over := len(b.kept) - maxHookOutput; over > 0 {
		b.kept = append(b.kept[:0], b.kept[over:]...)
	}
	return len(p), nil
}

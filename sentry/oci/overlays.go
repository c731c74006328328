package oci

import (
	"os"
	"strings"
)

// overlay reads the options of an overlay. What is written to it is kept in memory, so its upper directory must be an empty
// one, which engines make for each container; without one it is read-only. Of the lower directories one alone may have something in it.
func (m *Mount) overlay(options []string, field string) error {
	m.Source = "" // as an overlay's, a name and nothing else
	var lower []string
	upper := ""
	for _, o := range options {
		switch name, value, _ := strings.Cut(o, "="); name {
		case "lowerdir":
			lower = directories(value)
		case "upperdir":
			upper = value
		case "workdir", "userxattr", "volatile", "index", "metacopy", "redirect_dir", "xino", "nfs_export", "uuid":
		default:
			return refuse(field+".options", "%q is not supported", o)
		}
	}
	if upper == "" {
		m.ReadOnly = true
	} else if !empty(upper) {
		return refuse(field+".options", "the upper directory of an overlay has something in it already")
	}
	for _, dir := range lower {
		switch {
		case m.Source == dir, m.Source != "" && empty(dir):
		case m.Source == "" || empty(m.Source):
			m.Source = dir
		default:
			return refuse(field+".options", "an overlay of several directories is not supported")
		}
	}
	if m.Source == "" {
		return refuse(field+".options", "an overlay has no lower directory")
	}
	return nil
}

// directories are those of a list with colons between them; a backslash takes its meaning from a colon.
func directories(list string) (dirs []string) {
	const escaped = "\x00"
	for dir := range strings.SplitSeq(strings.ReplaceAll(list, `\:`, escaped), ":") {
		dirs = append(dirs, strings.ReplaceAll(dir, escaped, ":"))
	}
	return dirs
}

// empty tells whether there is nothing in a directory.
func empty(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	names, _ := f.Readdirnames(1)
	return len(names) == 0
}

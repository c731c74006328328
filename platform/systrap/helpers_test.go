package systrap

import (
	"os"
	"strconv"
)

func itoa(n int) string { return strconv.Itoa(n) }

// listDir returns the names in a directory.
func listDir(path string) ([]string, error) {
	entries, err := os.ReadDir(path)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

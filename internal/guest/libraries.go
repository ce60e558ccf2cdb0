package guest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
)

// AddFiles adds files of this machine to files, under the names that they have here, and all libraries that they open at their start.
func AddFiles(ctx context.Context, files map[string][]byte, names ...string) error {
	for _, name := range names {
		if err := addFile(files, name); err != nil {
			return err
		}
		if err := addLibraries(ctx, files, name); err != nil {
			return err
		}
	}
	return nil
}

// AddLibraries adds what a program opens at its start that is not a file here, such as one that BuildCgoTest returned.
func AddLibraries(ctx context.Context, files map[string][]byte, program []byte) error {
	dir, err := os.MkdirTemp("", "guest-libraries-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	name := filepath.Join(dir, "program")
	if err := os.WriteFile(name, program, 0o755); err != nil {
		return err
	}
	return addLibraries(ctx, files, name)
}

// opened matches a line of ldd that names a file.
var opened = regexp.MustCompile(`(/\S+) \(0x`)

func addLibraries(ctx context.Context, files map[string][]byte, name string) error {
	out, err := exec.CommandContext(ctx, "ldd", name).Output()
	if err != nil {
		return nil // neither a program nor a library: a file with data
	}
	for _, library := range opened.FindAllSubmatch(out, -1) {
		if err := addFile(files, string(library[1])); err != nil {
			return fmt.Errorf("guest: a library of %s: %w", name, err)
		}
	}
	return nil
}

func addFile(files map[string][]byte, name string) error {
	if _, ok := files[name]; ok {
		return nil
	}
	data, err := os.ReadFile(name)
	if err == nil {
		files[name] = data
	}
	return err
}

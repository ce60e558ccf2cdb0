package guest

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/ulikunitz/xz"
)

// modules returns the named modules of the kernel under root and all that they depend on, decompressed, in the order in which they can be
// loaded. Debian makes modules.dep at installation; here each module is asked itself.
func modules(root string, names []string) ([]file, error) {
	files, err := moduleFiles(root)
	if err != nil {
		return nil, err
	}
	var order []file
	var add func(name string) error
	add = func(name string) error {
		name = plain(name)
		if slices.ContainsFunc(order, func(m file) bool { return m.name == name }) {
			return nil
		}
		path, ok := files[name]
		if !ok {
			return fmt.Errorf("the kernel under %s has no module %s", root, name)
		}
		data, err := decompress(path)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		needs, err := dependencies(data)
		if err != nil {
			return fmt.Errorf("module %s: %w", name, err)
		}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		order = append(order, file{name, data})
		return nil
	}
	for _, name := range names {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// moduleFiles finds the modules under root, by name.
func moduleFiles(root string) (map[string]string, error) {
	files := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if name, rest, ok := strings.Cut(d.Name(), ".ko"); ok && (rest == "" || rest == ".xz") {
			files[plain(name)] = path
		}
		return err
	})
	return files, err
}

// plain is a module's name as the kernel has it: files have dashes too.
func plain(name string) string { return strings.ReplaceAll(name, "-", "_") }

func decompress(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil || !strings.HasSuffix(path, ".xz") {
		return data, err
	}
	r, err := xz.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(r)
}

// dependencies reads what a module says of itself (Documentation: linux/module.h, MODULE_INFO; scripts/mod/modpost.c, add_depends).
func dependencies(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	s := f.Section(".modinfo")
	if s == nil {
		return nil, fmt.Errorf("no .modinfo section")
	}
	info, err := s.Data()
	if err != nil {
		return nil, err
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if needs, ok := strings.CutPrefix(field, "depends="); ok && needs != "" {
			return strings.Split(needs, ","), nil
		}
	}
	return nil, nil
}

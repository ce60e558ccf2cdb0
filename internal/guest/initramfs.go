package guest

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path"
	"path/filepath"

	"github.com/cavaliergopher/cpio"
	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/internal/guest/boot"
)

const initPackage = "github.com/fastrpc/fastrpc/internal/guest/init"

// file is one of the initramfs, or will be.
type file struct {
	name string
	data []byte
}

// initramfs makes the guest's file system, in a file that has no name: nobody has to remove it.
func (k *Kit) initramfs(ctx context.Context, c Config) (*os.File, error) {
	start, err := BuildProgram(ctx, initPackage)
	if err != nil {
		return nil, err
	}
	names := c.Modules
	for _, n := range c.NICs {
		names = append(names[:len(names):len(names)], n.module)
	}
	mods, err := modules(filepath.Join(k.dir, linuxDir), names)
	if err != nil {
		return nil, err
	}
	plan := boot.Plan{NICs: len(c.NICs), Args: c.Args}
	files := []file{{"/init", start}, {boot.Program, c.Program}}
	for _, m := range mods {
		name := "/" + m.name + ".ko"
		plan.Modules = append(plan.Modules, name)
		files = append(files, file{name, m.data})
	}
	for name, data := range c.Files {
		files = append(files, file{name, data})
	}
	text, err := json.Marshal(plan)
	if err != nil {
		return nil, err
	}
	return archive(append(files, file{boot.PlanFile, text}))
}

// archive writes files, all of them executable, in the format of initramfs.
func archive(files []file) (*os.File, error) {
	fd, err := unix.MemfdCreate("initramfs", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "initramfs")
	w := cpio.NewWriter(f)
	made := map[string]bool{}
	for _, m := range files {
		if err = directories(w, made, path.Dir(m.name)); err != nil {
			break
		}
		err = w.WriteHeader(&cpio.Header{Name: m.name[1:], Mode: cpio.TypeReg | 0o755, Size: int64(len(m.data))})
		if err == nil {
			_, err = w.Write(m.data)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// directories writes what is not made yet of the way to a directory: nobody else makes it (init/initramfs.c, do_name).
func directories(w *cpio.Writer, made map[string]bool, dir string) error {
	if dir == "/" || made[dir] {
		return nil
	}
	made[dir] = true
	if err := directories(w, made, path.Dir(dir)); err != nil {
		return err
	}
	return w.WriteHeader(&cpio.Header{Name: dir[1:], Mode: cpio.TypeDir | 0o755})
}

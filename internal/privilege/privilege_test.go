package privilege_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"kernel.org/pub/linux/libs/security/libcap/cap"

	"github.com/fastrpc/fastrpc/internal/privilege"
)

// The test binary is also the process that drops: with this in its environment it keeps the capabilities named there.
const childKeeps = "PRIVILEGE_TEST_KEEPS"

func TestMain(m *testing.M) {
	keeps, isChild := os.LookupEnv(childKeeps)
	if !isChild {
		os.Exit(m.Run())
	}
	if err := child(strings.Fields(keeps)); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// child drops while several threads exist, one of them in a system call, and prints what every thread and a program that it executes have.
func child(keeps []string) error {
	var keep []cap.Value
	for _, name := range keeps {
		v, err := cap.FromName(name)
		if err != nil {
			return err
		}
		keep = append(keep, v)
	}
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return err
	}
	started := make(chan struct{})
	for range 4 {
		go func() {
			runtime.LockOSThread()
			started <- struct{}{}
			_, _ = unix.Read(pipe[0], make([]byte, 1)) // for ever
		}()
		<-started
	}
	if err := privilege.Drop(keep...); err != nil {
		return err
	}
	go func() { // a thread that comes later
		runtime.LockOSThread()
		started <- struct{}{}
		_, _ = unix.Read(pipe[0], make([]byte, 1))
	}()
	<-started
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(tasks) < 6 {
		return fmt.Errorf("%d threads: %w", len(tasks), err)
	}
	for _, task := range tasks {
		if err := show(task); err != nil {
			return err
		}
	}
	out, err := exec.Command("cat", "/proc/self/status").Output()
	if err != nil {
		return err
	}
	fmt.Println("executed", capabilities(string(out)))
	return nil
}

func show(task string) error {
	status, err := os.ReadFile(task)
	if err != nil {
		return err
	}
	fmt.Println("thread", capabilities(string(status)))
	return nil
}

var lines = regexp.MustCompile(`(?m)^(CapInh|CapPrm|CapEff|CapAmb|NoNewPrivs):\t(.*)$`)

func capabilities(status string) string {
	var out []string
	for _, m := range lines.FindAllStringSubmatch(status, -1) {
		out = append(out, m[1]+"="+strings.TrimLeft(m[2], "0"))
	}
	return strings.Join(out, " ")
}

func TestDrop(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: has nothing to drop")
	}
	for keeps, bits := range map[string]string{"": "", "cap_net_raw": "2000", "cap_net_admin cap_net_raw": "3000"} {
		cmd := exec.Command("/proc/self/exe")
		cmd.Env = append(os.Environ(), childKeeps+"="+keeps)
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%q: %v: %s", keeps, err, out)
		}
		threads := 0
		for line := range strings.Lines(string(out)) {
			who, have, _ := strings.Cut(strings.TrimSpace(line), " ")
			want := "CapInh= CapPrm=" + bits + " CapEff=" + bits + " CapAmb= NoNewPrivs=1"
			if have != want {
				t.Errorf("keeping %q, %s: %s, want %s", keeps, who, have, want)
			}
			if who == "thread" {
				threads++
			}
		}
		if threads < 6 {
			t.Errorf("%d threads were looked at", threads)
		}
	}
}

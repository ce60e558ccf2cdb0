package meter

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/fastrpc/fastrpc/bench/result"
)

// helper is the process that burns for one that measures: a line in, what there is to burn, a line out.
func helper() {
	in := bufio.NewReader(os.Stdin)
	for {
		fmt.Println("ready")
		if _, err := in.ReadString('\n'); err != nil {
			return
		}
		spin(burntTime)
		sleep(burntSwitches)
	}
}

// What a process uses that the measured one has started is the measured one's.
func TestChildrenAreCounted(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), burnVariable+"=helper")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	burn := func() {
		t.Helper()
		if _, err := io.WriteString(in, "burn\n"); err != nil {
			t.Fatal(err)
		}
		if line, err := lines.ReadString('\n'); err != nil || line != "ready\n" {
			t.Fatalf("%q, %v", line, err)
		}
	}
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if len(children()) == 0 {
		if _, err := os.Stat("/proc/self/task"); err != nil {
			t.Skipf("no list of processes: %v", err)
		}
		if _, err := os.Stat(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid())); err != nil {
			t.Skipf("a kernel without CONFIG_PROC_CHILDREN: %v", err)
		}
		t.Fatal("the process has no child")
	}
	m := New(Config{})
	defer m.Close()
	burn() // before it starts to count
	m.Start()
	burn()
	u := m.Stop().Use
	if sum := time.Duration(u.UserNs + u.SystemNs); u.UserNs <= 0 || sum < burntTime || u.Voluntary < burntSwitches {
		t.Errorf("%v of processor time, %d voluntary switches: want %v and %d at least", sum, u.Voluntary, burntTime, burntSwitches)
	}
	t.Run("counters", func(t *testing.T) {
		countTime(t)
		c, err := OpenCounters()
		if err != nil {
			t.Fatal(err)
		}
		burn()
		n, err := c.Stop()
		if ran := time.Duration(n.Instructions); err != nil || ran < burntTime-time.Millisecond {
			t.Errorf("%v counted, want %v at least; %v", ran, burntTime, err)
		}
	})
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// The exact time is divided as the ticks are; without any it is all the program's own. A child that came meanwhile has used all of it since.
func TestAddChildren(t *testing.T) {
	u := result.Use{UserNs: 1, SystemNs: 2, Voluntary: 3, Involuntary: 4}
	before := map[int]childUse{1: {cpu: 100, user: 10, system: 10, voluntary: 5, involuntary: 5}, 9: {cpu: 77}}
	after := map[int]childUse{1: {cpu: 500, user: 13, system: 11, voluntary: 7, involuntary: 6}, 2: {cpu: 1000}}
	addChildren(&u, before, after)
	if want := (result.Use{UserNs: 1 + 300 + 1000, SystemNs: 2 + 100, Voluntary: 3 + 2, Involuntary: 4 + 1}); u != want {
		t.Errorf("got %+v, want %+v", u, want)
	}
}

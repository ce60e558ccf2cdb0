package nic

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fastrpc/fastrpc/bpf"
	"github.com/fastrpc/fastrpc/internal/lab"
	"github.com/fastrpc/fastrpc/internal/lab/labtest"
)

// recordsIn keeps the records of a test apart from the machine's.
func recordsIn(t *testing.T, dir string) {
	t.Helper()
	old := recordDir
	recordDir = dir
	t.Cleanup(func() { recordDir = old })
}

// die is what the kernel does to a killed owner's files.
func (c *Claim) die(t *testing.T) {
	t.Helper()
	must(t, c.rec.close())
}

func noRecords(t *testing.T) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(recordDir, "*.json")); len(left) > 0 {
		t.Errorf("records are left: %v", left)
	}
}

// A claim gives back its rules and contexts, and no other's.
func TestClaimRules(t *testing.T) {
	recordsIn(t, t.TempDir())
	f := newFake()
	d := f.device()
	foreign := Rule{Port: 1000, Queue: 1}
	_, err := d.AddRule(foreign)
	must(t, err)

	c := NewClaim(d)
	must(t, c.AddRule(foreign)) // is there: it does not become ours
	noRecords(t)                // and nothing is to be given back
	context, err := c.AddContext([]int{1, 2})
	must(t, err)
	mine := []Rule{{Port: 9000, Context: context}, {Port: 9000, IPv6: true, Context: context}, {Port: 9001, Queue: 2}}
	for _, r := range mine {
		must(t, c.AddRule(r))
	}
	must(t, c.DeleteRule(mine[1]))
	must(t, c.DeleteRule(foreign))
	if got := f.ofPackage(t); len(got) != 3 || slices.Contains(got, mine[1]) {
		t.Errorf("rules are %v", got)
	}
	must(t, c.Close())
	must(t, c.Close())
	if got := f.ofPackage(t); !slices.Equal(got, []Rule{foreign}) || len(f.contexts) != 0 {
		t.Errorf("left are rules %v and contexts %v", got, f.contexts)
	}
	noRecords(t)
}

// What was refused is not written down as done.
func TestClaimRefused(t *testing.T) {
	recordsIn(t, t.TempDir())
	f := newFake()
	f.refuse = unix.EOPNOTSUPP
	c := NewClaim(f.device())
	if err := c.AddRule(Rule{Port: 9000}); !errors.Is(err, errors.ErrUnsupported) {
		t.Error(err)
	}
	entries, err := c.rec.entries()
	must(t, err)
	if len(entries) != 0 || len(c.entries) != 0 {
		t.Errorf("written down: %v", entries)
	}
	must(t, c.Close())
	noRecords(t)
}

// What cannot be given back, for want of a capability that was dropped, is left to whoever comes next.
func TestClaimCloseFails(t *testing.T) {
	recordsIn(t, t.TempDir())
	f := newFake()
	c := NewClaim(f.device())
	must(t, c.AddRule(Rule{Port: 9000, Queue: 1}))
	f.keep = unix.EPERM
	if err := c.Close(); !errors.Is(err, unix.EPERM) {
		t.Errorf("Close: %v", err)
	}
	must(t, c.Close())
	if err := f.device().Recover(); !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Errorf("without the capability: %v", err)
	}
	f.keep = nil
	must(t, f.device().Recover())
	if len(f.rules) != 0 {
		t.Errorf("rules left: %v", f.ofPackage(t))
	}
	noRecords(t)
}

// Where nothing can be written down, nothing is changed.
func TestClaimUnwritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	must(t, os.WriteFile(file, nil, 0o600))
	recordsIn(t, filepath.Join(file, "below"))
	f := newFake()
	c := NewClaim(f.device())
	if err := c.AddRule(Rule{Port: 9000}); !errors.Is(err, unix.ENOTDIR) {
		t.Error(err)
	}
	must(t, c.Close())
	must(t, f.device().Recover())
	if len(f.rules) != 0 {
		t.Error("a rule was installed")
	}
}

// The next one finds what a dead process left, removes that alone, and once.
func TestRecoverRules(t *testing.T) {
	recordsIn(t, t.TempDir())
	f := newFake()
	d := f.device()
	must(t, d.Recover()) // nothing was ever changed

	lives, dies := NewClaim(d), NewClaim(d)
	must(t, lives.AddRule(Rule{Port: 1, Queue: 1}))
	context, err := dies.AddContext([]int{1})
	must(t, err)
	must(t, dies.AddRule(Rule{Port: 2, Context: context}))
	must(t, dies.AddRule(Rule{Port: 3, Queue: 1}))
	must(t, dies.DeleteRule(Rule{Port: 3, Queue: 1}))
	must(t, dies.AddRule(Rule{Port: 4, Queue: 2}))
	dies.die(t)
	_, err = d.AddRule(Rule{Port: 3, Queue: 1}) // somebody else's by now
	must(t, err)

	must(t, d.Recover())
	must(t, d.Recover())
	want := []Rule{{Port: 1, Queue: 1}, {Port: 3, Queue: 1}}
	got := f.ofPackage(t)
	slices.SortFunc(got, func(a, b Rule) int { return int(a.Port) - int(b.Port) })
	if !slices.Equal(got, want) || len(f.contexts) != 0 {
		t.Errorf("rules are %v, contexts %v; want %v and none", got, f.contexts, want)
	}
	must(t, lives.Close())
	noRecords(t)
}

// A process that is killed between writing a change down and making it, or in the middle of the line, leaves nothing that would be taken back.
func TestRecoverHalf(t *testing.T) {
	recordsIn(t, t.TempDir())
	f := newFake()
	d := f.device()
	c := NewClaim(d)
	must(t, c.AddRule(Rule{Port: 1, Queue: 1}))
	_, err := c.rec.file.WriteString(`{"Number":2,"Rule":{"Po`)
	must(t, err)
	c.die(t)
	must(t, d.Recover())
	if len(f.rules) != 0 {
		t.Errorf("rules left: %v", f.rules)
	}
	noRecords(t)

	// A record that is no record stays, and says what to do.
	must(t, os.WriteFile(filepath.Join(recordDir, strings.ReplaceAll(d.pattern(), "*", "x")), []byte("{}\nrubbish\n"), 0o600))
	if err := d.Recover(); err == nil || !strings.Contains(err.Error(), "delete the file") {
		t.Error(err)
	}
}

// polled makes a lab whose server has NAPI instances: veth's come with its XDP program.
func polled(t *testing.T) *Device {
	t.Helper()
	l := labtest.New(t, lab.Config{Queues: 2})
	var d *Device
	must(t, l.Server().Do(func() error {
		p, err := bpf.Attach(l.Server().Ifindex, bpf.Options{Mode: bpf.Native})
		must(t, err)
		t.Cleanup(func() { must(t, p.Close()) })
		d, err = Open(l.Server().Ifindex)
		return err
	}))
	t.Cleanup(func() { must(t, d.Close()) })
	return d
}

func firstNAPI(t *testing.T, d *Device) NAPI {
	t.Helper()
	all, err := d.NAPIs()
	must(t, err)
	if len(all) != 2 {
		t.Fatalf("NAPI instances %v, want one for each queue", all)
	}
	return all[0]
}

var wanted = NAPISettings{DeferHardIRQs: 2, GROFlushTimeout: 200 * time.Microsecond, IRQSuspendTimeout: 20 * time.Millisecond}

func TestSetNAPI(t *testing.T) {
	recordsIn(t, t.TempDir())
	d := polled(t)
	n := firstNAPI(t, d)
	c := NewClaim(d)
	must(t, c.SetNAPI(n.ID, wanted))
	must(t, c.SetNAPI(n.ID, wanted)) // as it is
	if got := firstNAPI(t, d); got.NAPISettings != wanted {
		t.Errorf("settings are %+v, want %+v", got.NAPISettings, wanted)
	}
	threaded := wanted
	threaded.Threaded = NAPIThread
	must(t, c.SetNAPI(n.ID, threaded))
	if got := firstNAPI(t, d); got.NAPISettings != threaded || got.Thread == 0 {
		t.Errorf("settings are %+v, want %+v and a thread", got, threaded)
	}
	must(t, c.Close())
	if got := firstNAPI(t, d); got != n {
		t.Errorf("after Close %+v, before %+v", got, n)
	}
	noRecords(t)
	if err := c.SetNAPI(1<<31-1, wanted); !errors.Is(err, unix.ENOENT) {
		t.Errorf("an instance that is not there: %v", err)
	}
}

// Two processes want the same of one instance: the last to go gives it back, as it was before the first. A setting that others changed meanwhile
// stays as they want it.
func TestSetNAPITogether(t *testing.T) {
	recordsIn(t, t.TempDir())
	d := polled(t)
	n := firstNAPI(t, d)
	first, second := NewClaim(d), NewClaim(d)
	must(t, first.SetNAPI(n.ID, wanted))
	must(t, second.SetNAPI(n.ID, wanted))
	must(t, first.Close())
	if got := firstNAPI(t, d); got.NAPISettings != wanted {
		t.Errorf("with one left: %+v", got.NAPISettings)
	}
	others := wanted
	others.GROFlushTimeout = 7 * time.Microsecond
	must(t, d.SetNAPI(n.ID, others))
	must(t, second.Close())
	if got := firstNAPI(t, d); got.NAPISettings != (NAPISettings{GROFlushTimeout: 7 * time.Microsecond}) {
		t.Errorf("with none left: %+v", got.NAPISettings)
	}
	noRecords(t)
}

// What only the one who goes had wanted ends with him, whoever came first.
func TestSetNAPIApart(t *testing.T) {
	recordsIn(t, t.TempDir())
	d := polled(t)
	n := firstNAPI(t, d)
	threaded := wanted
	threaded.Threaded = NAPIThread
	for _, firstGoesFirst := range []bool{false, true} {
		first, second := NewClaim(d), NewClaim(d)
		must(t, first.SetNAPI(n.ID, wanted))
		must(t, second.SetNAPI(n.ID, threaded))
		goes, stays, left := second, first, wanted
		if firstGoesFirst {
			goes, stays, left = first, second, threaded
		}
		must(t, goes.Close())
		if got := firstNAPI(t, d); got.NAPISettings != left {
			t.Errorf("with one left, the first gone: %v: %+v, want %+v", firstGoesFirst, got.NAPISettings, left)
		}
		must(t, stays.Close())
		if got := firstNAPI(t, d); got != n {
			t.Errorf("with none left: %+v, before %+v", got, n)
		}
	}
	noRecords(t)
}

// The settings of a whole device, by sysfs as its own namespace shows it.
func TestNAPIDefaults(t *testing.T) {
	recordsIn(t, t.TempDir())
	d := polled(t)
	if _, err := d.NAPIDefaults(); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("the sysfs of another namespace: %v", err)
	}
	ofNamespace(t, d)
	before, err := d.NAPIDefaults()
	must(t, err)
	c := NewClaim(d)
	want := NAPISettings{DeferHardIRQs: 5, GROFlushTimeout: 300 * time.Microsecond}
	must(t, c.SetNAPI(0, want))
	got, err := d.NAPIDefaults()
	must(t, err)
	if got != want || firstNAPI(t, d).NAPISettings != want {
		t.Errorf("the device has %+v, an instance %+v, want %+v", got, firstNAPI(t, d).NAPISettings, want)
	}
	c.die(t)
	must(t, d.Recover())
	if got, err = d.NAPIDefaults(); err != nil || got != before {
		t.Errorf("afterwards %+v, %v; before %+v", got, err, before)
	}
	noRecords(t)
}

// ofNamespace mounts a sysfs of the device's namespace, nowhere in the file system, and points the package to it.
func ofNamespace(t *testing.T, d *Device) {
	t.Helper()
	entries, err := filepath.Glob("/run/netns/*")
	must(t, err)
	for _, name := range entries {
		var st unix.Stat_t
		if unix.Stat(name, &st) != nil || st.Ino != d.netns {
			continue
		}
		var fd int
		must(t, lab.Host{Namespace: filepath.Base(name)}.Do(func() error {
			fs, err := unix.Fsopen("sysfs", unix.FSOPEN_CLOEXEC)
			if err != nil {
				return err
			}
			defer unix.Close(fs)
			if err := unix.FsconfigCreate(fs); err != nil {
				return err
			}
			fd, err = unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
			return err
		}))
		old := sysfsRoot
		sysfsRoot = fmt.Sprintf("/proc/self/fd/%d/class/net", fd)
		t.Cleanup(func() { sysfsRoot = old; unix.Close(fd) })
		return
	}
	t.Fatal("the namespace has no name")
}

const childDevice = "FASTRPC_TEST_NIC_DEVICE"

func TestMain(m *testing.M) {
	if device := os.Getenv(childDevice); device != "" {
		os.Exit(child(device, os.Args[1]))
	}
	os.Exit(m.Run())
}

// child changes an instance and waits to be killed.
func child(device, dir string) int {
	recordDir = dir
	err := func() error {
		d, err := OpenName(device)
		if err != nil {
			return err
		}
		all, err := d.NAPIs()
		if err != nil {
			return err
		}
		return NewClaim(d).SetNAPI(all[0].ID, wanted)
	}()
	fmt.Println("changed", err)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return 0
}

// kill -9 leaves the settings changed, and the next start gives them back.
func TestRecoverAfterKill(t *testing.T) {
	recordsIn(t, t.TempDir())
	l := labtest.New(t, lab.Config{Queues: 2})
	h := l.Server()
	must(t, h.Do(func() error {
		p, err := bpf.Attach(h.Ifindex, bpf.Options{Mode: bpf.Native})
		must(t, err)
		t.Cleanup(func() { must(t, p.Close()) })
		d, err := Open(h.Ifindex)
		must(t, err)
		t.Cleanup(func() { must(t, d.Close()) })
		before := firstNAPI(t, d)

		c := exec.Command("/proc/self/exe", recordDir)
		c.Env = append(os.Environ(), childDevice+"="+h.Interface)
		stdin, err := c.StdinPipe()
		must(t, err)
		defer stdin.Close()
		stdout, err := c.StdoutPipe()
		must(t, err)
		must(t, h.Start(c))
		line, err := bufio.NewReader(stdout).ReadString('\n')
		must(t, err)
		if line != "changed <nil>\n" {
			t.Fatalf("the child says %q", line)
		}
		must(t, d.Recover()) // it lives: nothing is taken from it
		if got := firstNAPI(t, d); got.NAPISettings != wanted {
			t.Errorf("while it lives: %+v", got)
		}
		must(t, c.Process.Kill())
		_ = c.Wait()
		if got := firstNAPI(t, d); got.NAPISettings != wanted {
			t.Errorf("the kernel gave them back by itself: %+v", got)
		}
		must(t, d.Recover())
		if got := firstNAPI(t, d); got != before {
			t.Errorf("after Recover %+v, before %+v", got, before)
		}
		noRecords(t)
		return nil
	}))
}

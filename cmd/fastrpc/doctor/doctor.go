// Package doctor finds out whether an interface of this machine is fit for xdp://, and what would make it faster. It changes nothing,
// except that it attaches the steering program for a moment to see what the kernel grants, if the caller does not forbid it.
package doctor

import (
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"github.com/vishvananda/netlink"
)

// Level says how much a finding matters.
type Level string

// The levels.
const (
	OK    Level = "ok"
	Note  Level = "note"  // works, and could be better, or must be known
	Wrong Level = "wrong" // prevents xdp://
)

// Finding is the outcome of one check.
type Finding struct {
	Check string `json:"check"` // its name, stable
	Level Level  `json:"level"`
	Text  string `json:"text"`
	Fix   string `json:"fix,omitempty"` // a command that mends it
}

// Report is all that was found about an interface.
type Report struct {
	Interface string    `json:"interface"`
	Findings  []Finding `json:"findings"`
}

// Options are the settings of Examine.
type Options struct {
	// NoProbe forbids to attach the steering program. A network card may reset its link for some seconds when a program comes or goes.
	NoProbe bool
}

// Examine checks the interface of that name in the calling thread's network namespace. What cannot be found out is a finding too.
func Examine(name string, o Options) Report {
	runtime.LockOSThread() // one network namespace throughout
	defer runtime.UnlockOSThread()

	root := os.DirFS("/")
	r := Report{Interface: name}
	r.add(checkKernel(release()))
	link, err := netlink.LinkByName(name)
	queues, most := 1, 1
	if err == nil {
		queues, most = receiveQueues(link)
	}
	r.add(checkPrivileges(readFile(root, "proc/self/status"), memlockLimit(), queues))
	if err != nil {
		r.add(Finding{"interface", Wrong, fmt.Sprintf("%s: %v; the interfaces are %s", name, err, strings.Join(interfaces(), ", ")), "ip link show"})
		return r
	}
	r.add(checkInterface(link))
	if f := r.Findings[len(r.Findings)-1]; f.Level == Wrong && f.Fix == "" { // nothing makes it fit
		r.add(notProbed(false, false))
		return r
	}
	r.add(checkDriver(name))
	r.add(checkQueues(name, queues, most, runtime.NumCPU()))
	r.add(checkFeatures(link.Attrs().Index))
	r.add(checkMTU(name, link.Attrs().MTU, os.Getpagesize()))
	if links, err := netlink.LinkList(); err != nil {
		r.add(Finding{"vlan", Note, fmt.Sprintf("listing interfaces: %v", err), ""})
	} else if vlans := vlansOn(link.Attrs().Index, links); len(vlans) > 0 {
		r.add(checkVLANs(name, vlans))
	}
	attached, inUse := checkAttached(root, link.Attrs().Index)
	r.add(attached)
	if r.Fit() && !inUse && !o.NoProbe {
		r.add(probe(link.Attrs().Index, queues)...)
	} else {
		r.add(notProbed(r.Fit(), inUse))
	}
	r.add(checkBusyPoll(root, name), checkHugePages(readFile(root, "sys/kernel/mm/transparent_hugepage/enabled")), checkGovernor(root), checkFirewall())
	return r
}

// Fit says that nothing was found that prevents xdp://.
func (r *Report) Fit() bool {
	for _, f := range r.Findings {
		if f.Level == Wrong {
			return false
		}
	}
	return true
}

func (r *Report) add(f ...Finding) { r.Findings = append(r.Findings, f...) }

// JSON writes the report, indented, with a final newline.
func (r *Report) JSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// Print writes the report for people: a line a finding, below it the command that mends it.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%-5s  %-12s  %s\n", f.Level, f.Check, f.Text)
		if f.Fix != "" {
			fmt.Fprintf(&b, "%-5s  %-12s  $ %s\n", "", "", f.Fix)
		}
	}
	if r.Fit() {
		fmt.Fprintf(&b, "\n%s is fit for xdp://\n", r.Interface)
	} else {
		fmt.Fprintf(&b, "\n%s is not fit for xdp:// until what is wrong is mended; udp:// works meanwhile\n", r.Interface)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func readFile(root fs.FS, name string) string {
	b, err := fs.ReadFile(root, name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

func interfaces() []string {
	links, err := netlink.LinkList()
	if err != nil {
		return nil
	}
	var names []string
	for _, l := range links {
		names = append(names, l.Attrs().Name)
	}
	return names
}

// Package boot is what the two sides of a guest agree on: the program outside, which builds the initramfs and starts QEMU, and /init inside.
package boot

// Where things are in the initramfs.
const (
	PlanFile = "/plan.json"
	Program  = "/program"
)

// A Plan is what /init does, in this order.
type Plan struct {
	Modules []string // files to load
	NICs    int      // network cards that appear by it, which are brought up; eth0 is the first
	Args    []string // of Program, which runs next; what it prints goes to Output
}

// The serial lines.
const (
	Console = "/dev/ttyS0" // the kernel's messages, and those of /init
	Output  = "/dev/ttyS1" // what Program prints, and nothing else
)

// Started is what /init writes to Console when all is there and Program comes next.
const Started = "init: the program starts"

// VerdictPort is the I/O port that /init writes the verdict to, a byte, which QEMU's isa-debug-exit device turns into its own exit status. It
// is the device's default.
const VerdictPort = 0x501

// MaxExit is the highest exit status of Program that is told apart; higher ones count as MaxExit.
const MaxExit = 126

// Verdict is the byte that stands for an exit status of Program. 0 stands for none: QEMU's own failures look like it.
func Verdict(exit int) byte { return byte(min(exit, MaxExit) + 1) }

// Exit is the exit status of Program that an exit status of QEMU stands for, 2 × verdict + 1 (hw/misc/debugexit.c); false if it stands for none.
func Exit(qemu int) (exit int, ok bool) { return qemu/2 - 1, qemu > 1 && qemu%2 == 1 }

package nic

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// sysfsRoot is where sysfs shows the devices of the namespace that it was mounted in.
var sysfsRoot = "/sys/class/net"

// NAPIDefaults are the settings that NAPI instances get which have none of their own; before Linux 6.13 there are no others.
func (d *Device) NAPIDefaults() (s NAPISettings, err error) {
	dir, err := d.sysfs()
	if err != nil {
		return s, err
	}
	deferred, err1 := readNumber(dir, "napi_defer_hard_irqs") // Linux 5.8
	timeout, err2 := readNumber(dir, "gro_flush_timeout")
	threaded, err3 := readNumber(dir, "threaded") // Linux 5.12
	if errors.Is(err3, os.ErrNotExist) {
		err3 = nil
	}
	return NAPISettings{DeferHardIRQs: uint32(deferred), GROFlushTimeout: time.Duration(timeout), Threaded: Threaded(threaded)}, errors.Join(err1, err2, err3)
}

// SetNAPIDefaults changes them, of all NAPI instances that the device has as well. They have no IRQSuspendTimeout.
func (d *Device) SetNAPIDefaults(want NAPISettings) error {
	have, err := d.NAPIDefaults()
	if err != nil {
		return err
	}
	dir, err := d.sysfs()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name       string
		have, want uint64
	}{
		{"threaded", uint64(have.Threaded), uint64(want.Threaded)},
		{"napi_defer_hard_irqs", uint64(have.DeferHardIRQs), uint64(want.DeferHardIRQs)},
		{"gro_flush_timeout", uint64(have.GROFlushTimeout), uint64(want.GROFlushTimeout)},
	} {
		if f.have == f.want {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, f.name), []byte(strconv.FormatUint(f.want, 10)), 0); err != nil {
			return fmt.Errorf("nic: %w", err)
		}
	}
	return nil
}

// sysfs is the device's directory. sysfs shows the devices of one namespace, which need not be this one's: then the name leads nowhere, or to
// another device.
func (d *Device) sysfs() (string, error) {
	name, err := d.Name()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(sysfsRoot, name)
	index, err := readNumber(dir, "ifindex")
	address, _ := os.ReadFile(filepath.Join(dir, "address"))
	if err != nil || int(index) != d.index || strings.TrimSpace(string(address)) != d.mac.String() {
		return "", fmt.Errorf("nic: %s shows another network namespace than that of %s; mount sysfs there ('ip netns exec' does): %w", sysfsRoot, name,
			errors.ErrUnsupported)
	}
	return dir, nil
}

func readNumber(dir, name string) (uint64, error) {
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, fmt.Errorf("nic: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("nic: %s of %s: %w", name, dir, err)
	}
	return n, nil
}

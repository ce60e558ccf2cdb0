package nic

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Feature is one of the device's switches, as 'ethtool -k' shows it.
type Feature struct {
	On        bool
	Available bool // the driver has it
	Fixed     bool // it cannot be switched
}

// FeatureNTuple is the switch that must be on for AddRule, by the name that the kernel has for it ('ethtool -k' calls it ntuple-filters).
const FeatureNTuple = "rx-ntuple-filter"

// Features asks for the switches by the kernel's names, such as rx-gro or rx-ntuple-filter.
func (d *Device) Features() (map[string]Feature, error) {
	names, err := d.strings(namesOfFeatures)
	if err != nil {
		return nil, err
	}
	// struct ethtool_gfeatures (linux/ethtool.h): u32 cmd, u32 size, then for each 32 switches u32 available, requested, active, never_changed.
	const head, block = 8, 16
	r := request(unix.ETHTOOL_GFEATURES, head+block*((len(names)+31)/32))
	binary.NativeEndian.PutUint32(r[4:], uint32((len(names)+31)/32))
	if err := d.ask("features", r); err != nil {
		return nil, err
	}
	features := make(map[string]Feature, len(names))
	for i, name := range names {
		bit := func(word int) bool { return binary.NativeEndian.Uint32(r[head+block*(i/32)+4*word:])>>(i%32)&1 != 0 }
		if name != "" {
			features[name] = Feature{Available: bit(0), On: bit(2), Fixed: !bit(0) || bit(3)}
		}
	}
	return features, nil
}

// Numbers of lists of names (ETH_SS_*, linux/ethtool.h).
const (
	namesOfStats    = 1
	namesOfFeatures = 4

	nameBytes  = 32      // ETH_GSTRING_LEN
	maxStrings = 1 << 16 // bounds what a driver may claim; the most talkative have some 10,000 counters
)

// spare is room for names and counters that come into being while they are asked for, with another channel, say: older kernels copy as many
// as there are then, whatever room the request says that it has (net/ethtool/ioctl.c, ethtool_get_strings and ethtool_get_stats).
func spare(n int) int { return 2*n + 1024 }

// strings asks for one of the device's lists of names (ETH_SS_*). A driver without such a list has none.
func (d *Device) strings(set uint32) ([]string, error) {
	// struct ethtool_sset_info (linux/ethtool.h): u32 cmd, reserved, u64 sset_mask, u32 data[]: a number for each bit that the answer has set.
	info := request(unix.ETHTOOL_GSSET_INFO, 20)
	binary.NativeEndian.PutUint64(info[8:], 1<<set)
	if err := d.ask("list of names", info); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint64(info[8:]) == 0 {
		return nil, nil
	}
	n := binary.NativeEndian.Uint32(info[16:])
	if n > maxStrings {
		return nil, fmt.Errorf("nic: interface %d claims %d names", d.index, n)
	}
	if n == 0 {
		return nil, nil
	}
	// struct ethtool_gstrings: u32 cmd, string_set, len, then the names.
	const head = 12
	r := request(unix.ETHTOOL_GSTRINGS, head+nameBytes*spare(int(n)))
	binary.NativeEndian.PutUint32(r[4:], set)
	binary.NativeEndian.PutUint32(r[8:], n)
	if err := d.ask("names", r); err != nil {
		return nil, err
	}
	if binary.NativeEndian.Uint32(r[8:]) != n {
		return nil, errors.New("nic: the device's lists changed meanwhile; try again")
	}
	names := make([]string, n)
	for i := range names {
		names[i] = unix.ByteSliceToString(r[head+nameBytes*i : head+nameBytes*(i+1)])
	}
	return names, nil
}

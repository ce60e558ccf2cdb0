package nic

import (
	"encoding/binary"
	"maps"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeNIC is a driver with n-tuple rules and RSS contexts, as the kernel's ioctl shows one.
type fakeNIC struct {
	rules    map[uint32][]byte // requests by location
	contexts map[uint32][]uint32
	size     int // of the table of rules
	chooses  bool
	refuse   error // of insertions
	keep     error // of deletions
	table    []uint32
	key      []byte
}

func newFake() *fakeNIC {
	return &fakeNIC{rules: map[uint32][]byte{}, contexts: map[uint32][]uint32{}, size: 8, table: make([]uint32, 16), key: make([]byte, 40)}
}

// device puts a Device in front of it.
func (f *fakeNIC) device() *Device { return &Device{index: 7, netns: 1, ioctl: f} }

func (f *fakeNIC) name(int) (string, error) { return "fake0", nil }
func (f *fakeNIC) close() error             { return nil }

func (f *fakeNIC) ethtool(_ int, r []byte) error {
	word := binary.NativeEndian.Uint32
	put := binary.NativeEndian.PutUint32
	switch word(r) {
	case unix.ETHTOOL_GRXCLSRLCNT:
		put(r[rxnfcCount:], uint32(len(f.rules)))
		flags := uint64(f.size)
		if f.chooses {
			flags |= canChoose
		}
		binary.NativeEndian.PutUint64(r[rxnfcData:], flags)
	case unix.ETHTOOL_GRXCLSRLALL:
		if int(word(r[rxnfcCount:])) < len(f.rules) {
			return unix.EMSGSIZE
		}
		for i, location := range slices.Sorted(maps.Keys(f.rules)) {
			put(r[rxnfcLocations+4*i:], location)
		}
		put(r[rxnfcCount:], uint32(len(f.rules)))
		binary.NativeEndian.PutUint64(r[rxnfcData:], uint64(f.size))
	case unix.ETHTOOL_GRXCLSRULE:
		have, ok := f.rules[word(r[rxnfcRule+ruleLocation:])]
		if !ok {
			return unix.EINVAL
		}
		copy(r[rxnfcRule:], have[rxnfcRule:])
	case unix.ETHTOOL_SRXCLSRLINS:
		location := word(r[rxnfcRule+ruleLocation:])
		switch {
		case f.refuse != nil:
			return f.refuse
		case location == anyLocation && f.chooses:
			for location = 0; f.rules[location] != nil; location++ {
			}
		case f.chooses || location >= uint32(f.size):
			return unix.EINVAL
		}
		put(r[rxnfcRule+ruleLocation:], location)
		f.rules[location] = slices.Clone(r)
	case unix.ETHTOOL_SRXCLSRLDEL:
		location := word(r[rxnfcRule+ruleLocation:])
		if f.rules[location] == nil {
			return unix.ENOENT
		}
		if f.keep != nil {
			return f.keep
		}
		delete(f.rules, location)
	case unix.ETHTOOL_GRSSH:
		sized := word(r[rxfhTableSize:]) != 0
		put(r[rxfhTableSize:], uint32(len(f.table)))
		put(r[rxfhKeySize:], uint32(len(f.key)))
		r[rxfhFunc] = byte(HashToeplitz)
		if sized {
			for i, q := range f.table {
				put(r[rxfhBytes+4*i:], q)
			}
			copy(r[rxfhBytes+4*len(f.table):], f.key)
		}
	case unix.ETHTOOL_SRSSH:
		return f.setContext(r)
	default:
		return unix.EOPNOTSUPP
	}
	return nil
}

func (f *fakeNIC) setContext(r []byte) error {
	context, size := binary.NativeEndian.Uint32(r[rxfhContext:]), binary.NativeEndian.Uint32(r[rxfhTableSize:])
	switch {
	case context == newContext && int(size) == len(f.table):
		context = uint32(len(f.contexts) + 1)
		for i := range size {
			f.contexts[context] = append(f.contexts[context], binary.NativeEndian.Uint32(r[rxfhBytes+4*i:]))
		}
		binary.NativeEndian.PutUint32(r[rxfhContext:], context)
	case size == 0 && f.contexts[context] != nil:
		for _, rule := range f.rules {
			if decoded, ok := decodeRule(rule); ok && decoded.Context == context {
				return unix.EBUSY
			}
		}
		delete(f.contexts, context)
	case size == 0:
		return unix.ENOENT
	default:
		return unix.EINVAL
	}
	return nil
}

// insertRaw installs a rule that the package would not make.
func (f *fakeNIC) insertRaw(location uint32, change func(rule []byte)) {
	r := make([]byte, rxnfcBytes)
	Rule{Port: 9000, Queue: 1}.encode(r, location)
	change(r[rxnfcRule:])
	f.rules[location] = r
}

// ofPackage is what the fake has of the package's own rules.
func (f *fakeNIC) ofPackage(t *testing.T) (rules []Rule) {
	t.Helper()
	all, err := f.device().Rules()
	must(t, err)
	for _, r := range all {
		if !r.Foreign {
			rules = append(rules, r.Rule)
		}
	}
	return rules
}

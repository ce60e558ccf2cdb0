package nic

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The offsets are the kernel's, by its own header.
func TestLayout(t *testing.T) {
	compiler, err := exec.LookPath("cc")
	if err != nil {
		if compiler, err = exec.LookPath("clang"); err != nil {
			t.Skip("no C compiler to ask")
		}
	}
	const program = `
#include <stddef.h>
#include <linux/ethtool.h>
#define IS(what, n) _Static_assert((what) == (n), #what)
IS(offsetof(struct ethtool_rxnfc, flow_type), 4);
IS(offsetof(struct ethtool_rxnfc, data), 8);
IS(offsetof(struct ethtool_rxnfc, fs), 16);
IS(offsetof(struct ethtool_rxnfc, rule_cnt), 184);
IS(offsetof(struct ethtool_rxnfc, rule_locs), 188);
IS(sizeof(struct ethtool_rxnfc), 192);
IS(offsetof(struct ethtool_rx_flow_spec, h_u), 4);
IS(offsetof(struct ethtool_rx_flow_spec, m_u), 76);
IS(offsetof(struct ethtool_rx_flow_spec, ring_cookie), 152);
IS(offsetof(struct ethtool_rx_flow_spec, location), 160);
IS(sizeof(struct ethtool_rx_flow_spec), 168);
IS(offsetof(struct ethtool_tcpip4_spec, pdst), 10);
IS(offsetof(struct ethtool_tcpip6_spec, pdst), 34);
IS(UDP_V4_FLOW, 2);
IS(UDP_V6_FLOW, 6);
IS(FLOW_RSS, 0x20000000);
IS(RX_CLS_LOC_ANY, 0xffffffff);
IS(RX_CLS_LOC_SPECIAL, 1u << 31);
IS(offsetof(struct ethtool_rxfh, rss_context), 4);
IS(offsetof(struct ethtool_rxfh, indir_size), 8);
IS(offsetof(struct ethtool_rxfh, key_size), 12);
IS(offsetof(struct ethtool_rxfh, hfunc), 16);
IS(sizeof(struct ethtool_rxfh), 24);
IS(ETH_RXFH_CONTEXT_ALLOC, 0xffffffff);
IS(RXH_IP_SRC, 1 << 4);
IS(RXH_IP_DST, 1 << 5);
IS(RXH_L4_B_0_1 | RXH_L4_B_2_3, 3 << 6);
IS(sizeof(struct ethtool_drvinfo), 196);
IS(offsetof(struct ethtool_drvinfo, bus_info), 4 + 3 * 32);
IS(sizeof(struct ethtool_coalesce), 4 * 23);
IS(offsetof(struct ethtool_coalesce, tx_coalesce_usecs), 4 * 5);
IS(offsetof(struct ethtool_coalesce, use_adaptive_rx_coalesce), 4 * 10);
IS(sizeof(struct ethtool_ringparam), 4 * 9);
IS(offsetof(struct ethtool_ringparam, rx_pending), 4 * 5);
IS(offsetof(struct ethtool_ringparam, tx_pending), 4 * 8);
IS(offsetof(struct ethtool_stats, data), 8);
IS(offsetof(struct ethtool_gfeatures, features), 8);
IS(sizeof(struct ethtool_get_features_block), 16);
IS(offsetof(struct ethtool_sset_info, data), 16);
IS(offsetof(struct ethtool_gstrings, data), 12);
IS(ETH_SS_STATS, 1);
IS(ETH_SS_FEATURES, 4);
IS(ETH_GSTRING_LEN, 32);
`
	c := exec.Command(compiler, "-xc", "-c", "-o", filepath.Join(t.TempDir(), "layout.o"), "-")
	c.Stdin = strings.NewReader(program)
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// Rules go in, are listed and go out again; those of others stay.
func TestRules(t *testing.T) {
	for _, chooses := range []bool{false, true} {
		f := newFake()
		f.chooses = chooses
		f.insertRaw(7, func(rule []byte) { rule[ruleMasks+8] = 0xff }) // compares the source port as well
		f.insertRaw(5, func(rule []byte) { rule[0] = 1 })              // TCP
		d := f.device()
		rules := []Rule{{Port: 9000, Queue: 3}, {Port: 9000, IPv6: true, Queue: 3}, {Port: 1, Context: 2}}
		for _, r := range rules {
			added, err := d.AddRule(r)
			must(t, err)
			again, err := d.AddRule(r)
			must(t, err)
			if !added || again {
				t.Errorf("%v: added %v, then %v", r, added, again)
			}
		}
		for _, r := range rules {
			if !slices.Contains(f.ofPackage(t), r) {
				t.Errorf("%v is not among %v", r, f.ofPackage(t))
			}
		}
		// The bytes of one of them: flow type, port and mask in the network's order, queue, location.
		raw := make([]byte, rxnfcBytes)
		rules[1].encode(raw, 9)
		want := map[int]byte{16: 6, 16 + 4 + 34: 0x23, 16 + 4 + 35: 0x28, 16 + 76 + 34: 0xff, 16 + 76 + 35: 0xff, 16 + 152: 3, 16 + 160: 9}
		for i, b := range raw {
			if b != want[i] {
				t.Errorf("byte %d is %#x, want %#x", i, b, want[i])
			}
		}
		if !chooses && (f.rules[6] == nil || f.rules[4] == nil || f.rules[3] == nil) {
			t.Error("the rules are not at the last free locations")
		}
		for _, r := range rules {
			must(t, d.DeleteRule(r))
			must(t, d.DeleteRule(r))
		}
		if len(f.rules) != 2 {
			t.Errorf("%d rules left, want the two of others", len(f.rules))
		}
	}
}

func TestRulesRefused(t *testing.T) {
	f := newFake()
	f.refuse = unix.EOPNOTSUPP
	if _, err := f.device().AddRule(Rule{Port: 9000}); !errors.Is(err, errors.ErrUnsupported) || !strings.Contains(err.Error(), "flow-type udp4 dst-port 9000 action 0") {
		t.Errorf("refused: %v", err)
	}
	f = newFake()
	for i := range f.size {
		f.insertRaw(uint32(i), func(rule []byte) { rule[0] = 1 })
	}
	if _, err := f.device().AddRule(Rule{Port: 9000}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("full: %v", err)
	}
	_, veth := vethPair(t, 1)
	if _, err := veth.AddRule(Rule{Port: 9000}); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("veth: %v", err)
	}
}

// A context spreads over the given queues in turn.
func TestContext(t *testing.T) {
	f := newFake()
	d := f.device()
	context, err := d.AddContext([]int{2, 5})
	must(t, err)
	for i, q := range f.contexts[context] {
		if want := uint32([]int{2, 5}[i%2]); q != want {
			t.Errorf("entry %d: queue %d, want %d", i, q, want)
		}
	}
	_, err = d.AddRule(Rule{Port: 9000, Context: context})
	must(t, err)
	if err := d.DeleteContext(context); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a context in use: %v", err)
	}
	must(t, d.DeleteRule(Rule{Port: 9000, Context: context}))
	must(t, d.DeleteContext(context))
	must(t, d.DeleteContext(context))
}

func TestRSS(t *testing.T) {
	f := newFake()
	for i := range f.table {
		f.table[i] = uint32(i % 3)
	}
	f.key[39] = 0xaa
	s, err := f.device().RSS()
	must(t, err)
	if !slices.Equal(s.Table, f.table) || !slices.Equal(s.Key, f.key) || s.Hash != HashToeplitz {
		t.Errorf("%+v", s)
	}
}

package doctor

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/safchain/ethtool"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rdmaAnswers are what is asked of the kernel beside its files. An answer that there is none of carries an error.
type rdmaAnswers struct {
	built   bool                                        // this program, with the tag rdma
	memlock uint64                                      // bytes that may be locked
	netns   answer[string]                              // shared or exclusive
	driver  func(device string) answer[uint32]          // its number (enum rdma_driver_id)
	open    func(file string) error                     // to read and write, as libraries do, and closed again
	mtu     func(iface string) answer[int]              // bytes; an error: it is not in this network namespace
	dcb     func(iface string) answer[dcb]              // data centre bridging
	pause   func(iface string) answer[ethtool.Pause]    // of the whole port
	verbs   func(device string, port int) answer[verbs] // what only libibverbs tells
}

// verbs is what libibverbs tells of a device and a port.
type verbs struct {
	mtu      int // active, bytes
	onDemand bool
	atomics  bool
	qps      int
	srqs     int
}

// errNotBuilt: nobody can be asked, because this program has no libibverbs.
var errNotBuilt = errors.New("this program was built without RDMA")

func askRDMA() rdmaAnswers {
	return rdmaAnswers{
		built: rdmaBuilt, memlock: memlockLimit(), netns: got(netlink.RdmaSystemGetNetnsMode()), driver: askDriver, mtu: askMTU, open: openFile, dcb: askDCB, pause: askPause, verbs: askVerbs,
	}
}

func askMTU(iface string) answer[int] {
	i, err := net.InterfaceByName(iface)
	if err != nil {
		return answer[int]{err: err}
	}
	return answer[int]{v: i.MTU}
}

func openFile(file string) error {
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return f.Close()
}

// askDriver asks which driver serves a device's file, as libibverbs does (linux 5.3; drivers/infiniband/core/nldev.c, nldev_get_chardev).
func askDriver(device string) answer[uint32] {
	const getChardev, chardevType, driverID = 15, 69, 73 // include/uapi/rdma/rdma_netlink.h
	link, err := netlink.RdmaLinkByName(device)
	if err != nil {
		return answer[uint32]{err: err}
	}
	enc := mdlayher.NewAttributeEncoder()
	enc.Uint32(nl.RDMA_NLDEV_ATTR_DEV_INDEX, link.Attrs.Index)
	enc.String(chardevType, "uverbs")
	var id uint32
	err = execute(unix.NETLINK_RDMA, nl.RDMA_NL_NLDEV<<nl.RDMA_NL_GET_CLIENT_SHIFT|getChardev, nil, enc, func(a *mdlayher.AttributeDecoder) {
		if a.Type() == driverID {
			id = a.Uint32()
		}
	})
	return got(id, err)
}

// dcb is the part of a port's data centre bridging that RDMA is about (IEEE 802.1Qaz and 802.1Qbb).
type dcb struct {
	lossless uint8         // a bit for each priority with flow control of its own
	dscp     map[int]uint8 // priorities of packets, where the card goes by DSCP
	told     bool          // the driver tells of priority flow control at all
}

// Numbers of include/uapi/linux/dcbnl.h.
const (
	dcbIEEEGet     = 21
	dcbIfName      = 1
	dcbIEEE        = 13
	dcbIEEEPFC     = 2
	dcbIEEEApps    = 3
	dcbIEEEApp     = 1
	dcbDSCP        = 5 // a selector
	dcbPFCEnabled  = 1 // offset in struct ieee_pfc
	dcbHeaderBytes = 4 // struct dcbmsg: family, command, padding
)

func askDCB(iface string) answer[dcb] {
	enc := mdlayher.NewAttributeEncoder()
	enc.String(dcbIfName, iface)
	var d dcb
	err := execute(unix.NETLINK_ROUTE, unix.RTM_GETDCB, []byte{unix.AF_UNSPEC, dcbIEEEGet, 0, 0}, enc, d.decode)
	return got(d, err)
}

// decode takes an attribute of the kernel's answer (net/dcb/dcbnl.c, dcbnl_ieee_fill).
func (d *dcb) decode(a *mdlayher.AttributeDecoder) {
	if a.Type() != dcbIEEE {
		return
	}
	a.Nested(func(a *mdlayher.AttributeDecoder) error {
		for a.Next() {
			switch a.Type() {
			case dcbIEEEPFC:
				if b := a.Bytes(); len(b) > dcbPFCEnabled {
					d.told, d.lossless = true, b[dcbPFCEnabled]
				}
			case dcbIEEEApps:
				a.Nested(d.decodeApps)
			}
		}
		return nil
	})
}

// decodeApps reads struct dcb_app: selector, priority, protocol.
func (d *dcb) decodeApps(a *mdlayher.AttributeDecoder) error {
	for a.Next() {
		if b := a.Bytes(); a.Type() == dcbIEEEApp && len(b) >= 4 && b[0] == dcbDSCP {
			if d.dscp == nil {
				d.dscp = map[int]uint8{}
			}
			d.dscp[int(binary.NativeEndian.Uint16(b[2:]))] = b[1]
		}
	}
	return nil
}

// execute sends a request with a header and attributes, and gives each attribute of the answers to decode.
func execute(family int, kind uint16, header []byte, enc *mdlayher.AttributeEncoder, decode func(*mdlayher.AttributeDecoder)) error {
	attrs, err := enc.Encode()
	if err != nil {
		return err
	}
	c, err := mdlayher.Dial(family, nil)
	if err != nil {
		return err
	}
	defer c.Close()
	answers, err := c.Execute(mdlayher.Message{Header: mdlayher.Header{Type: mdlayher.HeaderType(kind), Flags: mdlayher.Request}, Data: append(header, attrs...)})
	if err != nil {
		return err
	}
	for _, m := range answers {
		if len(m.Data) < len(header) {
			return fmt.Errorf("an answer of %d bytes", len(m.Data))
		}
		a, err := mdlayher.NewAttributeDecoder(m.Data[len(header):])
		if err != nil {
			return err
		}
		for a.Next() {
			decode(a)
		}
		if err := a.Err(); err != nil {
			return err
		}
	}
	return nil
}

func askPause(iface string) answer[ethtool.Pause] {
	e, err := ethtool.NewEthtool()
	if err != nil {
		return answer[ethtool.Pause]{err: err}
	}
	defer e.Close()
	return got(e.GetPause(iface))
}

// providers are the parts of rdma-core by driver, in the order of enum rdma_driver_id (include/uapi/rdma/ib_user_ioctl_verbs.h, Linux 7.3).
var providers = strings.Fields("- mlx5 mlx4 cxgb3 cxgb4 mthca bnxt_re ocrdma nes irdma vmw_pvrdma qedr hns usnic rxe hfi1verbs ipathverbs efa siw erdma mana ionic bng_re")

// provider names the driver; "" where it is not known.
func provider(id answer[uint32]) string {
	if id.err != nil || id.v == 0 || id.v >= uint32(len(providers)) {
		return ""
	}
	return providers[id.v]
}
